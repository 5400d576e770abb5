"""What travels to the stateful step: not the event but the match, with its time, id, group and value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.correlate import kernel
from rms_flows.correlate.spec import Correlation
from rms_flows.correlate.state import Rows, columns

MATCH: Final = pa.schema(
    [
        ("correlation", pa.int32()),  # its number in the processor
        ("mask", pa.int64()),  # the inputs that matched, a bit each
        ("time", pa.int64()),  # microseconds since 1970
        ("high", pa.uint64()),  # the id: its 16 bytes where it is 32 hexadecimal digits, else their hash
        ("low", pa.uint64()),
        ("id", pa.string()),  # null where it is made of its bytes
        ("group", pa.uint64()),  # hash of `name`
        ("name", pa.string()),  # JSON object of the group
        ("value", pa.int64()),  # bits of a float64, or a hash; 0 where none is looked at
    ]
)

NO_MATCHES: Final = pa.RecordBatch.from_pylist([], MATCH)

_DIGITS: Final = np.full(256, 255, np.uint8)
for _value, _digit in enumerate(b"0123456789abcdef"):
    _DIGITS[_digit] = _value
_HEX: Final = 32


def hashes(texts: pa.Array) -> np.ndarray:
    """Hash texts: uint64, the same in every process, 0 for null.

    Args:
        texts: string.

    Example:
        >>> a, b, again = hashes(pa.array(["a", "b", "a"])).tolist()
        >>> a == again != b
        True
    """
    _, ends, data = texts.buffers()
    found = np.zeros(len(texts), np.uint64)
    if len(texts) and data is not None:
        offsets = np.frombuffer(ends, np.int32)[texts.offset : texts.offset + len(texts) + 1]
        kernel.hashed(np.frombuffer(data, np.uint8), offsets, found)
        if texts.null_count:
            found[texts.is_null().to_numpy(zero_copy_only=False)] = 0
    return found


Ids = tuple[np.ndarray, np.ndarray, pa.Array]
"""Ids as `identify` gives them: both halves, and the texts of those that these don't give back."""


def build(
    number: int, bit: int, time: pa.Array, ids: Ids, group: np.ndarray, name: pa.Array, value: np.ndarray
) -> pa.RecordBatch:
    """Put matches of one input of one correlation together; see `MATCH`.

    Args:
        number: Of the correlation.
        bit: Of the input.
        time: int64.
        ids: As `identify` gives them.
        group: uint64, `hashes` of `name`.
        name: string.
        value: int64.
    """
    columns = [
        pa.array(np.full(len(group), number, np.int32)),
        pa.array(np.full(len(group), 1 << bit, np.int64)),
        time,
        pa.array(ids[0]),
        pa.array(ids[1]),
        ids[2],
        pa.array(group),
        name,
        pa.array(value),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCH)


def identify(ids: pa.Array) -> Ids:
    """Turn ids into 16 bytes each, as two uint64, and the texts of those that these bytes don't give back.

    Args:
        ids: string, without nulls.
    """
    _, ends, data = ids.buffers()
    offsets = np.frombuffer(ends, np.int32)[ids.offset : ids.offset + len(ids) + 1]
    raw = np.empty((len(ids), 2), dtype=np.uint64)
    plain = np.diff(offsets) == _HEX
    if plain.any():
        text = np.frombuffer(data, np.uint8)
        if plain.all():
            digits = _DIGITS[text[offsets[0] : offsets[-1]]].reshape(-1, _HEX)
        else:
            digits = _DIGITS[text[offsets[:-1][plain, None] + np.arange(_HEX)]]
        fit = (digits < 16).all(axis=1)  # noqa: PLR2004  hexadecimal
        packed = (digits[:, 0::2] << 4) | digits[:, 1::2]
        plain[plain] = fit
        raw[plain] = np.ascontiguousarray(packed[fit]).view(">u8").reshape(-1, 2)
    named = np.flatnonzero(~plain)
    if not len(named):
        return raw[:, 0].copy(), raw[:, 1].copy(), pa.nulls(len(ids), pa.string())
    for row in named.tolist():
        digest = xxhash.xxh3_128_digest(ids[row].as_py().encode())
        raw[row] = np.frombuffer(digest, ">u8")
    texts = pa.compute.if_else(pa.array(plain), None, ids)
    return raw[:, 0].copy(), raw[:, 1].copy(), texts


def split(specs: tuple[Correlation, ...], matches: pa.RecordBatch) -> Iterator[tuple[int, pa.RecordBatch]]:
    """Give the matches of each correlation that has some."""
    number = np.asarray(matches.column("correlation").to_numpy())
    if len(specs) == 1:
        yield 0, matches
        return
    order = np.argsort(number, kind="stable")
    ends = np.searchsorted(number[order], np.arange(len(specs) + 1))
    for each in range(len(specs)):
        if ends[each] < ends[each + 1]:
            yield each, matches.take(pa.array(order[ends[each] : ends[each + 1]]))


def rows(one: Correlation, matches: pa.RecordBatch) -> tuple[Rows, tuple[np.ndarray, pa.Array]]:
    """Turn the matches of a correlation into rows, and the groups with their texts."""
    masked, valued = columns(one)
    texts = matches.column("id")

    def numbers(name: str) -> np.ndarray:
        return np.array(matches.column(name).to_numpy())

    group = numbers("group")
    found = Rows(
        group,
        numbers("time"),
        numbers("high"),
        numbers("low"),
        numbers("mask") if masked else None,
        numbers("value") if valued else None,
        None if texts.null_count == len(texts) else texts,
    )
    return found, (group, matches.column("name"))


def shard_of(group: np.ndarray, shards: int) -> np.ndarray:
    """Give the shard of each group, uint64 → int64."""
    return np.asarray(((group >> np.uint64(32)) % np.uint64(shards)).astype(np.int64))


def concatenated(batches: Iterable[pa.RecordBatch]) -> pa.RecordBatch:
    """Put matches behind each other."""
    some = [batch for batch in batches if batch.num_rows]
    if not some:
        return NO_MATCHES
    if len(some) == 1:
        return some[0]
    return pa.concat_batches(some)
