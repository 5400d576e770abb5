"""Runs `rms stream` again and again, each time killed with SIGKILL at a random moment, then once to its end.

A script, so that Beam is imported once and each stream is a fork of a process without threads:
`killed_stream.py KILLS SEED ARGUMENT...`, the arguments being those of `rms stream`. Prints how many were killed.
"""

import os
import random
import signal
import sys
import time
from pathlib import Path

from rms_flows import cli
from rms_flows.beam.load import load


def started(arguments):
    if (child := os.fork()) == 0:
        sys.argv = ["rms", "stream", *arguments]
        try:
            cli.main()
        except SystemExit as ended:
            os._exit(int(ended.code or 0))
        os._exit(0)
    return child


def size(log):
    return log.stat().st_size if log.exists() else 0


def main(kills, seed, log, *arguments):
    load()
    chance = random.Random(seed)  # noqa: S311  seeded
    killed = 0
    for _ in range(int(kills)):
        before = size(Path(log))
        child = started(arguments)
        while size(Path(log)) == before and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.01)  # until it has something to lose
        time.sleep(chance.random())
        try:
            os.kill(child, signal.SIGKILL)
            killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        except (ProcessLookupError, ChildProcessError):
            break  # it came to its end
    last = started([part for part in arguments if not part.startswith("--rate")])
    assert os.waitstatus_to_exitcode(os.waitpid(last, 0)[1]) == 0
    print(killed)  # noqa: T201  the test reads it


if __name__ == "__main__":
    main(*sys.argv[1:])
