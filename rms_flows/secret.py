"""Files that only their owner reads: keys and tokens."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from rms_flows.errors import DocumentError

LARGEST: Final = 1024 * 1024
"""Bytes of such a file that are read."""


def read_private(path: Path, what: str, make: str, where: str | None = None) -> bytes:
    """Read a file that is secret; no byte of it is shown.

    Args:
        path: The file.
        what: Names what it holds in errors, such as `the key`.
        make: What to do where there is none, as a sentence.
        where: Names the place in errors; the path unless told.

    Raises:
        DocumentError: It can't be read, or others may read or write it.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(LARGEST)
    except OSError as error:
        raise DocumentError(
            f"{what} can't be read ({error.strerror})",
            where=where or str(path),
            remedy=f"{make}, or check path and rights",
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise DocumentError(
            f"others may read or write {what} (mode {mode:04o})",
            where=where or str(path),
            remedy=f"chmod 600 {path}, and make a new one if somebody did",
        )
    return data
