"""The page on action is followed word for word, with real servers at the ports that it names, moved to free ones."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from acting import KEY, bodies, hook, lines, postman, report
from test_cli import run

from rms_flows.action.policy import COLUMNS
from rms_flows.model.actions import ActionRoute, Actions

PAGE = (Path(__file__).parents[1] / "docs/action.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]
[DOCUMENT] = [text for kind, text in BLOCKS if kind == "yaml"]
[PYTHON] = [text for kind, text in BLOCKS if kind == "python"]
YESTERDAY = datetime.now(UTC).replace(microsecond=0) - timedelta(hours=20)


@pytest.fixture
def followed(tmp_path, monkeypatch, capsys):
    """Run a command of the page, on its days' reports as if they were of yesterday."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "soc.secret").write_text(KEY)
    rows = [
        report("a"),
        report("b", 10, **{"rule.level": "critical"}),
        report("c", 60, **{"rms.group": "{}"}),
    ]
    (tmp_path / "reports.ndjson").write_bytes(
        lines(*({**one, "@timestamp": one["@timestamp"] - rows[0]["@timestamp"] + YESTERDAY} for one in rows))
    )

    def follow(command):
        words = (
            command.replace("2026-03-01", YESTERDAY.isoformat()).replace("2026-03-02", "2099-01-01").split()
        )
        assert words[0] == "rms"
        return run(monkeypatch, capsys, *words[1:])

    return follow


def test_its_commands_run(followed, tmp_path):
    with hook(410) as soc, postman() as mail:
        text = DOCUMENT.replace("http://localhost:8731", soc.url).replace(
            "localhost:8725", f"localhost:{mail.port}"
        )
        Path("actions.yaml").write_text(text)
        shown, planned, sent, again = [followed(command) for command in COMMANDS]
    assert [code for code, *_ in (shown, planned, sent, again)] == [0, 0, 0, 0]
    assert "4 notifications, none of them sent" in shown[1]
    assert "3 reports: 2 inhibited" in shown[2]
    wanted = json.loads(planned[1])["notifications"]
    assert [one["receiver"] for one in wanted] == ["on-call", "soc", "on-call", "soc"]
    assert "3 new reports, 3 notifications sent, 2 inhibited, 1 notifications refused" in sent[2]
    assert "0 new reports, 1 notifications sent" in again[2]
    assert (len(mail.handler.got), len(bodies(soc))) == (2, 2)
    names: dict = {}
    exec(PYTHON, names)  # noqa: S102  the page's own words
    (_, headers, body, _) = soc.got[-1]
    assert names["verified"](headers, body, KEY.encode())
    assert not names["verified"](headers, body + b" ", KEY.encode())


def test_it_ends_in_order_and_says_what_waits(followed, tmp_path):
    with hook(always=503) as soc:
        Path("actions.yaml").write_text(
            f'actions: x\nreceivers: [{{id: soc, webhook: {{url: "{soc.url}"}}}}]\nroutes: [{{receiver: soc}}]\n'
        )
        program = [
            sys.executable,
            "-m",
            "rms_flows",
            "act",
            "actions.yaml",
            "--in",
            "reports.ndjson",
            "--from",
        ]
        process = subprocess.Popen(  # noqa: S603  our own words
            [*program, YESTERDAY.isoformat()], stderr=subprocess.PIPE, text=True, env={**os.environ}
        )
        try:
            limit = time.monotonic() + 200
            while not soc.got and time.monotonic() < limit:
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "rms act: soc: notifications wait on disk: http://localhost" in said
    assert re.search(r"3 new reports, 0 notifications sent, \d+ tries failed, waiting: soc 2", said)
    code, _, said = followed("rms act actions.yaml --in reports.ndjson --once --strict --json")
    assert code == 1


def test_what_is_wrong_is_said(followed):
    Path("actions.yaml").write_text("actions: x\nreceivers: []\nroutes: []\n")
    assert followed("rms act actions.yaml --in reports.ndjson --to 2026-03-01")[0] == 2
    code, _, said = followed("rms act actions.yaml --in reports.ndjson --once")
    assert code == 2
    assert "rms schema Actions` says what it may hold" in said


def test_it_names_all_keys_and_columns():
    routes = {one.alias or name for name, one in ActionRoute.model_fields.items()} - {"receiver", "matchers"}
    missing = [
        name
        for name in {*Actions.model_fields, *routes, *COLUMNS}
        if f"`{name}" not in PAGE and f"{name}:" not in PAGE
    ]
    assert missing == ["description"]
    for option in (
        "--in",
        "--dry-run",
        "--from",
        "--to",
        "--once",
        "--every",
        "--state",
        "--dead-letters",
        "--retry-refused",
        "--strict",
    ):
        assert option in PAGE
