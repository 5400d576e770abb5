"""The second inner loop of fast JSON decoding: tokens → the buffers of string columns."""

from __future__ import annotations

import numpy as np

from rms_flows.compiled import compiled
from rms_flows.decode.json_kernel import HEX, SIMPLE, Tokens
from rms_flows.decode.kinds import ESCAPED
from rms_flows.decode.simd import WIDTH, copy, lowest

_ZERO, _ALL = np.uint64(0), np.uint64(2**64 - 1)


@compiled
def _copied(buf: np.ndarray, i: int, end: int, data: np.ndarray, o: int) -> int:
    """Copy bytes as they are, and up to a block more; give the place behind the last."""
    for j in range(0, end - i, WIDTH):
        copy(buf, i + j, data, o + j)
    return o + end - i


@compiled
def _unescaped(buf: np.ndarray, i: int, end: int, data: np.ndarray, o: int) -> int:
    """Copy a string with escapes; give the place behind its last byte. The escapes were checked by `scan`."""
    while i < end:
        slashes = copy(buf, i, data, o)
        at = 0
        while slashes:
            run = lowest(slashes) - at
            at, o = at + run, o + run
            if i + at >= end:
                break
            behind, o = _escape(buf, i + at, data, o)
            at = behind - i
            slashes = slashes & (_ALL << np.uint64(at)) if at < WIDTH else _ZERO
            copy(buf, behind, data, o)
        if at < WIDTH:
            o += WIDTH - at
            at = WIDTH
        i += at
    return o - (i - end)


@compiled
def _escape(buf: np.ndarray, i: int, data: np.ndarray, o: int) -> tuple[int, int]:
    """Write what the escape at `i` stands for; give both places behind it."""
    byte = buf[i + 1]
    if byte != 117:
        data[o] = SIMPLE[byte]
        return i + 2, o + 1
    value = 0
    for j in range(i + 2, i + 6):
        value = value * 16 + HEX[buf[j]]
    if value < 0x80:
        data[o] = value
        return i + 6, o + 1
    if value < 0x800:
        data[o], data[o + 1] = 0xC0 | (value >> 6), 0x80 | (value & 63)
        return i + 6, o + 2
    data[o], data[o + 1] = 0xE0 | (value >> 12), 0x80 | ((value >> 6) & 63)
    data[o + 2] = 0x80 | (value & 63)
    return i + 6, o + 3


@compiled
def gather(
    buf: np.ndarray,
    tokens: Tokens,
    first: np.ndarray,
    slow: np.ndarray,
    column: np.ndarray,
    place: np.ndarray,
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
        place: int64[columns], where a column's bytes begin in `data`, becomes where they end; between two is
            room for a block more.
        data: uint8, takes the bytes of all columns.
        offsets: int32[columns, rows + 1], zeros; becomes Arrow's offsets.
        kinds: uint8[columns, rows], zeros; becomes 1 + kind where a value stands.
    """
    row = 0
    for r in range(len(slow)):
        if slow[r]:
            continue
        for t in range(first[r], first[r + 1]):
            c = column[tokens.key[t]]
            if c < 0:
                continue
            i, o = tokens.start[t], place[c]
            end = i + tokens.length[t]
            if tokens.kind[t] == ESCAPED:
                place[c] = _unescaped(buf, i, end, data, o)
            else:
                place[c] = _copied(buf, i, end, data, o)
            offsets[c, row + 1] = place[c] - o
            kinds[c, row] = tokens.kind[t] + 1
        row += 1
    for c in range(len(offsets)):
        total = 0
        for r in range(row + 1):
            total += offsets[c, r]
            offsets[c, r] = total
