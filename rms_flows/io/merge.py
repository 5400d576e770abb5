"""Sorting of more rows than memory holds."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

Row = tuple[Any, ...]

LIMIT = 32 * 1024 * 1024
"""Bytes that are sorted at once; more go to disk as one sorted run after the other."""

_ROWS = 128
"""Rows of a run that are in memory at once while runs are merged."""

_PACK = 4_096
"""Rows that come one by one and are made columns at once."""


class Runs:
    """Takes rows in any order and gives them sorted by all their columns, from the first on.

    Memory stays near `LIMIT`; beyond it, sorted runs are kept in `folder` until the end of the `with` block.

    Args:
        folder: A folder that does not exist yet; it is made when it is needed.
        schema: Columns without nulls, the most significant first.
        limit: Bytes that are sorted at once.
    """

    def __init__(self, folder: Path, schema: pa.Schema, limit: int = LIMIT) -> None:
        self._folder = folder
        self._schema = schema
        self._limit = limit
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._rows: list[Row] = []
        self._files: list[pa.OSFile] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        for file in self._files:
            file.close()

    def put(self, row: Row) -> None:
        """Take one row."""
        self._rows.append(row)
        if len(self._rows) == _PACK:
            self._pack()

    def add(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        self._held.append(batch)
        self._bytes += batch.nbytes
        if self._bytes > self._limit:
            self._spill()

    def merged(self) -> Iterator[Row]:
        """Give all rows in order, once."""
        self._pack()
        runs = [_rows(pa.ipc.open_stream(file)) for file in map(self._reopened, range(len(self._files)))]
        return heapq.merge(*runs, _rows(self._sorted().to_batches(_ROWS)))

    def _pack(self) -> None:
        if self._rows:
            columns = [
                pa.array(values, field.type)
                for values, field in zip(zip(*self._rows, strict=True), self._schema, strict=True)
            ]
            self._rows = []
            self.add(pa.record_batch(columns, schema=self._schema))

    def _sorted(self) -> pa.Table:
        table = pa.Table.from_batches(self._held, self._schema)
        self._held, self._bytes = [], 0
        return table.sort_by([(name, "ascending") for name in self._schema.names])

    def _spill(self) -> None:
        self._folder.mkdir(exist_ok=True)
        file = pa.OSFile(str(self._folder / str(len(self._files))), "wb")
        with file, pa.ipc.new_stream(file, self._schema) as stream:
            stream.write_table(self._sorted(), _ROWS)
        self._files.append(file)

    def _reopened(self, number: int) -> pa.OSFile:
        self._files[number] = pa.OSFile(str(self._folder / str(number)))
        return self._files[number]


def _rows(batches: Any) -> Iterator[Row]:
    for batch in batches:
        yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
