"""No event twice in a partition of an archive."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rms_flows.errors import SinkError
from rms_flows.io.parquet_file import ArchiveFile

GROUP = 500_000
"""Event ids that are looked at at once; two groups and a hash table are in memory."""

_ID = "event.id"


def first_of_each(files: Sequence[Path], group: int = GROUP) -> Iterator[np.ndarray]:
    """Mark, file by file, the rows whose event id stands in no row before, in this or in an earlier file.

    Args:
        files: In order of precedence; one without event ids is kept whole.
        group: Event ids to look at at once.

    Returns:
        Shape (rows of the file,), bool, for each file.

    Raises:
        SinkError: A file can't be read.
    """
    groups = _grouped(files, group)
    for number, members in enumerate(groups):
        parts = [_ids(path) for path in members]
        ids = pa.concat_arrays(parts)
        keep = _first(ids)
        for earlier in groups[:number]:
            known = pc.is_in(ids, pa.concat_arrays([_ids(path) for path in earlier]), skip_nulls=True)
            keep &= ~known.to_numpy(zero_copy_only=False)
        yield from np.split(keep, np.cumsum([len(part) for part in parts])[:-1])


def without(path: Path, keep: np.ndarray, folder: Path) -> Path:
    """Write the rows of a file that are to be kept to a new one, a row group at a time."""
    old = pq.ParquetFile(path)
    made = ArchiveFile(folder, old.schema_arrow)
    start = 0
    for number in range(old.num_row_groups):
        rows = old.read_row_group(number, use_threads=False)
        kept = rows.filter(pa.array(keep[start : start + rows.num_rows]))
        start += rows.num_rows
        if kept.num_rows:
            made.write(kept)
    return made.close()


def _grouped(files: Sequence[Path], limit: int) -> list[list[Path]]:
    groups: list[list[Path]] = []
    size = limit
    for path in files:
        rows = _opened(path).metadata.num_rows
        if size + rows > limit:
            groups.append([])
            size = 0
        groups[-1].append(path)
        size += rows
    return groups


def _first(ids: pa.Array) -> np.ndarray:
    codes = ids.dictionary_encode().indices.fill_null(-1).to_numpy()
    # Codes are given in the order of first appearance, so a new one is the greatest so far.
    new = np.diff(np.maximum.accumulate(codes), prepend=np.int32(-1)) > 0
    return np.asarray(new | (codes < 0), np.bool_)


def _ids(path: Path) -> pa.Array:
    file = _opened(path)
    if _ID not in file.schema_arrow.names:
        return pa.nulls(file.metadata.num_rows, pa.string())
    try:
        return file.read([_ID], use_threads=False).column(0).cast(pa.string()).combine_chunks()
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path) from error


def _damaged(path: Path) -> SinkError:
    return SinkError(
        "a file of the archive can't be read as Parquet", where=str(path), remedy="restore it or move it away"
    )
