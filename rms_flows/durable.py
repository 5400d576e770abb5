"""What survives a loss of power: files and folders seen on the disk, and appending all or nothing."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def sync(path: Path) -> None:
    """Make a file's bytes, or a folder's names, survive a loss of power."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def append(handle: int, size: int, data: bytes) -> None:
    """Write behind what a file holds, and see it on the disk.

    Args:
        handle: Of a file open for writing.
        size: Bytes that it holds.
        data: What comes behind them.

    Raises:
        OSError: There is no room, say; what was written of it is cut off again.
    """
    view, done = memoryview(data), 0
    try:
        while done < len(view):
            done += os.pwrite(handle, view[done:], size + done)
        os.fsync(handle)
    except OSError:
        with suppress(OSError):
            os.ftruncate(handle, size)
        raise
