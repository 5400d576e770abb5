"""The pure step `(state, matches, settled) → (state, found)`: one for replay, stream and notebook.

Whether something is found is decided by what lies in the window, never by the order in which it came. What
more events can only make true is found as soon as it is so, and again, with more evidence, when a late event
joins its window; everything else is found once, when no event can come any more that would change it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.correlate import kernel
from rms_flows.correlate.found import NOTHING, ranges, suppressed, written
from rms_flows.correlate.judge import Judged, judge
from rms_flows.correlate.spec import MOST, Correlation, horizon, is_early
from rms_flows.correlate.state import Rows, State, in_order, starts_of, together

GROUPS: Final = 1_000_000
"""Groups of a correlation in a shard; beyond it those go that were not seen for longest, which is counted."""

ALWAYS: Final = 2**62
"""Settled up to here: nothing comes any more."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a correlation may remember.

    Args:
        window: Matches of a window that count.
        groups: Groups in a shard.
    """

    window: int = MOST
    groups: int = GROUPS


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a step gives.

    Args:
        state: What to go on with.
        found: `FOUND`, one row an anchor.
        reports: `FOUND`, what is to be reported: the same, unless it is suppressed.
        late: Matches that came after their time was settled, or whose time never is (beyond `ALWAYS`); they
            were left out.
        capped: New matches whose windows hold more than counts.
        evicted: Groups that were forgotten because there were too many.
    """

    state: State
    found: pa.RecordBatch
    reports: pa.RecordBatch
    late: int = 0
    capped: int = 0
    evicted: int = 0


def step(
    one: Correlation,
    state: State,
    new: Rows,
    names: tuple[np.ndarray, pa.Array],
    settled: int,
    limits: Limits | None = None,
) -> Outcome:
    """Take matches and the progress of time; see the module.

    Args:
        one: The correlation.
        state: What it remembers.
        new: Matches in any order; those that came before count once.
        names: uint64 groups and the text of each, for at least the groups that are new; any order.
        settled: Microseconds; no match before it comes after this step. It never goes back.
        limits: How much is remembered.
    """
    limits = limits or Limits()
    settled = max(settled, state.settled)
    in_time = (new.time >= state.settled) & (new.time < ALWAYS)
    late = len(new) - int(np.count_nonzero(in_time))
    if late:
        new = new.take(in_time)
        known = np.isin(names[0], new.group)
        names = names[0][known], names[1].filter(pa.array(known))
    state = _named(state, names)
    rows, fresh = _merged(state.rows, new)
    active = _active(one, rows, fresh, state.settled, settled)
    found, reports, capped = NOTHING, NOTHING, 0
    if active is None or len(active):
        some = rows if active is None else rows.take(active)
        judged = judge(one, some, limits.window)
        new_rows = fresh if active is None else fresh[active]
        found, reports = _found(one, state, some, judged, new_rows, settled)
        capped = int(np.count_nonzero(new_rows & (judged.low > judged.whole)))
    kept, evicted = _kept(one, replace(state, rows=rows, settled=settled), limits)
    return Outcome(kept, found, reports, late, capped, evicted)


def _named(state: State, names: tuple[np.ndarray, pa.Array]) -> State:
    """Remember the texts of new groups."""
    new = np.arange(len(names[0]))
    if len(state.groups):
        at = np.searchsorted(state.groups, names[0])
        new = np.flatnonzero(state.groups[np.minimum(at, len(state.groups) - 1)] != names[0])
    if not len(new):
        return state
    groups, first = np.unique(names[0][new], return_index=True)
    added = names[1].take(pa.array(new[first]))
    whole = np.concatenate([state.groups, groups])
    order = np.argsort(whole, kind="stable")
    texts = pa.concat_arrays([state.texts, added.cast(pa.string())]).take(pa.array(order))
    return replace(state, groups=whole[order], texts=texts)


def _merged(old: Rows, new: Rows) -> tuple[Rows, np.ndarray]:
    """Put new rows in their places; give all rows, and which are new or match more inputs than before."""
    if not len(new):
        return old, np.zeros(len(old), dtype=bool)
    new = new.take(in_order(new))
    whole = together(old, new) if len(old) else new
    fresh = np.ones(len(whole), dtype=bool)
    if len(old):
        order = np.empty(len(whole), np.int64)
        kernel.merged(whole.group, whole.time, whole.high, whole.low, len(old), order)
        whole, fresh = whole.take(order), order >= len(old)
    again = np.zeros(len(whole), dtype=bool)
    for name in ("group", "time", "high", "low"):
        column = getattr(whole, name)
        same = column[1:] == column[:-1]
        again[1:] = same if name == "group" else again[1:] & same
    if not again.any():
        return whole, fresh
    return _once(whole, fresh, again)


def _once(rows: Rows, fresh: np.ndarray, again: np.ndarray) -> tuple[Rows, np.ndarray]:
    """Make one row of those that are one event: new if it was not there, or matches another input."""
    starts = np.flatnonzero(~again)
    before = np.logical_and.reduceat(fresh, starts)  # nothing of it was there
    if rows.mask is None:
        return rows.take(starts), before
    mask = np.bitwise_or.reduceat(rows.mask, starts)
    known = np.bitwise_or.reduceat(np.where(fresh, 0, rows.mask), starts)
    return replace(rows.take(starts), mask=mask), before | (mask != known)


def _active(one: Correlation, rows: Rows, fresh: np.ndarray, before: int, settled: int) -> np.ndarray | None:
    """Give the rows of groups in which something may be found; None: all."""
    due = fresh
    if not is_early(one):
        delay = horizon(one) + (one.timespan if one.kind == "flatline" else 0)
        due = fresh | ((rows.time + delay >= before) & (rows.time + delay < settled))
    if 2 * np.count_nonzero(due) > len(rows):
        return None
    starts = starts_of(rows.group)
    ends = np.append(starts[1:], len(rows))
    touched = np.logical_or.reduceat(due, starts) if len(starts) else np.empty(0, dtype=bool)
    return ranges(starts[touched], ends[touched])


def _found(
    one: Correlation, state: State, rows: Rows, judged: Judged, fresh: np.ndarray, settled: int
) -> tuple[pa.RecordBatch, pa.RecordBatch]:
    """Choose what is to be said now, and say it."""
    if is_early(one):
        certain = judged.true
        added = np.concatenate([[0], np.cumsum(fresh)])
        now = certain & (added[judged.high] > added[judged.whole])
    else:
        deadline = judged.anchor + horizon(one)
        certain = judged.true & (deadline < settled)
        now = certain & (deadline >= state.settled)
    chosen = np.flatnonzero(now)
    if not len(chosen):
        return NOTHING, NOTHING
    found = written(one, state, rows, judged, chosen)
    begun = judged.anchor[chosen] // (one.suppress or 1) * (one.suppress or 1)
    told = begun < state.said  # before a restart; what is found again there may lack events
    if one.suppress is None:
        return found, found.filter(pa.array(~told)) if told.any() else found
    chosen = chosen[~told]
    return found, suppressed(one, state, rows, judged, certain, chosen) if len(chosen) else NOTHING


def _kept(one: Correlation, state: State, limits: Limits) -> tuple[State, int]:
    """Forget what can matter no more; give the groups that had to go for others."""
    line = state.settled - horizon(one)
    if one.suppress is not None:
        line -= line % one.suppress
    line -= one.timespan
    rows, evicted = state.rows, 0
    if one.kind in {"flatline", "new_terms"}:
        rows = _last_of_groups(one, rows, state.settled, line)
    elif line - state.kept > one.timespan // 4:  # now and then: it copies everything
        rows = rows.take(rows.time >= line)
        state = replace(state, kept=line)
    if len(state.groups) > limits.groups:
        rows, evicted = _fewer_groups(rows, limits.groups)
    there = rows.group[starts_of(rows.group)]
    if 4 * len(there) <= 3 * len(state.groups):  # now and then, too
        held = np.searchsorted(state.groups, there)
        state = replace(state, groups=state.groups[held], texts=state.texts.take(pa.array(held)))
    return replace(state, rows=rows), evicted


def _last_of_groups(one: Correlation, rows: Rows, settled: int, line: int) -> Rows:
    """Keep the last settled row of each group, and what is not settled; silence begins with that row.

    Reports of a bucket that is not over are told together, so what they are made of stays, too.
    """
    followed = np.zeros(len(rows), dtype=bool)
    followed[:-1] = (rows.group[1:] == rows.group[:-1]) & (rows.time[1:] < settled)
    if one.kind == "flatline":
        gone = followed
        if one.suppress is not None:
            gone[:-1] &= (rows.time[:-1] < line) | (rows.time[1:] - rows.time[:-1] <= one.timespan)
    elif one.suppress is None:
        gone = followed | (rows.time < line)
    else:
        stay = np.empty(len(rows), dtype=bool)
        kernel.needed(rows.group, rows.time, one.timespan, settled, line, stay)
        gone = ~stay
    return rows.take(~gone) if gone.any() else rows


def _fewer_groups(rows: Rows, most: int) -> tuple[Rows, int]:
    """Drop the groups that were not seen for longest, by time and id."""
    last = np.append(starts_of(rows.group)[1:], len(rows)) - 1 if len(rows) else np.empty(0, np.int64)
    if len(last) <= most:
        return rows, 0
    order = np.lexsort((rows.low[last], rows.high[last], rows.time[last]))
    gone = rows.group[last[order[: len(last) - most]]]
    return rows.take(~np.isin(rows.group, gone)), len(gone)
