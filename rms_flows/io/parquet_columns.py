"""Rows of any Parquet file as observations: structs flattened, types, envelope, dead letters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from urllib.parse import unquote

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.conform import conform
from rms_flows.decode.contract import Counts, Decoded, Options
from rms_flows.decode.kinds import LIST
from rms_flows.io.parquet_sink import NO_VALUE
from rms_flows.objects import json_lines
from rms_flows.schema import DEAD_LETTER, DICTIONARY, ENVELOPE, MISFIT, NO_DEAD_LETTERS, field_type

_TIME = "@timestamp"


@dataclass(frozen=True, slots=True)
class Home:
    """What the place of a file says of its rows.

    Args:
        path: The file; its name goes into `rms.origin`.
        identity: Begins the ids of rows that have none; the same for the same content.
        time_column: Column that is taken for `@timestamp`.
        dataset: `event.dataset` of rows that have none.
        options: How stamps written as text are read.
        left_out: What of the envelope nobody looks at.
    """

    path: str
    identity: str
    time_column: str
    dataset: str | None
    options: Options
    left_out: frozenset[str] = frozenset()

    @property
    def source(self) -> str | None:
        """What the partition `rms.source=` says, if the file lies in one."""
        found = [part for part in PurePath(self.path).parts if part.startswith("rms.source=")]
        value = unquote(found[-1].partition("=")[2]) if found else NO_VALUE
        return None if value == NO_VALUE else value


def leaves(schema: pa.Schema) -> dict[str, pa.DataType]:
    """Give the columns of a file, those inside structs by their dotted path.

    Example:
        >>> list(leaves(pa.schema([("a", pa.struct([("b", pa.int8())])), ("c.d", pa.string())])))
        ['a.b', 'c.d']
    """
    return dict(leaf for field in schema for leaf in _leaves(field.name, field.type))


def _leaves(name: str, kind: pa.DataType) -> Iterator[tuple[str, pa.DataType]]:
    if not pa.types.is_struct(kind):
        yield name, kind
        return
    for inner in kind:
        yield from _leaves(f"{name}.{inner.name}", inner.type)


def decoded(batch: pa.RecordBatch, row: np.ndarray, home: Home) -> Decoded:
    """Make a batch of observations of a batch of a file.

    Args:
        batch: Columns as they are in the file.
        row: Shape (rows,), int64: number of each row in its file.
        home: What the file's place says.
    """
    columns = _columns(batch, home)
    made = {
        name: _envelope(name, columns.pop(name, None), row, home).cast(kind)
        for name, kind in ENVELOPE.items()
    }
    found = pa.RecordBatch.from_pydict(made | columns)
    counts = Counts(framed=len(row), rows=len(row), bytes=sum(map(_size, batch.columns)))
    if not found.column(_TIME).null_count:
        return _account(found, NO_DEAD_LETTERS, counts)
    timed = found.column(_TIME).is_valid()
    letters = _letters(batch.filter(pc.invert(timed)), row[~timed.to_numpy(zero_copy_only=False)], home)
    counts.rows, counts.dead = len(row) - letters.num_rows, letters.num_rows
    return _account(found.filter(timed), letters, counts)


def _size(column: pa.Array) -> int:
    """Count the bytes of a column; a dictionary that slices share counts with its first rows."""
    if not pa.types.is_dictionary(column.type):
        return int(column.nbytes)
    return int(column.indices.nbytes) + (0 if column.offset else int(column.dictionary.nbytes))


def _account(rows: pa.RecordBatch, dead: pa.RecordBatch, counts: Counts) -> Decoded:
    if MISFIT in rows.schema.names:
        counts.misfits = rows.num_rows - rows.column(MISFIT).null_count
    return Decoded(rows, dead, counts, {"timestamp": dead.num_rows} if dead.num_rows else {})


def _columns(batch: pa.RecordBatch, home: Home) -> dict[str, pa.Array]:
    """Flatten structs and give each column its type; values that don't fit go to `rms.misfit`."""
    names, arrays = list(batch.schema.names), list(batch.columns)
    while any(pa.types.is_struct(array.type) for array in arrays):
        flat = pa.Table.from_arrays(arrays, names).flatten().combine_chunks()
        names, arrays = flat.column_names, [_one(column) for column in flat.columns]
    columns = dict(zip(names, arrays, strict=True))
    if home.time_column != _TIME:
        columns[_TIME] = columns[home.time_column]
    odd: dict[str, pa.Array] = {}
    kinds: dict[str, np.ndarray] = {}
    for name, column in columns.items():
        cast = _cast(column, field_type(name))
        if cast is None and _is_text(column.type):
            cast = _by_distinct(name, column, home.options)
        if cast is None:
            odd[name], nested = _text(column)
            if nested:
                kinds[name] = np.where(column.is_null(), np.uint8(0), np.uint8(1 + LIST))
        else:
            columns[name] = cast
    if odd:
        typed = conform(odd, kinds, home.options)
        columns |= typed.columns
        if typed.misfits is not None:
            before = columns.get(MISFIT)
            columns[MISFIT] = typed.misfits if before is None else pc.coalesce(typed.misfits, before)
    return columns


def _text(column: pa.Array) -> tuple[pa.Array, bool]:
    """Write values as text, and tell whether it is JSON text of what has no other."""
    try:
        return column.cast(pa.string()), False
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        encode = msgspec.json.Encoder(enc_hook=str).encode
        texts = [None if value is None else encode(value).decode() for value in column.to_pylist()]
        return pa.array(texts, pa.string()), True


def _by_distinct(name: str, column: pa.Array, options: Options) -> pa.Array | None:
    """Convert each distinct text once; None where one does not fit and its rows have to be told."""
    words = column.cast(pa.string()).dictionary_encode()
    typed = conform({name: words.dictionary}, {}, options)
    return typed.columns[name].take(words.indices) if typed.misfits is None else None


def _one(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _is_text(kind: pa.DataType) -> bool:
    inner = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(inner) or pa.types.is_large_string(inner) or pa.types.is_null(inner))


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array | None:
    """Cast where that loses nothing; None where each value has to be looked at."""
    if column.type == kind or (column.type == DICTIONARY and kind == pa.string()):
        return column  # a dictionary of text is text whose distinct values are known
    if pa.types.is_timestamp(column.type) and pa.types.is_timestamp(kind):
        return column.cast(kind, safe=False)  # nanoseconds are cut
    try:
        if pa.types.is_dictionary(kind):
            return column.cast(pa.string()).dictionary_encode().cast(kind)
        if pa.types.is_string(kind) or not _is_text(column.type):
            return column.cast(kind)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        pass
    return None


def _envelope(name: str, column: pa.Array | None, row: np.ndarray, home: Home) -> pa.Array:
    """Fill what a row of the envelope lacks and its place can say."""
    if column is not None and (not column.null_count or name not in _FILLED):
        return column
    if name in home.left_out:
        return pa.nulls(len(row), ENVELOPE[name])
    if name == "event.id":
        made = _numbered(f"{home.identity}-", row)
    elif name == "rms.origin":
        made = _numbered(f"{PurePath(home.path).name}#", row)
    else:
        value = {"rms.source": home.source, "event.dataset": home.dataset}.get(name)
        made = pa.DictionaryArray.from_arrays(pa.array(np.zeros(len(row), np.int32)), pa.array([value or ""]))
        made = made if value is not None else pa.nulls(len(row), ENVELOPE[name])
    return made if column is None else pc.coalesce(column.cast(made.type), made)


_FILLED = frozenset({"event.id", "rms.origin", "rms.source", "event.dataset"})


def _numbered(prefix: str, row: np.ndarray) -> pa.Array:
    return pc.binary_join_element_wise(prefix, pa.array(row).cast(pa.string()), "")


def _letters(batch: pa.RecordBatch, row: np.ndarray, home: Home) -> pa.RecordBatch:
    count = batch.num_rows
    message = (
        f"no time in column {home.time_column!r}; expected a timestamp, or its text in a form that is known"
    )
    return pa.record_batch(
        [
            pa.nulls(count, DEAD_LETTER.field("event.ingested").type),
            pa.array([home.source] * count, pa.string()).dictionary_encode().cast(DICTIONARY),
            _numbered(f"{PurePath(home.path).name}#", row),
            pa.array(["timestamp"] * count).dictionary_encode().cast(DICTIONARY),
            pa.array([message] * count, pa.string()),
            pa.array(json_lines(batch), pa.binary()),
        ],
        schema=DEAD_LETTER,
    )
