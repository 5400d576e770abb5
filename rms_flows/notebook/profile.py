"""What an archive holds: rows by source and time, gaps, and of each column how full and how varied it is."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import DocumentError
from rms_flows.model import microseconds
from rms_flows.notebook import shown
from rms_flows.schema import TIMESTAMP

MANY: Final = 10_000
"""Distinct values that are counted of a column; of more it is told that there are more."""


@dataclass(frozen=True, slots=True)
class Profile:
    """What an archive holds.

    Args:
        rows: Number of events.
        every: Length of a step in microseconds.
        steps: A row a source and step that has events: `source` (text), `time` (its start), `rows`.
        gaps: A row a gap: `source`, `start`, `end`; steps without an event between a source's first and last.
        columns: A row a column: `column`, `type`, `nulls`, `distinct` (null beyond 10,000).
        dead_letters: Records that could not be decoded, by reason.
    """

    rows: int
    every: int
    steps: pa.Table
    gaps: pa.Table
    columns: pa.Table
    dead_letters: Mapping[str, int]

    def __repr__(self) -> str:
        lines = [f"{self.rows:,} events"]
        lines += [
            f"  {name}: {count:,} records could not be decoded" for name, count in self.dead_letters.items()
        ]
        if self.rows:
            for source in self.sources().to_pylist():
                lines.append(
                    f"  {source['source']}: {source['rows']:,} from {shown.text(source['first'])}, "
                    f"gaps: {source['gaps']}"
                )
            lines.append(f"  {self.columns.num_rows} columns")
        return "\n".join(lines)

    def sources(self) -> pa.Table:
        """Give a row a source: `source`, `rows`, `first` and `last` step, number of `gaps`."""
        known = self.steps.group_by("source").aggregate([("rows", "sum"), ("time", "min"), ("time", "max")])
        gaps = Counter(self.gaps["source"].to_pylist())
        table = known.select(["source", "rows_sum", "time_min", "time_max"]).sort_by("source")
        table = table.rename_columns(["source", "rows", "first", "last"])
        return table.append_column(
            "gaps", pa.array([gaps[name] for name in table["source"].to_pylist()], pa.int64())
        )

    def _repr_html_(self) -> str:
        tables = [shown.paragraph(f"{self.rows:,} events")]
        if self.dead_letters:
            tables.append(shown.table(("could not be decoded", "records"), self.dead_letters.items()))
        parts = (self.sources(), self.gaps.slice(0, 20), self.columns)
        tables += [
            shown.table(one.column_names, map(_values, one.to_pylist())) for one in parts if one.num_rows
        ]
        return "".join(tables)


@dataclass(slots=True)
class _Column:
    kind: pa.DataType
    filled: int = 0
    values: set[object] = field(default_factory=set)


class Profiler:
    """Takes batches of observations and gives their profile.

    Args:
        every: Length of a step, such as `10m`.

    Raises:
        DocumentError: It is no length of time.
    """

    def __init__(self, every: str) -> None:
        if not re.fullmatch(r"[1-9][0-9]{0,8}(s|m|h|d)", every):
            raise DocumentError(
                f"{every!r} is no length of time", where="every", remedy="write 10m, 1h or 1d"
            )
        self._every = microseconds(every)
        self._rows = 0
        self._steps: Counter[tuple[str | None, int]] = Counter()
        self._columns: dict[str, _Column] = {}
        self._dead: Counter[str] = Counter()

    def add(self, batch: pa.RecordBatch, dead: Mapping[str, int]) -> None:
        """Take a batch, and the reasons of what was not decoded."""
        self._dead.update(dead)
        self.count(batch)
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            known = self._columns.setdefault(name, _Column(column.type))
            known.filled += len(column) - column.null_count
            if len(known.values) <= MANY:
                known.values.update(_distinct(column))

    def count(self, batch: pa.RecordBatch) -> None:
        """Count rows over time alone."""
        self._rows += batch.num_rows
        for source, step, rows in steps(batch, self._every):
            self._steps[source, step] += rows

    def profile(self) -> Profile:
        """Tell what came."""
        found = sorted(self._steps.items())
        sources, times = [source for (source, _), _ in found], [step for (_, step), _ in found]
        table = pa.table(
            {
                "source": pa.array(sources, pa.string()),
                "time": _times(times),
                "rows": pa.array([rows for _, rows in found], pa.int64()),
            }
        )
        return Profile(
            self._rows, self._every, table, gaps(table, self._every), self._of_columns(), dict(self._dead)
        )

    def _of_columns(self) -> pa.Table:
        known = self._columns.items()
        distinct = [len(one.values) if len(one.values) <= MANY else None for _, one in known]
        return pa.table(
            {
                "column": pa.array([name for name, _ in known], pa.string()),
                "type": pa.array([_kind(one.kind) for _, one in known], pa.string()),
                "nulls": pa.array([self._rows - one.filled for _, one in known], pa.int64()),
                "distinct": pa.array(distinct, pa.int64()),
            }
        )


def _values(row: dict[str, object]) -> list[object]:
    return [*row.values()]


def steps(batch: pa.RecordBatch, every: int) -> list[tuple[str | None, int, int]]:
    """Count rows by source and step: source, start of the step in microseconds, rows."""
    step = batch["@timestamp"].cast(pa.int64()).to_numpy() // every
    return [(source, int(at) * every, rows) for source, at, rows in counted(batch["rms.source"], step)]


def counted(words: pa.Array, numbers: np.ndarray) -> Iterator[tuple[str | None, int, int]]:
    """Count pairs of a word and a number.

    Example:
        >>> sorted(counted(pa.array(["a", "b", "a"]), np.array([1, 1, 1])))
        [('a', 1, 2), ('b', 1, 1)]
    """
    coded = words.dictionary_encode()
    known = [*coded.dictionary.to_pylist(), None]
    codes = coded.indices.fill_null(len(known) - 1).to_numpy().astype(np.int64)
    pairs, counts = np.unique(numbers * len(known) + codes, return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        yield known[pair % len(known)], pair // len(known), count


def gaps(table: pa.Table, every: int) -> pa.Table:
    """Find steps without an event between a source's first and last.

    Args:
        table: `source`, `time`, sorted by both.
        every: Length of a step in microseconds.
    """
    times = table["time"].cast(pa.int64()).to_numpy()
    sources = np.array(table["source"].to_pylist(), object)
    at = (
        np.flatnonzero((np.diff(times) > every) & (sources[1:] == sources[:-1]))
        if len(times)
        else np.empty(0, int)
    )
    return pa.table(
        {
            "source": pa.array(sources[at], pa.string()),
            "start": _times(times[at] + every),
            "end": _times(times[at + 1]),
        }
    )


def _times(micros: object) -> pa.Array:
    return pa.array(micros, pa.int64()).cast(TIMESTAMP)


def _distinct(column: pa.Array) -> list[object]:
    if pa.types.is_nested(column.type):
        return [str(value) for value in column.to_pylist() if value is not None]
    values: list[object] = (
        pc.unique(column).drop_null().slice(0, 2 * MANY).cast(_plain(column.type)).to_pylist()
    )
    return values


def _plain(kind: pa.DataType) -> pa.DataType:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return pa.int64() if pa.types.is_timestamp(kind) else kind


def _kind(kind: pa.DataType) -> str:
    return str(_plain(kind)) if pa.types.is_dictionary(kind) else str(kind)
