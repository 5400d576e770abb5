"""`rms` without its seconds of imports: a process that has done them forks once for each command.

Each command is a process of its own, as one started in a shell is: with its own arguments, folder, environment and
streams. The process it is forked from has no threads and has run nothing. For tests of what a command does; those of
how it starts, or of `kill -9`, start Python.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import selectors
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Final

STREAMS: Final = 3
SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""What a caller hands on to its command."""

IMPORTED: Final = (
    "rms_flows.cli.app",
    "rms_flows.flow.live",
    "rms_flows.parity",
    "rms_flows.processors.correlation",
    "rms_flows.processors.sigma",
    "rms_flows.replay",
    "rms_flows.report",
    "rms_flows.sigma.explain",
    "rms_flows.sigma.lint",
    "rms_flows.stream",
)
"""What commands import after Beam."""

CALL = """#!{python} -IS
import os, signal, sys
sys.path.insert(1, {folder!r})
from servers.forked import SIGNALS as signals, call
code = call({place!r}, sys.argv[1:])
if code < 0:
    if -code in signals:
        signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


def start_shared(folder: Path, stdin: int) -> str:
    """Start the process that forks, and give the folder with its `rms`; it ends with the input."""
    place = folder / "socket"
    place.unlink(missing_ok=True)
    words = [sys.executable, "-m", "servers.forked", str(place)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(  # noqa: S603  our own interpreter
            words, cwd=Path(__file__).parents[1], stdin=stdin, stdout=subprocess.PIPE, stderr=log,
            start_new_session=True,
        )  # fmt: skip
    assert process.stdout is not None
    with process.stdout as told:
        if not told.readline():
            raise RuntimeError(f"{words} ended: {(folder / 'log').read_text()}")
    process.returncode = 0  # nobody waits for it
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin/rms"
    program.write_text(
        CALL.format(python=sys.executable, folder=str(Path(__file__).parents[1]), place=str(place))
    )
    program.chmod(0o755)
    return str(program.parent)


def call(place: str, arguments: list[str]) -> int:
    """Have a command run with the streams, folder and environment of this process, and give its exit code."""
    words = json.dumps([arguments, str(Path.cwd()), dict(os.environ)]).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(place)
        socket.send_fds(server, [len(words).to_bytes(4)], list(range(STREAMS)))
        server.sendall(words)

        def hand_on(number: int, _: FrameType | None) -> None:
            server.send(bytes([number]))

        for number in SIGNALS:
            signal.signal(number, hand_on)
        code = server.recv(4)
    return int.from_bytes(code, signed=True) if code else 1


class Forks:
    """Waits for callers, forks for each, tells it how its command ended.

    Args:
        listener: Where they call.
    """

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._events = selectors.DefaultSelector()

    def until_forked(self) -> Callable[[], None] | None:
        """Work until the input ends; in each forked process, give what it is to run."""
        self._events.register(sys.stdin, selectors.EVENT_READ)
        self._events.register(self._listener, selectors.EVENT_READ, self._take)
        while True:
            for key, _ in self._events.select():
                if key.data is None:
                    return None
                if (run := key.data()) is not None:
                    self._events.close()
                    return run  # type: ignore[no-any-return]

    def _take(self) -> Callable[[], None] | None:
        caller, _ = self._listener.accept()
        caller.settimeout(60)
        size, streams, _, _ = socket.recv_fds(caller, 4, STREAMS)
        words = b""
        while len(words) < int.from_bytes(size) and (more := caller.recv(1 << 16)):
            words += more
        child = os.fork()
        if child == 0:
            for one in (caller, self._listener):
                one.close()
            return lambda: _run(streams, *json.loads(words))
        for one in streams:
            os.close(one)
        ended = os.pidfd_open(child)

        def hand_on() -> None:
            if caller.fileno() < 0:
                return  # it has ended, which was seen together with this
            told = b""
            with suppress(OSError):
                told = caller.recv(1)
            signal.pidfd_send_signal(ended, told[0] if told else signal.SIGKILL)
            if not told:
                self._events.unregister(caller)

        def end() -> None:
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            self._events.unregister(ended)
            os.close(ended)
            if caller in self._events.get_map():
                self._events.unregister(caller)
            with suppress(OSError):  # who called may be gone
                caller.sendall(code.to_bytes(4, signed=True))
            caller.close()

        self._events.register(caller, selectors.EVENT_READ, hand_on)
        self._events.register(ended, selectors.EVENT_READ, end)
        return None


def _run(streams: list[int], arguments: list[str], folder: str, environment: dict[str, str]) -> None:
    """Be `rms`: whatever this raises is how the process ends."""
    for number, one in enumerate(streams):
        os.dup2(one, number)
        os.close(one)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = ["rms", *arguments]
    sys.path[0] = str(Path(sys.executable).parent)
    sys.exit(runpy.run_module("rms_flows", run_name="__main__", alter_sys=True))


def main(place: str) -> None:
    """Import what takes long, then fork for whoever calls."""
    import gc  # noqa: PLC0415  callers import this module too

    import pyarrow as pa  # noqa: PLC0415

    from rms_flows.beam.load import load  # noqa: PLC0415
    from rms_flows.sigma.columns import encode  # noqa: PLC0415

    load()
    for name in IMPORTED:
        importlib.import_module(name)
    encode(pa.array(["a"]))  # Numba has a second of its own before the first loop that it made
    gc.freeze()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(place)
        listener.listen(64)
        os.write(1, b"ready\n")
        run = Forks(listener).until_forked()
    if run is not None:
        run()


if __name__ == "__main__":
    main(sys.argv[1])
