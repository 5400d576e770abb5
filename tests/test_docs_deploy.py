"""What the page on running streams says to type is run, or at least understood."""

from __future__ import annotations

import re
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import home_day
import pytest
import yaml
from evented import folded
from typer.main import get_command

from rms_flows.cli.app import app
from rms_flows.model import load_orchestrator
from rms_flows.replay import replay

PAGE = (Path(__file__).parents[1] / "docs/deploy.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
COMMANDS = [line for kind, text in BLOCKS if kind == "sh" for line in text.splitlines()]


@pytest.fixture
def home(tmp_path):
    home_day.generate(tmp_path)
    (tmp_path / "smart-home.yaml").write_text(home_day.FLOW.read_text())
    shutil.copytree(home_day.RULES, tmp_path / "rules")
    return tmp_path


@pytest.fixture
def pool():
    words = [sys.executable, "-m", "rms_flows", "worker", "--listen", "127.0.0.1:0"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603  our own words
        yield process.stdout.readline().split("external:")[1].strip()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def test_its_commands_find_what_a_replay_finds(shell, home, flink_cluster, pool):
    replay(
        load_orchestrator(home / "smart-home.yaml"),
        folder=home,
        sinks={"repository": str(home / "replayed.ndjson")},
    )
    wanted = set(folded(home / "replayed.ndjson"))
    assert len(COMMANDS) == 4
    for command in COMMANDS:
        for name in ("reports.ndjson", "smart-home.positions"):
            (home / name).unlink(missing_ok=True)
        here = command.replace("localhost:8099", flink_cluster.job_server)
        here = here.replace("http://localhost:8081", flink_cluster.rest).replace("localhost:50000", pool)
        done = subprocess.run(  # noqa: S603  the page's own words
            ["/bin/bash", "-c", here],
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert set(folded(home / "reports.ndjson")) == wanted, command


def test_what_it_has_other_machines_run_are_commands_of_ours():
    [manifests] = [text for kind, text in BLOCKS if kind == "yaml"]
    flink, stream = yaml.safe_load_all(manifests)
    said = [
        container["args"]
        for spec in (flink["spec"]["taskManager"]["podTemplate"]["spec"], stream["spec"]["template"]["spec"])
        for container in spec["containers"]
        if container.get("args", [""])[0] == "rms"
    ]
    said += [shlex.split(text) for kind, text in BLOCKS if kind == "console" and text.startswith("rms ")]
    assert [words[1] for words in said] == ["worker", "stream", "worker", "stream", "stream"]
    for _, name, *words in said:
        command = get_command(app).commands[name]
        assert command.make_context(name, [*words]).params
