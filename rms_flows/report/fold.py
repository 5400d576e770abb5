"""Reports folded by id: of those that have one id the one of the highest revision counts."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc


def folded(reports: pa.Table) -> pa.Table:
    """Keep one row an id, the one of the highest revision, sorted by time and id.

    Args:
        reports: `schema.REPORT`.

    Example:
        >>> from rms_flows.schema import REPORT
        >>> rows = [{"event.id": "a", "rms.revision": n, "rms.count": n} for n in (1, 3, 2)]
        >>> folded(pa.Table.from_pylist(rows, REPORT))["rms.count"].to_pylist()
        [3]
    """
    ordered = reports.sort_by([("event.id", "ascending"), ("rms.revision", "descending")])
    ids = ordered["event.id"].combine_chunks()
    if len(ids) > 1:
        changed = pc.fill_null(pc.not_equal(ids[1:], ids[:-1]), fill_value=True)
        ordered = ordered.filter(pa.concat_arrays([pa.array([True]), changed]))
    return ordered.sort_by([("@timestamp", "ascending"), ("event.id", "ascending")])
