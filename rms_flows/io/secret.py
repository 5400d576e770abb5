"""Secrets: from the environment or from files, never from a URI or a document."""

from __future__ import annotations

import os
from pathlib import Path

from rms_flows.errors import DocumentError


def secret(name: str) -> str | None:
    """Give a secret that the environment holds, or the text of the file that it names with `NAME_FILE`.

    Raises:
        DocumentError: There are both, or the file can't be read.
    """
    value, path = os.environ.get(name), os.environ.get(f"{name}_FILE")
    if value and path:
        raise DocumentError("there are a value and a file", where=name, remedy=f"unset it, or {name}_FILE")
    return text(path, f"{name}_FILE") if path else value


def text(path: str | Path, where: str) -> str:
    """Give the text of a file without blanks around it.

    Args:
        path: The file.
        where: What named it, for the error.

    Raises:
        DocumentError: It can't be read.
    """
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DocumentError(
            f"{path} can't be read ({getattr(error, 'strerror', None) or 'no text'})",
            where=where,
            remedy="name a file that this user may read",
        ) from None
