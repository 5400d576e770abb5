"""The page on who confirms probes is followed word for word."""

import json
import re
import shlex
from pathlib import Path

from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.confirm import cache, gateway, open_trust
from rms_flows.confirm.devices import COLUMNS
from rms_flows.envelope import Observed, Signer, generate, public_text
from rms_flows.model import ConfirmedProbe

PAGE = (Path(__file__).parents[1] / "docs/trust.md").read_text(encoding="utf-8")
FILES = dict(re.findall(r"^`([\w.]+)`[^\n]*\n\n```(?:yaml|csv)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
COMMANDS = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def rms(command, code=0):
    done = CliRunner().invoke(app, shlex.split(command.removeprefix("rms ")))
    assert done.exit_code == code, f"{command}\n{done.output}"
    return done.output


def test_its_files_say_the_same_and_its_commands_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    key = generate()
    assert FILES.keys() == {"home.yaml", "devices.csv", "devices.yaml"}
    for name, text in FILES.items():
        (tmp_path / name).write_text(text.replace("ed25519:…", public_text(key)))
    told = [open_trust(f"devices.{kind}", tmp_path).all() for kind in ("csv", "yaml")]
    assert told[0] == told[1]
    assert told[0].keys() == {"hub", "boiler"}

    begin = 1_768_000_000_000_000  # in January 2026
    lines = [Signer(key, "hub").line(1, Observed("system.cpu", {"host.cpu.usage": 0.9}, begin))]
    stranger = Signer(generate(), "attic")
    (tmp_path / "envelopes.ndjson").write_bytes(lines[0] + b"\n")
    days = ["2026-01-15", "2026-03-15"]
    events = [{"@timestamp": f"{day}T00:00:00Z", "event.id": day, "host.cpu.usage": 0.9} for day in days]
    (tmp_path / "boiler.ndjson").write_text("".join(json.dumps(one) + "\n" for one in events))
    [replay, verify], [again] = (text.splitlines() for text in COMMANDS)
    assert "nothing is wrong" in rms(verify)
    lines.append(stranger.line(1, Observed("system.cpu", {"host.cpu.usage": 0.9}, begin)))
    (tmp_path / "envelopes.ndjson").write_bytes(b"\n".join(lines) + b"\n")
    rms(replay)
    assert len((tmp_path / "reports.ndjson").read_text().splitlines()) == 3
    assert (tmp_path / "reports.dead-letters.ndjson").read_text().count('"unknown"') == 1

    rms("rms archive 'boiler.ndjson?probes=devices.csv&probe=boiler' parquet:archive --id boiler")
    source = "- {id: boiler, archive: 'parquet:archive', trust: {fingerprint: x}}\n"
    rule = "- {id: high, processor: filter, inputs: [boiler], parameters: {field: host.cpu.usage, operator: GT, threshold: 0.8}}\n"
    sink = "- {id: reports, inputs: [boiler], uri: all.ndjson}\n"
    (tmp_path / "archive.yaml").write_text(
        f"orchestrator: archive\nsources:\n{source}processors:\n{rule}sinks:\n{sink}"
    )
    rms("rms replay archive.yaml")
    rms(again)
    verdicts = [
        [json.loads(line)["rms.trust"] for line in (tmp_path / name).read_text().splitlines()]
        for name in ("all.ndjson", "again.ndjson")
    ]
    assert verdicts == [["trusted", "untrusted"], ["trusted", "trusted"]]
    assert "leave out --every" in rms("rms replay archive.yaml --rejudge --every 1h", 2)


def test_it_says_what_is_so():
    assert all(f"`{name}`" in PAGE or name in FILES["devices.csv"] for name in COLUMNS)
    assert "`formerKeys`" in PAGE
    assert ConfirmedProbe.model_fields.keys() == {*COLUMNS, "formerKeys"}
    said = " ".join(PAGE.split())
    assert f"holds for {cache.FRESH:.0f} seconds" in said
    assert f"within {gateway.SECONDS:.0f} seconds" in said
    assert f"asked again after {cache.AGAIN:.0f} seconds" in said
    assert cache.KEPT == 3_600
    assert f"{cache.REMEMBERED:,} probes are remembered" in said
