"""A column of a batch as distinct values and codes, whatever its type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.schema import ENVELOPE, MISFIT, OPTIONAL_ENVELOPE
from rms_flows.sigma.codes import find_equal, number_nulls
from rms_flows.sigma.verdicts import Value

_LONG = 100
"""Bytes a row from which on texts are taken as they come."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """Distinct values and, for each row, which one it has.

    Args:
        values: Arrow array that has the distinct values; not all need be a row's.
        codes: Shape (rows,), int32; the number of values stands for null.
        again: Whether the values may come again with the next batch, at the same place.
    """

    values: pa.Array
    codes: np.ndarray
    again: bool = False


def encode(column: pa.Array) -> Encoded:
    """Encode a column; one that is a dictionary already keeps it, for its memory to be recognized.

    Values of text are the column itself.
    Long texts are taken as they come, maybe twice: to find equal ones takes as long as to judge them.
    """
    if pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        return _encode_lists(column)
    if pa.types.is_string(column.type) and column.nbytes > _LONG * len(column):
        return Encoded(column, _codes(np.arange(len(column), dtype=np.int32), column, len(column)))
    if pa.types.is_string(column.type):
        return Encoded(column, _equal(column))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    if column.dictionary.null_count:  # a value that is null is none
        column = column.cast(column.type.value_type).dictionary_encode()
    indices = column.indices
    kind = indices.type.to_pandas_dtype()
    here = np.frombuffer(indices.buffers()[1], kind)[indices.offset : indices.offset + len(indices)]
    codes = _codes(here.astype(np.int32, copy=False), indices, len(column.dictionary))
    return Encoded(column.dictionary, codes, again=True)


def _equal(column: pa.StringArray) -> np.ndarray:
    """Give each row the number of the first with the same text: to copy distinct ones would take longer."""
    valid, ends, data = column.buffers()
    held = [b"" if one is None else one for one in (data, valid if column.null_count else None)]
    texts, bits = (np.frombuffer(one, np.uint8) for one in held)
    offsets = np.frombuffer(ends, np.int32)[column.offset :]
    for array in (texts, bits, offsets):
        array.flags.writeable = False  # one type for the compiled loops
    codes = np.empty(len(column), dtype=np.int32)
    slots = np.full(2 << len(column).bit_length(), -1, dtype=np.int32)
    find_equal(texts, offsets, bits, column.offset, slots, codes)
    codes.flags.writeable = False
    return codes


def _codes(indices: np.ndarray, column: pa.Array, null: int) -> np.ndarray:
    """Give the indices of a column's rows with a number for null, by the buffers."""
    indices.flags.writeable = False  # one type for the compiled loops
    if not column.null_count:
        return indices
    found = np.empty(len(indices), dtype=np.int32)
    bits = np.frombuffer(column.buffers()[0], np.uint8)
    bits.flags.writeable = False
    number_nulls(indices, bits, column.offset, null, found)
    found.flags.writeable = False
    return found


def _encode_lists(column: pa.Array) -> Encoded:
    """Find equal lists as equal bytes: those of their elements' codes."""
    if pa.types.is_nested(column.type.value_type):
        return _encode_rows(column)
    elements = encode(column.values)
    offsets = column.offsets.to_numpy()
    bits = None if column.null_count == 0 else pc.is_valid(column).buffers()[1]
    ends, codes = offsets.astype(np.int64) * 4, np.ascontiguousarray(elements.codes)
    buffers = [bits, pa.py_buffer(ends), pa.py_buffer(codes)]
    words = pa.Array.from_buffers(pa.large_binary(), len(column), buffers).dictionary_encode()
    _, ends, data = words.dictionary.buffers()
    starts = np.frombuffer(ends, np.int64)[: len(words.dictionary) + 1] // 4
    codes = np.frombuffer(data, np.int32) if data else np.empty(0, dtype=np.int32)
    values = elements.values.take(pa.array(codes, mask=codes == len(elements.values)))
    distinct = pa.LargeListArray.from_arrays(pa.array(starts), values)
    return Encoded(distinct, encode(words).codes)


def _encode_rows(column: pa.Array) -> Encoded:
    rows = [None if row is None else json.dumps(row, default=str) for row in column.to_pylist()]
    words = pa.array(rows, pa.string()).dictionary_encode()
    first = np.unique(encode(words).codes, return_index=True)[1][: len(words.dictionary)]
    return Encoded(column.take(pa.array(first)), encode(words).codes)


def as_strings(values: pa.Array) -> pa.Array | None:
    """Write distinct values as an array of strings, the way of `texts`; None where that takes a loop."""
    kind = values.type
    if pa.types.is_string(kind):
        return values
    return values.cast(pa.string()) if pa.types.is_integer(kind) or pa.types.is_boolean(kind) else None


def texts(values: pa.Array) -> list[Value | None]:
    """Write distinct values as text, the way they would stand in a text column.

    Example:
        >>> texts(pa.array([5.0, 0.5])), texts(pa.array([True])), texts(pa.array([[], ["a"]]))
        (['5', '0.5'], ['true'], [None, ('a',)])
    """
    kind = values.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        plain: list[Value | None] = values.to_pylist()
        return plain
    if pa.types.is_timestamp(kind):
        return [
            None if v is None else v.isoformat()
            for v in values.cast(pa.timestamp("us", tz=kind.tz)).to_pylist()
        ]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [_elements(row) for row in values.to_pylist()]
    return [None if v is None else _text(v) for v in values.to_pylist()]


def _elements(row: Sequence[Any] | None) -> Value | None:
    """Write what is in a list, and in lists within it; None where there is nothing."""
    inner = (
        [] if one is None else (_elements(one) or []) if isinstance(one, list) else [_text(one)]
        for one in row or ()
    )
    return tuple(text for texts_ in inner for text in texts_) or None


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:  # noqa: PLR2004 - beyond it, as it came
        return str(int(value))
    return json.dumps(value, default=str)


def by_name(batch: pa.RecordBatch) -> dict[str, pa.Array]:
    """Give the columns of a batch, to be looked up more than once or twice."""
    return dict(zip(batch.schema.names, batch.columns, strict=True))


def find(columns: Mapping[str, pa.Array], field: str) -> pa.Array | None:
    """Find a field: the flat dotted name first, then the path into a structure; None where it is absent."""
    path = _path(columns, field)
    if path is None:
        return None
    column = columns[path[0]]
    for step in path[1:]:
        if not pa.types.is_struct(column.type) or column.type.get_field_index(step) < 0:
            return None
        column = pc.struct_field(column, step)
    return column


def _path(columns: Mapping[str, pa.Array], field: str) -> tuple[str, ...] | None:
    """Give where a field is looked for: the name of a column, and the steps into it."""
    if field in columns:
        return (field,)
    head, _, rest = field.partition(".")
    while rest:
        found = columns.get(head)
        if found is not None and pa.types.is_struct(found.type):
            return (head, *rest.split("."))
        step, _, rest = rest.partition(".")
        head = f"{head}.{step}"
    return None


def is_empty(column: pa.Array) -> bool:
    """Tell whether no row has a value, which is as good as no column."""
    return bool(column.null_count == len(column))


def text_columns(columns: Mapping[str, pa.Array]) -> Iterator[tuple[str, pa.Array]]:
    """Give the columns that keywords look at: all text of the event, but none of the envelope.

    Each has a name of its own: that of the field, unless `find` gives another column for it, or none.
    """
    taken = set(columns)
    for name, column in columns.items():
        if name in ENVELOPE or name in OPTIONAL_ENVELOPE:
            continue
        for path, texts in _leaves((name,), column):
            own = ".".join(path)
            if _path(columns, own) != path:
                own += HIDDEN
            while len(path) > 1 and own in taken:
                own += HIDDEN
            taken.add(own)
            yield own, texts


HIDDEN: Final = "'"
"""Stands behind the name of a column that no field is."""


def _leaves(path: tuple[str, ...], column: pa.Array) -> Iterator[tuple[tuple[str, ...], pa.Array]]:
    kind = column.type
    if is_empty(column):
        return
    if pa.types.is_string(kind):
        yield path, column
        return
    if pa.types.is_struct(kind):
        for i in range(kind.num_fields):
            child = kind.field(i).name
            yield from _leaves((*path, child), pc.struct_field(column, child))
        return
    if pa.types.is_dictionary(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        yield path, column


class Misfits:
    """What did not fit its column's type.

    Args:
        batch: A batch that may have the column `rms.misfit`.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.fields: dict[str, list[tuple[int, Value]]] = {}
        """Field → (row, value as text)."""
        self.texts: list[tuple[int, Value]] = []
        """Row and its strings, for keywords."""
        at = batch.schema.get_field_index(MISFIT)
        if at < 0 or batch.column(at).null_count == batch.num_rows:
            return
        for row, text in enumerate(batch.column(at).to_pylist()):
            if text is None:
                continue
            values = json.loads(text)
            for name, value in values.items():
                if (kept := _misfit(value)) is not None:
                    self.fields.setdefault(name, []).append((row, kept))
            if strings := tuple(_strings(values)):
                self.texts.append((row, strings))


def _misfit(value: Any) -> Value | None:
    if isinstance(value, list):
        return _elements(value)
    return None if value is None else _text(value)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)


def same_memory(a: pa.Array, b: pa.Array) -> bool:
    """Tell whether two arrays lie at the same place, which holds as long as both are alive."""
    here = a.type == b.type and a.offset == b.offset and len(a) == len(b) and _places(a) == _places(b)
    return here and (not pa.types.is_dictionary(a.type) or same_memory(a.dictionary, b.dictionary))


def _places(array: pa.Array) -> Sequence[int | None]:
    return [None if buffer is None else buffer.address for buffer in array.buffers()]
