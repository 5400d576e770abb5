"""Ctrl-C and kill -9: all processes end, nothing is half done, the next run is whole and leaves no litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import corridor_fakes as fakes
import pytest

LONG = "fakes.Rows(count=3_000, rows=1_000)"
SCRIPT = """
import signal
import sys
from pathlib import Path
import corridor_fakes as fakes
plan = fakes.plan_of(Path(sys.argv[1]), {source})
try:
    fakes.run(plan, workers=int(sys.argv[2]), progress=lambda now: print(now.rows, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupted(folder: Path, workers: int, signal_: signal.Signals, at: str = "rows") -> tuple[int, str]:
    """Start a long run, hit it when its first rows are through, and wait until every process has ended.

    `at="start"` hits it when its workers are not there yet, `at="nursery"` hits their parent.
    """
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    process = subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-c", SCRIPT.format(source=LONG), str(folder), str(workers)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": paths},
    )
    with process:
        assert process.stdout is not None
        if at != "start":
            assert process.stdout.readline().strip(), process.stderr.read() if process.stderr else ""
        if at == "nursery":
            os.kill(nursery(process.pid), signal_)
        else:
            if at == "start":
                wait_for(lambda: nursery(process.pid))
            process.send_signal(signal_)
        # Workers inherit the pipes: they are at their end only when the last process is.
        _, errors = process.communicate(timeout=120)
    return process.returncode, errors


def nursery(launcher: int) -> int | None:
    """Find the child of the launcher that other processes descend from."""
    found = [int(pid) for pid in Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()]
    named = [pid for pid in found if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return named[0] if named else None


def wait_for(condition) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_launcher_killed_before_there_are_workers_leaves_none(tmp_path):
    """Guards the end of the nursery, which has to see that nobody is left to work for."""
    code, _ = interrupted(tmp_path, 2, signal.SIGKILL, at="start")
    assert code == -signal.SIGKILL


def test_a_nursery_that_is_killed_takes_its_workers_along_and_fails_the_run(tmp_path):
    code, errors = interrupted(tmp_path, 2, signal.SIGKILL, at="nursery")
    assert code == 1
    assert "a worker process died with exit code -9" in errors
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_control_c_ends_all_and_leaves_nothing(tmp_path, workers):
    code, errors = interrupted(tmp_path, workers, signal.SIGINT)
    assert (code, errors) == (130, "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_after_kill_9_the_next_run_is_whole(tmp_path, workers):
    code, _ = interrupted(tmp_path, workers, signal.SIGKILL)
    assert code == -signal.SIGKILL
    source = fakes.Rows(count=2, rows=1_000, dead=1)
    fakes.run(fakes.plan_of(tmp_path, source))
    assert {path.name for path in tmp_path.iterdir()} == {"found.ndjson", "all.ndjson", "dead.ndjson"}
    assert len((tmp_path / "all.ndjson").read_text().splitlines()) == 2_000
