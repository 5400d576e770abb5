"""Where a correlation is true: its rows, in order → anchors, the number that was measured, windows."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Final

import numpy as np

from rms_flows.correlate import baseline, kernel
from rms_flows.correlate.spec import MOST, Both, Correlation, Either, Never, Presence, Seen, negated
from rms_flows.correlate.state import Rows

_ORDERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "gt": operator.gt, "gte": operator.ge, "lt": operator.lt, "lte": operator.le, "eq": operator.eq,
    "neq": operator.ne,
}  # fmt: skip
_EXACT: Final = 2.0**53


@dataclass(frozen=True, slots=True)
class Judged:
    """What is known of rows, each array of shape (rows,).

    Args:
        true: bool, whether the condition holds at the row.
        anchor: int64, microseconds: when it holds; the row's time, or the deadline of a silence.
        whole: int64, the first row of the window.
        low: int64, the first of its rows that count, where it holds more than may.
        high: int64, the row behind its last.
        measured: float64, the number that was compared, NaN where none is.
        counts: bool, rows that count as evidence; None where all do.
    """

    true: np.ndarray
    anchor: np.ndarray
    whole: np.ndarray
    low: np.ndarray
    high: np.ndarray
    measured: np.ndarray
    counts: np.ndarray | None = None


def judge(one: Correlation, rows: Rows, most: int = MOST) -> Judged:
    """Judge every row of whole groups.

    What is there (different values, inputs, their order) is asked of the whole window, since a limit on it
    would let one more event take away what was true; the limit is on events that are counted, added or named.

    Args:
        one: What to look for.
        rows: Sorted by group, time and id; for a row to be judged right, its window has to be there.
        most: Rows of a window at most.
    """
    if one.kind in {"flatline", "new_terms"}:
        return _silence(one, rows) if one.kind == "flatline" else _first(one, rows)
    count = len(rows)
    whole, high = np.empty(count, np.int64), np.empty(count, np.int64)
    kernel.windows(rows.group, rows.time, one.timespan, whole, high)
    low = np.maximum(whole, high - most)
    if one.kind == "baseline":
        measured, first, last = baseline.scored(one, rows, low, high)
        true = _within(one, measured) & ~np.isnan(measured)
        return Judged(true, rows.time, first - (low - whole), first, last, measured)
    counts = None
    measured = np.full(count, np.nan)
    if one.kind == "event_count":
        measured = (high - low).astype(np.float64)
        true = _within(one, measured)
    elif one.kind == "value_count":
        measured = _distinct(rows, whole, high).astype(np.float64)
        true = _within(one, measured)
    elif one.kind in {"value_sum", "value_avg"}:
        measured, true = _totals(one, rows, low, high)
    elif one.kind in {"value_median", "value_percentile"}:
        measured = _quantile(one, rows, low, high)
        true = _within(one, measured)
    elif one.kind == "temporal":
        true, measured = _temporal(one, rows)
        if bits := negated(one.presence):
            counts = (_mask(rows) & ~np.int64(bits)) != 0
            true &= counts
    else:
        true = _ordered(one, rows)
    return Judged(true, rows.time, whole, low, high, measured, counts)


def _within(one: Correlation, measured: np.ndarray) -> np.ndarray:
    true = np.ones(len(measured), dtype=bool)
    for bound in one.bounds:
        true &= _ORDERS[bound.order](measured, bound.number)
    return true


def _mask(rows: Rows) -> np.ndarray:
    assert rows.mask is not None  # noqa: S101  kinds that ask have it
    return rows.mask


def _value(rows: Rows) -> np.ndarray:
    assert rows.value is not None  # noqa: S101  kinds that ask have it
    return rows.value


def _distinct(rows: Rows, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    codes = np.unique(_value(rows), return_inverse=True)[1].astype(np.int64)
    found = np.empty(len(rows), np.int64)
    kernel.distinct(low, high, codes, np.zeros(len(rows) + 1, np.int64), found)
    return found


def _totals(one: Correlation, rows: Rows, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give sums or means and which of them fulfil the bounds, rounded once, whatever the order of the rows.

    Running totals are off by what came before, so where that could decide, and for what is reported, the
    window is added up by itself.
    """
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows on the way is added up by itself
        return _checked_totals(one, rows, low, high)


def _checked_totals(
    one: Correlation, rows: Rows, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    values = _value(rows).view(np.float64)
    size = (high - low).astype(np.float64)
    mean = one.kind == "value_avg"
    total = np.concatenate([[0.0], np.cumsum(values)])
    rough = total[high] - total[low]
    weight = float(np.abs(values).sum())
    if weight < _EXACT and bool((values == np.floor(values)).all()):  # sums of integers are exact
        found = rough / size if mean else rough
        return found, _within(one, found)
    error = np.full(len(rows), 4 * len(values) * np.finfo(np.float64).eps * weight)
    if mean:
        rough, error = rough / size, error / size
    near = np.zeros(len(rows), dtype=bool)
    for bound in one.bounds:
        near |= np.abs(rough - bound.number) <= error + abs(bound.number) * np.finfo(np.float64).eps * 4
    for row in np.flatnonzero(near | _within(one, rough) | ~np.isfinite(rough)).tolist():
        inside = values[low[row] : high[row]].tolist()
        rough[row] = _added(inside, len(inside) if mean else 1)
    return rough, _within(one, rough)


def _added(values: list[float], parts: int) -> float:
    """Give a sum divided by a number, rounded once: the mean of three times 0.1 is 0.1."""
    try:
        exact = [math.fsum(values)]
        while parts > 1 and (rest := math.fsum([*values, *(-each for each in exact)])):
            exact.append(rest)
    except OverflowError:  # which a sum may do on its way to a small number
        exact = values
    if len(exact) == 1:
        return exact[0] / parts
    whole = sum(map(Fraction, exact)) / parts
    try:
        return float(whole)
    except OverflowError:
        return math.inf if whole > 0 else -math.inf


def _quantile(one: Correlation, rows: Rows, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    middle = one.kind == "value_median" or one.percentile is None
    percent = 50.0 if middle else float(one.percentile or 0)
    found = np.empty(len(rows), np.float64)
    room = np.empty(int((high - low).max(initial=0)) + 1, np.float64)
    kernel.quantile(low, high, _value(rows).view(np.float64), percent, room, found)
    return found


def _temporal(one: Correlation, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    there = np.empty(len(rows), np.int64)
    room = np.empty(len(one.inputs), np.int64)
    kernel.before(rows.group, rows.time, _mask(rows), one.timespan, room, there)
    near = there
    if negated(one.presence):
        near = np.empty(len(rows), np.int64)
        kernel.after(rows.group, rows.time, _mask(rows), one.timespan, room, near)
        near |= there
    inputs = np.bitwise_count(there).astype(np.float64)
    if one.bounds:
        return _within(one, inputs), inputs
    everything = one.presence or Both(tuple(Seen(number) for number in range(len(one.inputs))))
    return _holds(everything, there, near), inputs


def _holds(presence: Presence, there: np.ndarray, near: np.ndarray) -> np.ndarray:
    match presence:
        case Seen(number):
            return np.asarray(there >> number & 1 != 0)
        case Never(part):
            return ~_holds(part, near, near)
        case Both(parts):
            return np.asarray(np.logical_and.reduce([_holds(part, there, near) for part in parts]))
        case Either(parts):
            return np.asarray(np.logical_or.reduce([_holds(part, there, near) for part in parts]))


def _ordered(one: Correlation, rows: Rows) -> np.ndarray:
    begun = np.empty(len(rows), np.int64)
    room, other = np.empty(len(one.inputs), np.int64), np.empty(len(one.inputs), np.int64)
    kernel.ordered(rows.group, rows.time, _mask(rows), room, other, begun)
    return np.asarray(begun >= rows.time - one.timespan)


def _next(rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Tell of each row whether the one behind is of its group, and the time of that one."""
    same = np.zeros(len(rows), dtype=bool)
    same[:-1] = rows.group[1:] == rows.group[:-1]
    return same, np.append(rows.time[1:], 0)[: len(rows)]


def _alone(rows: Rows, true: np.ndarray, anchor: np.ndarray) -> Judged:
    row = np.arange(len(rows), dtype=np.int64)
    real = (rows.high != 0) | (rows.low != 0)  # the beginning of what is expected is no event
    return Judged(true, anchor, row, row, row + 1, np.full(len(rows), np.nan), None if real.all() else real)


def _silence(one: Correlation, rows: Rows) -> Judged:
    """A row's group says nothing for longer than the timespan after it, as far as is known."""
    same, following = _next(rows)
    deadline = rows.time + one.timespan
    return _alone(rows, ~same | (following > deadline), deadline)


def _first(one: Correlation, rows: Rows) -> Judged:
    """A row's group was not seen for the timespan before it; of rows at one time the first counts."""
    true = np.ones(len(rows), dtype=bool)
    same = rows.group[1:] == rows.group[:-1]
    true[1:] = ~same | (rows.time[:-1] < rows.time[1:] - one.timespan)
    return _alone(rows, true, rows.time)
