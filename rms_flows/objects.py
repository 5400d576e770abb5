"""Rows as JSON objects, made column by column: no row becomes a Python object of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_SPACE, _QUOTE, _BACKSLASH = b' "\\'
"""JSON writes the last two, and what is below the first, otherwise."""

_ROOM: Final = 2**31 // 8
"""Bytes of rows that are written at once: written with six for one, they still fit in one array of Arrow."""

_encode: Final = msgspec.json.Encoder().encode


def json_lines(batch: pa.RecordBatch, constant: Mapping[str, str] | None = None) -> list[bytes]:
    r"""Write each row as a line without its line feed, see `objects`.

    Example:
        >>> json_lines(pa.record_batch({"host.name": ["hub", None], "event.original": [b"\xff", b""]}))
        [b'{"host.name":"hub","event.original":"/w=="}', b'{"event.original":""}']
    """
    made = (objects(part, constant or {}).cast(pa.binary()) for part in portions(batch))
    return [line for part in made for line in part.to_pylist()]


def objects(batch: pa.RecordBatch, constant: Mapping[str, str]) -> pa.Array:
    """Write each row as a JSON object with dotted names, in the order of the columns.

    Nulls and numbers that JSON does not know are left out, stamps are ISO 8601 in UTC, bytes base64; the same
    row gives the same bytes.

    Args:
        batch: Any rows, as many as `portions` gives.
        constant: Put before the row's own.

    Returns:
        Array of type string.
    """
    parts: list[Any] = [f",{_text(name)}:{_text(value)}" for name, value in constant.items()]
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count < len(column):
            parts += _member(name, column)
    if not parts:
        return pa.array(["{}"] * batch.num_rows, pa.string())
    if isinstance(parts[0], str):  # what every row begins with
        made = _joined(["{" + parts[0][1:], *parts[1:], "}"])
        return made if isinstance(made, pa.Array) else pa.repeat(made, batch.num_rows)
    begun = pc.binary_replace_slice(_joined(parts), 0, 1, "{")
    return _joined([begun, "}"])


def portions(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Cut a batch where its texts, each as long as its row has it, would not fit in one array."""
    half = batch.num_rows // 2
    if not half or sum(map(_size, batch.columns)) < _ROOM:
        yield batch
        return
    yield from portions(batch.slice(0, half))
    yield from portions(batch.slice(half))


def texts(column: pa.Array) -> pa.Array:
    """Write each value as JSON; null stays null."""
    return _joined(_pieces(column), null="emit_null")


def _pieces(column: pa.Array) -> list[Any]:
    """Give what is to be joined for the JSON of each value: text, and an array with the column's nulls."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return [texts(column.dictionary).take(column.indices)]
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return ['"', _escaped(column.cast(pa.string())), '"']
    if pa.types.is_timestamp(kind):
        return ['"', stamps(column), '"']
    if pa.types.is_floating(kind):
        return [_floats(column)]
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return [column.cast(pa.string())]
    made = [None if value is None else _text(value) for value in column.to_pylist()]
    return [pa.array(made, pa.string())]


def _joined(parts: list[Any], null: str = "replace") -> Any:
    """Join texts row by row; what is constant and stands together is joined before."""
    together: list[Any] = []
    for part in parts:
        if together and isinstance(part, str) and isinstance(together[-1], str):
            together[-1] += part
        else:
            together.append(part)
    return pc.binary_join_element_wise(*together, "", null_handling=null, null_replacement="")


def stamps(column: pa.Array) -> pa.Array:
    """Write times as ISO 8601 in UTC, with all the digits of their unit; null stays null.

    Example:
        >>> stamps(pa.array([1_700_000_000_000_000], pa.timestamp("us", "UTC")))[0]
        <pyarrow.StringScalar: '2023-11-14T22:13:20.000000Z'>
    """
    made = column.cast(pa.timestamp(column.type.unit)).cast(pa.string())  # five times as fast as strftime
    return pc.binary_join_element_wise(pc.binary_replace_slice(made, 10, 11, "T"), "Z", "")


def _floats(column: pa.Array) -> pa.Array:
    """Write numbers so that 5.0 does not become 5, which readers take for whole numbers."""
    finite = pc.if_else(pc.is_finite(column), column, None)
    made = _encode(finite.to_pylist())[1:-1].decode().split(",") if len(column) else []
    return pa.array(made, pa.string(), mask=finite.is_null().to_numpy(zero_copy_only=False))


def _size(column: pa.Array) -> int:
    """Give about how many bytes the values have, each of a dictionary's counted as its longest."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    if not pa.types.is_string(column.type.value_type):
        return len(column) * int(column.dictionary.nbytes)
    return len(column) * (pc.max(pc.binary_length(column.dictionary)).as_py() or 0)


def _text(value: Any) -> str:
    return _encode(value).decode()


def _member(name: str, column: pa.Array) -> list[Any]:
    """Give the parts of a member that are joined; one array with nulls where the column has some."""
    parts = [f",{_text(name)}:", *_pieces(column)]
    if any(part.null_count for part in parts if not isinstance(part, str)):
        return [_joined(parts, null="emit_null")]
    return parts


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
    made = pa.array([_text(value)[1:-1] for value in found.dictionary.to_pylist()], pa.string())
    return pc.replace_with_mask(column, mask, made.take(found.indices))
