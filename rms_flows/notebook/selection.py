"""What a person wants to see: rows that selections keep, and the columns that these look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa

from rms_flows.flow.plan import Function
from rms_flows.sigma.selection import Selection


def selecting(made: Callable[[], Function], selections: Sequence[Selection]) -> Function:
    """Annotate, and keep what was selected."""
    known = made()

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = known(batch)
        for selection in selections:
            batch = selection.keep(batch)
        return batch

    return run


def with_columns(columns: frozenset[str] | None, selections: Sequence[Selection]) -> frozenset[str] | None:
    """Add the columns that selections look at."""
    for selection in selections:
        columns = None if columns is None or selection.columns is None else columns | selection.columns
    return columns
