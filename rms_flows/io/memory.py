"""Batches in memory as a source and as a sink: what notebooks and tests use in place of files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary

import pyarrow as pa

from rms_flows.decode.contract import Counts, Decoded
from rms_flows.errors import SinkError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.parquet_columns import leaves
from rms_flows.schema import ENVELOPE, NO_DEAD_LETTERS

_BATCH = 65_536
_SINKS: WeakValueDictionary[str, MemorySink] = WeakValueDictionary()


@dataclass(frozen=True, slots=True)
class MemorySource:
    """Batches that are there already, each a fragment; columns of the envelope that they lack are null.

    Args:
        batches: Observations of the types that `schema.field_type` gives.
        name: What the account calls it.

    Example:
        >>> source = MemorySource([pa.record_batch({"event.id": ["a", "b"]})])
        >>> [fragment] = source.fragments(Request())
        >>> [decoded] = source.read(fragment, Request())
        >>> decoded.rows["event.id"].to_pylist(), decoded.counts.rows
        (['a', 'b'], 2)
    """

    batches: Sequence[pa.RecordBatch]
    name: str = "batches"
    endless = False

    @property
    def uri(self) -> str:
        """Its name."""
        return f"memory:{self.name}"

    def fragments(self, request: Request) -> list[Fragment]:
        """List the batches."""
        del request  # nothing is saved by leaving rows or columns out
        return [
            Fragment(self.uri, str(number), rows=batch.num_rows, size=batch.nbytes)
            for number, batch in enumerate(self.batches)
        ]

    def columns(self) -> frozenset[str]:
        """Name the columns of all batches."""
        return frozenset(name for batch in self.batches for name in leaves(batch.schema))

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Give one of the batches, in slices of up to 65,536 rows."""
        del request
        batch = self.batches[int(fragment.key)]
        envelope = {
            name: batch.column(name) if name in batch.schema.names else pa.nulls(batch.num_rows, kind)
            for name, kind in ENVELOPE.items()
        }
        others = {name: batch.column(name) for name in batch.schema.names if name not in ENVELOPE}
        whole = pa.RecordBatch.from_pydict(envelope | others)
        for start in range(0, whole.num_rows, _BATCH):
            rows = whole.slice(start, _BATCH)
            counts = Counts(framed=rows.num_rows, rows=rows.num_rows, bytes=rows.nbytes)
            yield Decoded(rows, NO_DEAD_LETTERS, counts)


class MemorySink:
    """Keeps what is written in `table`, for work in one process.

    Guarantee: after a commit `table` holds what this run wrote, sorted by time and id, one row an id: the one
    of the highest revision. Copies that Beam makes of it in its process are the same sink, by its name.

    Args:
        name: Names the sink in this process.
    """

    def __init__(self, name: str) -> None:
        self.uri = f"memory:{name}"
        self.table: pa.Table = pa.table({})
        self._parts: dict[str, list[pa.RecordBatch]] | None = None
        _SINKS[self.uri] = self

    def __reduce__(self) -> tuple[object, ...]:
        return _found, (self.uri,)

    def prepare(self) -> None:
        """See `Sink.prepare`."""
        if self._parts is not None:
            raise SinkError("another run writes to it", where=self.uri, remedy="wait for its end")
        self._parts = {}

    def part(self, name: str) -> MemoryPart:
        """See `Sink.part`."""
        if self._parts is None:
            raise SinkError("nothing may be written yet", where=self.uri, remedy="call prepare() first")
        return MemoryPart(self._parts, name)

    def commit(self) -> int:
        """Put the parts together; give the number of rows."""
        parts = self._parts or {}
        tables = [pa.Table.from_batches([batch]) for name in sorted(parts) for batch in parts[name]]
        table = pa.concat_tables(tables, promote_options="default") if tables else pa.table({})
        self.table = _folded(table)
        self._parts = None
        return int(self.table.num_rows)

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        self._parts = None


@dataclass(slots=True)
class MemoryPart:
    """One part; stays apart until it is closed."""

    parts: dict[str, list[pa.RecordBatch]]
    name: str
    batches: list[pa.RecordBatch] = field(default_factory=list)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Writer.write`."""
        self.batches.append(batch)

    def close(self) -> None:
        """See `Writer.close`."""
        self.parts[self.name] = self.batches


def _found(uri: str) -> MemorySink:
    if uri not in _SINKS:
        raise SinkError("is in another process", where=uri, remedy="use one worker, or write to a file")
    return _SINKS[uri]


def _folded(table: pa.Table) -> pa.Table:
    names = table.column_names
    if "event.id" in names:
        order = [("event.id", "ascending")] + [("rms.revision", "descending")] * ("rms.revision" in names)
        table = table.sort_by(order)
        ids = table["event.id"].to_pylist()
        same = [name is not None and name == before for name, before in zip(ids[1:], ids, strict=False)]
        table = table.filter(pa.array([True, *(not one for one in same)][: len(ids)], pa.bool_()))
    order = [(name, "ascending") for name in ("@timestamp", "event.id") if name in names]
    return table.sort_by(order) if order else table
