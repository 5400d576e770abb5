"""One server for all processes of a test run: the first starts it, and it ends with the last, however that ends.

A named pipe is the server's standard input, and each process that uses it holds the other end. So the system
itself counts the users: when the last of them is gone, also by `kill -9`, the input ends, and so does the server.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from servers.home import locked

Start = Callable[[Path, int], str]
"""Starts a server in a folder with this standard input; gives its URL when it answers."""


@contextmanager
def shared(folder: Path, start: Start) -> Iterator[str]:
    """Give the URL of the run's server in `folder`."""
    folder.mkdir(exist_ok=True)
    pipe, url = folder / "users", folder / "url"
    with locked(folder / "lock"):
        held = _joined(pipe)
        if held is None:
            held = _begun(folder, pipe, url, start)
    try:
        yield url.read_text()
    finally:
        os.close(held)


def _joined(pipe: Path) -> int | None:
    """Hold the pipe of a server that runs; None where there is none."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # no pipe, or nobody reads it
        return None


def _begun(folder: Path, pipe: Path, url: Path, start: Start) -> int:
    if not pipe.exists():
        os.mkfifo(pipe)
    read = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    held = os.open(pipe, os.O_WRONLY)
    os.set_blocking(read, True)
    try:
        url.write_text(start(folder, read))
    except BaseException:
        os.close(held)
        raise
    finally:
        os.close(read)
    return held
