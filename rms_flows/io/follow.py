"""A file that is being written: its lines as they come, without an end.

Guarantee: the same events with the same ids as the file gives when it is read as one that has ended; a line
is read once its line feed is there. A file that was cut or replaced is an error, not a new beginning.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from io import FileIO
from pathlib import Path

from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Decoded, Options, nothing_new
from rms_flows.decode.driver import HEAD
from rms_flows.errors import SourceError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.files import told
from rms_flows.io.inflate import KINDS


@dataclass(frozen=True, slots=True)
class FollowSource:
    """One file of lines that grows.

    Args:
        path: The file; it has to exist.
        options: How to read it; without a format it is guessed from the first lines, once they are there.
    """

    path: str
    options: Options = field(default_factory=Options)
    endless = True

    @property
    def uri(self) -> str:
        """The path; it holds no secrets."""
        return f"follow:{self.path}"

    def fragments(self, request: Request) -> list[Fragment]:
        """Give the file; raises SourceError for what can't be followed."""
        del request
        path = Path(self.path)
        with told(path):
            size = path.stat().st_size
        if not path.is_file() or path.suffix.lower() in {*KINDS, ".zip"}:
            raise SourceError(
                "is no plain file that can grow",
                where=self.uri,
                remedy="name a file of lines, such as auth.log",
            )
        return [Fragment(self.path, size=size)]

    def columns(self) -> None:
        """Know nothing: what records hold is seen when they are read."""

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Decode the file as it grows; raises SourceError, DecodeError for no format."""
        path = Path(fragment.uri)
        context = Context(path.name, self.options, request.columns)
        with told(path):
            handle = path.open("rb", buffering=0)
        with handle:
            growing = _Growing(handle, path)
            while not growing.begun():
                yield nothing_new()
            for _, decoded in decode(growing, context):
                yield decoded


class _Growing:
    """The bytes of a file that may become more.

    Raises:
        SourceError: From `read` and `begun`: the file is not what it was.
    """

    endless = True

    def __init__(self, handle: FileIO, path: Path) -> None:
        self._handle = handle
        self._path = path

    def begun(self) -> bool:
        """Tell whether there is enough to guess a format from: a line, or as much as is looked at."""
        self._check()
        head = os.pread(self._handle.fileno(), HEAD, 0)
        return b"\n" in head or len(head) == HEAD

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, none where there are none yet."""
        block = self._handle.read(size)
        if not block:
            self._check()
        return block

    def readinto(self, into: memoryview, /) -> int:
        """Read into memory."""
        size = self._handle.readinto(into)
        if not size:
            self._check()
        return size or 0

    def _check(self) -> None:
        """Check, where nothing is new, that the name still stands for the file that is read."""
        with told(self._path):
            named = self._path.stat()
        here = os.fstat(self._handle.fileno())
        if (named.st_ino, named.st_dev) != (here.st_ino, here.st_dev) or here.st_size < self._handle.tell():
            raise SourceError(
                "was cut or replaced while it was followed",
                where=f"follow:{self._path}",
                remedy="stream the old file under its new name, then follow the new one with new --positions",
            )
