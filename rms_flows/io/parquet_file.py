"""One file of an archive, named by the events in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

_ALL_DIFFERENT = frozenset({"event.id", "event.original", "rms.origin"})


class ArchiveFile:
    """Writes one Parquet file whose name is the hash of its event ids in their order.

    The same events in the same order make a file of the same name, so that writing them again replaces it.
    Each `write` makes one row group.

    Args:
        folder: Where to write it.
        schema: Columns of all its row groups.
    """

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self.schema = schema
        self._path = folder / f"{len(list(folder.iterdir()))}.open"
        self._ids = xxhash.xxh3_128()
        self._writer = pq.ParquetWriter(
            self._path,
            schema,
            compression="zstd",
            compression_level=1,
            use_dictionary=_of_low_variety(schema),
            write_statistics=True,
        )

    def write(self, table: pa.Table) -> None:
        """Write one row group; columns that the table lacks are null."""
        columns = [
            table.column(field.name)
            if field.name in table.schema.names
            else pa.chunked_array([pa.nulls(table.num_rows, field.type)])
            for field in self.schema
        ]
        whole = _compact(pa.table(columns, schema=self.schema))
        self._writer.write_table(whole, row_group_size=max(1, whole.num_rows))
        ids = whole.column("event.id").to_pylist()
        self._ids.update("\n".join(name or "" for name in ids).encode() + b"\n")
        self.rows += whole.num_rows

    def close(self) -> Path:
        """Finish the file and give its path."""
        self._writer.close()
        return self._path.replace(self._path.with_name(f"{self._ids.hexdigest()}.parquet"))


def _compact(table: pa.Table) -> pa.Table:
    """Keep of each dictionary what the rows use: Parquet writes it whole, and rows of one day use little."""
    table = table.unify_dictionaries().combine_chunks()
    columns = [
        _used(column.chunk(0)) if pa.types.is_dictionary(column.type) and column.num_chunks else column
        for column in table.columns
    ]
    return pa.table(columns, schema=table.schema)


def _used(column: pa.DictionaryArray) -> pa.DictionaryArray:
    codes = column.indices.fill_null(-1).to_numpy()
    used = np.bincount(codes + 1, minlength=len(column.dictionary) + 1)[1:] > 0
    if used.all():
        return column
    places = np.cumsum(used, dtype=np.int32) - 1
    new = pa.array(places[codes], pa.int32(), mask=codes < 0)
    return pa.DictionaryArray.from_arrays(new, column.dictionary.filter(pa.array(used)))


def _of_low_variety(schema: pa.Schema) -> list[str]:
    """Give the columns, as Parquet names them, in which a dictionary can pay."""
    return [
        f"{field.name}.list.element" if pa.types.is_list(field.type) else field.name
        for field in schema
        if field.name not in _ALL_DIFFERENT
    ]
