"""Values of fast JSON decoding, compiled by Numba: each is checked and copied to its column in one go.

Places are addresses. Every function gives (the place behind the value or why there is none, the place behind
what was copied, kind); see `json_kernel` for what is accepted. Where `keep` is 0 instead of -1, the value is
checked only, and what is written is written to one place again and again.
"""

from __future__ import annotations

import numpy as np

from rms_flows.compiled import compiled, inlined
from rms_flows.decode.kinds import BOOLEAN, ESCAPED, FLOAT, INTEGER, LIST, NULL, PLAIN
from rms_flows.decode.simd import (
    AHEAD,
    SQUEEZES,
    WIDTH,
    byte,
    copy,
    counted,
    escapes,
    lowest,
    moved,
    ones,
    put_byte,
    squeeze,
    to_read,
    word,
)

SLOW = -1
"""The record goes the slow way."""

FULL = -2
"""The column has no room for the value."""

_HEX = np.full(256, -1, np.int64)
for _digit, _character in enumerate(b"0123456789abcdef"):
    _HEX[_character] = _digit
for _digit, _character in enumerate(b"ABCDEF"):
    _HEX[_character] = 10 + _digit
_SIMPLE = np.zeros(256, np.int64)  # \n and its kind → the byte that it stands for
for _letter, _byte in zip(b'"\\/bfnrt', b'"\\/\b\f\n\r\t', strict=True):
    _SIMPLE[_letter] = _byte

_LEAST = np.uint64(1 << 63)  # the least integer, without its sign
_ZERO, _ONE, _LAST = np.uint64(0), np.uint64(1), np.uint64(63)
_ALL = np.uint64(2**64 - 1)
_ODD = np.uint64(0xAAAAAAAAAAAAAAAA)
_FOUR = np.uint64(0xFFFFFFFF)
_NULL, _TRUE, _FALS = (np.uint64(int.from_bytes(text, "little")) for text in (b"null", b"true", b"fals"))


@inlined
def skip(i: int) -> int:
    """Step over blanks."""
    while byte(i) <= 32 and (byte(i) == 32 or byte(i) == 9 or byte(i) == 10 or byte(i) == 13):
        i += 1
    return i


@inlined
def _below(n: int) -> np.uint64:
    """Give the lowest `n` bits, 0 to 64."""
    return _ALL >> np.uint64(64 - n) if n > 0 else _ZERO


@compiled
def _unicode(i: int) -> int:
    """Give the character that four digits at `i` stand for, -1 where they are none or half of a pair."""
    value = 0
    for j in range(4):
        digit = _HEX[byte(i + j)]
        if digit < 0:
            return -1
        value = value * 16 + digit
    return -1 if 0xD800 <= value < 0xE000 else value


@compiled
def _utf8(value: int, o: int) -> int:
    """Write a character as UTF-8; give how many bytes that took."""
    if value < 0x80:
        put_byte(o, value)
        return 1
    if value < 0x800:
        put_byte(o, 0xC0 | (value >> 6))
        put_byte(o + 1, 0x80 | (value & 63))
        return 2
    put_byte(o, 0xE0 | (value >> 12))
    put_byte(o + 1, 0x80 | ((value >> 6) & 63))
    put_byte(o + 2, 0x80 | (value & 63))
    return 3


@compiled
def _squeezed(i: int, o: int, escape: np.uint64) -> None:
    """Copy a block from `i` to `o` without the backslashes that begin an escape: run by run."""
    at = i
    while escape:
        slash = i + lowest(escape)
        o += slash - at
        put_byte(o, _SIMPLE[byte(slash + 1)])
        at, o = slash + 2, o + 1
        copy(at, o)
        escape &= escape - _ONE


@inlined
def _block(i: int, o: int, keep: int, stops: np.uint64, slashes: np.uint64) -> tuple[int, int, bool]:
    r"""Copy what of a block belongs to a string, its escapes as what they stand for.

    Gives both places behind it, the first `SLOW` where an escape is none, and whether the string may end
    there. `\u` ends the part that is copied, and so does a backslash that is the last of the block.

    Which bytes are escaped is simdjson's arithmetic: every second of a run of backslashes escapes what
    follows it, and a subtraction carries along runs.
    """
    behind = slashes << _ONE
    codes = ((behind | _ODD) - slashes) ^ _ODD
    escaped, escape = codes ^ slashes, codes & slashes
    stops &= ~escaped
    n = lowest(stops)
    if n == WIDTH and escape >> _LAST:
        n = WIDTH - 1
    simple, long = escapes(i)
    inside = escaped & _below(n)
    long &= inside
    if inside & ~simple & ~long:
        return SLOW, o, False
    value = 0
    if long:
        n = lowest(long) - 1
        value = _unicode(i + n + 2)
        if value < 0:
            return SLOW, o, False
    inside = _below(n)
    escape &= inside
    if SQUEEZES:
        squeeze(i, o, inside & ~escape, escaped)
    elif escape:
        _squeezed(i, o, escape)
    o += (n - ones(escape)) & keep
    if long:
        return i + n + 6, o + (_utf8(value, o) & keep), False
    return i + n, o, stops != _ZERO


@inlined
def string(i: int, o: int, limit: int, keep: int) -> tuple[int, int, int]:
    """Take a string whose inside begins at `i`."""
    kind = PLAIN
    while True:
        if o > limit:
            return FULL, o, kind
        to_read(i + AHEAD)
        stops, slashes = moved(i, o)
        if slashes & (stops - _ONE):  # a backslash before the first stop
            kind = ESCAPED
            i, o, ended = _block(i, o, keep, stops, slashes)
            if i < 0:
                return SLOW, o, kind
            if not ended:
                continue
        elif stops:
            n = lowest(stops)
            i += n
            o += n & keep
        else:
            i += WIDTH
            o += WIDTH & keep
            continue
        return (i + 1 if byte(i) == 34 else SLOW), o, kind


@compiled
def _number(i: int) -> tuple[int, int]:
    """Step over a number of any form; give its end or `SLOW`, and its kind."""
    start = i
    kind = INTEGER
    if byte(i) == 45:
        i += 1
    first = i
    value = _ZERO
    while 48 <= byte(i) <= 57:
        value = value * np.uint64(10) + np.uint64(byte(i) - 48)
        i += 1
    zero = byte(first) == 48
    if i == first or i - first > 19 or (zero and i - first > 1):
        return SLOW, kind
    if first > start and value > _LEAST:
        return SLOW, kind
    if byte(i) == 46:
        kind = FLOAT
        i += 1
        fraction = i
        while 48 <= byte(i) <= 57:
            i += 1
        if i == fraction:
            return SLOW, kind
    elif zero and first > start:
        return SLOW, kind  # -0 is 0 to some and not to others
    if byte(i) == 101 or byte(i) == 69:
        return SLOW, kind
    return i, kind


@inlined
def number(i: int, o: int, limit: int, keep: int) -> tuple[int, int, int]:
    """Take a number; the form of most is read at once: up to 18 digits without sign, point or exponent."""
    if o > limit:
        return FULL, o, INTEGER
    n = lowest(counted(i, o))
    behind = byte(i + n)
    if 0 < n <= 18 and behind != 46 and behind | 32 != 101 and (n == 1 or byte(i) != 48):
        return i + n, o + (n & keep), INTEGER
    end, kind = _number(i)
    if end < 0:
        return SLOW, o, kind
    return _copied(i, end, o, limit, keep, kind)


@compiled
def _copied(i: int, end: int, o: int, limit: int, keep: int, kind: int) -> tuple[int, int, int]:
    """Take a value as it is."""
    while i < end:
        if o > limit:
            return FULL, o, kind
        copy(i, o)
        step = min(WIDTH, end - i)
        i += step
        o += step & keep
    return end, o, kind


@inlined
def _literal(i: int) -> tuple[int, int]:
    """Step over `null`, `true` or `false`; give its end or `SLOW`, and its kind."""
    four = word(i) & _FOUR
    if four == _TRUE:
        return i + 4, BOOLEAN
    if four == _FALS and byte(i + 4) == 101:
        return i + 5, BOOLEAN
    return (i + 4 if four == _NULL else SLOW), NULL


@inlined
def literal(i: int, o: int, limit: int, keep: int) -> tuple[int, int, int]:
    """Take `null`, which has no text, `true` or `false`."""
    if o > limit:
        return FULL, o, NULL
    end, kind = _literal(i)
    if kind == NULL:
        return end, o, kind
    copy(i, o)
    return end, o + ((end - i) & keep), kind


@compiled
def _list(i: int, aside: int) -> int:
    """Step over a list of scalars; give its end or `SLOW`. `aside`: room for a block that nobody reads."""
    i = skip(i + 1)
    if byte(i) == 93:
        return i + 1
    while True:
        first = byte(i)
        if first == 34:
            i, _, _ = string(i + 1, aside, aside, 0)
        elif first == 45 or 48 <= first <= 57:
            i, _ = _number(i)
        else:
            i, _ = _literal(i)
        if i < 0:
            return SLOW
        i = skip(i)
        if byte(i) == 93:
            return i + 1
        if byte(i) != 44:
            return SLOW
        i = skip(i + 1)


@compiled
def array(i: int, o: int, limit: int, keep: int, aside: int) -> tuple[int, int, int]:
    """Take a list of scalars as its JSON text."""
    end = _list(i, aside)
    return (SLOW, o, LIST) if end < 0 else _copied(i, end, o, limit, keep, LIST)
