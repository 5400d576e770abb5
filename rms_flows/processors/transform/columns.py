"""Columns of a batch as transformations read and set them: plain values of the schema's types."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.conform import conform
from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError
from rms_flows.schema import DICTIONARY, ENVELOPE, MISFIT, OPTIONAL_ENVELOPE, field_type

ORIGINAL = "event.original"


def is_ours(name: str) -> bool:
    """Tell whether a column says what, when and where an event is, which no transformation may change.

    Example:
        >>> is_ours("@timestamp"), is_ours("rms.trust"), is_ours("user.name")
        (True, True, False)
    """
    return name in ENVELOPE or name in OPTIONAL_ENVELOPE or name.startswith("rms.")


def may_change(name: object, where: str) -> str:
    """Give the name of a column that may be changed.

    Raises:
        DocumentError: It is none, or one of the envelope.
    """
    if not isinstance(name, str) or not name:
        raise DocumentError(
            f"expected the name of a field, not {name!r}", where=where, remedy="write its dotted name"
        )
    if is_ours(name):
        raise DocumentError(
            f"{name!r} belongs to the envelope, which says what, when and where an event is",
            where=where,
            remedy="keep it, and set a field of your own",
        )
    return name


def plain(name: str) -> pa.DataType:
    """Type of the values of a column: the schema's, text that is a dictionary as string."""
    kind = field_type(name)
    return pa.string() if kind == DICTIONARY else kind


def read(batch: pa.RecordBatch, name: str) -> pa.Array:
    """Give a column as `plain` says, null where it is absent or of a kind that can't be read so."""
    kind = plain(name)
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    column = batch[name]
    if column.type == kind:
        return column
    if pa.types.is_list(column.type) or pa.types.is_list(kind):
        return pa.nulls(batch.num_rows, kind)
    return column.cast(kind)


def put(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """Set a column to values of its `plain` type; one that is absent and would be all null stays absent."""
    there = name in batch.schema.names
    if not there and values.null_count == len(values):
        return batch
    kind = field_type(name)
    made = values.dictionary_encode().cast(DICTIONARY) if kind == DICTIONARY else values.cast(kind)
    if not there:
        return batch.append_column(name, made)
    return batch.set_column(batch.schema.get_field_index(name), pa.field(name, kind), made)


def put_as_written(batch: pa.RecordBatch, name: str, values: pa.Array) -> pa.RecordBatch:
    """Set a column to values of any type; what doesn't fit its own is null, and kept in `rms.misfit`."""
    if values.type == plain(name):
        return put(batch, name, values)
    found = conform({name: values.cast(pa.string())}, {}, Options())
    typed = found.columns[name]
    batch = put(batch, name, typed.cast(plain(name)))
    if found.misfits is None:
        return batch
    known, more = read(batch, MISFIT), found.misfits
    both = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(known, 0, -1), pc.utf8_slice_codeunits(more, 1), ","
    )
    return put(batch, MISFIT, pc.coalesce(both, known, more))


def without(batch: pa.RecordBatch, names: frozenset[str]) -> pa.RecordBatch:
    """Leave out columns."""
    return batch.select([name for name in batch.schema.names if name not in names])
