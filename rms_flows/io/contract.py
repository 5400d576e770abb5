"""What an adapter is: a source gives fragments to be read apart, a sink takes batches and commits once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, Self

import pyarrow as pa

from rms_flows.decode.contract import Decoded
from rms_flows.schema import micros
from rms_flows.sigma.expression import Look

if TYPE_CHECKING:  # sources that search nothing need no rules
    from rms_flows.processors.contract import Search


@dataclass(frozen=True, slots=True)
class Fragment:
    """A part of a source that can be read apart from the others; crosses to workers.

    Args:
        uri: What to open, without credentials.
        key: Which part of it: a zip member, row groups, a slice; empty for all.
        rows: Number of rows where it is known beforehand.
        size: Bytes to read where known, for progress and for balance between workers.
        extra: What the adapter needs to read it again, plain values only.
    """

    uri: str
    key: str = ""
    rows: int | None = None
    size: int | None = None
    extra: tuple[tuple[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Window:
    """Half-open range [start, end) of `@timestamp` in microseconds since 1970; None is open."""

    start: int | None = None
    end: int | None = None

    @classmethod
    def of(cls, start: datetime | None, end: datetime | None) -> Self:
        """Make one of times as people give them."""
        return cls(*(None if one is None else micros(one) for one in (start, end)))


@dataclass(frozen=True, slots=True)
class Late:
    """What of the columns of a request has to be read, for sources that can tell before they read all.

    Args:
        always: Columns that are needed whatever they hold.
        searches: What makes each search; of all other columns what one of them wants is needed.
    """

    always: frozenset[str]
    searches: tuple[Callable[[], Search], ...]


@dataclass(frozen=True, slots=True)
class Request:
    """What the flow needs of a source: an adapter may give more, never less.

    Args:
        columns: Columns to read, None for all; the envelope always comes.
        window: Events outside may be left out; the flow drops what comes too much.
        lateness: A stream reads, and events may come so many microseconds late; else None. To a stream
            fragments and the rows in them have to come in an order that the same data always has, which
            should be that of time.
        since: The stream goes on: the last `Decoded.place` that counts, for sources whose batches have one.
        looks_for: Gives what the flow looks for: events of which none of it is true may be left out; None
            where every event matters.
        late: Which values of these columns may be left out.
        lean: What tells rows apart (`schema.APART`) may be null, unless `columns` names it.
    """

    columns: frozenset[str] | None = None
    window: Window = field(default_factory=Window)
    lateness: int | None = None
    since: int | None = None
    looks_for: Callable[[], Sequence[Look] | None] | None = None
    late: Late | None = None
    lean: bool = False

    @property
    def ordered(self) -> bool:
        """Whether a stream reads, to which the order of rows matters."""
        return self.lateness is not None


class Source(Protocol):
    """Something to read; picklable, and without open files until `read`."""

    @property
    def uri(self) -> str:
        """Where it lies; safe to log."""

    @property
    def endless(self) -> bool:
        """Tell whether it goes on for ever: it then gives a batch without rows when there is nothing new."""

    def fragments(self, request: Request) -> list[Fragment]:
        """List the parts to read, in a stable order; raises SourceError when there is nothing to read."""

    def columns(self) -> frozenset[str] | None:
        """Name all columns that its batches may have; None where that is not known before they are read."""

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Read one part in batches of 1,000 to 65,536 rows; raises SourceError."""


class Writer(Protocol):
    """Takes the batches of one part; nothing of it is visible until the sink commits, unless it says so.

    Where a place may refuse a row, both give what it refused of what was written, as dead letters
    (`schema.DEAD_LETTER`): those are counted, and go where the flow's dead letters go.
    """

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Take one batch; raises SinkError."""

    def close(self) -> pa.RecordBatch | None:
        """Make the part durable, so that `commit` finds it; raises SinkError."""


class Log(Protocol):
    """What a stream appends to; it stays in the stream's process. What is refused is given as by `Writer`."""

    def open(self) -> None:
        """Get ready; raises SinkError before work begins."""

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Take one batch; raises SinkError."""

    def flush(self) -> pa.RecordBatch | None:
        """Make what was written survive a loss of power: it may be acknowledged now; raises SinkError."""

    def close(self) -> None:
        """Let go of it, without a flush."""


class Sink(Protocol):
    """Something to write; picklable. Life: `prepare` once, `part` in any process, `commit` or `abandon` once.

    Idempotent: the same input written twice, also after a `kill -9` at any point, leaves what one run leaves.
    """

    @property
    def uri(self) -> str:
        """Where it lies; safe to log."""

    def prepare(self) -> None:
        """Check rights, take the lock, clear what a killed run left; raises SinkError before work begins."""

    def part(self, name: str) -> Writer:
        """Open a part; the same name replaces what a failed attempt wrote (a Beam bundle that is retried)."""

    def commit(self) -> int:
        """Make all closed parts visible at once, reports folded by id; give the number of rows kept."""

    def abandon(self) -> None:
        """Remove the staging area and release the lock."""
