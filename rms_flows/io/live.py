"""Archives read as a stream: batch after batch of all sources, with watermarks, to be resumed anywhere.

A partition here is a source; its watermark is the highest time of the events that it gave. What comes more
than the source's lateness behind that is late: it moves nothing, and goes its own way. Whether an event is
late depends on the order of the events alone, not on how they come in batches.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import SourceError
from rms_flows.io.contract import Request, Source
from rms_flows.io.ndjson_sink import json_lines
from rms_flows.schema import DEAD_LETTER

ENDED: Final = 2**62
"""Watermark of a source that has ended."""

NOT_BEGUN: Final = -(2**62)
"""Watermark of a source that has given nothing yet."""

_SLACK: Final = 1.0
"""Seconds of a rate that are made up for where a reader was held up."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How much of a source was read: fragments, and of the one after these rows and dead letters."""

    fragment: int = 0
    row: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Feed:
    """A source that is read as a stream.

    Args:
        id: Its id.
        source: Where it lies.
        request: What is needed of it.
        lateness: Microseconds.
        start: Where to begin to read.
        committed: Where everything before has been acknowledged: batches before it only warm up.
    """

    id: str
    source: Source
    request: Request
    lateness: int
    start: Position = field(default_factory=Position)
    committed: Position = field(default_factory=Position)


@dataclass(frozen=True, slots=True)
class Taken:
    """One batch of a source.

    Args:
        source: Id.
        rows: Observations in time.
        late: Observations that came too late.
        dead: Dead letters; they come apart from rows.
        position: Where the next batch begins.
        settled: Microseconds: no event in time is before it any more; `ENDED` at the source's end.
        latest: Time of the last event of the source so far.
        warm: Whether it was acknowledged before.
    """

    source: str
    rows: pa.RecordBatch
    late: pa.RecordBatch
    dead: pa.RecordBatch | None
    position: Position
    settled: int
    latest: int
    warm: bool


class Reading:
    """Reads feeds side by side, the one that is behind in time first.

    Args:
        feeds: The sources.
        rows: Rows of a batch at most.
        rate: Rows a second; None reads as fast as it goes.
        fault: Called before each batch; may raise, to show what a crash leaves.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        rows: int = 10_000,
        rate: float | None = None,
        fault: Callable[[], None] | None = None,
    ) -> None:
        self._rate = rate
        self._fault = fault
        self._due: float | None = None
        self._lines = {feed.id: _Line(feed, rows) for feed in feeds}
        self._open = dict(self._lines)

    def take(self) -> Taken | None:
        """Give the next batch; None at the end of all. Waits where the rate says so."""
        if self._fault is not None:
            self._fault()
        if not self._open:
            return None
        line = min(self._open.values(), key=lambda one: (one.settled, one.feed.id))
        taken = line.take()
        if taken.settled == ENDED:
            del self._open[line.feed.id]
        if self._rate is not None and not taken.warm:
            self._wait(taken.rows.num_rows / self._rate)
        return taken

    def _wait(self, seconds: float) -> None:
        """Wait until rows that take so long at the rate may be given; what only warms up took no time."""
        now = time.monotonic()
        self._due = max(now if self._due is None else self._due, now - _SLACK) + seconds
        time.sleep(max(0.0, self._due - now))


class _Line:
    """One feed while it is read."""

    def __init__(self, feed: Feed, rows: int) -> None:
        self.feed = feed
        self.settled = NOT_BEGUN
        self._rows = rows
        self._watermark = NOT_BEGUN
        self._position = feed.start
        self._slices = self._sliced()

    def take(self) -> Taken:
        """Give the next batch; the last one is empty and says that the source has ended."""
        batch, dead, position = next(self._slices)
        self._position = position
        if batch is None:
            self._check_end()
            self.settled = ENDED
            nothing = pa.RecordBatch.from_pydict({"@timestamp": pa.array([], pa.timestamp("us", "UTC"))})
            return Taken(self.feed.id, nothing, nothing, None, position, ENDED, self._watermark, warm=False)
        stamps = batch.column("@timestamp").cast(pa.int64()).to_numpy()
        late, self._watermark = too_late(stamps, self.feed.lateness, self._watermark)
        if self._watermark != NOT_BEGUN:
            self.settled = self._watermark - self.feed.lateness
        rows, behind = batch, batch.slice(0, 0)
        if late.any():
            rows, behind = batch.filter(pa.array(~late)), batch.filter(pa.array(late))
        warm = position <= self.feed.committed
        return Taken(
            self.feed.id,
            rows,
            behind,
            dead,
            position,
            self.settled,
            self._watermark,
            warm,
        )

    def _check_end(self) -> None:
        """Check that there is as much as was committed; raises SourceError."""
        if self._position < self.feed.committed:
            raise SourceError(
                f"ends before what the positions say was read of it ({self._position} of "
                f"{self.feed.committed})",
                where=self.feed.source.uri,
                remedy="they are of another input; name another file with --positions, or remove it",
            )

    def _sliced(self) -> Iterator[tuple[pa.RecordBatch | None, pa.RecordBatch | None, Position]]:
        """Cut what is decoded into batches, from the start on, and at the committed position.

        Dead letters come behind the rows that they were decoded with: a file that grew may have more of them,
        and then the old ones are told again.
        """
        fragments = self.feed.source.fragments(self.feed.request)
        for number in range(self.feed.start.fragment, len(fragments)):
            row, dead = 0, 0
            for decoded in self.feed.source.read(fragments[number], self.feed.request):
                first, last = row, row + decoded.rows.num_rows
                while row < last:
                    end = self._end(number, row, last)
                    if (position := Position(number, end, dead)) > self.feed.start:
                        yield decoded.rows.slice(row - first, end - row), None, position
                    row = end
                dead += decoded.dead.num_rows
                position = Position(number, last, dead)
                if decoded.dead.num_rows and position > self.feed.start:
                    yield decoded.rows.slice(0, 0), decoded.dead, position
        yield None, None, self._position

    def _end(self, fragment: int, at: int, last: int) -> int:
        """Give the row before which a batch ends."""
        end = min(at + self._rows, last)
        for stop in (self.feed.start, self.feed.committed):
            if stop.fragment == fragment and at < stop.row < end:
                end = stop.row
        return end


def too_late(stamps: np.ndarray, lateness: int, watermark: int = NOT_BEGUN) -> tuple[np.ndarray, int]:
    """Tell which events come more than the lateness behind the latest before them, and the latest time.

    Example:
        >>> too_late(np.array([10, 30, 19, 20]), 10)
        (array([False, False,  True, False]), 30)
    """
    highest = np.maximum.accumulate(np.concatenate([[watermark], stamps]))
    return stamps < highest[:-1] - lateness, int(highest[-1])


def letters(taken: Taken) -> pa.RecordBatch:
    """Give the dead letters of a batch, what came too late among them; none that were acknowledged before."""
    if taken.warm:
        return _NO_LETTERS
    dead = [] if taken.dead is None else [taken.dead]
    if taken.late.num_rows:
        dead.append(_late(taken.source, taken.late))
    return (
        pa.Table.from_batches(dead, DEAD_LETTER).unify_dictionaries().combine_chunks().to_batches()[0]
        if any(one.num_rows for one in dead)
        else _NO_LETTERS
    )


_NO_LETTERS: Final = pa.RecordBatch.from_pylist([], DEAD_LETTER)


def _late(source: str, rows: pa.RecordBatch) -> pa.RecordBatch:
    """Turn observations that came too late into dead letters."""
    count = rows.num_rows
    original = pa.array(json_lines(rows), pa.binary())
    if "event.original" in rows.schema.names:
        original = pc.coalesce(rows.column("event.original"), original)
    columns = {
        "event.ingested": rows.column("event.ingested"),
        "rms.source": pa.repeat(pa.scalar(source), count),
        "rms.origin": rows.column("rms.origin"),
        "error.type": pa.repeat(pa.scalar("late"), count),
        "error.message": pa.repeat(pa.scalar("too far behind the latest event; raise lateness"), count),
        "event.original": original,
    }
    return pa.RecordBatch.from_arrays(
        [
            columns[field.name].cast(pa.string()).dictionary_encode().cast(field.type)
            if pa.types.is_dictionary(field.type)
            else columns[field.name].cast(field.type)
            if field.name in columns
            else pa.nulls(count, field.type)
            for field in DEAD_LETTER
        ],
        schema=DEAD_LETTER,
    )
