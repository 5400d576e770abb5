"""The second inner loop of fast JSON decoding: tokens → the buffers of string columns."""

from __future__ import annotations

import numpy as np

from rms_flows.decode.json_kernel import HEX, SIMPLE, Tokens, compiled
from rms_flows.decode.kinds import ESCAPED


@compiled
def _unescape(buf: np.ndarray, i: int, end: int, data: np.ndarray, o: int) -> int:
    """Copy a string with escapes; give the place behind its last byte. The escapes were checked by `scan`."""
    while i < end:
        byte = buf[i]
        if byte != 92:
            data[o] = byte
            o += 1
            i += 1
            continue
        byte = buf[i + 1]
        if byte != 117:
            data[o] = SIMPLE[byte]
            o += 1
            i += 2
            continue
        value = 0
        for j in range(i + 2, i + 6):
            value = value * 16 + HEX[buf[j]]
        i += 6
        if value < 0x80:
            data[o] = value
            o += 1
        elif value < 0x800:
            data[o], data[o + 1] = 0xC0 | (value >> 6), 0x80 | (value & 63)
            o += 2
        else:
            data[o], data[o + 1] = 0xE0 | (value >> 12), 0x80 | ((value >> 6) & 63)
            data[o + 2] = 0x80 | (value & 63)
            o += 3
    return o


@compiled
def gather(
    buf: np.ndarray,
    tokens: Tokens,
    first: np.ndarray,
    slow: np.ndarray,
    column: np.ndarray,
    base: np.ndarray,
    data: np.ndarray,
    offsets: np.ndarray,
    kinds: np.ndarray,
) -> None:
    """Copy tokens into the buffers of string columns, row after row; slow records take no row.

    Args:
        buf: What `scan` was given.
        tokens: What `scan` made.
        first: The first token of each record.
        slow: Which records to leave out.
        column: int32[keys], the column of a key, -1 for keys that are not wanted.
        base: int64[columns], where a column's bytes begin in `data`.
        data: uint8, takes the bytes of all columns.
        offsets: int32[columns, rows + 1], zeros; becomes Arrow's offsets.
        kinds: uint8[columns, rows], zeros; becomes 1 + kind where a value stands.
    """
    place = base.copy()
    row = 0
    for r in range(len(slow)):
        if slow[r]:
            continue
        for t in range(first[r], first[r + 1]):
            c = column[tokens.key[t]]
            if c < 0:
                continue
            start, length, o = tokens.start[t], tokens.length[t], place[c]
            if tokens.kind[t] == ESCAPED:
                length = _unescape(buf, start, start + length, data, o) - o
            else:
                for j in range(length):
                    data[o + j] = buf[start + j]
            place[c] = o + length
            offsets[c, row + 1] = length
            kinds[c, row] = tokens.kind[t] + 1
        row += 1
    for c in range(len(offsets)):
        total = 0
        for r in range(row + 1):
            total += offsets[c, r]
            offsets[c, r] = total
