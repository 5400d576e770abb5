"""The page on polling is run as it stands, against a server that does what it says of the honeypot."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml
from evented import folded, lines
from polling import serving

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


def test_it_is_run_as_it_stands(tmp_path):
    assert [name for name, _ in FILES] == ["honeypot.yaml", "scans.yml"]
    *batch, stream = COMMANDS.strip().splitlines()
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    with serving(honeypot) as site:
        for name, text in FILES:
            (tmp_path / name).write_text(text.replace(HOST, site.url), encoding="utf-8")
        script = "\n".join(batch).replace(HOST, site.url)
        done = subprocess.run(  # noqa: S603  the page's own words
            ["/bin/bash", "-ec", script], cwd=tmp_path, env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        running = subprocess.Popen(  # noqa: S603  likewise
            ["/bin/bash", "-c", f"exec {stream}"],
            cwd=tmp_path,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        end = time.monotonic() + 120
        while len(lines(tmp_path / "live.ndjson")) < 7 and running.poll() is None and time.monotonic() < end:
            time.sleep(0.1)
        running.send_signal(signal.SIGTERM)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 0, err
    assert "honeypot: 1 polls, 0 failed" in out
    reports = folded(tmp_path / "reports.ndjson")
    names = sorted(one["rule.name"] for one in reports.values())
    assert names == ["The honeypot is being scanned"] * 2 + ["The honeypot was touched"] * 5
    assert folded(tmp_path / "live.ndjson").keys() == reports.keys()
    found = {row["rule.name"] for row in folded(tmp_path / "found.ndjson").values()}
    assert found == set(names)
    assert site.questions[0]["lastdate"] == "2026-02-28T23:45:00Z"


def test_its_other_example_is_read_and_all_that_can_be_said_is_named():
    assert Poll.model_validate(yaml.safe_load(FRAGMENT)["poll"]).auth is not None
    for kind in (Poll, Cursor, Next, Auth):
        assert not [name for name in kind.model_fields if f"`{name}" not in PAGE]
    assert json.loads(json.dumps(Poll.model_json_schema()))["properties"].keys() == Poll.model_fields.keys()
