"""Row groups of Parquet as batches: how each column is read best, and what of it need not be read at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rms_flows.io.parquet_pages import (
    Texts,
    Wanted,
    chunks,
    dictionaries,
    dictionary,
    distinct,
    is_empty,
    opened,
)
from rms_flows.schema import field_type

if TYPE_CHECKING:  # most sources search nothing
    from rms_flows.processors.contract import Sought

Kinds = Mapping[str, pa.DataType]
"""Dotted path of a column to its type in the file."""

_BATCH = 65_536
_CELLS = 4_000_000  # of a batch: rows of hundreds of columns come in smaller ones
_STEP = 4_096  # rows, a multiple of 8
_ROOM = 32_000_000  # bytes of long texts from which on a batch is full: a page of each column more are read
_ALL_DIFFERENT = frozenset({"event.id", "rms.origin"})
_LARGE = 1_500_000  # bytes of a column of a row group, more than a dictionary and its codes take
_A_VALUE = 8  # bytes, more than a code takes


@dataclass(frozen=True, slots=True)
class Seeker:
    """Tells of a row group what of it matters, by the columns that are read first.

    Args:
        first: The columns that are read first.
        seek: A whole row group with these columns → what of the others matters, to anyone; None: all.
    """

    first: frozenset[str]
    seek: Callable[[pa.RecordBatch], Sequence[Sought] | None]


def batches(
    path: str,
    meta: pq.FileMetaData,
    kinds: Kinds,
    groups: Sequence[int],
    columns: Sequence[str],
    seeker: Seeker | None,
) -> Iterator[pa.RecordBatch]:
    """Read row groups; of small ones several make a batch, and of very large ones not all is held at once.

    Args:
        path: The file.
        meta: Its footer.
        kinds: Its columns.
        groups: Numbers of row groups.
        columns: Those to read.
        seeker: Tells what of them need not be read; None: nothing.
    """
    texts = _texts(meta, groups, kinds, columns)
    size = max(_BATCH // 8, min(_BATCH, _CELLS // len(columns)))
    if not all(_BATCH // 8 <= meta.row_group(group).num_rows <= 2 * _BATCH for group in groups):
        flat = meta.schema.to_arrow_schema().names
        if len(groups) > 1:  # inside structs Arrow can't join the dictionaries of row groups
            texts = [name for name in texts if name in flat]
        file = pq.ParquetFile(path, metadata=meta, read_dictionary=texts)
        yield from file.iter_batches(size, row_groups=groups, columns=columns, use_threads=False)
        return
    file = pq.ParquetFile(path, metadata=meta, read_dictionary=texts)
    plain = {name for name in file.schema_arrow.names if name != "@timestamp"}
    reader = _Reader(path, file, frozenset(texts) & plain)
    late: list[str] = []
    if seeker is not None:
        late = [name for name in columns if name in plain - seeker.first and _is_text(name, kinds[name])]
    first = [name for name in columns if name not in set(late)]
    for group in groups:
        if seeker is None or not late:
            yield from reader.pieces(group, columns, size)
        else:
            yield from reader.chosen(group, first, late, seeker)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Reads row groups of a file.

    Args:
        path: The file.
        file: The same, open.
        texts: Columns that we read as dictionaries.
    """

    path: str
    file: pq.ParquetFile
    texts: frozenset[str]

    def pieces(self, group: int, columns: Sequence[str], size: int) -> Iterator[pa.RecordBatch]:
        """Read columns of a row group in batches of a size."""
        known = dictionaries(self.path, self.file.metadata, group, self.texts.intersection(columns))
        rest = [name for name in columns if name not in known]
        start = 0
        for batch in self.file.iter_batches(size, row_groups=[group], columns=rest, use_threads=False):
            rows = batch.num_rows
            found = dict(zip(batch.schema.names, batch.columns, strict=True))
            found |= {name: column.slice(start, rows) for name, column in known.items()}
            yield self._batch(found)
            start += rows

    def chosen(
        self, group: int, first: Sequence[str], late: Sequence[str], seeker: Seeker
    ) -> Iterator[pa.RecordBatch]:
        """Read a row group: some columns first, of the others what matters to anyone."""
        rows = self.file.metadata.row_group(group).num_rows
        (batch,) = self.pieces(group, first, rows)
        sought = seeker.seek(batch)
        found = dict(zip(batch.schema.names, batch.columns, strict=True))
        long: dict[str, Texts] = {}
        left = list(late)
        if sought is not None:
            some, long, left = self._some(group, late, sought)
            found |= some
        found |= self._rest(group, left)
        start = 0
        for end in [*range(_STEP, rows, _STEP), rows]:
            broken = [name for name, texts in long.items() if not texts.read(end)]
            found |= self._rest(group, broken)
            long = {name: texts for name, texts in long.items() if name not in broken}
            size = sum(texts.size for texts in long.values())
            if end == rows or end - start >= _BATCH or size >= _ROOM:
                part = {name: column.slice(start, end - start) for name, column in found.items()}
                yield self._batch(part | {name: texts.take(end - start) for name, texts in long.items()})
                start = end

    def _rest(self, group: int, names: Sequence[str]) -> dict[str, pa.Array]:
        """Read whole columns of a row group."""
        if not names:
            return {}
        (batch,) = self.pieces(group, names, self.file.metadata.row_group(group).num_rows)
        return dict(zip(batch.schema.names, batch.columns, strict=True))

    def _some(
        self, group: int, names: Sequence[str], sought: Sequence[Sought]
    ) -> tuple[dict[str, pa.Array], dict[str, Texts], list[str]]:
        """Give of columns what matters, those whose texts come row by row, and those left to Arrow."""
        found: dict[str, pa.Array] = {}
        long: dict[str, Texts] = {}
        seen = set[str]()
        rows = self.file.metadata.row_group(group).num_rows
        with opened(self.path) as file:
            for name, chunk, optional in chunks(self.file.metadata, group, names):
                wanted = _wanted(name, sought)
                if is_empty(chunk):
                    seen.add(name)
                    continue
                column = None
                if name not in self.texts:
                    if optional:
                        long[name] = Texts(file, chunk, wanted)
                elif (texts := distinct(file, chunk)) is not None and not wanted(texts, 0, rows):
                    seen.add(name)
                    continue
                else:
                    column = dictionary(file, chunk, optional=optional)
                if column is not None:
                    found[name] = column
        left = [name for name in names if name not in found and name not in long and name not in seen]
        return found, long, left

    def _batch(self, columns: Mapping[str, pa.Array]) -> pa.RecordBatch:
        """Put columns into the order of the file."""
        order = [name for name in self.file.schema_arrow.names if name in columns]
        return pa.RecordBatch.from_arrays([columns[name] for name in order], order)


def _wanted(name: str, sought: Sequence[Sought]) -> Wanted:
    """Tell of rows of a column whether they matter to anyone."""
    masks = [mask for mask in (one.rows(name) for one in sought) if mask is not None]

    def wanted(texts: np.ndarray, start: int, end: int) -> bool:
        return any(mask[start:end].any() for mask in masks) or any(
            one.may_be_in(name, texts, start, end) for one in sought
        )

    return wanted


def _texts(meta: pq.FileMetaData, groups: Sequence[int], kinds: Kinds, columns: Sequence[str]) -> list[str]:
    """Give the columns to read as dictionaries: text, unless its writer gave up to make a dictionary.

    A writer does when the dictionary is large, about 1 MB; to make it here after all would take as long as
    reading the text twice more.
    """
    texts = {name for name in columns if name not in _ALL_DIFFERENT and _is_text(name, kinds[name])}
    places = {meta.schema.column(place).path: place for place in range(meta.num_columns)}
    return [
        name
        for name in columns
        if name in texts and not any(_is_large(meta.row_group(g).column(places[name])) for g in groups)
    ]


def _is_text(name: str, kind: pa.DataType) -> bool:
    """Tell whether a column is text in the file and in what comes of it."""
    becomes = field_type(name)
    return bool(
        (pa.types.is_string(kind) or pa.types.is_large_string(kind))
        and (pa.types.is_string(becomes) or pa.types.is_dictionary(becomes))
    )


def _is_large(chunk: pq.ColumnChunkMetaData) -> bool:
    size: int = chunk.total_uncompressed_size
    return size > _LARGE and size > _A_VALUE * chunk.num_values
