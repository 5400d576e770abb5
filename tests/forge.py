"""Commands of `rms` as processes of their own, forked from one that has imported what takes long.

As a script it reads a line of JSON for each command (words, folder) and tells the process that runs it; asked
for one that it started, it tells its exit code.
"""

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from rms_flows import cli
from rms_flows.beam.load import load

STILL = None
"""Exit code of a process that has not ended."""


class Command:
    """A process that runs `rms`; what it says is in the files `said` and `errors` of its folder."""

    def __init__(self, ask, words, folder):
        self._ask = ask
        self._folder = folder
        self._code = STILL
        for name in ("said", "errors"):
            (folder / name).write_text("")  # of the one before
        self.pid = ask({"words": words, "folder": str(folder)})

    def send(self, number):
        os.kill(self.pid, number)

    def code(self):
        """Give the exit code, below zero for a signal, `STILL` while it runs."""
        if self._code is STILL:
            self._code = self._ask({"pid": self.pid})
        return self._code

    def ended(self, seconds=120):
        """Wait for its end; give the exit code."""
        end = time.monotonic() + seconds
        while self.code() is STILL and time.monotonic() < end:
            time.sleep(0.02)
        if self._code is STILL:
            self.end()
            raise AssertionError(f"not ended within {seconds} s: {self.errors}")
        return self._code

    def until(self, condition, seconds=120):
        """Wait until something is true, while it runs."""
        end = time.monotonic() + seconds
        while not condition():
            code = self.code()
            if code is not STILL or time.monotonic() > end:
                self.end()
                raise AssertionError(f"not within {seconds} s, exit code {code}: {self.errors}")
            time.sleep(0.02)

    def end(self):
        if self.code() is STILL:
            self.send(signal.SIGKILL)
            self.ended(10)

    @property
    def said(self):
        return (self._folder / "said").read_text()

    @property
    def errors(self):
        return (self._folder / "errors").read_text()


@contextmanager
def forge():
    """Give what starts commands: words and folder → `Command`; none outlives it."""
    with subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
    ) as process:  # fmt: skip
        started = []

        def ask(question):
            process.stdin.write(json.dumps(question) + "\n")
            process.stdin.flush()
            return json.loads(process.stdout.readline())

        def start(*words, folder):
            started.append(Command(ask, words, folder))
            return started[-1]

        try:
            yield start
        finally:
            for one in started:
                one.end()
            process.stdin.close()


def _run(words, folder):
    os.chdir(folder)
    with Path("said").open("ab") as said, Path("errors").open("ab") as errors:
        os.dup2(said.fileno(), 1)
        os.dup2(errors.fileno(), 2)
    sys.argv = ["rms", *words]
    try:
        cli.main()
    except SystemExit as ended:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(int(ended.code or 0))
    os._exit(0)


def _answer(question):
    if "pid" in question:
        pid, status = os.waitpid(question["pid"], os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else STILL
    if (child := os.fork()) == 0:
        os.close(0)
        _run(question["words"], question["folder"])
    return child


def main():
    load()
    import rms_flows.stream  # noqa: F401, PLC0415  takes long

    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)  # noqa: T201  it is asked


if __name__ == "__main__":
    main()
