"""Where lines end, which hold more than ASCII, and their ids: one pass over the bytes, compiled by Numba."""

from __future__ import annotations

import numpy as np

from rms_flows.compiled import compiled
from rms_flows.decode.hash_kernel import DIGITS, LONGER, digest
from rms_flows.decode.simd import WIDTH, address, byte, lowest, marks, unmarked

_ZERO, _ONE = np.uint64(0), np.uint64(1)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


@compiled
def lines(
    data: np.ndarray,
    start: int,
    end: int,
    state: np.ndarray,
    seed: np.ndarray,
    secret: np.ndarray,
    scratch: np.ndarray,
    ends: np.ndarray,
    wide: np.ndarray,
    digits: np.ndarray,
) -> None:
    """Mark lines, as many as there is room for.

    Args:
        data: uint8, padded.
        start: Where to go on.
        end: Behind the last byte that counts.
        state: int64[4]: how many lines there are already, where the current one begins and whether it has
            bytes beyond ASCII; takes these and, as the last, the place to go on at.
        seed: uint64[2]: the hash of the input's first record, and where `data` begins in the input.
        secret: See `hash_kernel.digest`; empty where ids are not wanted.
        scratch: See there.
        ends: int64[lines], takes the place of each line feed.
        wide: bool[lines], takes whether a line holds bytes beyond ASCII.
        digits: uint8[lines, DIGITS], takes the ids of lines of more than `hash_kernel.LONGER` bytes, which a
            carriage return at the end is no part of.
    """
    at = address(data)
    n, begun, last = state[0], state[1], np.uint64(state[2])
    i = start
    while i < end:
        if i + 4 * WIDTH <= end and unmarked(at + i):
            i += 4 * WIDTH
            continue
        feeds, beyond = marks(at + i)
        if end - i < WIDTH:
            inside = (_ONE << np.uint64(end - i)) - _ONE
            feeds, beyond = feeds & inside, beyond & inside
        done = _ZERO
        while feeds:
            if n == len(ends):
                state[0], state[1], state[2], state[3] = n, begun, 0, begun
                return
            before = (feeds & (~feeds + _ONE)) - _ONE
            place = i + lowest(feeds)
            ends[n] = place
            wide[n] = (last | (beyond & before & ~done)) != _ZERO
            if len(secret):
                behind = place - 1 if place > begun and byte(at + place - 1) == 13 else place
                if behind - begun > LONGER:
                    own = (seed[1] + np.uint64(begun)) * _GOLDEN ^ seed[0]
                    digest(at + begun, at + behind, own, secret, scratch, address(digits) + n * DIGITS)
            last, done = _ZERO, before
            feeds &= feeds - _ONE
            begun = place + 1
            n += 1
        last |= beyond & ~done
        i += WIDTH
    state[0], state[1], state[2], state[3] = n, begun, last != _ZERO, end


@compiled
def _is_text(i: int, end: int) -> bool:
    """Tell whether the bytes at an address are UTF-8 (RFC 3629: no surrogates, no form too long)."""
    while i < end:
        first = byte(i)
        if first < 0x80:
            _, beyond = marks(i)
            i += lowest(beyond)
            continue
        second = byte(i + 1)
        if first < 0xE0:
            more = 1 if first >= 0xC2 else 0
        elif first < 0xF0:
            more = 2
            if (first == 0xE0 and second < 0xA0) or (first == 0xED and second > 0x9F):
                return False
        else:
            more = 3 if first <= 0xF4 else 0
            if (first == 0xF0 and second < 0x90) or (first == 0xF4 and second > 0x8F):
                return False
        if more == 0 or i + more >= end:
            return False
        for j in range(1, more + 1):
            if byte(i + j) & 0xC0 != 0x80:
                return False
        i += more + 1
    return True


@compiled
def no_text(data: np.ndarray, starts: np.ndarray, ends: np.ndarray, suspect: np.ndarray) -> None:
    """Leave marked, in bool[records], only records that are no UTF-8."""
    at = address(data)
    for r in range(len(starts)):
        if suspect[r] and _is_text(at + starts[r], at + ends[r]):
            suspect[r] = False
