"""Pages of Parquet, taken apart by loops that Numba compiles: headers, dictionaries, levels, codes.

The layout is that of https://parquet.apache.org/docs/file-format/data-pages/; headers are Thrift's compact
protocol. Nothing outside the bytes of a page is read, whatever stands in it: what isn't as expected is told
by a negative number, and the caller asks Arrow.
"""

# ruff: noqa: C901, PLR0911, PLR0912, PLR0913, PLR0917 - a compiled loop over bytes is one state machine
# ruff: noqa: PLR2004 - numbers of bits

from __future__ import annotations

from typing import Any

import numpy as np

from rms_flows.compiled import compiled

BAD = -1
"""Not as expected."""

FIELDS = 16
"""A header's number stands at `FIELDS` * field of the structure it is in (else 0) + its own field."""

NUMBERS = FIELDS * FIELDS + 8
"""Room for a header, and for fields on the way."""

_I64, _U64 = np.int64, np.uint64
_BOOLEANS, _BYTE, _VARINT, _DOUBLE, _BINARY, _STRUCT = 2, 3, 6, 7, 8, 12
_DEEP = NUMBERS - FIELDS * FIELDS
_WIDEST, _MORE = 64, 0x80


@compiled
def _varint(data: np.ndarray, at: Any, end: Any) -> Any:
    """Give an unsigned number and where it ends; `BAD` as its end."""
    value, shift = _U64(0), 0
    while at < end and shift < _WIDEST:
        byte = data[at]
        at += 1
        value |= _U64(byte & 0x7F) << _U64(shift)
        if byte < _MORE:
            return _I64(value), at
        shift += 7
    return _I64(0), _I64(BAD)


@compiled
def header(data: np.ndarray, at: Any, found: np.ndarray) -> Any:
    """Read a page header.

    Args:
        data: uint8.
        at: Where it begins.
        found: int64, shape (NUMBERS,), zeros, to be filled.

    Returns:
        Where it ends, or `BAD`.
    """
    end = _I64(len(data))
    last, depth, inside = found[FIELDS * FIELDS :], 0, _I64(0)  # of each level, the field before
    while at < end:
        byte = _I64(data[at])
        at += 1
        if byte == 0:
            depth -= 1
            if depth < 0:
                return at
            continue
        kind, step = byte & 15, byte >> 4
        if step:
            last[depth] += step
        else:
            value, at = _varint(data, at, end)
            if at < 0:
                return _I64(BAD)
            last[depth] = (value >> 1) ^ -(value & 1)
        field = last[depth]
        if not 0 < field < FIELDS:
            return _I64(BAD)
        value = _I64(0)
        if kind <= _BOOLEANS:
            value = _I64(kind == 1)
        elif kind == _BYTE:
            at += 1
        elif kind <= _VARINT:
            value, at = _varint(data, at, end)
            if at < 0:
                return _I64(BAD)
            value = (value >> 1) ^ -(value & 1)
        elif kind == _DOUBLE:
            at += 8
        elif kind == _BINARY:
            size, at = _varint(data, at, end)
            if at < 0 or not 0 <= size <= end - at:
                return _I64(BAD)
            at += size
        elif kind == _STRUCT and depth < _DEEP - 1:
            if depth == 0:
                inside = field
            depth += 1
            last[depth] = 0
            continue
        else:
            return _I64(BAD)
        if depth == 0:
            found[field] = value
        elif depth == 1:
            found[FIELDS * inside + field] = value
    return _I64(BAD)


@compiled
def _copy(data: np.ndarray, at: Any, length: Any, out: np.ndarray, place: Any) -> None:
    """Copy bytes; their places are unsigned, for none counts from the end."""
    first, to = _U64(at), _U64(place)
    for byte in range(_U64(length)):
        out[to + byte] = data[first + byte]


@compiled
def texts(data: np.ndarray, offsets: np.ndarray, out: np.ndarray) -> Any:
    """Take a page of texts apart, each with its length before it.

    Args:
        data: uint8.
        offsets: int32, shape (texts + 1,), to be filled.
        out: uint8, to be filled with the texts one after the other.

    Returns:
        Bytes of the texts, or `BAD`.
    """
    at, size = _I64(0), _I64(0)
    offsets[0] = 0
    for k in range(1, len(offsets)):
        if at + 4 > len(data):
            return _I64(BAD)
        length = (
            _I64(data[at]) | _I64(data[at + 1]) << 8 | _I64(data[at + 2]) << 16 | _I64(data[at + 3]) << 24
        )
        at += 4
        if length > len(data) - at or size + length > len(out):
            return _I64(BAD)
        _copy(data, at, length, out, size)
        at += length
        size += length
        offsets[k] = size
    return size


@compiled
def levels(data: np.ndarray, at: Any, end: Any, begin: Any, rows: Any, bits: np.ndarray) -> Any:
    """Set the bit of each row that has a value; levels are 0 and 1.

    Args:
        data: uint8, runs of equal levels and of levels packed into bytes.
        at: Where they begin.
        end: Where they end.
        begin: The first row.
        rows: How many.
        bits: uint8, zeros, the lowest bit first.

    Returns:
        How many rows have a value, or `BAD`.
    """
    row, last, valid = begin, begin + rows, _I64(0)
    while row < last:
        run, at = _varint(data, at, end)
        if at < 0:
            return _I64(BAD)
        count = run >> 1
        if run & 1:
            if count > end - at:
                return _I64(BAD)
            for k in range(count):
                byte = _I64(data[at + k])
                if last - row < 8:
                    byte &= (1 << (last - row)) - 1
                for bit in range(8):
                    valid += (byte >> bit) & 1
                low = byte << (row & 7)
                bits[row >> 3] |= low & 255
                if low >> 8:
                    bits[(row >> 3) + 1] |= low >> 8
                row = min(row + 8, last)
            at += count
        else:
            if at >= end or count > last - row or count == 0:
                return _I64(BAD)
            if data[at] == 1:
                valid += count
                for one in range(row, row + count):
                    bits[one >> 3] |= 1 << (one & 7)
            elif data[at] != 0:
                return _I64(BAD)
            at += 1
            row += count
    return valid


@compiled
def codes(
    data: np.ndarray, at: Any, width: Any, size: Any, begin: Any, rows: Any, bits: np.ndarray, out: np.ndarray
) -> Any:
    """Give each row that has a value its code.

    Args:
        data: uint8, runs of equal codes and of codes packed into bytes.
        at: Where they begin; they end with the data.
        width: Bits of a code.
        size: Codes are below it.
        begin: The first row.
        rows: How many.
        bits: uint8, which rows have a value, the lowest bit first.
        out: int32, zeros, to be filled.

    Returns:
        0, or `BAD`.
    """
    end, mask = _I64(len(data)), (_I64(1) << width) - 1
    left, packed, value, place = _I64(0), False, _I64(0), _I64(0)
    row, last = begin, begin + rows
    while row < last:
        byte = _I64(bits[row >> 3]) >> (row & 7)
        stop = min(last, row + 8 - (row & 7))
        if byte == 0:
            row = stop
            continue
        for one in range(row, stop):
            if not (byte >> (one - row)) & 1:
                continue
            if left == 0:
                run, at = _varint(data, at, end)
                if at < 0 or run < 2:
                    return _I64(BAD)
                packed = run & 1 == 1
                if packed:
                    left, place = (run >> 1) * 8, at * 8
                    at = min(at + (run >> 1) * width, end)
                else:
                    left, value = run >> 1, _I64(0)
                    if at + (width + 7) // 8 > end:
                        return _I64(BAD)
                    for k in range((width + 7) // 8):
                        value |= _I64(data[at + k]) << (8 * k)
                    at += (width + 7) // 8
            if packed:
                value = _I64(0)
                first = place >> 3
                for k in range(min((width + 14) // 8, end - first)):
                    value |= _I64(data[first + k]) << (8 * k)
                value = (value >> (place & 7)) & mask
                place += width
            left -= 1
            if value >= size:
                return _I64(BAD)
            out[one] = value
        row = stop
    return _I64(0)


@compiled
def plain(
    data: np.ndarray,
    at: Any,
    begin: Any,
    rows: Any,
    bits: np.ndarray,
    offsets: np.ndarray,
    out: np.ndarray,
) -> Any:
    """Take texts with their lengths before them to the rows that have one.

    Args:
        data: uint8.
        at: Where they begin.
        begin: The first row; its offset is known.
        rows: How many.
        bits: uint8, which rows have a value, the lowest bit first.
        offsets: int32, where the text of each row ends at the place behind it, to be filled.
        out: uint8, to be filled with the texts one after the other.

    Returns:
        0, or `BAD`.
    """
    size, end, room = _I64(offsets[begin]), _I64(len(data)), _I64(len(out))
    for row in range(begin, begin + rows):
        if (bits[row >> 3] >> (row & 7)) & 1:
            if at + 4 > end:
                return _I64(BAD)
            length = (
                _I64(data[at]) | _I64(data[at + 1]) << 8 | _I64(data[at + 2]) << 16 | _I64(data[at + 3]) << 24
            )
            at += 4
            if length > end - at or size + length > room:
                return _I64(BAD)
            _copy(data, at, length, out, size)
            at += length
            size += length
        offsets[row + 1] = size
    return _I64(0)


@compiled
def named(
    codes: np.ndarray,
    begin: Any,
    bits: np.ndarray,
    ends: np.ndarray,
    texts: np.ndarray,
    offsets: np.ndarray,
    out: np.ndarray,
) -> Any:
    """Take texts to the rows that have a code.

    Args:
        codes: int32, a row each, below the number of texts.
        begin: The first row; its offset is known.
        bits: uint8, which rows have a value, the lowest bit first.
        ends: int32, where each text begins; one more than texts.
        texts: uint8.
        offsets: int32, where the text of each row ends at the place behind it, to be filled.
        out: uint8, to be filled with the texts one after the other.

    Returns:
        0, or `BAD` if there is no room.
    """
    size = _I64(offsets[begin])
    for place in range(len(codes)):
        row = begin + place
        if (bits[row >> 3] >> (row & 7)) & 1:
            first, last = _I64(ends[codes[place]]), _I64(ends[codes[place] + 1])
            if size + last - first > len(out):
                return _I64(BAD)
            _copy(texts, first, last - first, out, size)
            size += last - first
        offsets[row + 1] = size
    return _I64(0)
