"""The page on what runs is followed: its flow is started in a process of its own, seen, and stopped."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from rms_flows.registry import FolderStore, Registry, instances

PAGE = (Path(__file__).parents[1] / "docs/engine.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]


def run(folder, command):
    words = ["/bin/bash", "-c", command]
    return subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603


@pytest.mark.timeout(600)
def test_its_commands_run(shell, tmp_path):
    [flow] = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / "documents/Orchestrator").mkdir(parents=True)
    (tmp_path / "documents/Orchestrator/home.yaml").write_text(flow)
    event = {"@timestamp": "2026-01-01T00:00:00Z", "event.id": "e", "host.cpu.usage": 0.9}
    (tmp_path / "events.ndjson").write_text(json.dumps(event) + "\n")
    registry = Registry(FolderStore(tmp_path / "registry"))
    told = {}
    try:
        for command in COMMANDS:
            wait = " --wait 300" if re.match("rms engine (start|stop)", command) else ""
            done = run(tmp_path, command + wait)
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            told[command] = done.stdout
    finally:
        for one in instances(registry):
            if one.alive:
                os.kill(one.instance.pid, 9)
    assert told["rms engine start home"].startswith("home: runs, process ")
    assert "RUNNING" in told["rms engine list"]
    assert json.loads(told["rms engine show home"])["orchestratorReferenceID"] == "home"
    assert told["rms engine stop home"] == "home: STOPPED, as wanted\n"
    assert told["rms registry history OrchestratorInstance home"].count("OrchestratorI") >= 3
    assert (tmp_path / "home.positions").exists()
    assert {one.state for one in instances(registry)} == {"STOPPED"}

    (tmp_path / "documents/Orchestrator/home.yaml").write_text(flow.replace("follow:events", "follow:none"))
    run(tmp_path, "rms registry apply documents")
    failed = run(tmp_path, "rms engine start home --instance second -- --bundle none")
    assert failed.returncode == 2
    assert "the instance 'second' could not be started (exit code 2)" in failed.stderr
    assert "Invalid value for '--bundle'" in (tmp_path / "second.log").read_text()
