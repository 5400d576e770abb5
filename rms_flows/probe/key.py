"""The private key of a probe, in a file that only its owner reads."""

from __future__ import annotations

import base64
import binascii
import os
from datetime import timedelta
from pathlib import Path
from typing import Final

from rms_flows.envelope import generate
from rms_flows.errors import DocumentError
from rms_flows.secret import read_private

_BYTES: Final = 32

CHANGE: Final = timedelta(days=1)
"""How long an old key is good beside the one that replaces it."""


def make(path: Path) -> bytes:
    """Make a key and keep it, mode 0600; a key that is there is never replaced.

    Raises:
        DocumentError: There is a file already, or it can't be written.
    """
    key = generate()
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(base64.b64encode(key) + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except FileExistsError:
        raise DocumentError(
            "there is a file already", where=str(path), remedy="name another, or move it away"
        ) from None
    except OSError as error:
        raise DocumentError(
            f"can't be written ({error.strerror})", where=str(path), remedy="check path and rights"
        ) from None
    return key


def load(path: Path) -> bytes:
    """Read a key.

    Raises:
        DocumentError: It can't be read, others may read it, or it is none.
    """
    text = read_private(path, "the key", "make one with `rms probe key`")
    try:
        key = base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        key = b""
    if len(key) != _BYTES:
        raise DocumentError(
            f"holds no key, which is {_BYTES} bytes in base64",
            where=str(path),
            remedy="make one with `rms probe key`",
        )
    return key
