"""The inner loop of detection, compiled by Numba: many texts, many literals → which ones each text has.

A text is looked at through windows of three or four bytes, at every place or, where literals are long, up to
eight bytes apart: what lies between two is not seen. What stands in a
window is hashed to a place in a table that says whether a literal may be there; only then are literals
compared (the idea of Wu and Manber, "A Fast Algorithm for Multi-Pattern Searching", 1994, without its jumps,
which short literals forbid). The first loop has no branches and takes a processor about a cycle a window.
Nothing is made for a text but a number: texts that have the same literals have the same number.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from rms_flows.compiled import compiled
from rms_flows.sigma.codes import word

STARTS, ENDS, CASED = 1, 2, 4
"""Where a literal has to stand, and whether its case counts: flags."""

FOLDED = np.arange(256, dtype=np.uint8)
"""Byte → itself, capital letters of ASCII → small ones."""
FOLDED[ord("A") : ord("Z") + 1] += 32

CASELESS = 0x5F
"""What a window keeps of a byte: six bits, the same for both cases of a letter."""
SPREAD = 0x9E3779B1
"""An odd number: the highest bits of a product with it are a hash."""

_U32, _I64, _U64 = np.uint32, np.int64, np.uint64
_SPREAD, _EIGHT, _SIXTEEN, _TWENTY_FOUR = (np.uint32(n) for n in (SPREAD, 8, 16, 24))
_ZERO, _ONE, _TWO, _THREE = (np.uint64(n) for n in range(4))
_EIGHT_BYTES, _NO_ASCII = np.uint64(8), np.uint64(0x8080808080808080)
PIECE = 4096

NONE = -1
"""No number of a set: there is no room for it, or the text is left to others."""

BOTH, ONLY_FOLDED, ONLY_CASED = 1, CASED, 0
"""Which literals are looked for: all, unless the text has to be folded first; or one kind, in any text."""


class Windows(NamedTuple):
    """What stands in a window → the literals that may be there."""

    mask: np.uint32  # the bits of four bytes that count
    shift: np.uint32  # leaves of a hash the number of an entry
    stride: int  # 1: windows begin at every place, 2: at every other, up to 8
    table: np.ndarray  # uint8, entry → 1 if there may be a literal
    start: np.ndarray  # int32, where the literals of an entry begin in `listed`; one more than entries
    listed: np.ndarray  # int32, numbers of literals
    back: np.ndarray  # int32, beside `listed`: bytes from the literal's beginning to the window's; may be < 0


class Literals(NamedTuple):
    """The literals, in the folded case unless theirs counts."""

    text: np.ndarray  # uint8, one after the other
    start: np.ndarray  # int64, where each begins
    size: np.ndarray  # int64, bytes
    how: np.ndarray  # uint8, flags
    mix: np.ndarray  # uint64, random: the sum over a set is the set's hash
    seen: np.ndarray  # int64, the text that last had it
    wide: bool  # whether one without case isn't ASCII


class Sets(NamedTuple):
    """The different sets of literals that texts had so far."""

    slot: np.ndarray  # int32, open addressing by hash → number of the set; -1 is free
    hash: np.ndarray  # uint64
    start: np.ndarray  # int64, where the members of a set begin; one more than sets
    member: np.ndarray  # int32, numbers of literals
    state: np.ndarray  # int64: texts looked at ever, sets


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
def _window(data: np.ndarray, at: Any) -> Any:
    """Give the window at a place; beyond the end of the data there are zeros."""
    window = _U32(0)
    for k in range(min(4, len(data) - at)):
        window |= _U32(data[at + k]) << _U32(8 * k)
    return window


@compiled
def _is_ascii(data: np.ndarray, low: Any, high: Any) -> Any:
    """Tell it of every byte, also of those between windows."""
    piece, every = data[low:high], np.uint8(0)
    for at in range(len(piece)):
        every = np.uint8(every | piece[at])
    return every < np.uint8(0x80)


@compiled
def _sieve(data: np.ndarray, low: Any, high: Any, windows: Windows, marks: np.ndarray) -> Any:
    """Write down the windows of literals that may begin from `low` on, up to `high`; give how many."""
    mask, shift, stride, table = windows.mask, windows.shift, _U64(windows.stride), windows.table
    at = _U64(low // windows.stride * windows.stride)  # unsigned: none counts from the end
    whole = _U64(max(min(high, len(data) - 3), 0))
    marked = _ZERO
    while at < whole:
        window = _U32(data[at]) | _U32(data[at + _ONE]) << _EIGHT
        window |= _U32(data[at + _TWO]) << _SIXTEEN | _U32(data[at + _THREE]) << _TWENTY_FOUR
        marks[marked] = at
        marked += _U64(table[_U32((window & mask) * _SPREAD) >> shift])
        at += stride
    while at < _U64(high):
        marks[marked] = at
        marked += _U64(table[_U32((_window(data, _I64(at)) & mask) * _SPREAD) >> shift])
        at += stride
    return _I64(marked)


@compiled
def _ahead(offsets: np.ndarray, which: np.ndarray, turn: int, place: Any) -> Any:
    """Give where a piece that begins at `place`, in the text of this turn, ends: it takes up what follows."""
    end = _I64(offsets[which[turn] + 1])
    turn += 1
    while end < place + PIECE and turn < len(which) and _I64(offsets[which[turn]]) == end:
        end = _I64(offsets[which[turn] + 1])
        turn += 1
    return min(end, place + PIECE)


@compiled
def _takes_more(data: np.ndarray, start: Any, end: Any, wide: Any) -> Any:
    r"""Tell whether a text that isn't ASCII has to be folded first, since what it folds to may be looked for.

    Two characters fold to ASCII, \u017f and \u212a; any other matters only if there are `wide` literals.
    """
    before, at, stop = np.uint8(0), _U64(start), _U64(end)
    while at < stop:
        if at + _EIGHT_BYTES <= stop and word(data, at) & _NO_ASCII == _ZERO:
            before = np.uint8(0)
            at += _EIGHT_BYTES
            continue
        byte = data[at]
        if byte >= 0x80 and (wide or (before == 0xC5 and byte == 0xBF) or (before == 0xE2 and byte == 0x84)):
            return True
        before = byte
        at += _ONE
    return False


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
        which: int64, the texts that are asked for; ascending is fastest.
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
    at, high, mark, marked = _I64(0), _I64(0), _I64(0), _I64(0)  # looked at up to `at`, sieved up to `high`
    ascii_only = True  # what was sieved
    for turn in range(begin, len(which)):
        start, end = _I64(offsets[which[turn]]), _I64(offsets[which[turn] + 1])
        if start == end:
            found[turn] = NONE
            continue
        sets.state[0] += 1
        text = sets.state[0]
        count, hashed, plain = 0, _ZERO, True
        if looks[data[start]]:
            last = len(literals.size)
            hits[0], seen[last], count, hashed = last, text, 1, literals.mix[last]
        if start < at:
            high = _I64(0)
        at = start
        while mark > 0 and marks[mark - 1] + windows.stride > start:
            mark -= 1  # a window may begin before the text in which its literal is
        while at < end:
            if at >= high:
                high = _ahead(offsets, which, turn, at)
                marked, ascii_only = _sieve(data, at, high, windows, marks), _is_ascii(data, at, high)
                mark = _I64(0)
            stop = min(end, high)
            if kind == BOTH and not ascii_only:
                plain = plain and not _takes_more(data, max(at - 1, start), stop, literals.wide)
            while mark < marked and marks[mark] < stop:
                place = marks[mark]
                mark += 1
                entry = _U32((_window(data, place) & windows.mask) * _SPREAD) >> windows.shift
                for k in range(windows.start[entry], windows.start[entry + 1]):
                    literal = windows.listed[k]
                    how = literals.how[literal]
                    if seen[literal] == text or how & CASED == kind:  # the kind that is left out
                        continue
                    first = place - windows.back[k]
                    size = literals.size[literal]
                    if first < start or first + size > end:
                        continue
                    if (how & STARTS and first != start) or (how & ENDS and first + size != end):
                        continue
                    if _is_at(data, first, literals.text, literals.start[literal], size, how & CASED != 0):
                        seen[literal] = text
                        hits[count] = literal
                        count += 1
                        hashed += literals.mix[literal]
            at = stop
        if not plain:
            found[turn] = NONE
            continue
        number = _set(sets, hashed, hits, count, seen, text)
        if number == NONE:
            return turn
        found[turn] = number
    return len(which)


@compiled
def groups_in(
    data: np.ndarray,
    windows: Windows,
    literals: Literals,
    groups: np.ndarray,
    wanted: Any,
    marks: np.ndarray,
) -> Any:
    """Give the groups of which a literal may stand anywhere in some bytes, where a text begins or not.

    A group that is left out is certain; one that is given may have a literal across two texts, or one of
    characters that have to be folded.

    Args:
        data: uint8, texts, one after the other or with anything between.
        windows: Where to look for which literal.
        literals: What to look for.
        groups: uint64, a bit for each group that a literal is of.
        wanted: uint64, the groups that are asked for.
        marks: int64, room for the places of a piece and one more.
    """
    at, end, found = _I64(0), _I64(len(data)), _ZERO
    while at < end:
        high = min(at + PIECE, end)
        marked = _sieve(data, at, high, windows, marks)
        if not _is_ascii(data, at, high) and _takes_more(data, max(at - 1, 0), high, literals.wide):
            return _U64(wanted)
        for mark in range(marked):
            place = marks[mark]
            entry = _U32((_window(data, place) & windows.mask) * _SPREAD) >> windows.shift
            for k in range(windows.start[entry], windows.start[entry + 1]):
                literal = windows.listed[k]
                first = place - windows.back[k]
                size = literals.size[literal]
                if first < 0 or first + size > end or groups[literal] & wanted & ~found == _ZERO:
                    continue
                cased = literals.how[literal] & CASED != 0
                if _is_at(data, first, literals.text, literals.start[literal], size, cased):
                    found |= groups[literal] & wanted
                    if found == wanted:
                        return found
        at = high
    return found
