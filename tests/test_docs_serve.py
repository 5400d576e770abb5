"""The page on the service is followed word for word, but for the port: another service may have it."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import yaml
from serving import envelopes, serving

from rms_flows.envelope import generate
from rms_flows.serve.access import ROLES

PAGE = (Path(__file__).parents[1] / "docs/serve.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]


def test_its_commands_run(tmp_path):
    start, *curls = COMMANDS
    assert start.startswith("rms serve --registry registry --out ")
    (tmp_path / "sent.ndjson").write_bytes(envelopes(generate(), "hub", 1, 2))
    (tmp_path / "load.yaml").write_text("id: load\nname: CPU load\nquantityKind: ratio\n")
    assert shutil.which("curl")
    with serving(tmp_path, "--out", tmp_path / start.split()[-1]) as one:
        said = [
            subprocess.run(  # noqa: S603  the page's own words
                shlex.split(command.replace("http://127.0.0.1:8642", one.url).replace("curl", "curl --fail -sS", 1)),
                cwd=tmp_path, capture_output=True, text=True, check=True, timeout=60,
            ).stdout
            for command in curls
        ]  # fmt: skip
        described = one.ask("GET", "/openapi.json").body
    assert said[0] == '{"kept":2}'
    assert yaml.safe_load(said[2])["name"] == "CPU load"
    assert [found["id"] for found in yaml.safe_load(said[3])] == ["load"]
    for path in described["paths"]:
        named = re.sub(r"\{kind\}", "KIND", path).replace("{name}", "ID").replace("{name:path}", "ID")
        assert named in PAGE, path


def test_it_names_all_roles_and_options():
    assert [role for role in ROLES if f"`{role}`" not in PAGE] == []
    for option in (
        "--host",
        "--port",
        "--out",
        "--tokens",
        "--tls-certificate",
        "--tls-key",
        "--client-ca",
        "--refuse-forged",
    ):
        assert option in PAGE
