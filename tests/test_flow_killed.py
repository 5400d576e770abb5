"""Ctrl-C and kill -9: all processes end, nothing is half done, the next run is whole and leaves no litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import corridor_fakes as fakes
import pytest

from rms_flows.flow.launch import launch

LONG = "fakes.Rows(count=100_000, rows=1_000)"
SCRIPT = """
import signal
import sys
from pathlib import Path
import corridor_fakes as fakes
from rms_flows.flow.launch import launch
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts jobs in the background deaf to it
plan = fakes.plan_of(Path(sys.argv[1]), {source})
try:
    launch(plan, workers=int(sys.argv[2]), progress=lambda now: print(now.rows, flush=True))
except KeyboardInterrupt:
    sys.exit(130)
"""


def interrupted(folder: Path, workers: int, signal_: signal.Signals) -> tuple[int, str]:
    """Start a long run, hit it when its first rows are through, and wait until every process has ended."""
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
        assert process.stdout.readline().strip(), process.stderr.read() if process.stderr else ""
        process.send_signal(signal_)
        # Workers inherit the pipes: they are at their end only when the last process is.
        _, errors = process.communicate(timeout=120)
    return process.returncode, errors


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
    launch(fakes.plan_of(tmp_path, source))
    assert {path.name for path in tmp_path.iterdir()} == {"found.ndjson", "all.ndjson", "dead.ndjson"}
    assert len((tmp_path / "all.ndjson").read_text().splitlines()) == 2_000
