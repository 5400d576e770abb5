"""The documents in an answer of Elasticsearch, found by a compiled loop beside which other threads run."""

# ruff: noqa: C901, PLR0911, PLR0912 - a compiled loop over bytes is one state machine
# ruff: noqa: PLR1714, PLR2004 - bytes are compared to their ASCII codes, and a set is no constant to Numba

from __future__ import annotations

from typing import Final

import numpy as np

from rms_flows.compiled import compiled, inlined
from rms_flows.decode.simd import WIDTH, address, byte, copy, ends, lowest, put_byte, word

ODD: Final = -1
"""Not as expected: somebody else has to look at it."""

NAMES: Final = 1_024
"""Most bytes of a document's index and id together."""

_INDEX: Final = np.uint64(int.from_bytes(b'_index":', "little"))
_ID: Final = np.uint64(int.from_bytes(b'_id":', "little"))
_ID_ONLY: Final = np.uint64((1 << 40) - 1)
_SOURCE: Final = np.uint64(int.from_bytes(b'_source"', "little"))


@inlined
def _text(i: int) -> int:
    """Give the place behind a string whose inside begins at `i`."""
    while True:
        stops, slashes = ends(i)
        both = stops | slashes
        n = lowest(both)
        i += n
        if n == WIDTH:
            continue
        if byte(i) == 34:
            return i + 1
        if byte(i) != 92:
            return ODD
        i += 2


@compiled
def _value(i: int) -> int:
    """Give the place behind a value that begins at `i`."""
    depth = 0
    while True:
        first = byte(i)
        if first == 34:
            i = _text(i + 1)
            if i < 0:
                return ODD
        elif first == 123 or first == 91:
            depth += 1
            i += 1
        elif first == 125 or first == 93:
            depth -= 1
            i += 1
        elif first < 32:
            return ODD
        else:
            i += 1
            if depth == 0 and byte(i) != 44 and byte(i) != 125 and byte(i) != 93:
                continue  # within a number or a word
        if depth <= 0:
            return i if depth == 0 else ODD


@inlined
def _copied(i: int, end: int, to: int) -> int:
    """Copy the bytes before a place; give the place behind the copy."""
    for j in range(i, end, WIDTH):
        copy(j, to + j - i)
    return to + end - i


@compiled
def _plain(i: int, end: int) -> bool:
    """Tell whether a string stands as it is, without a backslash."""
    while i < end:
        _, slashes = ends(i)
        if i + lowest(slashes) < end:
            return False
        i += WIDTH
    return True


@compiled
def cut(
    answer: np.ndarray,
    start: int,
    starts: np.ndarray,
    stops: np.ndarray,
    names: np.ndarray,
    offsets: np.ndarray,
) -> int:
    """Find the documents of an answer.

    Args:
        answer: uint8, padded with zeros.
        start: Where the first hit begins, in an array without blanks.
        starts: int64[n], takes where each document begins.
        stops: int64[n], takes the place behind each.
        names: uint8[n * NAMES + WIDTH], takes `index/id` of each, one after the other.
        offsets: int32[n + 1], takes where each name begins, and the end.

    Returns:
        How many there are; `ODD` where there are more or something is not as expected.
    """
    at = address(answer)
    i, n, to = at + start, 0, address(names)
    begin = to
    offsets[0] = 0
    while byte(i) == 123:
        if n == len(starts):
            return ODD
        index, index_end, own, own_end, found = 0, 0, 0, 0, 0
        i += 1
        while True:
            if byte(i) != 34:
                return ODD
            key = i + 1
            i = _text(key)
            if i < 0 or byte(i) != 58:
                return ODD
            inside = i + 1
            i = _value(inside)
            if i < 0:
                return ODD
            if word(key) == _INDEX:
                index, index_end = inside + 1, i - 1
            elif word(key) & _ID_ONLY == _ID:
                own, own_end = inside + 1, i - 1
            elif word(key) == _SOURCE:
                starts[n], stops[n], found = inside - at, i - at, 1
            if byte(i) == 125:
                break
            if byte(i) != 44:
                return ODD
            i += 1
        size = index_end - index + own_end - own
        if not (index and own and found) or size + 1 > NAMES:
            return ODD
        if not (_plain(index, index_end) and _plain(own, own_end)):
            return ODD
        to = _copied(index, index_end, to)
        put_byte(to, 47)
        to = _copied(own, own_end, to + 1)
        n += 1
        offsets[n] = to - begin
        i += 1
        if byte(i) == 44:
            i += 1
        elif byte(i) != 93:
            return ODD
    return n if byte(i) == 93 else ODD
