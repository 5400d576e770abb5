"""Secrets: files that only their owner reads, and what the environment holds or names; never a URI."""

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


def from_environment(name: str) -> str | None:
    """Give a secret that the environment holds, or the text of the file that it names with `NAME_FILE`.

    Raises:
        DocumentError: There are both, or the file can't be read.
    """
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and path:
        raise DocumentError("there are a value and a file", where=name, remedy=f"unset it, or {name}_FILE")
    return read_text(path, f"{name}_FILE") if path else value


def read_text(
    path: str | Path,
    where: str,
    called: str | None = None,
    remedy: str = "name a file that this user may read",
) -> str:
    """Give the text of a file without blanks around it.

    Args:
        path: The file.
        where: What named it, for the error.
        called: What the error calls it; its path unless told.
        remedy: Of the error.

    Raises:
        DocumentError: It can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{called or path} can't be read ({getattr(error, 'strerror', None) or 'no text'})",
            where=where,
            remedy=remedy,
        ) from None
