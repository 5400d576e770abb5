"""What was found, as a table: anchors with their windows → one row a report."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.correlate import kernel
from rms_flows.correlate.judge import Judged
from rms_flows.correlate.spec import Correlation
from rms_flows.correlate.state import Rows, State

EVIDENCE: Final = 100
"""Ids of events that a report lists, the first by time and id."""

FOUND: Final = pa.schema(
    [
        ("time", pa.int64()),  # microseconds: of the anchor; of the first one where reports are suppressed
        ("anchor", pa.string()),  # the anchor event's id, else the deadline or the bucket
        ("group", pa.string()),  # JSON object, group-by name → value as text
        ("first", pa.int64()),  # of the events in the window; null where there are none
        ("last", pa.int64()),
        ("count", pa.int64()),  # distinct events in the window
        ("evidence", pa.list_(pa.string())),
        ("measured", pa.float64()),  # the number that was compared, null where there is none
    ]
)


NOTHING: Final = pa.RecordBatch.from_pylist([], FOUND)


def ranges(first: np.ndarray, last: np.ndarray) -> np.ndarray:
    """Give the numbers from each `first` to before its `last`, in one array."""
    sizes = last - first
    skipped = first - np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.asarray(np.arange(int(sizes.sum())) + np.repeat(skipped, sizes))


def written(one: Correlation, state: State, rows: Rows, judged: Judged, chosen: np.ndarray) -> pa.RecordBatch:
    """Write one row for each of some anchors."""
    if one.kind == "flatline":
        anchors = pa.array(judged.anchor[chosen]).cast(pa.string())
    else:
        anchors = rows.ids(chosen)
    segments = _Segments(
        rows, judged, judged.low[chosen], judged.high[chosen], np.arange(len(chosen)), len(chosen)
    )
    return _table(
        state, rows.group[chosen], judged.anchor[chosen], anchors, judged.measured[chosen], segments
    )


def suppressed(
    one: Correlation, state: State, rows: Rows, judged: Judged, certain: np.ndarray, chosen: np.ndarray
) -> pa.RecordBatch:
    """Write one row for each bucket in which something is to be said: all its anchors, all their events."""
    assert one.suppress is not None  # noqa: S101  asked before
    bucket = judged.anchor // one.suppress
    part = np.concatenate([[0], np.cumsum((rows.group[1:] != rows.group[:-1]) | (bucket[1:] != bucket[:-1]))])
    said = np.flatnonzero(certain & np.isin(part, part[chosen]))
    first = np.flatnonzero(np.diff(part[said], prepend=-1))
    number = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(said))))
    start = np.empty(len(said), np.int64)
    kernel.union(judged.low[said], judged.high[said], number, start)
    segments = _Segments(rows, judged, start, judged.high[said], number, len(first))
    anchors = pa.array(bucket[said[first]] * one.suppress).cast(pa.string())
    highest = np.maximum.reduceat(judged.measured[said], first)
    return _table(state, rows.group[said[first]], judged.anchor[said[first]], anchors, highest, segments)


class _Segments:
    """Ranges of rows that are the evidence of reports.

    Args:
        rows: All rows.
        judged: Which of them count.
        low: int64, where each range begins.
        high: int64, where it ends.
        report: The report of each range, rising.
        reports: How many there are.
    """

    def __init__(
        self, rows: Rows, judged: Judged, low: np.ndarray, high: np.ndarray, report: np.ndarray, reports: int
    ) -> None:
        self._rows = rows
        self._places: np.ndarray | None = None
        if judged.counts is not None:
            self._places = np.flatnonzero(judged.counts)
            before = np.concatenate([[0], np.cumsum(judged.counts)])
            low, high = before[low], before[high]
        sizes = high - low
        self._low, self._sizes, self._report, self._reports = low, sizes, report, reports
        self.count = np.bincount(report, sizes, minlength=reports).astype(np.int64)

    def bounds(self) -> tuple[pa.Array, pa.Array]:
        """Give the first and the last time of each report's events; null where it has none."""
        full = np.flatnonzero(self._sizes)
        first, last = np.zeros(self._reports, np.int64), np.zeros(self._reports, np.int64)
        last[self._report[full]] = self._time(self._low[full] + self._sizes[full] - 1)
        back = full[::-1]  # the first range of a report is written last
        first[self._report[back]] = self._time(self._low[back])
        none = self.count == 0
        return pa.array(first, mask=none), pa.array(last, mask=none)

    def _time(self, places: np.ndarray) -> np.ndarray:
        return np.asarray(self._rows.time[self._row(places)])

    def _row(self, places: np.ndarray) -> np.ndarray:
        return places if self._places is None else self._places[places]

    def evidence(self) -> pa.Array:
        """Give the first ids of each report."""
        starts = np.concatenate([[0], np.cumsum(self._sizes)[:-1]])
        head = np.zeros(self._reports, np.int64)
        head[self._report[::-1]] = starts[::-1]  # events of all reports before
        room = np.clip(EVIDENCE - (starts - head[self._report]), 0, self._sizes)
        ids = self._rows.ids(self._row(ranges(self._low, self._low + room)))
        kept = np.bincount(self._report, room, minlength=self._reports).astype(np.int64)
        offsets = pa.array(np.concatenate([[0], np.cumsum(kept)]), pa.int32())
        return pa.ListArray.from_arrays(offsets, ids)


def _table(
    state: State,
    group: np.ndarray,
    time: np.ndarray,
    anchors: pa.Array,
    measured: np.ndarray,
    segments: _Segments,
) -> pa.RecordBatch:
    first, last = segments.bounds()
    texts = state.texts.take(pa.array(np.searchsorted(state.groups, group)))
    columns = [
        pa.array(time),
        anchors,
        texts,
        first,
        last,
        pa.array(segments.count),
        segments.evidence(),
        pa.array(measured, mask=np.isnan(measured)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=FOUND)
