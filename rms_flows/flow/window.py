"""The period that a replay judges."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.io.contract import Window
from rms_flows.schema import TIMESTAMP


def within(window: Window) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Make the function that keeps the rows of [start, end).

    Example:
        >>> batch = pa.record_batch({"@timestamp": pa.array([1, 2, 3], TIMESTAMP)})
        >>> within(Window(start=2, end=3))(batch).num_rows
        1
    """

    def keep(batch: pa.RecordBatch) -> pa.RecordBatch:
        time = batch.column("@timestamp")
        for bound, compare in ((window.start, pc.greater_equal), (window.end, pc.less)):
            if bound is not None:
                inside = compare(time, pa.scalar(bound, TIMESTAMP))
                if not pc.all(inside, min_count=0, skip_nulls=False).as_py():
                    batch = batch.filter(inside)
                    time = batch.column("@timestamp")
        return batch

    return keep
