"""What is known of a probe is put on its observations: source, location, trust as of the event's time."""

from __future__ import annotations

from collections.abc import Callable

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.confirm import Confirmed
from rms_flows.model import Source, Trust
from rms_flows.schema import DICTIONARY, TIMESTAMP
from rms_flows.trust import TRUSTED, judge

__all__ = ["FILLED", "annotator", "rejudged"]

FILLED = frozenset({"rms.source", "rms.trust", "host.geo.name", "host.geo.location"})
"""Columns that an annotator fills in where they are null."""


def annotator(
    source: Source, probes: Confirmed | None = None, *, rejudge: bool = False
) -> Callable[[pa.RecordBatch], pa.RecordBatch]:
    """Make the function that annotates the batches of a source; what a batch says itself stays.

    Args:
        source: The source.
        probes: Who tells what is confirmed of each probe, instead of the source's `trust`.
        rejudge: The verdicts of a batch don't stay, as far as they can be given anew; see `rejudged`.

    Example:
        >>> from rms_flows.schema import TIMESTAMP
        >>> batch = pa.record_batch({"@timestamp": pa.array([0], TIMESTAMP)})
        >>> annotator(Source(id="hub"))(batch).to_pydict()["rms.source"]
        ['hub']
    """
    location = source.location

    def annotate(batch: pa.RecordBatch) -> pa.RecordBatch:
        batch = _fill(batch, "rms.source", _repeated(source.id, batch.num_rows))
        lacks = "rms.trust" not in batch.schema.names or batch["rms.trust"].null_count
        if rejudge or lacks:
            verdicts = _judged(batch, source.trust, probes)
            batch = rejudged(batch, verdicts) if rejudge else _fill(batch, "rms.trust", verdicts)
        if location is not None and location.virtualLocation:
            batch = _fill(batch, "host.geo.name", pa.repeat(location.virtualLocation, batch.num_rows))
        if location is not None and location.geoLocation:
            batch = _fill(batch, "host.geo.location", pa.repeat(location.geoLocation, batch.num_rows))
        return batch

    return annotate


def rejudged(batch: pa.RecordBatch, verdicts: pa.Array) -> pa.RecordBatch:
    """Put new verdicts in the place of old ones; an envelope that was not trusted stays so.

    Who only has what an envelope said can't see any more whether it was forged; its line can be read again.

    Args:
        batch: With `probe.sequence` where its events were envelopes.
        verdicts: Of its rows.
    """
    names = batch.schema.names
    if "rms.trust" not in names:
        return batch.append_column("rms.trust", verdicts)
    old = batch["rms.trust"].cast(pa.string())
    kept = pc.and_(old.is_valid(), pc.not_equal(pc.fill_null(old, TRUSTED), TRUSTED))
    kept = pc.and_(kept, batch["probe.sequence"].is_valid()) if "probe.sequence" in names else False
    texts = pc.if_else(kept, old, verdicts.cast(pa.string()))
    column = texts.dictionary_encode().cast(DICTIONARY)
    return batch.set_column(names.index("rms.trust"), "rms.trust", column)


def _judged(batch: pa.RecordBatch, trust: Trust | None, probes: Confirmed | None) -> pa.Array:
    times, received = batch["@timestamp"], _received(batch)
    if probes is None:
        return judge(trust, times, received)
    sources = batch["rms.source"].cast(pa.string())
    found = pa.nulls(batch.num_rows, pa.string())
    for name in sources.unique().to_pylist():
        own = judge(probes.of(name).trust, times, received).cast(pa.string())
        found = pc.if_else(pc.equal(sources, name), own, found)
    return found.dictionary_encode().cast(DICTIONARY)


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
