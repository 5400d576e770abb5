"""Kills a job with SIGKILL before every single thing it does to the disk, one child process a step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

_EVENTS = {"open", "os.rename", "os.mkdir", "os.remove", "os.rmdir"}


def _nothing(_: Path) -> None:
    pass


def at_each_step(
    job: Callable[[Path], object],
    check: Callable[[Path], None],
    folder: Path,
    begin: Callable[[Path], object] = _nothing,
) -> int:
    """Run `job` in fresh folders, killed before its first, second, … step; `check` each; give their number.

    `begin` sets each folder up and is not killed. Forks: call it in a process of its own.
    """
    step = 0
    while True:
        step += 1
        here = folder / str(step)
        here.mkdir()
        begin(here)
        if (child := os.fork()) == 0:
            _die_at(step, str(here))
            job(here)
            os._exit(0)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert status in {0, -signal.SIGKILL}, status
        check(here)
        if status == 0:
            return step - 1


def _die_at(step: int, folder: str) -> None:
    seen = 0

    def count(event: str, args: tuple[object, ...]) -> None:
        nonlocal seen
        if event in _EVENTS and folder in str(args[0]):
            seen += 1
            if seen == step:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(count)


def in_own_process(module: str, function: str, *arguments: str) -> str:
    """Call a function of a test module in an interpreter of its own; give what it prints."""
    code = f"import sys; sys.path.insert(0, sys.argv[1]); import {module}; {module}.{function}(*sys.argv[2:])"
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", code, str(Path(__file__).parent), *arguments],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
