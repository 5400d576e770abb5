"""The page on polling is run as it stands, against a server that does what it says of the honeypot."""

import json
import os
import re
import shlex
import signal
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from evented import folded
from polling import serving
from test_cli import run as run_rms

from rms_flows.model import Poll
from rms_flows.model.poll import Auth, Cursor, Next

PAGE = (Path(__file__).parents[1] / "docs/polling.md").read_text(encoding="utf-8")
FILES = re.findall(
    r"^[^`\n]*(?:`[^`\n]*`[^`\n]*)*`(\S+\.ya?ml)`[^\n]*\n\n```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL
)
[COMMANDS] = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
[FRAGMENT] = re.findall(r"^```yaml\n(poll:.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
HOST = "https://honeypot.example/api/threats"


def threat(minute, attacker):
    time = datetime(2026, 3, 1, 12, tzinfo=UTC) + timedelta(minutes=minute)
    return {
        "dataSourceID": "honeypot-1",
        "systemID": "iotac",
        "reportType": "ThreatReport",
        "_timestamp": time.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "value": {"type": "scan", "monitoredAssetIP": ["10.0.0.9"], "requestSource": attacker},
    }


THREATS = [threat(3 * n, "203.0.113.7") for n in range(4)] + [threat(1, "198.51.100.3")]


def honeypot(_path, asked, _headers):
    return [one for one in THREATS if one["_timestamp"] >= asked.get("lastdate", "")]


def end_when_told(live, reports):
    end = time.monotonic() + 120
    while time.monotonic() < end and (not live.exists() or live.read_bytes().count(b"\n") < reports):
        time.sleep(0.1)
    os.kill(os.getpid(), signal.SIGTERM)


def test_it_is_run_as_it_stands(tmp_path, monkeypatch, capsys):
    assert [name for name, _ in FILES] == ["honeypot.yaml", "scans.yml"]
    *batch, stream = [shlex.split(line)[1:] for line in COMMANDS.strip().splitlines()]
    monkeypatch.chdir(tmp_path)
    with serving(honeypot) as site:
        for name, text in FILES:
            Path(name).write_text(text.replace(HOST, site.url), encoding="utf-8")
        for command in batch:
            code, _, said = run_rms(monkeypatch, capsys, *(one.replace(HOST, site.url) for one in command))
            assert code == 0, said
        watcher = threading.Thread(target=end_when_told, args=(tmp_path / "live.ndjson", 2))
        watcher.start()
        code, told, said = run_rms(monkeypatch, capsys, *stream)
        watcher.join()
    assert code == 0, said
    assert re.search(r"honeypot: \d+ polls, 0 failed, \d+ records came again", told)
    reports = folded(tmp_path / "reports.ndjson")
    assert [one["rule.name"] for one in reports.values()] == ["The honeypot is being scanned"] * 2
    assert {one["rms.group"] for one in reports.values()} == {'{"rms.request_source":"203.0.113.7"}'}
    assert folded(tmp_path / "live.ndjson").keys() == reports.keys()
    assert len(folded(tmp_path / "found.ndjson")) == 2
    assert site.questions[0]["lastdate"] == "2026-02-28T23:45:00Z"


def test_its_other_example_is_read_and_all_that_can_be_said_is_named():
    assert Poll.model_validate(yaml.safe_load(FRAGMENT)["poll"]).auth is not None
    for kind in (Poll, Cursor, Next, Auth):
        assert not [name for name in kind.model_fields if f"`{name}" not in PAGE]
    assert json.loads(json.dumps(Poll.model_json_schema()))["properties"].keys() == Poll.model_fields.keys()
