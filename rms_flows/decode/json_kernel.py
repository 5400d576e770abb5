"""The inner loops of fast JSON decoding, compiled by Numba: bytes of many records → tokens → column buffers.

They accept only what is surely right (RFC 8259; no repeated key, no surrogate escape, no exponent, objects
nested up to `DEPTH`, lists of scalars only); every other record is marked and goes the slow way, which
either decodes it or says what is wrong with it. So these loops never need an error message, and never accept
what the slow way would refuse.

Bytes stand in a buffer padded with at least 16 zeros: a zero stops every loop, so none checks for the end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, TypeVar, cast

import numpy as np
from numba import njit

from rms_flows.decode.kinds import BOOLEAN, ESCAPED, FLOAT, INTEGER, LIST, NULL, PLAIN

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

_ONES = np.uint64(0x0101010101010101)
_HIGHS = np.uint64(0x8080808080808080)
_QUOTES = np.uint64(0x2222222222222222)
_SLASHES = np.uint64(0x5C5C5C5C5C5C5C5C)
_BLANKS = np.uint64(0x2020202020202020)

_LOWEST = np.uint64(1 << 63)  # without its sign

_F = TypeVar("_F", bound=Callable[..., object])


def compiled(function: _F) -> _F:
    """Compile with Numba; the machine code is kept on disk, beside the module where that can be written."""
    return cast("_F", njit(cache=True, nogil=True, boundscheck=False)(function))


class Keys(NamedTuple):
    """The keys seen so far; number 0 is none. Flat arrays, because compiled code works on nothing else."""

    start: np.ndarray  # int64, where a key's text begins in `text`
    length: np.ndarray  # int64
    parent: np.ndarray  # int32, the key of the object that it stands in
    text: np.ndarray  # uint8
    slot: np.ndarray  # int32, open hash table
    follow: np.ndarray  # int32, after key k came [2k]; first in k's object came [2k + 1]
    seen: np.ndarray  # int64, stamp of the last record with this key
    used: np.ndarray  # int64[2], keys and bytes of text in use


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
def _run(buf: np.ndarray, words: np.ndarray, i: int) -> int:
    """Step over plain string bytes, eight at a time (Mycroft's test for a zero byte in a word)."""
    while i & 7:
        if _STOP[buf[i]]:
            return i
        i += 1
    while True:
        word = words[i >> 3]
        quote, slash = word ^ _QUOTES, word ^ _SLASHES
        found = ((quote - _ONES) & ~quote) | ((slash - _ONES) & ~slash) | ((word - _BLANKS) & ~word)
        if found & _HIGHS:
            break
        i += 8
    while not _STOP[buf[i]]:
        i += 1
    return i


@compiled
def _string(buf: np.ndarray, words: np.ndarray, i: int) -> tuple[int, int]:
    """Step over a string's inside; give the place of its closing quote (-1: slow way) and its kind."""
    kind = PLAIN
    i = _run(buf, words, i)
    while buf[i] == 92:
        kind = ESCAPED
        escape = buf[i + 1]
        if escape == 117:
            value = 0
            for j in range(i + 2, i + 6):
                if HEX[buf[j]] < 0:
                    return -1, kind
                value = value * 16 + HEX[buf[j]]
            if 0xD800 <= value < 0xE000:
                return -1, kind
            i += 6
        elif SIMPLE[escape]:
            i += 2
        else:
            return -1, kind
        i = _run(buf, words, i)
    return (i if buf[i] == 34 else -1), kind


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
    if first > start and value > _LOWEST:
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
def _scalar(buf: np.ndarray, words: np.ndarray, i: int) -> tuple[int, int]:
    """Step over a string, number or literal; give its end (-1: slow way) and its kind."""
    if buf[i] == 34:
        end, kind = _string(buf, words, i + 1)
        return (end + 1 if end >= 0 else -1), kind
    if buf[i] == 45 or 48 <= buf[i] <= 57:
        return _number(buf, i)
    return _literal(buf, i)


@compiled
def _list(buf: np.ndarray, words: np.ndarray, i: int) -> int:
    """Step over a list of scalars; give its end (-1: slow way)."""
    i = _skip(buf, i + 1)
    if buf[i] == 93:
        return i + 1
    while True:
        i, _ = _scalar(buf, words, i)
        if i < 0:
            return -1
        i = _skip(buf, i)
        if buf[i] == 93:
            return i + 1
        if buf[i] != 44:
            return -1
        i = _skip(buf, i + 1)


@compiled
def _value(buf: np.ndarray, words: np.ndarray, i: int) -> tuple[int, int, int, int]:
    """Step over a value that is no object; give its end (-1: slow way), its kind, and its text's two ends."""
    if buf[i] == 91:
        end = _list(buf, words, i)
        return end, LIST, i, end
    end, kind = _scalar(buf, words, i)
    if kind == NULL:
        return end, kind, i, i
    if kind <= ESCAPED:
        return end, kind, i + 1, end - 1
    return end, kind, i, end


@compiled
def _same(buf: np.ndarray, i: int, keys: Keys, key: int) -> bool:
    """Tell whether the key `key` stands at `i`, its closing quote included."""
    start, length = keys.start[key], keys.length[key]
    if buf[i + length] != 34:
        return False
    for j in range(length):  # noqa: SIM110  Numba knows no generators
        if buf[i + j] != keys.text[start + j]:
            return False
    return True


@compiled
def _find(buf: np.ndarray, i: int, parent: int, keys: Keys) -> tuple[int, int]:
    """Look a key up by hash, adding it when it is new; give its number and the place behind its end.

    A number of 0 says: slow way (an escape in the key, or the table is full).
    """
    start = i
    code = np.uint64(14695981039346656037) ^ np.uint64(parent)  # FNV-1a
    while not _STOP[buf[i]]:
        code = (code ^ np.uint64(buf[i])) * np.uint64(1099511628211)
        i += 1
    if buf[i] != 34:
        return 0, i
    length = i - start
    mask = len(keys.slot) - 1
    slot = np.int64(code >> np.uint64(24)) & mask
    while keys.slot[slot]:
        key = keys.slot[slot]
        if keys.parent[key] == parent and keys.length[key] == length and _same(buf, start, keys, key):
            return key, i + 1
        slot = (slot + 1) & mask
    key = keys.used[0] + 1
    used = keys.used[1]
    if key >= len(keys.start) or used + length > len(keys.text):
        return 0, i
    keys.start[key], keys.length[key], keys.parent[key] = used, length, parent
    for j in range(length):
        keys.text[used + j] = buf[start + j]
    keys.slot[slot] = key
    keys.used[0], keys.used[1] = key, used + length
    return key, i + 1


@compiled
def _record(
    buf: np.ndarray, words: np.ndarray, i: int, end: int, stamp: int, keys: Keys, tokens: Tokens, n: int
) -> int:
    """Cut one record into tokens, the first of number `n`; give the number behind its last, -1: slow way."""
    outer = np.zeros(DEPTH, np.int32)
    depth, parent, hint = 0, 0, 0
    i = _skip(buf, i)
    if buf[i] != 123:
        return -1
    i = _skip(buf, i + 1)
    while True:
        if buf[i] != 34:
            return -1
        key = keys.follow[hint]
        if key and keys.parent[key] == parent and _same(buf, i + 1, keys, key):
            i += keys.length[key] + 2
        else:
            key, i = _find(buf, i + 1, parent, keys)
            if key == 0:
                return -1
            keys.follow[hint] = key
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
            outer[depth] = parent
            depth += 1
            parent, hint = key, 2 * key + 1
            i = _skip(buf, i + 1)
            continue
        i, kind, first, last = _value(buf, words, i)
        if i < 0:
            return -1
        tokens.key[n], tokens.kind[n], tokens.start[n], tokens.length[n] = key, kind, first, last - first
        n += 1
        hint = 2 * key
        i = _skip(buf, i)
        while buf[i] == 125:
            inside = i < end  # else the brace is that of a later record
            i = _skip(buf, i + 1)
            if depth == 0:
                return n if inside and i >= end else -1
            hint = 2 * parent
            depth -= 1
            parent = outer[depth]
        if buf[i] != 44:
            return -1
        i = _skip(buf, i + 1)


@compiled
def scan(
    buf: np.ndarray,
    words: np.ndarray,
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
        words: The same memory as uint64.
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
        behind = _record(buf, words, starts[r], ends[r], stamp + r, keys, tokens, n)
        if behind < 0:
            slow[r] = True
        else:
            n = behind
    first[len(starts)] = n
