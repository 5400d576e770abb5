"""Archives read as a stream: batch after batch of all sources, with watermarks, to be resumed anywhere.

A partition here is a source; its watermark is the highest time of the events that it gave. What comes more
than the source's lateness behind that is late: it moves nothing, and goes its own way. Whether an event is
late depends on the order of the events alone, not on how they come in batches.

One exception: a source without an end that has given no event for its time of idleness is not waited for. Its
time goes on with that of the others or, where all are idle, with the clock from its last event on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import SourceError
from rms_flows.io.contract import Request, Source
from rms_flows.io.ndjson_sink import json_lines
from rms_flows.schema import DEAD_LETTER, NO_DEAD_LETTERS

ENDED: Final = 2**62
"""Watermark of a source that has ended."""

NOT_BEGUN: Final = -(2**62)
"""Watermark of a source that has given nothing yet."""

_SLACK: Final = 1.0
"""Seconds of a rate that are made up for where a reader was held up."""

_POLL: Final = 0.1
"""Seconds until a source that had nothing new is asked again."""

_HELD_UP: Final = 1.0
"""Seconds between two questions that count as idle at most: in a longer time it was us who did not look."""

_BEAT: Final = 500_000
"""Microseconds of event time by which an idle source has to be settled further for it to be told."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How much of a source was read: fragments, and of the one after these rows and dead letters.

    Of a source whose batches have a `Decoded.place`: in `row` that place, in `dead` the batches since.
    """

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
        settled: What had been settled there, microseconds: what comes before it is late.
        idle: Microseconds without an event after which nobody waits for it; None for a source that ends.
    """

    id: str
    source: Source
    request: Request
    lateness: int
    start: Position = field(default_factory=Position)
    committed: Position = field(default_factory=Position)
    settled: int = NOT_BEGUN
    idle: int | None = None


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
        new: Whether it says anything: there are rows, dead letters, the end, or more is settled.
    """

    source: str
    rows: pa.RecordBatch
    late: pa.RecordBatch
    dead: pa.RecordBatch | None
    position: Position
    settled: int
    latest: int
    warm: bool
    new: bool = True


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
        """Give the next batch; None at the end of all.

        Waits where the rate says so, and a moment where nobody has anything new.
        """
        if self._fault is not None:
            self._fault()
        if not self._open:
            return None
        now = time.monotonic()
        line = min(self._open.values(), key=lambda one: (max(one.again, now), one.settled, one.feed.id))
        time.sleep(max(0.0, line.again - now))
        if line.idle:
            line.settled = max(line.settled, self._time(line))
        taken = line.take()
        if taken.settled == ENDED:
            del self._open[line.feed.id]
        if self._rate is not None and not taken.warm:
            self._wait(taken.rows.num_rows / self._rate)
        return taken

    def _time(self, idle: _Line) -> int:
        """Tell what may be settled in a source that is idle."""
        awake = [line.settled for line in self._open.values() if not line.idle]
        if awake:
            return min(awake)
        begun = [line.latest + line.quiet for line in self._lines.values() if line.latest != NOT_BEGUN]
        return max(begun) - idle.feed.lateness if begun else NOT_BEGUN

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
        self.latest = NOT_BEGUN
        self.again = 0.0  # when to ask it next, by the monotonic clock
        self.quiet = 0  # microseconds without an event
        self._asked = time.monotonic()
        self._told = NOT_BEGUN
        self._rows = rows
        self._position = feed.start
        self._slices = self._sliced()

    @property
    def idle(self) -> bool:
        """Tell whether it has been without an event for so long that nobody waits for it."""
        return self.feed.idle is not None and self.quiet >= self.feed.idle

    def take(self) -> Taken:
        """Give the next batch; the last one is empty and says that the source has ended."""
        batch, dead, position = next(self._slices)
        self._position = position
        if batch is None:
            self._check_end(position)
            self.settled = ENDED
            return self._taken(_NO_ROWS, _NO_ROWS, None)
        self._listen(batch.num_rows, silent=not batch.num_rows and dead is None)
        stamps = batch.column("@timestamp").cast(pa.int64()).to_numpy()
        self.latest = max(self.latest, int(stamps.max(initial=NOT_BEGUN)))
        if position > self.feed.committed:
            self.settled = max(self.settled, self.feed.settled)
        before = NOT_BEGUN if self.settled == NOT_BEGUN else self.settled + self.feed.lateness
        late, watermark = too_late(stamps, self.feed.lateness, before)
        if watermark != NOT_BEGUN:
            self.settled = watermark - self.feed.lateness
        rows, behind = batch, batch.slice(0, 0)
        if late.any():
            rows, behind = batch.filter(pa.array(~late)), batch.filter(pa.array(late))
        return self._taken(rows, behind, dead)

    def _taken(self, rows: pa.RecordBatch, late: pa.RecordBatch, dead: pa.RecordBatch | None) -> Taken:
        new = bool(rows.num_rows or late.num_rows or dead is not None or self.settled >= self._told + _BEAT)
        if new:
            self._told = self.settled
        at = self._position
        warm = self.settled != ENDED and at <= self.feed.committed
        return Taken(self.feed.id, rows, late, dead, at, self.settled, self.latest, warm, new)

    def _listen(self, rows: int, *, silent: bool) -> None:
        """Count how long it has been without an event."""
        now = time.monotonic()
        self.quiet = 0 if rows else self.quiet + int(min(now - self._asked, _HELD_UP) * 1_000_000)
        self._asked = now
        self.again = now + _POLL if silent else 0.0

    def _check_end(self, position: Position) -> None:
        """Check that there is as much as was committed; raises SourceError."""
        if position < self.feed.committed:
            raise SourceError(
                f"ends before what the positions say was read of it ({position} of {self.feed.committed})",
                where=self.feed.source.uri,
                remedy="they are of another input; name another file with --positions, or remove it",
            )

    def _sliced(self) -> Iterator[tuple[pa.RecordBatch | None, pa.RecordBatch | None, Position]]:
        """Cut what is decoded into batches, from the start on, and at the committed position.

        Dead letters come behind the rows that they were decoded with: a file that grew may have more of them,
        and then the old ones are told again.
        """
        since = self.feed.start.row if self.feed.start > Position() else None
        request = replace(self.feed.request, since=since)
        fragments = self.feed.source.fragments(request)
        for number in range(self.feed.start.fragment, len(fragments)):
            row, dead = 0, 0
            for decoded in self.feed.source.read(fragments[number], request):
                if decoded.place is not None:
                    yield from self._placed(decoded.rows, decoded.dead, decoded.place)
                    continue
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
                if self.feed.idle is not None and not decoded.rows.num_rows and not decoded.dead.num_rows:
                    self._check_end(position)
                    yield _NO_ROWS, None, self._position
        yield None, None, self._position

    def _placed(
        self, rows: pa.RecordBatch, dead: pa.RecordBatch, place: int
    ) -> Iterator[tuple[pa.RecordBatch | None, pa.RecordBatch | None, Position]]:
        """Cut what comes of a source whose places are times: a position is one, and counts the batches since.

        What comes again behind a restart is told from what is new by its time alone: it only warms up where
        it is from before what had been settled, and else is told once more, under the same ids. Dead letters,
        which have no time, are told again.
        """
        stamps = rows.column("@timestamp").cast(pa.int64()).to_numpy()
        told = int(np.append(stamps >= self.feed.settled, True).argmax())  # rows before it were told
        ends = [
            *range(self._rows, told, self._rows),
            told,
            *range(told + self._rows, len(stamps), self._rows),
        ]
        first = 0
        for last in dict.fromkeys([*ends, len(stamps)]):
            if first < last:
                whole = last == len(stamps) and not dead.num_rows
                yield rows.slice(first, last - first), None, self._next(place, whole=whole, told=first < told)
                first = last
        if dead.num_rows:
            yield rows.slice(0, 0), dead, self._next(place, whole=True, told=False)
        if not (len(stamps) or dead.num_rows):
            yield _NO_ROWS, None, self._position

    def _next(self, place: int, *, whole: bool, told: bool) -> Position:
        """Give the position behind a batch; not that of the place before all that came with it is there."""
        at, committed = self._position, self.feed.committed
        at = replace(at, dead=at.dead + 1)
        if whole:
            at = max(at, Position(at.fragment, place))
        return min(at, committed) if told else max(at, replace(committed, dead=committed.dead + 1))

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
        return NO_DEAD_LETTERS
    dead = [] if taken.dead is None else [taken.dead]
    if taken.late.num_rows:
        dead.append(_late(taken.source, taken.late))
    return (
        pa.Table.from_batches(dead, DEAD_LETTER).unify_dictionaries().combine_chunks().to_batches()[0]
        if any(one.num_rows for one in dead)
        else NO_DEAD_LETTERS
    )


_TOO_LATE: Final = (
    "too far behind the latest event, or behind what was settled while the source was idle; "
    "raise lateness, or idle"
)
_NO_ROWS: Final = pa.RecordBatch.from_pydict({"@timestamp": pa.array([], pa.timestamp("us", "UTC"))})


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
        "error.message": pa.repeat(pa.scalar(_TOO_LATE), count),
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
