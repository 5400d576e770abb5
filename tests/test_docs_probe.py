"""The page on the probe is followed word for word."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import yaml
from probing import PATIENCE, sent, until

from rms_flows.envelope import MEMBERS
from rms_flows.probe.collectors import COLLECTORS
from rms_flows.probe.run import STATES
from rms_flows.probe.settings import Entry, Settings

PAGE = (Path(__file__).parents[1] / "docs/probe.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line.split("  #")[0] for kind, text in BLOCKS if kind == "sh" for line in text.splitlines() if line
]


def run(folder, command):
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    return subprocess.Popen(  # noqa: S603  the page's own words
        command.split(), cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_its_commands_run(tmp_path):
    key, probe, verify, replay = COMMANDS
    said, _ = run(tmp_path, key).communicate(timeout=PATIENCE)
    document, flow, rules = (text for kind, text in BLOCKS if kind == "yaml")
    (tmp_path / "hub.yaml").write_text(document[: document.index("trust:")] + said)
    process = run(tmp_path, probe)
    kinds = {
        "system.cpu",
        "system.memory",
        "system.network",
        "system.process",
        "probe.heartbeat",
        "probe.state",
    }
    until(lambda: kinds <= {one["kind"] for one in sent(tmp_path / "envelopes.ndjson")})
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=PATIENCE) == ("", "")
    assert process.returncode == 0
    verified = run(tmp_path, verify)
    said, _ = verified.communicate(timeout=PATIENCE)
    assert (verified.returncode, said.splitlines()[-1]) == (0, "nothing is wrong")
    assert all(f"`{kind}`" in PAGE for kind in kinds)
    public = yaml.safe_load((tmp_path / "hub.yaml").read_text())["trust"]["publicKey"]
    (tmp_path / "flow.yaml").write_text(flow.replace("ed25519:…", public))
    (tmp_path / "silent.yml").write_text(rules)
    replayed = run(tmp_path, replay)
    _, problem = replayed.communicate(timeout=PATIENCE)
    assert replayed.returncode == 0, problem
    assert len(sent(tmp_path / "reports.ndjson")) == 1  # it was stopped
    assert not (tmp_path / "reports.dead-letters.ndjson").exists()


def test_it_names_every_parameter_collector_state_and_member():
    own = {name for kind in Entry.__subclasses__() for name in kind.model_fields}
    named = {*Settings.model_fields, *own, *COLLECTORS, *STATES, *MEMBERS}
    assert [name for name in sorted(named) if f"`{name}`" not in PAGE] == []


def test_what_it_says_unless_told_is_so():
    defaults = Settings(key="k", output="o")
    assert f"`{defaults.state}` unless told" in PAGE
    assert f"`{defaults.heartbeat}` unless told" in PAGE
    assert defaults.spool == 64 * 1024 * 1024
    assert f"`{Entry.model_fields['interval'].default}` unless told" in PAGE
    [example] = [yaml.safe_load(text) for kind, text in BLOCKS if kind == "json"]
    assert example.keys() == MEMBERS
