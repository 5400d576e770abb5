"""A file of envelopes, a line each, that others may move away."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from rms_flows.envelope import read
from rms_flows.errors import SinkError

_TAIL: Final = 4 * 1024 * 1024
"""Bytes at the end in which the last line is looked for; no envelope is that long."""


class File:
    """Appends to a file, and begins anew where it was moved away.

    Guarantee: each envelope is in the file once, in order and on the disk, also after a crash: what the file
    holds already is left out, and half a line at its end is cut off.

    Args:
        path: The file; its folder has to be there.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None
        self._last = 0

    def send(self, lines: list[bytes], last: int) -> None:
        """See `Output.send`."""
        try:
            handle = self._opened()
            new = lines[max(0, self._last - (last - len(lines))) :]
            data = memoryview(b"".join(line + b"\n" for line in new))
            while data:
                data = data[os.write(handle, data) :]
            os.fsync(handle)
        except OSError as error:
            self.close()
            raise SinkError(
                f"can't be written ({error.strerror})", where=str(self._path), remedy="check path and rights"
            ) from None
        self._last = max(self._last, last)

    def close(self) -> None:
        """See `Output.close`."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _opened(self) -> int:
        """Open the file, or what took its place."""
        if self._handle is not None and not self._moved(self._handle):
            return self._handle
        self.close()
        fresh = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        self._handle = fresh
        self._last = max(self._last, _settled(fresh))
        return fresh

    def _moved(self, handle: int) -> bool:
        there = os.fstat(handle)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return True
        return (named.st_dev, named.st_ino) != (there.st_dev, there.st_ino)


def _settled(handle: int) -> int:
    """Cut off half a line at the end; give the number of the last envelope, 0 where there is none."""
    size = os.fstat(handle).st_size
    data = os.pread(handle, _TAIL, max(0, size - _TAIL))
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        os.ftruncate(handle, size - len(data) + whole)
    line = data[data.rfind(b"\n", 0, whole - 1) + 1 : whole] if whole else b""
    try:
        return read(line).sequence
    except ValueError:
        return 0
