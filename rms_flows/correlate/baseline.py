"""How far a match is from what is normal for its group: rows and their windows → scores.

What is normal is worked out anew from the rows that lie in the window, so a baseline has no memory of its
own, and the order in which rows came can't change it.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from rms_flows.correlate import baseline_kernel
from rms_flows.correlate.spec import Baseline, Correlation
from rms_flows.correlate.state import Rows

CONSISTENT: Final = 1.4826
"""Makes the median absolute deviation of a normal distribution its standard deviation: 1 / Φ⁻¹(3/4).

Rousseeuw and Croux, "Alternatives to the median absolute deviation", JASA 88 (1993), section 1.
"""

CONSISTENT_MEAN: Final = 1.2533
"""The same for the mean absolute deviation, √(π/2), which takes its place where most values are the same.

So does IBM Cognos Analytics ("Modified z score"): by a median deviation of 0, each value but the usual one
would be infinitely far away, however often there was one like it.
"""

RESOLUTION: Final = 1e-3
"""Part of the median that counts as spread at least: readings are seldom finer than ten bits, so a series
that was constant until now isn't conspicuous for its last digit."""

SMALLEST: Final = 1e-9
"""Spread at least, in the metric's unit, where the median is 0 too: whatever isn't 0 is far from normal."""

LARGEST: Final = 1e9
"""Scores end here: finite, whatever the values."""

_SCALE: Final = 2.0**-64
"""Of the unit in which scores are worked out: no difference or sum of values is too large for a float64."""


def scored(
    one: Correlation, rows: Rows, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give the score of every row, NaN where too little is known, and the rows [low, high) it speaks of.

    Args:
        one: Of the kind `baseline`.
        rows: Sorted by group, time and id.
        low: int64, the first row of each row's window, which ends with its time.
        high: int64, the row behind its last.
    """
    normal = one.baseline or Baseline()
    if normal.method == "regularity":
        return _regularity(normal, rows, low, high), low, high
    row = np.arange(len(rows), dtype=np.int64)
    return _deviation(normal, rows, low), row, row + 1


def _deviation(normal: Baseline, rows: Rows, low: np.ndarray) -> np.ndarray:
    """Give the distance from the median of earlier values of the same slot, in robust standard deviations.

    The modified z-score of Iglewicz and Hoaglin, "How to Detect and Handle Outliers" (1993), who call more
    than 3.5 an outlier: |x - median| / (1.4826 · MAD). What is of its own time is no part of it.
    """
    assert rows.value is not None  # noqa: S101  this method has it
    count = len(rows)
    row = np.arange(count, dtype=np.int64)
    fresh, _ = _changes(rows)
    start = np.maximum.accumulate(np.where(fresh, row, 0))  # the first row of the same group and time
    # rows of one slot side by side, else in their order: those of a window, which are of one group, stay so
    base = _slots(rows.time, normal) * count
    order = np.argsort(base, kind="stable")
    base = base[order]
    key = base + order
    first = np.searchsorted(key, base + low[order])
    last = np.searchsorted(key, base + start[order])
    value = rows.value.view(np.float64)[order] * _SCALE
    middle, spread, mean = _medians(first, last, value)
    spread = np.where(spread > 0, CONSISTENT * spread, CONSISTENT_MEAN * mean)
    spread = np.maximum(spread, np.maximum(RESOLUTION * np.abs(middle), SMALLEST * _SCALE))
    with np.errstate(over="ignore"):
        score = np.minimum(np.abs(value - middle) / spread, LARGEST)
    found = np.empty(count, np.float64)
    found[order] = np.where(last - first >= max(normal.least, 1), score, np.nan)
    return found


def _regularity(normal: Baseline, rows: Rows, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Give how alike the intervals are between successive times of a window: 1 all the same, 0 as by chance.

    max(0, 1 - 1.4826 · MAD / median). It is the score of dispersion of RITA (activecm/rita, `tsMadmScore`,
    1 - MAD / median) with the factor that makes the MAD a standard deviation: of exponential intervals, those
    of events that come by chance, 1.4826 · MAD is 1.03 medians, and the score near 0.
    """
    fresh, apart = _changes(rows)
    ends = np.flatnonzero(fresh & ~apart)  # rows that end an interval
    value = (rows.time[ends] - rows.time[ends - 1]).astype(np.float64)
    before = np.concatenate([[0], np.cumsum(fresh & ~apart)])
    first, last = before[low + 1], before[high]
    middle, spread, _ = _medians(first, last, value)
    known = last - first >= max(normal.least, 1)
    score = np.full(len(rows), np.nan)
    score[known] = np.maximum(1.0 - CONSISTENT * spread[known] / middle[known], 0.0)
    return score


def _changes(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Tell of each row whether it is at another time than the one before, and whether of another group."""
    apart, fresh = np.ones(len(rows), dtype=bool), np.ones(len(rows), dtype=bool)
    apart[1:] = rows.group[1:] != rows.group[:-1]
    fresh[1:] = apart[1:] | (rows.time[1:] != rows.time[:-1])
    return fresh, apart


def _slots(time: np.ndarray, normal: Baseline) -> np.ndarray:
    """Give the part of the season in which each time lies, from 0 on, in whole numbers: nothing is rounded.

    Example:
        >>> _slots(np.array([-1, 0, 33, 34, 100]), Baseline(season=100, slots=3)).tolist()
        [2, 0, 0, 1, 0]
    """
    if not normal.season:
        return np.zeros(len(time), np.int64)
    return np.asarray(time % normal.season * normal.slots // normal.season)


def _medians(low: np.ndarray, high: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Give medians of values [low, high), and their median and mean deviations, see the kernel; else 0."""
    found = np.zeros((3, len(low)), np.float64)
    room = np.empty(int((high - low).max(initial=0)), np.float64)
    baseline_kernel.medians(low, high, value, room, *found)
    return found
