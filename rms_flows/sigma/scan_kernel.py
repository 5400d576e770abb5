"""The inner loop of detection, compiled by Numba: many texts, many literals → which ones each text has.

Each literal is found by one of its windows of three bytes, the one that fewest literals have: a text's
windows are looked up in a map of bits, which stays in the processor's first cache, and only at a hit are
literals compared (the idea of Wu and Manber, "A Fast Algorithm for Multi-Pattern Searching", 1994, without
its jumps, which short literals forbid). Nothing is made for a text but a number: texts that have the same
literals have the same number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rms_flows.compiled import compiled

STARTS, ENDS, CASED = 1, 2, 4
"""Where a literal has to stand, and whether its case counts: flags."""

CLASS_BITS = 6
WINDOW = 3 * CLASS_BITS
"""Bits of a window: three classes of bytes."""

CLASSES = np.zeros(256, np.int64)
"""Byte → its class: a letter in either case, two digits, a sign; controls and other bytes are class 0."""
FOLDED = np.arange(256, dtype=np.uint8)
"""Byte → itself, capital letters of ASCII → small ones."""
for _byte in range(0x21 - 1, 0x7F):
    _letter = chr(_byte).lower()
    if _letter.isalpha():
        CLASSES[_byte] = 1 + ord(_letter) - ord("a")
        FOLDED[_byte] = ord(_letter)
    elif _letter.isdigit():
        CLASSES[_byte] = 27 + (_byte - ord("0")) // 2
_SIGNS = [byte for byte in range(0x20, 0x7F) if not chr(byte).isalnum()]
for _number, _byte in enumerate(_SIGNS):
    CLASSES[_byte] = 32 + min(_number, 31)  # the last two share one: there are 33

_CODES = CLASSES.astype(np.uint32)
_U32, _I64 = np.uint32, np.int64
_ONE, _FIVE, _LOW, _NEAR, _ALL = (np.uint32(n) for n in (1, 5, 31, CLASS_BITS, (1 << WINDOW) - 1))
_ZERO = np.uint64(0)
PIECE = 4096

NONE = -1
"""No number of a set: there is no room for it, or the text is left to others."""

BOTH, ONLY_FOLDED, ONLY_CASED = 1, CASED, 0
"""Which literals are looked for: all, in texts of ASCII; or one kind, in any text, folded or as it is."""


class Windows(NamedTuple):
    """Windows → the literals that are looked for there."""

    bits: np.ndarray  # uint32, one bit a window
    rank: np.ndarray  # int32, the windows before each word of `bits`
    start: np.ndarray  # int32, where the literals of a window begin in `listed`; one more than windows
    listed: np.ndarray  # int32, numbers of literals


class Literals(NamedTuple):
    """The literals, in the folded case unless theirs counts."""

    text: np.ndarray  # uint8, one after the other
    start: np.ndarray  # int64, where each begins
    size: np.ndarray  # int64, bytes
    tail: np.ndarray  # int64, bytes from a literal's beginning to the last byte of its window
    how: np.ndarray  # uint8, flags
    mix: np.ndarray  # uint64, random: the sum over a set is the set's hash
    seen: np.ndarray  # int64, the text that last had it


class Sets(NamedTuple):
    """The different sets of literals that texts had so far."""

    slot: np.ndarray  # int32, open addressing by hash → number of the set; -1 is free
    hash: np.ndarray  # uint64
    start: np.ndarray  # int64, where the members of a set begin; one more than sets
    member: np.ndarray  # int32, numbers of literals
    state: np.ndarray  # int64: texts looked at ever, sets


@compiled
def _ones(word: Any) -> Any:
    """Count the one bits of 32."""
    word -= (word >> 1) & 0x55555555
    word = (word & 0x33333333) + ((word >> 2) & 0x33333333)
    word = (word + (word >> 4)) & 0x0F0F0F0F
    return ((word * 0x01010101) & 0xFFFFFFFF) >> 24


@compiled
def _is_at(data: np.ndarray, at: int, text: np.ndarray, begin: int, size: int, cased: Any) -> bool:
    for k in range(size):
        byte = data[at + k] if cased else FOLDED[data[at + k]]
        if byte != text[begin + k]:
            return False
    return True


@compiled
def _set(sets: Sets, hashed: Any, hits: np.ndarray, count: int, seen: np.ndarray, text: int) -> Any:
    """Give the number of a set, maybe a new one; `NONE` where there is no room for it."""
    slots = len(sets.slot)
    place = _I64(hashed & np.uint64(slots - 1))
    while sets.slot[place] >= 0:
        number = sets.slot[place]
        begin, end = sets.start[number], sets.start[number + 1]
        if sets.hash[number] == hashed and end - begin == count:
            same = True
            for k in range(begin, end):
                if seen[sets.member[k]] != text:
                    same = False
                    break
            if same:
                return number
        place = (place + 1) & (slots - 1)
    number = sets.state[1]
    begin = sets.start[number]
    if number == len(sets.hash) or begin + count > len(sets.member):
        return NONE
    for k in range(count):
        sets.member[begin + k] = hits[k]
    sets.start[number + 1] = begin + count
    sets.hash[number] = hashed
    sets.slot[place] = number
    sets.state[1] = number + 1
    return number


@compiled
def scan(
    data: np.ndarray,
    offsets: np.ndarray,
    which: np.ndarray,
    windows: Windows,
    literals: Literals,
    looks: np.ndarray,
    sets: Sets,
    hits: np.ndarray,
    marks: np.ndarray,
    found: np.ndarray,
    begin: int,
    kind: int,
) -> int:
    """Give each text from `begin` on the number of its set; `NONE` if it is empty or `kind` doesn't allow it.

    Args:
        data: uint8, texts.
        offsets: int32, where each begins; one more than texts.
        which: int64, the texts that are asked for.
        windows: Where to look for which literal.
        literals: What to look for.
        looks: bool, first byte → whether the text counts as having the literal behind the last: what begins
            like a number, say.
        sets: Those known so far.
        hits: int32, room for all literals and one more.
        marks: int64, room for the places of a piece and one more.
        found: int64, the answers, one for each of `which`.
        begin: Where in `which` to begin.
        kind: `BOTH`, `ONLY_FOLDED` or `ONLY_CASED`.

    Returns:
        Where it ended: before the end of `which` if there was no room for another set.
    """
    seen = literals.seen
    for turn in range(begin, len(which)):
        start, end = _I64(offsets[which[turn]]), _I64(offsets[which[turn] + 1])
        sets.state[0] += 1
        text = sets.state[0]
        count, hashed, every, window = 0, _ZERO, np.uint8(0), _U32(0)
        if end > start and looks[data[start]]:
            last = len(literals.size)
            hits[0], seen[last], count, hashed = last, text, 1, literals.mix[last]
        for piece in range(start, end, PIECE):
            stop: Any = min(piece + PIECE, end)
            marked = _I64(0)
            for at in range(np.uint64(piece), np.uint64(stop)):  # without a sign none counts from the end
                byte = data[at]
                every |= byte
                window = _U32(((window << _NEAR) | _CODES[byte]) & _ALL)
                marks[marked] = at
                marked += _I64(_U32((windows.bits[window >> _FIVE] >> (window & _LOW)) & _ONE))
            for mark in range(marked):
                at = marks[mark]
                code = CLASSES[data[at]]
                if at > start:
                    code |= CLASSES[data[at - 1]] << CLASS_BITS
                if at > start + 1:
                    code |= CLASSES[data[at - 2]] << 2 * CLASS_BITS
                below = _I64(windows.bits[code >> 5]) & ((1 << (code & 31)) - 1)
                bucket = windows.rank[code >> 5] + _ones(below)
                for k in range(windows.start[bucket], windows.start[bucket + 1]):
                    literal = windows.listed[k]
                    if seen[literal] == text:
                        continue
                    place = at - literals.tail[literal]
                    size = literals.size[literal]
                    how = literals.how[literal]
                    if how & CASED == kind:  # the kind that is left out
                        continue
                    if place < start or place + size > end:
                        continue
                    if (how & STARTS and place != start) or (how & ENDS and place + size != end):
                        continue
                    if _is_at(data, place, literals.text, literals.start[literal], size, how & CASED != 0):
                        seen[literal] = text
                        hits[count] = literal
                        count += 1
                        hashed += literals.mix[literal]
        if start == end or (every >= 0x80 and kind == BOTH):
            found[turn] = NONE
            continue
        number = _set(sets, hashed, hits, count, seen, text)
        if number == NONE:
            return turn
        found[turn] = number
    return len(which)
