"""The inner loops of correlation, compiled by Numba: matches sorted by group, time and id.

Each loop goes once over the rows with two hands, the first and the last row of a window, so that it costs the
same per row whatever the window holds. Rows of one group and one time are judged together: a window is closed
on both sides, so each of them sees all of them.
"""

from __future__ import annotations

import numpy as np

from rms_flows.compiled import compiled

NOT_SEEN = -(2**62)
"""Stands for the time of what was not seen."""

MANY = 1e300
"""A hundred times this may be more than a float can hold."""


@compiled
def windows(group: np.ndarray, time: np.ndarray, span: int, low: np.ndarray, high: np.ndarray) -> None:
    """Give the rows [low, high) of each row's window: of its group, from its time less `span` to its time.

    Args:
        group: uint64, sorted.
        time: int64, sorted within a group.
        span: Length of the window.
        low: int64, filled in.
        high: int64, filled in.
    """
    count = len(group)
    first = 0
    row = 0
    while row < count:
        if row == 0 or group[row] != group[row - 1]:
            first = row
        end = row + 1
        while end < count and group[end] == group[row] and time[end] == time[row]:
            end += 1
        while time[first] < time[row] - span:
            first += 1
        for each in range(row, end):
            low[each] = first
            high[each] = end
        row = end


@compiled
def distinct(low: np.ndarray, high: np.ndarray, code: np.ndarray, had: np.ndarray, found: np.ndarray) -> None:
    """Count the different values of each row's window.

    Args:
        low: int64, see `windows`.
        high: int64.
        code: int64, group and value of each row as a number from 0 on.
        had: int64 zeros, one for each code.
        found: int64, filled in.
    """
    first, last, count = 0, 0, 0
    for row in range(len(low)):
        if low[row] >= last:  # another group
            for other in range(first, last):
                had[code[other]] = 0
            first, last, count = low[row], low[row], 0
        while last < high[row]:
            had[code[last]] += 1
            count += had[code[last]] == 1
            last += 1
        while first < low[row]:
            had[code[first]] -= 1
            count -= had[code[first]] == 0
            first += 1
        found[row] = count


@compiled
def between(left: float, right: float, percent: float) -> float:
    """Give what lies at a percentage of the way between two numbers.

    Of integers, and in the middle of any two, it is rounded once: a percentile of 55 between 0 and 100 is 55.
    """
    part = percent / 100.0
    if part == 1.0 - part or max(abs(left), abs(right)) > MANY:
        return left * (1.0 - part) + right * part
    return (left * (100.0 - percent) + right * percent) / 100.0


@compiled
def quantile(
    low: np.ndarray, high: np.ndarray, value: np.ndarray, percent: float, room: np.ndarray, found: np.ndarray
) -> None:
    """Give a percentile of each row's window by linear interpolation at (n - 1) · percent / 100.

    Args:
        low: int64, see `windows`.
        high: int64.
        value: float64, finite.
        percent: From 0 to 100.
        room: float64, as long as the longest window.
        found: float64, filled in.
    """
    first, last, count = 0, 0, 0
    for row in range(len(low)):
        if low[row] >= last:
            first, last, count = low[row], low[row], 0
        while last < high[row] or first < low[row]:
            if first < low[row] and (last >= high[row] or count == len(room)):
                at = np.searchsorted(room[:count], value[first])
                for k in range(at, count - 1):
                    room[k] = room[k + 1]
                count -= 1
                first += 1
            else:
                at = np.searchsorted(room[:count], value[last])
                for k in range(count, at, -1):
                    room[k] = room[k - 1]
                room[at] = value[last]
                count += 1
                last += 1
        place = (count - 1) * percent  # in hundredths: whole numbers stay whole
        under = int(place / 100.0)
        rest = place - 100.0 * under
        found[row] = room[under]
        if rest > 0.0 and room[under + 1] != room[under]:
            found[row] = between(room[under], room[under + 1], rest)


@compiled
def before(
    group: np.ndarray, time: np.ndarray, mask: np.ndarray, span: int, last: np.ndarray, found: np.ndarray
) -> None:
    """Tell which inputs matched in each row's window, a bit each.

    Args:
        group: uint64, sorted.
        time: int64, sorted within a group.
        mask: int64, the inputs of each row.
        span: Length of the window.
        last: int64, room for a time for each input.
        found: int64, filled in.
    """
    count = len(group)
    row = 0
    while row < count:
        if row == 0 or group[row] != group[row - 1]:
            last[:] = NOT_SEEN
        end = row
        every = np.int64(0)
        while end < count and group[end] == group[row] and time[end] == time[row]:
            every |= mask[end]
            end += 1
        bits = np.int64(0)
        for number in range(len(last)):
            if every >> number & 1:
                last[number] = time[row]
            if last[number] >= time[row] - span:
                bits |= np.int64(1) << number
        for each in range(row, end):
            found[each] = bits
        row = end


@compiled
def after(
    group: np.ndarray, time: np.ndarray, mask: np.ndarray, span: int, following: np.ndarray, found: np.ndarray
) -> None:
    """Tell which inputs match from each row's time on for `span`, a bit each; see `before`."""
    end = len(group)
    while end > 0:
        if end == len(group) or group[end - 1] != group[end]:
            following[:] = -NOT_SEEN
        row = end - 1
        every = mask[row]
        while row > 0 and group[row - 1] == group[end - 1] and time[row - 1] == time[end - 1]:
            row -= 1
            every |= mask[row]
        bits = np.int64(0)
        for number in range(len(following)):
            if every >> number & 1:
                following[number] = time[row]
            if following[number] <= time[row] + span:
                bits |= np.int64(1) << number
        for each in range(row, end):
            found[each] = bits
        end = row


@compiled
def ordered(
    group: np.ndarray,
    time: np.ndarray,
    mask: np.ndarray,
    best: np.ndarray,
    now: np.ndarray,
    found: np.ndarray,
) -> None:
    """Give the latest beginning of the inputs in their order, at times that rise, that ends with each row.

    Args:
        group: uint64, sorted.
        time: int64, sorted within a group.
        mask: int64, the inputs of each row.
        best: int64, room for a time for each input.
        now: int64, the same.
        found: int64, filled in; `NOT_SEEN` where the row ends no order.
    """
    count, inputs = len(group), len(best)
    row = 0
    while row < count:
        if row == 0 or group[row] != group[row - 1]:
            best[:] = NOT_SEEN
        end = row
        every = np.int64(0)
        while end < count and group[end] == group[row] and time[end] == time[row]:
            every |= mask[end]
            end += 1
        for number in range(inputs):
            now[number] = NOT_SEEN
            if every >> number & 1:
                now[number] = time[row] if number == 0 else best[number - 1]
        for each in range(row, end):
            found[each] = now[inputs - 1] if mask[each] >> (inputs - 1) & 1 else NOT_SEEN
        for number in range(inputs):
            best[number] = max(best[number], now[number])
        row = end


@compiled
def union(low: np.ndarray, high: np.ndarray, bucket: np.ndarray, start: np.ndarray) -> None:
    """Cut windows of one bucket so that they don't overlap: `start` is where each begins to add rows.

    Args:
        low: int64, of anchors sorted by group and time.
        high: int64.
        bucket: int64, the bucket of each anchor.
        start: int64, filled in.
    """
    reached = np.int64(0)
    for anchor in range(len(low)):
        if anchor == 0 or bucket[anchor] != bucket[anchor - 1]:
            reached = low[anchor]
        start[anchor] = min(max(low[anchor], reached), high[anchor])
        reached = max(reached, high[anchor])


@compiled
def needed(
    group: np.ndarray, time: np.ndarray, span: int, settled: int, line: int, found: np.ndarray
) -> None:
    """Tell which rows `new_terms` still needs: without the others the same ones look new.

    Args:
        group: uint64, sorted.
        time: int64, sorted within a group.
        span: How far back a row is known.
        settled: No row before it comes any more.
        line: No row before it is needed.
        found: bool, filled in.
    """
    count, last = len(group), -1
    for row in range(count):
        if row == 0 or group[row] != group[row - 1]:
            last = -1
        found[row] = time[row] >= line
        if found[row] and row + 1 < count and group[row + 1] == group[row] and time[row + 1] < settled:
            new = last < 0 or time[last] < time[row] - span
            found[row] = new or time[last] < time[row + 1] - span
        if found[row]:
            last = row


@compiled
def merged(
    group: np.ndarray, time: np.ndarray, high: np.ndarray, low: np.ndarray, second: int, order: np.ndarray
) -> None:
    """Give the order of rows that are sorted up to `second` and from there on, by group, time and id.

    Args:
        group: uint64.
        time: int64.
        high: uint64, the id's first half.
        low: uint64, its second half.
        second: Where the second part begins; of equal rows that of the first part comes first.
        order: int64, filled in.
    """
    a, b = 0, second
    for place in range(len(group)):
        if a == second:
            first = False
        elif b == len(group):
            first = True
        elif group[a] != group[b]:
            first = group[a] < group[b]
        elif time[a] != time[b]:
            first = time[a] < time[b]
        elif high[a] != high[b]:
            first = high[a] < high[b]
        else:
            first = low[a] <= low[b]
        if first:
            order[place] = a
            a += 1
        else:
            order[place] = b
            b += 1


_PRIME = np.uint64(0x100000001B3)
_OFFSET = np.uint64(0xCBF29CE484222325)
_A, _B = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
_HALF = np.uint64(33)


@compiled
def hashed(data: np.ndarray, offsets: np.ndarray, found: np.ndarray) -> None:
    """Hash texts: FNV-1a of 64 bits, and the finalizer of MurmurHash3 over it.

    Args:
        data: uint8, texts.
        offsets: int32, where each begins; one more than texts.
        found: uint64, filled in.
    """
    for text in range(len(found)):
        value = _OFFSET
        for at in range(offsets[text], offsets[text + 1]):
            value = (value ^ np.uint64(data[at])) * _PRIME
        value = (value ^ (value >> _HALF)) * _A
        value = (value ^ (value >> _HALF)) * _B
        found[text] = value ^ (value >> _HALF)
