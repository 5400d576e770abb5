"""Parquet files, our archives and others', read no further than the flow needs."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash

from rms_flows.decode.contract import Decoded, Options
from rms_flows.errors import SourceError
from rms_flows.io.contract import Fragment, Request, Window
from rms_flows.io.parquet_columns import Home, decoded, leaves
from rms_flows.io.parquet_groups import Kinds, Seeker, batches
from rms_flows.schema import APART, ENVELOPE, MISFIT

if TYPE_CHECKING:  # most sources search nothing
    from rms_flows.processors.contract import Sought

_ROWS = 500_000
_GROUPS = 8
_TO_MICROSECONDS = {"s": (1_000_000, 1), "ms": (1_000, 1), "us": (1, 1), "ns": (1, 1_000)}


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """A Parquet file, the files a glob names, or all `.parquet` files below a folder.

    Guarantee: a row has the `event.id` it was archived with; one that has none gets its id from the content
    of its file and its place in it, so that the same file gives the same events wherever it lies. Row groups
    whose statistics or whose partition (`rms.source=…/day=…`) lie outside the window are not read. Text that
    repeats comes as dictionaries, which is several times faster and what rules work on; a column inside a
    struct comes under its dotted path. A row without a time is a dead letter.

    Args:
        path: File, folder or glob.
        dataset: `event.dataset` of rows that have none.
        time_column: Column that is taken for `@timestamp`, where the files have no such column.
        timezone: Zone of stamps that are written as text without one; None is UTC.
    """

    path: str
    dataset: str | None = None
    time_column: str | None = None
    timezone: tzinfo | None = None
    endless = False

    @property
    def uri(self) -> str:
        """The path; it holds no secrets."""
        return f"parquet:{self.path}"

    def fragments(self, request: Request) -> list[Fragment]:
        """List runs of row groups, at most 8 or about 500,000 rows each, in the order of names and rows."""
        return [
            fragment
            for path in self._files()
            if _day_within(path, request.window)
            for fragment in self._fragments(path, request.window)
        ]

    def columns(self) -> frozenset[str]:
        """Name the columns of all files, by their footers; raises SourceError."""
        found = set[frozenset[str]]()
        for path in self._files():
            with _told(path):
                found.add(_names(path))
        return frozenset().union(*found)

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Read a fragment in batches of up to 65,536 rows; raises SourceError."""
        known = dict(fragment.extra)
        groups: Sequence[int] = known["row_groups"]
        with _told(fragment.uri):
            meta, kinds = _footer(fragment.uri)
            home = Home(
                fragment.uri,
                known["identity"],
                self._time(kinds, fragment.uri),
                self.dataset,
                Options(timezone=self.timezone),
                _left_out(request),
            )
            columns = _wanted(kinds, request, home.time_column)
            row = _row_numbers(meta, groups)
            start = 0
            for batch in batches(fragment.uri, meta, kinds, groups, columns, self._seeker(request, home)):
                yield decoded(batch, row[start : start + batch.num_rows], home)
                start += batch.num_rows
                del batch  # its memory may be free when the next is read

    def _seeker(self, request: Request, home: Home) -> Seeker | None:
        """Make what tells which columns of a row group need not be read, if a flow can do without any."""
        if request.late is None:
            return None
        searches = [make() for make in request.late.searches]
        named = [one.always | one.first for one in searches]
        first = request.late.always.union(*named) | ENVELOPE.keys() | {home.time_column, MISFIT}

        def seek(batch: pa.RecordBatch) -> Sequence[Sought] | None:
            rows = decoded(batch, np.arange(batch.num_rows), home).rows
            whole = rows.num_rows == batch.num_rows  # else some are dead letters
            return [search.of(rows) for search in searches] if whole else None

        return Seeker(first, seek)

    def _files(self) -> list[str]:
        with _told(self.path):
            root = Path(self.path)
            names = [self.path] if root.exists() else sorted(glob.glob(self.path, recursive=True))  # noqa: PTH207  a whole path of wildcards
            paths = [Path(name) for name in names]
            found = [str(file) for path in paths for file in (_below(path) if path.is_dir() else [path])]
        if not found:
            raise SourceError(
                "no Parquet file there",
                where=self.path,
                remedy="name a .parquet file, a folder that holds some, or a glob such as 'a/**/*.parquet'",
            )
        return found

    def _fragments(self, path: str, window: Window) -> Iterator[Fragment]:
        with _told(path):
            meta, kinds = _footer(path)
            _names(path)  # while the footer is at hand
            time = self._time(kinds, path)
            kept = [
                group
                for group in range(meta.num_row_groups)
                if meta.row_group(group).num_rows
                and _within(meta.row_group(group), kinds[time], time, window)
            ]
            identified = _all_have_ids([meta.row_group(group) for group in kept])
            identity = "" if identified else _digest(path)
        for groups in _runs(kept, [meta.row_group(group).num_rows for group in kept]):
            yield Fragment(
                path,
                f"{groups[0]}-{groups[-1]}",
                rows=sum(meta.row_group(group).num_rows for group in groups),
                size=sum(meta.row_group(group).total_byte_size for group in groups),
                extra=(("row_groups", groups), ("identity", identity)),
            )

    def _time(self, names: Kinds, path: str) -> str:
        declared = self.time_column or "@timestamp"
        time = declared if declared in names else "@timestamp"
        if time not in names:
            raise SourceError(
                f"no column {declared!r}, there are {', '.join(list(names)[:12])}",
                where=path,
                remedy="name the column that holds the time as time_column",
            )
        return time


def _footer(path: str) -> tuple[pq.FileMetaData, Kinds]:
    """Read what a file's end says of it; of hundreds of columns that takes as long as many rows."""
    stat = Path(path).stat()
    return _footer_as_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=64)
def _footer_as_of(path: str, _changed: int, _size: int) -> tuple[pq.FileMetaData, Kinds]:
    file = pq.ParquetFile(path)
    return file.metadata, leaves(file.schema_arrow)


def _names(path: str) -> frozenset[str]:
    """Name the columns of a file."""
    stat = Path(path).stat()
    return _names_as_of(path, stat.st_mtime_ns, stat.st_size)


@lru_cache(maxsize=16_384)
def _names_as_of(path: str, changed: int, size: int) -> frozenset[str]:
    _, kinds = _footer_as_of(path, changed, size)
    return _one_set(frozenset(kinds))


@lru_cache(maxsize=1_024)
def _one_set(names: frozenset[str]) -> frozenset[str]:
    """Give the same object for the same columns: files of one archive have few different ones."""
    return names


def _below(folder: Path) -> list[Path]:
    """Find the files of a folder; what begins with a dot or an underscore is not data."""
    found = filter(Path.is_file, folder.rglob("*.parquet"))
    return sorted(
        path for path in found if not any(part[0] in "._" for part in path.relative_to(folder).parts)
    )


@contextmanager
def _told(path: str) -> Iterator[None]:
    """Say what is wrong with a file."""
    try:
        yield
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError, EOFError) as error:
        raise SourceError(
            f"can't be read as Parquet: {str(error).partition('. ')[0].splitlines()[0]}",
            where=path,
            remedy="it is empty, cut off or no Parquet file; copy or write it again, or move it away",
        ) from error
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise SourceError(
            f"can't be read: {reason}", where=path, remedy="check the path, the rights and the disk"
        ) from error


def _digest(path: str) -> str:
    """Hash a whole file: two that differ in one value anywhere must not share ids."""
    digest = xxhash.xxh3_128()
    with Path(path).open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _runs(groups: Sequence[int], rows: Sequence[int]) -> Iterator[tuple[int, ...]]:
    run: list[int] = []
    held = 0
    for group, count in zip(groups, rows, strict=True):
        if run and (len(run) == _GROUPS or held + count > _ROWS):
            yield tuple(run)
            run, held = [], 0
        run.append(group)
        held += count
    if run:
        yield tuple(run)


def _wanted(names: Kinds, request: Request, time: str) -> list[str]:
    if request.columns is None:
        return list(names)
    wanted = (request.columns | ENVELOPE.keys() | {time}) - _left_out(request)
    return [name for name in names if name in wanted]


def _left_out(request: Request) -> frozenset[str]:
    """Name what of the envelope nobody looks at."""
    return APART - request.columns if request.lean and request.columns is not None else frozenset()


def _row_numbers(meta: Any, groups: Sequence[int]) -> np.ndarray:
    starts = np.cumsum([0, *(meta.row_group(group).num_rows for group in range(meta.num_row_groups))])
    return np.concatenate([np.arange(starts[group], starts[group + 1]) for group in groups])


def _day_within(path: str, window: Window) -> bool:
    """Tell by the path alone whether a file of an archive of ours can hold rows of the window."""
    *_, above, day, _ = ("", "", *Path(path).parts)
    if not (above.startswith("rms.source=") and day.startswith("day=")):
        return True
    try:
        start = datetime.strptime(day, "day=%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return True
    first = (start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return _overlap(first, first + 86_400_000_000 - 1, window)


def _within(group: Any, kind: pa.DataType, time: str, window: Window) -> bool:
    """Tell by its statistics whether a row group can hold rows of the window."""
    found = _statistics(group, time)
    if found is None or not found.has_min_max or not pa.types.is_timestamp(kind):
        return True
    times, over = _TO_MICROSECONDS[kind.unit]
    return _overlap(found.min_raw * times // over, found.max_raw * times // over, window)


def _all_have_ids(groups: Sequence[Any]) -> bool:
    found = [_statistics(group, "event.id") for group in groups]
    return all(one is not None and one.has_null_count and not one.null_count for one in found)


def _statistics(group: Any, name: str) -> Any:
    """Give the statistics of a column, None where there are none."""
    columns = map(group.column, range(group.num_columns))
    return next((column.statistics for column in columns if column.path_in_schema == name), None)


def _overlap(first: int, last: int, window: Window) -> bool:
    """Tell whether [first, last] and the window have a microsecond in common."""
    return (window.end is None or first < window.end) and (window.start is None or last >= window.start)
