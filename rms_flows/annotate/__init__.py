"""What is known of a probe is put on its observations: source, location, trust as of the event's time."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.model import Source
from rms_flows.schema import DICTIONARY, TIMESTAMP
from rms_flows.trust import judge

__all__ = ["FILLED", "annotator"]

FILLED = frozenset({"rms.source", "rms.trust", "host.geo.name", "host.geo.location"})
"""Columns that an annotator fills in where they are null."""


def annotator(source: Source) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Make the function that annotates the batches of a source; what a batch says itself stays.

    Example:
        >>> from rms_flows.schema import TIMESTAMP
        >>> batch = pa.record_batch({"@timestamp": pa.array([0], TIMESTAMP)})
        >>> annotator(Source(id="hub"))(batch).to_pydict()["rms.source"]
        ['hub']
    """
    location = source.location

    def annotate(batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = _fill(batch, "rms.source", _repeated(source.id, batch.num_rows))
        batch = _fill(batch, "rms.trust", judge(source.trust, batch["@timestamp"], _received(batch)))
        if location is not None and location.virtualLocation:
            batch = _fill(batch, "host.geo.name", pa.repeat(location.virtualLocation, batch.num_rows))
        if location is not None and location.geoLocation:
            batch = _fill(batch, "host.geo.location", pa.repeat(location.geoLocation, batch.num_rows))
        return batch

    return annotate


def _repeated(text: str, rows: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), rows), pa.array([text]))


def _fill(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """Set a column where it is absent or null."""
    if name not in batch.schema.names:
        return batch.append_column(name, values)
    column = batch[name]
    if not column.null_count:
        return batch
    if column.null_count < len(column):
        texts = pc.coalesce(column.cast(pa.string()), values.cast(pa.string()))
        values = texts.dictionary_encode().cast(DICTIONARY) if column.type == DICTIONARY else texts
    return batch.set_column(batch.schema.get_field_index(name), name, values)


def _received(batch: pa.RecordBatch) -> pa.Array:
    known = "event.ingested" in batch.schema.names
    return batch["event.ingested"] if known else pa.nulls(batch.num_rows, TIMESTAMP)
