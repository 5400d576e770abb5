"""Batches as lines of a bulk request, made column by column: no row becomes a Python object of its own."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

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
_SPACE, _QUOTE, _BACKSLASH = b' "\\'
"""JSON writes the last two, and what is below the first, otherwise."""

_encode: Final = msgspec.json.Encoder().encode


def is_reports(batch: pa.RecordBatch) -> bool:
    """Tell whether a batch holds threat reports, not observations."""
    return {"rms.report_type", "rule.id"} <= {*batch.schema.names}


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


def objects(batch: pa.RecordBatch, constant: dict[str, str]) -> pa.Array:
    r"""Write each row as a JSON object with dotted names; nulls are left out, stamps are ISO 8601 in UTC.

    Args:
        batch: Any rows.
        constant: Put before the row's own.

    Example:
        >>> objects(pa.record_batch({"host.name": ["hub", None], "event.original": [b"\xff", b""]}), {})[0]
        <pyarrow.StringScalar: '{"host.name":"hub","event.original":"/w=="}'>
    """
    parts: list[Any] = [f",{_text(name)}:{_text(value)}" for name, value in constant.items()]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count < len(column):
            parts += _member(name, column)
    if not parts:
        return pa.array(["{}"] * batch.num_rows, pa.string())
    written = pc.binary_join_element_wise(*parts, "", null_handling="replace", null_replacement="")
    if not isinstance(written, pa.Array):  # nothing but constants
        written = pa.repeat(written, batch.num_rows)
    begun = pc.binary_replace_slice(written, 0, 1, "{")
    return pc.binary_join_element_wise(begun, "}", "")


def texts(column: pa.Array) -> pa.Array:
    """Write each value as JSON; null stays null."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return texts(column.dictionary).take(column.indices)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return pc.binary_join_element_wise('"', _escaped(column.cast(pa.string())), '"', "")
    if pa.types.is_timestamp(kind):
        written = column.cast(pa.timestamp(kind.unit)).cast(pa.string())
        return pc.binary_join_element_wise('"', pc.binary_replace_slice(written, 10, 11, "T"), 'Z"', "")
    if pa.types.is_floating(kind):
        return pc.if_else(pc.is_finite(column), column, None).cast(pa.string())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.cast(pa.string())
    return pa.array([None if value is None else _text(value) for value in column.to_pylist()], pa.string())


def _text(value: Any) -> str:
    return _encode(value).decode()


def _member(name: str, column: pa.Array) -> list[Any]:
    """Give the parts of a member that are joined; one array with nulls where the column has some."""
    parts = [f",{_text(name)}:", texts(column)]
    if not parts[1].null_count:
        return parts
    return [pc.binary_join_element_wise(*parts, "")]


def _escaped(column: pa.Array) -> pa.Array:
    """Write what stands between the quotes; most text is what it is."""
    offsets = np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]
    data = np.frombuffer(column.buffers()[2] or b"", np.uint8)[offsets[0] : offsets[-1]]
    special = np.flatnonzero((data < _SPACE) | (data == _QUOTE) | (data == _BACKSLASH))
    if not len(special):
        return column
    rows = np.zeros(len(column), bool)
    rows[np.searchsorted(offsets, special + offsets[0], "right") - 1] = True
    mask = pa.array(rows)
    found = column.filter(mask).dictionary_encode()
    written = pa.array([_text(value)[1:-1] for value in found.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(column, mask, written.take(found.indices))


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
