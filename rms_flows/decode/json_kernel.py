"""The inner loop of fast JSON decoding, compiled by Numba: bytes of many records → column buffers at once.

It accepts only what is surely right (RFC 8259; no repeated key, no surrogate escape, no exponent, objects
nested up to `DEPTH`, lists of scalars only); every other record is marked and goes the slow way, which
either decodes it or says what is wrong with it. So this loop never needs an error message, and never accepts
what the slow way would refuse.

Bytes stand in a buffer with `simd.WIDTH` zeros behind them: a zero stops every loop, so none checks for the
end. Records of one log have the same keys in the same order: which key follows is guessed from what followed
the last time, and one comparison of a block proves it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from rms_flows.compiled import compiled, inlined
from rms_flows.decode.kinds import NULL
from rms_flows.decode.simd import (
    AHEAD,
    WIDTH,
    above_one,
    address,
    byte,
    copy,
    ends,
    lowest,
    put_byte,
    put_int32,
    put_word,
    to_read,
    to_write,
    unequal,
    word,
)
from rms_flows.decode.text_kernel import FULL, SLOW, array, literal, number, skip, string

DEPTH = 16
"""Deepest nesting that the fast way follows."""

NEW = -3
"""A key that has no column yet."""

DONE = 0

BEHIND: Final = 2 * WIDTH
"""Bytes behind a column's that may be written."""

LEAST: Final = 1 << 13
"""Bytes that a column has room for, at least."""

MORE: Final = 1.125
"""Times the room that is expected to do."""

_GUESSED = 1.5  # the same, where few rows say what is expected
_FADING = 0.8  # of the room that a column had, at least, when its values get shorter

KEY: Final = np.dtype(
    [
        ("text", np.int64),  # where its text begins: address, closing quote and colon included
        ("length", np.int64),  # of the key alone
        ("mask", np.uint64),  # the bits of a block that are text; 0 where it is longer than one
        ("seen", np.int64),  # stamp of the last record with it
        ("base", np.int64),  # where its column's bytes begin: address, 0 where it has no column yet
        ("place", np.int64),  # where the next value goes
        ("limit", np.int64),  # no value block may begin behind it
        ("offsets", np.int64),  # address of Arrow's offsets, int32[rows + 1]
        ("kinds", np.int64),  # address of uint8[rows], zeros, takes 1 + kind
        ("valid", np.int64),  # address of Arrow's marks of what is there, a bit a row in words of 64
        ("filled", np.int64),  # how many of the offsets are written
        ("count", np.int64),  # values of this call
        ("nulls", np.int64),  # those that are null
        ("keep", np.int64),  # -1, or 0 where nobody asked for it
        ("parent", np.int32),  # the key of the object that it stands in
        ("next", np.int32),  # the key that came behind it the last time
        ("since", np.int32),  # the row from which on its column has values
        ("rate", np.float32),  # bytes a row in the last call that had it: two lines of cache an entry
    ]
)
"""A key and its column; number 0 is none, and its `next` begins a record."""

ROOM: Final = np.dtype(
    [
        ("stamp", np.int64),  # of the last try of a record: no other has it
        ("open", np.int64),  # whether each key may have a column; else only those whose `keep` says so
        ("rows", np.int64),  # most rows that there will be
        ("share", np.float64),  # of the bytes a row that are expected: what there is memory for
        ("most", np.int64),  # bytes that no column has more than
        ("columns", np.int64),  # that there is room for
        ("given", np.int64),  # those of them that are taken
        ("offsets", np.int64),  # address of the offsets of the first
        ("kinds", np.int64),  # zeros
        ("valid", np.int64),
        ("place", np.int64),  # of bytes that no column has yet
        ("limit", np.int64),  # behind the last of these
    ]
)
"""Memory for columns to come."""


class Keys(NamedTuple):
    """The keys seen so far."""

    entries: np.ndarray  # KEY
    text: np.ndarray  # uint8, of all
    slot: np.ndarray  # int32, open hash table
    outer: np.ndarray  # int32[DEPTH], the keys of the objects around the current one
    used: np.ndarray  # int64[2], keys and bytes of text in use
    touched: np.ndarray  # int32, keys of the values of the current record
    aside: np.ndarray  # uint8, takes what nobody asked for
    room: np.ndarray  # ROOM[1]


_ONE = np.uint64(1)
_MIX = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd: spreads bits upwards


@inlined
def _same(i: int, text: int, left: int) -> bool:
    """Tell whether so many bytes are the same at two places."""
    while left > WIDTH:
        if unequal(i, text):
            return False
        i, text, left = i + WIDTH, text + WIDTH, left - WIDTH
    return bool((unequal(i, text) << np.uint64(WIDTH - left)) == 0)


@compiled
def _find(i: int, parent: int, keys: Keys) -> tuple[int, int]:
    """Look a key up by hash, adding it when it is new; give its number and the place behind its end.

    A number of 0 says: slow way (an escape in the key, or the table is full).
    """
    start = i
    while True:
        stops, slashes = ends(i)
        if stops | slashes:
            break
        i += WIDTH
    i += lowest(stops | slashes)
    if byte(i) != 34:
        return 0, i
    length = i - start
    code = word(start)
    if length < 8:
        code &= (_ONE << np.uint64(8 * length)) - _ONE
    else:
        code ^= word(i - 8) * _MIX
    code = (code ^ np.uint64(parent * 64 + length)) * _MIX
    mask = len(keys.slot) - 1
    slot = np.int64(code >> np.uint64(40)) & mask
    while keys.slot[slot]:
        key = keys.slot[slot]
        known = keys.entries[key]
        if known.parent == parent and known.length == length and _same(start, known.text, length + 1):
            return key, i + 1
        slot = (slot + 1) & mask
    return _added(start, length, parent, slot, keys), i + 1


@compiled
def _added(start: int, length: int, parent: int, slot: np.int64, keys: Keys) -> int:
    """Add a key to the table; give its number, 0 where that is full."""
    key, used = keys.used[0] + 1, keys.used[1]
    if key >= len(keys.entries) or used + length + 2 + WIDTH > len(keys.text):
        return 0
    new = keys.entries[key]
    new.length, new.parent, new.text = length, parent, address(keys.text) + used
    for j in range(length + 1):
        put_byte(new.text + j, byte(start + j))
    put_byte(new.text + length + 1, 58)
    if length + 2 <= WIDTH:
        new.mask = ~np.uint64(0) >> np.uint64(WIDTH - length - 2)
    keys.slot[slot] = key
    keys.used[0], keys.used[1] = key, used + length + 2
    return int(key)


@inlined
def _key(i: int, last: int, parent: int, keys: Keys) -> tuple[int, int]:
    """Take the key that begins at `i` and its colon; give its number and where its value begins, or 0."""
    guess = keys.entries[last].next
    known = keys.entries[guess]
    if known.mask and not unequal(i, known.text) & known.mask and known.parent == parent:
        i += known.length + 2
        return guess, (skip(i) if byte(i) <= 32 else i)
    key, i = _find(i, parent, keys)
    keys.entries[last].next = key
    i = skip(i)
    return (key if byte(i) == 58 else 0), skip(i + 1)


@inlined
def _value(i: int, key: int, row: int, keys: Keys, aside: int) -> int:
    """Take a value that is no object into its column; give its end, or why there is none."""
    own = keys.entries[key]
    if own.base == 0:
        return NEW
    first, start, limit, keep = byte(i), own.place, own.limit, own.keep
    to_read(i + AHEAD)
    if first == 34:
        i, place, kind = string(i + 1, start, limit, keep)
    elif first == 45 or 48 <= first <= 57:
        i, place, kind = number(i, start, limit, keep)
    elif first == 91:
        i, place, kind = array(i, start, limit, keep, aside)
    else:
        i, place, kind = literal(i, start, limit, keep)
    if i < 0:
        return i
    own.place = place
    to_write(place + WIDTH)
    own.count += 1
    if kind == NULL:
        own.nulls += 1
    if keep:
        offsets, before = own.offsets, start - own.base
        for r in range(own.filled, row + 1):
            put_int32(offsets + 4 * r, before)
        own.filled = row + 1
        put_byte(own.kinds + row, kind + 1)
    return i


@compiled
def _record(i: int, end: int, row: int, stamp: int, keys: Keys) -> tuple[int, int, int]:
    """Take one record; give `DONE` or why not, how many keys it touched, and the last key."""
    depth, parent, key, n = 0, 0, 0, 0
    aside = address(keys.aside)
    i = skip(i)
    if byte(i) != 123:
        return SLOW, n, key
    i = skip(i + 1)
    while True:
        if byte(i) != 34:
            return SLOW, n, key
        key, i = _key(i + 1, key, parent, keys)
        own = keys.entries[key]
        if key == 0 or own.seen == stamp:
            return SLOW, n, key
        own.seen = stamp
        if byte(i) == 123:
            if depth == DEPTH:
                return SLOW, n, key
            keys.outer[depth] = parent
            depth += 1
            parent = key
            i = skip(i + 1)
            continue
        i = _value(i, key, row, keys, aside)
        if i < 0:
            return i, n, key
        keys.touched[n] = key
        n += 1
        if byte(i) == 44 and byte(i + 1) == 34:
            i += 1
            continue
        i = skip(i)
        while byte(i) == 125:
            inside = i < end  # else the brace is that of a later record
            i = skip(i + 1)
            if depth == 0:
                return (DONE if inside and i >= end else SLOW), n, key
            depth -= 1
            parent = keys.outer[depth]
        if byte(i) != 44:
            return SLOW, n, key
        i = skip(i + 1)


@compiled
def _undo(keys: Keys, n: int, row: int) -> None:
    """Take back the values of a record."""
    for t in range(n):
        own = keys.entries[keys.touched[t]]
        own.count -= 1
        if not own.keep:
            continue
        own.filled = row
        own.place = own.base + (np.int64(word(own.offsets + 4 * row)) & 0x7FFFFFFF)
        own.nulls -= byte(own.kinds + row) == NULL + 1
        put_byte(own.kinds + row, 0)


@compiled
def _bytes_for(key: int, row: int, keys: Keys) -> int:
    """Give how many bytes a column should have that begins in a row."""
    room = keys.room[0]
    expected = np.int64(keys.entries[key].rate * room.share * (room.rows - row) * MORE)
    return int((min(expected, room.most) + LEAST + BEHIND + WIDTH - 1) // WIDTH * WIDTH)


@compiled
def _give(key: int, row: int, keys: Keys) -> bool:
    """Give a key a column whose first value stands in a row, if there is room."""
    own, room = keys.entries[key], keys.room[0]
    size = _bytes_for(key, row, keys)
    if room.given == room.columns or size > room.limit - room.place:
        return False
    step = (room.rows + WIDTH - 1) // WIDTH * WIDTH
    own.offsets = room.offsets + room.given * 4 * (room.rows + 1)
    own.kinds = room.kinds + room.given * step
    own.valid = room.valid + room.given * (step // 8)
    own.base = own.place = room.place
    own.limit = room.place + size - BEHIND
    own.keep, own.since = -1, row
    room.place += size
    room.given += 1
    return True


@compiled
def _widen(key: int, row: int, record: int, left: int, keys: Keys) -> int:
    """Give a column room for what it needs if the rows to come are like those that came.

    Args:
        key: Its key.
        row: The row that did not fit.
        record: Bytes of that row's record.
        left: Bytes of it and of all records behind it.
        keys: The table of keys.

    Returns:
        The bytes that are missing for that; 0 where it was done.
    """
    own, room = keys.entries[key], keys.room[0]
    used = own.place - own.base
    expected = np.int64(used * (room.rows - own.since) / (row + 1 - own.since) * _GUESSED)
    expected = min(max(2 * used, expected, used + record), used + left)
    size = (expected + LEAST + BEHIND + WIDTH - 1) // WIDTH * WIDTH
    if size > room.limit - room.place:
        return int(size)
    for j in range(0, used, WIDTH):
        copy(own.base + j, room.place + j)
    own.base, own.place, own.limit = room.place, room.place + used, room.place + size - BEHIND
    room.place += size
    return 0


@compiled
def expected(keys: Keys) -> tuple[int, int]:
    """Give how many columns the last call had, and how many bytes they should have now."""
    columns, size = 0, 0
    for key in range(1, keys.used[0] + 1):
        own = keys.entries[key]
        if own.keep and own.count:
            columns += 1
            size += _bytes_for(key, 0, keys)
    return columns, size


@compiled
def begin(keys: Keys) -> None:
    """Forget the values of the last call, and give keys that had some their columns."""
    for key in range(1, keys.used[0] + 1):
        own = keys.entries[key]
        had = own.count
        own.count = own.nulls = own.filled = 0
        if own.keep:  # what nobody asked for stays so
            own.base = 0
            if had:
                _give(key, 0, keys)


@compiled
def scan(
    buf: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    slow: np.ndarray,
    keys: Keys,
    record: int,
    row: int,
) -> tuple[int, int, int, int, int]:
    """Copy the values of records into their columns, row after row; slow records take no row.

    Args:
        buf: uint8, padded with zeros.
        starts: int64[records], first byte of each record.
        ends: int64[records], the place behind its last.
        slow: bool[records], is set where a record has to go the slow way.
        keys: The table of keys, grows.
        record: The record to begin with.
        row: Its row.

    Returns:
        `DONE`, or `NEW` where a key has no column or `FULL` where there is no more memory; the record to go
        on with; its row; the key; how many bytes are missing, at least.
    """
    at = address(buf)
    room = keys.room[0]
    r = record
    while r < len(starts):
        room.stamp += 1
        why, n, key = _record(at + starts[r], at + ends[r], row, room.stamp, keys)
        if why == DONE:
            row += 1
            r += 1
            continue
        _undo(keys, n, row)
        if why == SLOW:
            slow[r] = True
            r += 1
        elif why == NEW:
            if not (room.open or keys.entries[key].keep):
                return NEW, r, row, key, 0
            if not _give(key, row, keys):
                return FULL, r, row, key, _bytes_for(key, row, keys)
        else:
            missing = _widen(key, row, ends[r] - starts[r], ends[-1] - starts[r], keys)
            if missing:
                return FULL, r, row, key, missing
    return DONE, r, row, 0, 0


@compiled
def close(columns: np.ndarray, keys: Keys, rows: int) -> None:
    """Write what columns lack when all rows are there: the offsets of the last, and what is valid.

    Args:
        columns: int64, the keys with a column.
        keys: The table of keys.
        rows: How many rows there are.
    """
    for c in range(len(columns)):
        own = keys.entries[columns[c]]
        offsets, size = own.offsets, own.place - own.base
        for r in range(own.filled, rows + 1):
            put_int32(offsets + 4 * r, size)
        if own.count - own.nulls < rows:
            kinds, valid = own.kinds, own.valid
            for first in range(0, rows, WIDTH):
                put_word(valid + first // 8, above_one(kinds + first))
        own.rate = max(np.float64(size) / rows, own.rate * _FADING)


__all__ = [
    "BEHIND", "DEPTH", "DONE", "FULL", "KEY", "LEAST", "NEW", "ROOM", "SLOW",
    "Keys", "begin", "close", "expected", "scan",
]  # fmt: skip
