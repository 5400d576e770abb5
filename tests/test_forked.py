"""The `rms` of tests, which is forked, is for whoever calls it a program like any other."""

import os
import signal
import subprocess
from pathlib import Path

import pytest
from probing import until


@pytest.fixture
def streaming(shell, tmp_path):
    """A command that runs until it is stopped, and has begun."""
    words = ["rms", "stream", "flow.yaml", "--positions", "here"]
    flow = "orchestrator: f\nsources: [{id: s, live: 'follow:s.ndjson?format=json', archive: s.ndjson}]\nprocessors: []\nsinks: [{id: k, inputs: [s], uri: out.ndjson}]\n"
    (tmp_path / "flow.yaml").write_text(flow)
    event = '{"@timestamp": "2026-01-01T00:00:00Z", "event.id": "e"}\n'
    (tmp_path / "s.ndjson").write_text(event)
    with subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            out = tmp_path / "out.ndjson"
            until(lambda: process.poll() is not None or (out.exists() and out.stat().st_size))
            yield process
        finally:
            process.kill()


def of(command: subprocess.Popen) -> list[int]:
    """Find the processes whose standard error is the pipe that this one was given."""
    pipe = Path(f"/proc/self/fd/{command.stderr.fileno()}").readlink()
    found = []
    for one in Path("/proc").glob("[0-9]*"):
        try:
            found += [int(one.name)] if (one / "fd/2").readlink() == pipe else []
        except OSError:
            continue  # gone, or not ours
    return found


def test_arguments_folder_environment_streams_and_exit_code_are_the_callers(shell, tmp_path, monkeypatch):
    monkeypatch.setenv("COLUMNS", "60")
    (tmp_path / "a b.ndjson").write_text('{"@timestamp": "2026-01-01T00:00:00Z", "a": "ü"}\n')
    rule = '{"title": "T", "logsource": {"product": "x"}, "detection": {"s": {"a": "ü"}, "condition": "s"}}'
    (tmp_path / "r.yml").write_text(rule)
    words = ["rms", "rules", "explain", "r.yml", "--event", "a b.ndjson"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603  our own program
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("✓ T  r.yml:1\n")
    words[-1] = "none.ndjson"
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode, done.stdout) == (2, "")
    assert "none.ndjson: no such file" in done.stderr


def test_a_signal_ends_it_in_order(streaming):
    streaming.send_signal(signal.SIGTERM)
    _, said = streaming.communicate(timeout=120)
    assert streaming.returncode == 0, said


def test_who_calls_takes_it_along(streaming):
    """Guards against commands that outlive a test that timed out."""
    assert len(of(streaming)) == 2
    streaming.kill()
    until(lambda: of(streaming) == [])


def test_one_that_is_killed_is_killed_for_its_caller(streaming):
    [command] = [pid for pid in of(streaming) if pid != streaming.pid]
    os.kill(command, signal.SIGKILL)
    assert streaming.wait(60) == -signal.SIGKILL
