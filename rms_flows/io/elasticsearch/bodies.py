"""Batches as lines of a bulk request."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.io.lines import is_reports
from rms_flows.objects import objects, texts
from rms_flows.schema import TIMESTAMP

LONGEST_ID: Final = 512
"""Bytes that Elasticsearch takes as an id."""

LINES: Final = pa.schema(
    [
        ("line", pa.binary()),
        ("event.ingested", TIMESTAMP),
        ("rms.source", pa.string()),
        ("rms.origin", pa.string()),
    ]
)
"""What is sent of a row, two lines with their line feeds, and what its dead letter says if it is refused."""

UNDATED: Final = "undated"
"""In place of a day, where an event has no time."""

_KEPT: Final = ("event.ingested", "rms.source", "rms.origin")


def lines(batch: pa.RecordBatch, index: str) -> pa.RecordBatch:
    """Make the lines of a batch, a row of `LINES` for each of its rows.

    Observations are created in the index of their day, `INDEX-2026.01.31`, unless they are there; reports go
    to `INDEX` itself, unless a higher revision is there.

    Args:
        batch: Observations or reports, of the types that `schema.field_type` gives.
        index: Name of an index.
    """
    told = is_reports(batch)
    documents = objects(batch, {"event.kind": "alert"} if told else {})
    ids = texts(_ids(batch, documents))
    if told:
        version = _column(batch, "rms.revision", pa.int64(), 1).cast(pa.string())
        named = f'{{"index":{{"_index":"{index}","version_type":"external_gte","version":'
        parts = [named, version, ',"_id":', ids, "}}\n", documents, "\n"]
    else:
        parts = [f'{{"create":{{"_index":"{index}-', _days(batch), '","_id":', ids, "}}\n", documents, "\n"]
    made = pc.binary_join_element_wise(*parts, "").cast(pa.binary())
    kept = [_column(batch, name, LINES.field(name).type) for name in _KEPT]
    return pa.RecordBatch.from_arrays([made, *kept], schema=LINES)


def _ids(batch: pa.RecordBatch, documents: pa.Array) -> pa.Array:
    """Give the rows' own ids; one that can't be an id, or is not there, is made from what is there."""
    ids = _column(batch, "event.id", pa.string())
    size = pc.fill_null(pc.binary_length(ids), 0)
    strange = pc.or_(pc.equal(size, 0), pc.greater(size, LONGEST_ID))
    if not pc.any(strange).as_py():
        return ids
    known = zip(ids.filter(strange).to_pylist(), documents.filter(strange).to_pylist(), strict=True)
    made = [sha256((name or document).encode()).hexdigest() for name, document in known]
    return pc.replace_with_mask(ids, strange, pa.array(made, pa.string()))


def _days(batch: pa.RecordBatch) -> pa.Array:
    days = _column(batch, "@timestamp", TIMESTAMP).cast(pa.timestamp("us")).cast(pa.date32(), safe=False)
    encoded = days.dictionary_encode()
    names = pa.array([f"{day:%Y.%m.%d}" for day in encoded.dictionary.to_pylist()], pa.string())
    return pc.fill_null(names.take(encoded.indices), UNDATED)


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType, otherwise: Any = None) -> pa.Array:
    if name not in batch.schema.names:
        return pa.repeat(pa.scalar(otherwise, kind), batch.num_rows)
    column = batch.column(name).cast(kind)
    return column if otherwise is None else pc.fill_null(column, otherwise)
