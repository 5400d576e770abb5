"""The inner loops of baselines, compiled by Numba: the middle and the spread of windows that move on.

A window is kept sorted: what joins or leaves it is found by halving and costs a move of what stands behind,
and both medians are then read off without another sort.
"""

from __future__ import annotations

import numpy as np

from rms_flows.compiled import compiled, inlined


@inlined
def _put(room: np.ndarray, count: int, value: float) -> None:
    """Put a value in its place among the first `count`, which are sorted."""
    at = np.searchsorted(room[:count], value)
    for k in range(count, at, -1):
        room[k] = room[k - 1]
    room[at] = value


@inlined
def _drop(room: np.ndarray, count: int, value: float) -> None:
    """Take a value out of the first `count`, which are sorted and have it."""
    at = np.searchsorted(room[:count], value)
    for k in range(at, count - 1):
        room[k] = room[k + 1]


@inlined
def _distance(room: np.ndarray, count: int, middle: float, rank: int) -> float:
    """Give the `rank`-th smallest distance from `middle`, from 1 on.

    The `rank` values nearest to it stand side by side, and halving finds where they begin.
    """
    first, last = 0, count - rank
    while first < last:
        half = (first + last) // 2
        if middle - room[half] > room[half + rank] - middle:
            first = half + 1
        else:
            last = half
    under: float = middle - room[first]
    over: float = room[first + rank - 1] - middle
    return max(under, over)


@inlined
def _beside(room: np.ndarray, count: int, middle: float) -> float:
    """Give the mean distance from `middle`; costs what differs from it, for few do where it is asked for."""
    total, k = 0.0, 0
    while k < count and room[k] < middle:
        total += middle - room[k]
        k += 1
    k = count - 1
    while k >= 0 and room[k] > middle:
        total += room[k] - middle
        k -= 1
    return total / count


@compiled
def medians(
    low: np.ndarray,
    high: np.ndarray,
    value: np.ndarray,
    room: np.ndarray,
    middle: np.ndarray,
    spread: np.ndarray,
    mean: np.ndarray,
) -> None:
    """Give the median of values [low, high), and the median and mean distance from it, for many windows.

    Args:
        low: int64; neither it nor `high` falls as long as windows overlap.
        high: int64; an empty window is left as it was.
        value: float64, finite, and so are their differences and the sum of these.
        room: float64, as long as the longest window.
        middle: float64, filled in.
        spread: float64, filled in: the median distance.
        mean: float64, filled in where `spread` is 0, which it is when most values are the same.
    """
    first, last = 0, 0
    for row in range(len(low)):
        if low[row] >= last:  # nothing in common with the window before
            first, last = low[row], low[row]
        while first < low[row]:
            _drop(room, last - first, value[first])
            first += 1
        while last < high[row]:
            _put(room, last - first, value[last])
            last += 1
        count = last - first
        if count > 0:
            # halves, for a sum of two values can be too large
            middle[row] = 0.5 * room[(count - 1) // 2] + 0.5 * room[count // 2]
            under = _distance(room, count, middle[row], (count + 1) // 2)
            over = under if count % 2 else _distance(room, count, middle[row], count // 2 + 1)
            spread[row] = 0.5 * under + 0.5 * over
            if spread[row] == 0.0:
                mean[row] = _beside(room, count, middle[row])
