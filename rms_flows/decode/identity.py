"""Ids of records that have none of their own: hashes of where they lie and of what they are."""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rms_flows.decode.records import Records

DIGITS: Final = 32
"""Hexadecimal digits of an id."""

_NOUGHT: Final = ord("0")
_GOLDEN: Final = np.uint64(0x9E3779B97F4A7C15)


def ids(records: Records, offsets: np.ndarray, first: int, record: np.ndarray) -> pa.Array:
    """Give each row the id of its record; where a record gives more rows, their number is added.

    Args:
        records: Of a frame.
        offsets: int64, shape (records,): where each begins in its input.
        first: Hash of the input's first record.
        record: int64, shape (rows,): the record of each row, rising.

    Returns:
        Strings of `DIGITS` hexadecimal digits, shape (rows,).
    """
    made = records.digits
    if made is None:
        made = digits(records.take(record), offsets[record], first)
    elif len(record) < len(made) or (record[1:] == record[:-1]).any():
        made = made[record]
    texts = pa.StringArray.from_buffers(
        len(record),
        pa.py_buffer(np.arange(len(record) + 1, dtype=np.int32) * np.int32(DIGITS)),
        pa.py_buffer(made),
    )
    return _numbered(texts, record)


def named(origins: pa.StringArray, record: np.ndarray, stamps: pa.Array | None = None) -> pa.Array:
    """Give each row an id made of where its record lies, which no other record does.

    Args:
        origins: Of a frame, shape (records,).
        record: int64, shape (rows,): the record of each row, rising.
        stamps: timestamp[us, UTC], shape (records,): when each got there, for places that may be used again,
            as by a topic that was deleted and made anew.

    Example:
        >>> named(pa.array(["logs/1", "logs/2"]), np.array([0, 1]))[1].as_py()
        'dfe4b993bca44af03b58b086450c75c3'
    """
    digest = xxhash.xxh3_128_hexdigest
    names = origins.take(pa.array(record))
    if stamps is not None:
        when = pc.fill_null(stamps.take(pa.array(record)).cast(pa.int64()).cast(pa.string()), "")
        names = pc.binary_join_element_wise(names, when, " ")
    texts = pa.array([digest(text.encode()) for text in names.to_pylist()], pa.string())
    return _numbered(texts, record)


def _numbered(texts: pa.Array, record: np.ndarray) -> pa.Array:
    """Give the further rows of a record ids of their own."""
    again = np.flatnonzero(record[1:] == record[:-1]) + 1
    if not len(again):
        return texts
    numbered = texts.to_pylist()
    for row in again.tolist():
        ordinal = row - int(np.searchsorted(record, record[row]))
        numbered[row] = xxhash.xxh3_128_hexdigest(f"{numbered[row]}#{ordinal}".encode())
    return pa.array(numbered, pa.string())


def origins(name: str, numbers: np.ndarray, mark: str = "#") -> pa.Array:
    """Say where records came from.

    Args:
        name: Of the input.
        numbers: int64, shape (rows,): of the records, rising.
        mark: What stands between name and number.

    Example:
        >>> origins("a.json", np.array([8, 9, 9, 10])).to_pylist()
        ['a.json#8', 'a.json#9', 'a.json#9', 'a.json#10']
    """
    prefix = f"{name}{mark}".encode()
    parts: list[bytes | bytearray] = []
    lengths = np.empty(len(numbers) + 1, np.int32)
    lengths[0] = first = 0
    while first < len(numbers):  # those with one digit, with two ...
        count = len(str(numbers[first]))
        behind = first + int(np.searchsorted(numbers[first:], 10**count))
        lengths[first + 1 : behind + 1] = size = len(prefix) + count
        text = bytearray((prefix + bytes(count)) * (behind - first))
        bytes_of = np.frombuffer(text, np.uint8).reshape(-1, size)
        rest = numbers[first:behind]
        for place in range(size - 1, len(prefix) - 1, -1):
            left = rest // 10
            bytes_of[:, place] = rest - 10 * left + _NOUGHT
            rest = left
        parts.append(text)
        first = behind
    ends = np.cumsum(lengths, dtype=np.int32)
    return pa.StringArray.from_buffers(len(numbers), pa.py_buffer(ends), pa.py_buffer(b"".join(parts)))


def digits(records: Records, offsets: np.ndarray, first: int) -> np.ndarray:
    """Hash records, long ones by the compiled loops where the process has them.

    Args:
        records: The records.
        offsets: int64, shape (records,): where each begins in its input.
        first: Hash of the input's first record.

    Returns:
        Hexadecimal digits: uint8, shape (records, DIGITS).
    """
    with np.errstate(over="ignore"):
        seeds = (offsets.astype(np.uint64) * _GOLDEN) ^ np.uint64(first)
    if "rms_flows.decode.simd" not in sys.modules:
        return _one_by_one(records, seeds)
    from rms_flows.decode import hash_kernel  # noqa: PLC0415  loads a compiler

    long = records.ends - records.starts > hash_kernel.LONGER
    if long.all():
        return hash_kernel.hashed(records.data, records.starts, records.ends, seeds)
    found = np.empty((len(records), DIGITS), np.uint8)
    chosen = records.take(long)
    found[long] = hash_kernel.hashed(chosen.data, chosen.starts, chosen.ends, seeds[long])
    found[~long] = _one_by_one(records.take(~long), seeds[~long])
    return found


def _one_by_one(records: Records, seeds: np.ndarray) -> np.ndarray:
    data, digest = memoryview(records.data), xxhash.xxh3_128_hexdigest  # type: ignore[arg-type]  # it is a buffer
    places = zip(records.starts.tolist(), records.ends.tolist(), seeds.tolist(), strict=True)
    found = "".join([digest(data[start:end], seed) for start, end, seed in places])
    return np.frombuffer(found.encode(), np.uint8).reshape(-1, DIGITS)
