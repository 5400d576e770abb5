"""The inner loops of fast JSON decoding, compiled by Numba: bytes of many records → tokens → column buffers.

They accept only what is surely right (RFC 8259; no repeated key, no surrogate escape, no exponent, objects
nested up to `DEPTH`, lists of scalars only); every other record is marked and goes the slow way, which
either decodes it or says what is wrong with it. So these loops never need an error message, and never accept
what the slow way would refuse.

Bytes stand in a buffer with `simd.WIDTH` zeros behind them: a zero stops every loop, so none checks for the
end.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from rms_flows.compiled import compiled
from rms_flows.decode.kinds import BOOLEAN, ESCAPED, FLOAT, INTEGER, LIST, NULL, PLAIN
from rms_flows.decode.simd import WIDTH, ends, escapes, leading, lowest, unequal, word

DEPTH = 16
"""Deepest nesting that the fast way follows."""

_STOP = np.zeros(256, np.bool_)  # what ends a run of plain string bytes: controls, quote, backslash
_STOP[:32] = True
_STOP[[0x22, 0x5C]] = True
HEX = np.full(256, -1, np.int16)
for _digit, _character in enumerate(b"0123456789abcdef"):
    HEX[_character] = _digit
for _digit, _character in enumerate(b"ABCDEF"):
    HEX[_character] = 10 + _digit
SIMPLE = np.zeros(256, np.uint8)  # \n and its kind → the byte that it stands for
for _letter, _byte in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    SIMPLE[_letter] = _byte

_LEAST = np.uint64(1 << 63)  # the least integer, without its sign
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: spreads bits upwards
_EVEN = np.uint64(0x5555555555555555)


class Keys(NamedTuple):
    """The keys seen so far; number 0 is none. Flat arrays, because compiled code works on nothing else."""

    start: np.ndarray  # int64, where a key's text begins in `text`
    length: np.ndarray  # int64
    parent: np.ndarray  # int32, the key of the object that it stands in
    text: np.ndarray  # uint8, each key with its closing quote
    slot: np.ndarray  # int32, open hash table
    seen: np.ndarray  # int64, stamp of the last record with this key
    outer: np.ndarray  # int32[DEPTH], the keys of the objects around the current one
    used: np.ndarray  # int64[2], keys and bytes of text in use
    found: np.ndarray  # int64, values of this call
    size: np.ndarray  # int64, and their bytes


class Tokens(NamedTuple):
    """One entry a value: its key, kind, first byte and length."""

    key: np.ndarray  # int32
    kind: np.ndarray  # uint8
    start: np.ndarray  # int64
    length: np.ndarray  # int64


@compiled
def _skip(buf: np.ndarray, i: int) -> int:
    while buf[i] == 32 or buf[i] == 9 or buf[i] == 10 or buf[i] == 13:
        i += 1
    return i


@compiled
def _escaped(slashes: np.uint64) -> np.uint64:
    """Give the bytes behind an odd number of backslashes in a row.

    Adding the first bit of a run to the run carries to the bit behind it; whether that is an odd number of
    places on shows in the parity of the two. A run that reaches the end of the block gives nothing.
    """
    first = slashes & ~(slashes << _ONE)
    from_even = (slashes + (first & _EVEN)) & ~slashes
    from_odd = (slashes + (first & ~_EVEN)) & ~slashes
    return (from_even & ~_EVEN) | (from_odd & _EVEN)


@compiled
def _string(buf: np.ndarray, i: int) -> tuple[int, int]:
    """Step over a string's inside; give the place of its closing quote (-1: slow way) and its kind."""
    kind = PLAIN
    while True:
        stops, slashes = ends(buf, i)
        step = WIDTH
        if slashes and not (stops & (_ZERO - stops)) - _ONE < slashes & (_ZERO - slashes):
            kind = ESCAPED
            escaped = _escaped(slashes)
            stops &= ~escaped
            simple, long = escapes(buf, i)
            inside = (stops & (_ZERO - stops)) - _ONE  # what stands before the first stop, all where none is
            if escaped & inside & ~simple:
                long &= escaped & inside
                if escaped & inside & ~simple & ~long:
                    return -1, kind
                while long:
                    if not _hexadecimal(buf, i + lowest(long) + 1):
                        return -1, kind
                    long &= long - _ONE
            step -= leading(~slashes) & (WIDTH - 1)  # a run at the end: again from its beginning
        if stops:
            i += lowest(stops)
            return (i if buf[i] == 34 else -1), kind
        i += step


@compiled
def _hexadecimal(buf: np.ndarray, i: int) -> bool:
    """Tell whether four digits stand at `i` that are no half of a surrogate pair."""
    value = 0
    for j in range(i, i + 4):
        if HEX[buf[j]] < 0:
            return False
        value = value * 16 + HEX[buf[j]]
    return not 0xD800 <= value < 0xE000


@compiled
def _number(buf: np.ndarray, i: int) -> tuple[int, int]:
    """Step over a number; give its end (-1: slow way) and its kind."""
    start = i
    kind = INTEGER
    if buf[i] == 45:
        i += 1
    first = i
    value = np.uint64(0)
    while 48 <= buf[i] <= 57:
        value = value * np.uint64(10) + np.uint64(buf[i] - 48)
        i += 1
    zero = buf[first] == 48
    if i == first or i - first > 19 or (zero and i - first > 1):
        return -1, kind
    if first > start and value > _LEAST:
        return -1, kind
    if buf[i] == 46:
        kind = FLOAT
        i += 1
        fraction = i
        while 48 <= buf[i] <= 57:
            i += 1
        if i == fraction:
            return -1, kind
    elif zero and first > start:
        return -1, kind  # -0 is 0 to some and not to others
    if buf[i] == 101 or buf[i] == 69:
        return -1, kind
    return i, kind


@compiled
def _literal(buf: np.ndarray, i: int) -> tuple[int, int]:
    """Step over `null`, `true` or `false`; give its end (-1: slow way) and its kind."""
    if buf[i] == 110 and buf[i + 1] == 117 and buf[i + 2] == 108 and buf[i + 3] == 108:
        return i + 4, NULL
    if buf[i] == 116 and buf[i + 1] == 114 and buf[i + 2] == 117 and buf[i + 3] == 101:
        return i + 4, BOOLEAN
    if buf[i] == 102 and buf[i + 1] == 97 and buf[i + 2] == 108 and buf[i + 3] == 115 and buf[i + 4] == 101:
        return i + 5, BOOLEAN
    return -1, NULL


@compiled
def _scalar(buf: np.ndarray, i: int) -> tuple[int, int]:
    """Step over a string, number or literal; give its end (-1: slow way) and its kind."""
    if buf[i] == 34:
        end, kind = _string(buf, i + 1)
        return (end + 1 if end >= 0 else -1), kind
    if buf[i] == 45 or 48 <= buf[i] <= 57:
        return _number(buf, i)
    return _literal(buf, i)


@compiled
def _list(buf: np.ndarray, i: int) -> int:
    """Step over a list of scalars; give its end (-1: slow way)."""
    i = _skip(buf, i + 1)
    if buf[i] == 93:
        return i + 1
    while True:
        i, _ = _scalar(buf, i)
        if i < 0:
            return -1
        i = _skip(buf, i)
        if buf[i] == 93:
            return i + 1
        if buf[i] != 44:
            return -1
        i = _skip(buf, i + 1)


@compiled
def _value(buf: np.ndarray, i: int) -> tuple[int, int, int, int]:
    """Step over a value that is no object; give its end (-1: slow way), its kind, and its text's two ends."""
    if buf[i] == 91:
        end = _list(buf, i)
        return end, LIST, i, end
    end, kind = _scalar(buf, i)
    if kind == NULL:
        return end, kind, i, i
    if kind <= ESCAPED:
        return end, kind, i + 1, end - 1
    return end, kind, i, end


@compiled
def _same(buf: np.ndarray, i: int, keys: Keys, key: int) -> bool:
    """Tell whether the key `key` stands at `i`, its closing quote included."""
    start, left = keys.start[key], keys.length[key] + 1
    while left > WIDTH:
        if unequal(buf, i, keys.text, start):
            return False
        i, start, left = i + WIDTH, start + WIDTH, left - WIDTH
    return bool((unequal(buf, i, keys.text, start) << np.uint64(WIDTH - left)) == 0)


@compiled
def _find(buf: np.ndarray, i: int, parent: int, keys: Keys) -> tuple[int, int]:
    """Look a key up by hash, adding it when it is new; give its number and the place behind its end.

    A number of 0 says: slow way (an escape in the key, or the table is full).
    """
    start = i
    while True:
        stops, slashes = ends(buf, i)
        if stops | slashes:
            break
        i += WIDTH
    i += lowest(stops | slashes)
    if buf[i] != 34:
        return 0, i
    length = i - start
    code = word(buf, start)
    if length < 8:
        code &= (_ONE << np.uint64(8 * length)) - _ONE
    else:
        code ^= word(buf, i - 8) * _MIX
    code = (code ^ np.uint64(parent * 64 + length)) * _MIX
    mask = len(keys.slot) - 1
    slot = np.int64(code >> np.uint64(40)) & mask
    while keys.slot[slot]:
        key = keys.slot[slot]
        if keys.parent[key] == parent and keys.length[key] == length and _same(buf, start, keys, key):
            return key, i + 1
        slot = (slot + 1) & mask
    key = keys.used[0] + 1
    used = keys.used[1]
    if key >= len(keys.start) or used + length + 1 + WIDTH > len(keys.text):
        return 0, i
    keys.start[key], keys.length[key], keys.parent[key] = used, length, parent
    for j in range(length + 1):
        keys.text[used + j] = buf[start + j]
    keys.slot[slot] = key
    keys.used[0], keys.used[1] = key, used + length + 1
    return key, i + 1


@compiled
def _record(buf: np.ndarray, i: int, end: int, stamp: int, keys: Keys, tokens: Tokens, n: int) -> int:
    """Cut one record into tokens, the first of number `n`; give the number behind its last, -1: slow way."""
    depth, parent = 0, 0
    i = _skip(buf, i)
    if buf[i] != 123:
        return -1
    i = _skip(buf, i + 1)
    while True:
        if buf[i] != 34:
            return -1
        key, i = _find(buf, i + 1, parent, keys)
        if key == 0:
            return -1
        if keys.seen[key] == stamp:
            return -1
        keys.seen[key] = stamp
        i = _skip(buf, i)
        if buf[i] != 58:
            return -1
        i = _skip(buf, i + 1)
        if buf[i] == 123:
            if depth == DEPTH:
                return -1
            keys.outer[depth] = parent
            depth += 1
            parent = key
            i = _skip(buf, i + 1)
            continue
        i, kind, first, last = _value(buf, i)
        if i < 0:
            return -1
        tokens.key[n], tokens.kind[n], tokens.start[n], tokens.length[n] = key, kind, first, last - first
        n += 1
        i = _skip(buf, i)
        while buf[i] == 125:
            inside = i < end  # else the brace is that of a later record
            i = _skip(buf, i + 1)
            if depth == 0:
                return n if inside and i >= end else -1
            depth -= 1
            parent = keys.outer[depth]
        if buf[i] != 44:
            return -1
        i = _skip(buf, i + 1)


@compiled
def scan(
    buf: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    stamp: int,
    keys: Keys,
    tokens: Tokens,
    first: np.ndarray,
    slow: np.ndarray,
) -> None:
    """Cut records into tokens.

    Args:
        buf: uint8, padded with zeros.
        starts: int64[records], first byte of each record.
        ends: int64[records], the place behind its last.
        stamp: A number that no earlier call used for a record; record r uses `stamp + r`.
        keys: The table of keys (`json_scan.Keys`), grows.
        tokens: Where tokens go (`json_scan.Tokens`).
        first: int64[records + 1], is set to the first token of each record.
        slow: bool[records], is set where a record has to go the slow way.
    """
    n = 0
    for r in range(len(starts)):
        first[r] = n
        behind = _record(buf, starts[r], ends[r], stamp + r, keys, tokens, n)
        if behind < 0:
            slow[r] = True
            continue
        for t in range(n, behind):
            keys.found[tokens.key[t]] += 1
            keys.size[tokens.key[t]] += tokens.length[t]
        n = behind
    first[len(starts)] = n
