"""Secrets that documents name: the text of a file, or a variable of the environment."""

from __future__ import annotations

import os
from pathlib import Path

from rms_flows.errors import DocumentError
from rms_flows.model.actions import Secret
from rms_flows.secret import read_text


def read(secret: Secret, folder: Path, where: str) -> str:
    """Read a secret, without the spaces around it.

    Args:
        secret: Where it is.
        folder: Where relative paths begin.
        where: Names the secret in errors.

    Raises:
        DocumentError: It can't be read, or is empty.
    """
    if secret.env is not None:
        found, place = os.environ.get(secret.env, ""), f"the variable {secret.env}"
    else:
        path = folder / (secret.file or "")
        place = f"the file {path}"
        found = read_text(
            path, where, place, "name a file that holds the secret, and that this user may read"
        )
    if not found.strip():
        raise DocumentError(f"{place} holds no secret", where=where, remedy="put it there")
    return found.strip()


def text(value: str | Secret | None, folder: Path, where: str) -> str | None:
    """Give what a document says, or what the secret it names holds; raises DocumentError."""
    return read(value, folder, where) if isinstance(value, Secret) else value
