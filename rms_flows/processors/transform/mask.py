"""Pseudonyms: personal values become keyed hashes, the same value always the same one, without the value."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import DocumentError
from rms_flows.secret import read_private

SHORTEST: Final = 16
"""Bytes of a key; 128 bits can't be tried out."""
_DIGEST: Final = 16
"""Bytes of a pseudonym: two of 2^32 values are alike with a chance of 1 in 2^65."""

_MAKE: Final = "make one: (umask 077; openssl rand -hex 32 > FILE)"


def load_key(path: Path, where: str) -> bytes:
    """Read a key.

    Args:
        path: A file of which every byte counts, but blanks around.
        where: Names the step in errors.

    Raises:
        DocumentError: It can't be read, others may read it, or it is too short.
    """
    key = read_private(path, f"the key {path.name!r}", _MAKE, where).strip()
    if len(key) < SHORTEST:
        raise DocumentError(
            f"the key {path.name!r} has {len(key)} bytes, less than {SHORTEST}",
            where=where,
            remedy=_MAKE,
        )
    return hashlib.blake2b(key, digest_size=hashlib.blake2b.MAX_KEY_SIZE).digest()


def pseudonym(key: bytes, text: str) -> str:
    """Hash a text by BLAKE2b with a key (RFC 7693), as 32 hexadecimal digits."""
    return hashlib.blake2b(text.encode(), key=key, digest_size=_DIGEST).hexdigest()


def masked(values: pa.Array, key: bytes) -> pa.Array:
    """Give texts, or lists of texts, with each value replaced; each distinct one is hashed once.

    Args:
        values: string or list of string.
        key: Of `load_key`.
    """
    if pa.types.is_list(values.type):
        inner = masked(values.flatten(), key)
        lengths = pc.fill_null(pc.list_value_length(values), 0)
        ends = pc.cumulative_sum(lengths).cast(pa.int32())
        offsets = pa.concat_arrays([pa.array([0], pa.int32()), ends])
        gone = pc.is_null(values)
        return pa.ListArray.from_arrays(offsets, inner, mask=gone)
    words = values.dictionary_encode()
    hashed = pa.array([pseudonym(key, text) for text in words.dictionary.to_pylist()], pa.string())
    return hashed.take(words.indices)
