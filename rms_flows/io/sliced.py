"""Fragments of a source read as a stream: cut into batches whose positions lie in them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Generator, Iterator
from dataclasses import replace
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.errors import SourceError
from rms_flows.io.line import BEAT, ENDED, HELD_UP, NO_ROWS, Feed, Taken, doubts, too_late
from rms_flows.io.position import NOT_BEGUN, Position

_POLL: Final = 0.1
"""Seconds until a source that had nothing new is asked again."""


class Sliced:
    """See `line.Line`; its positions count fragments and rows, or are times.

    Args:
        feed: What is read.
        rows: Rows of a batch at most.
    """

    def __init__(self, feed: Feed, rows: int) -> None:
        self.feed = feed
        self.settled = NOT_BEGUN
        self.latest = NOT_BEGUN
        self.again = 0.0  # when to ask it next, by the monotonic clock
        self.left: int | None = None
        self.quiet = 0  # microseconds without an event
        self._asked = time.monotonic()
        self._told = NOT_BEGUN
        self._rows = rows
        assert isinstance(feed.start, Position)  # noqa: S101  it is of this kind of source
        assert isinstance(feed.committed, Position)  # noqa: S101
        self._start, self._committed = feed.start, feed.committed
        self._position = feed.start
        self._doubts: Counter[str] = Counter()
        self._slices = self._sliced()

    @property
    def idle(self) -> bool:
        """Tell whether it has been without an event for so long that nobody waits for it."""
        return self.feed.idle is not None and self.quiet >= self.feed.idle

    @property
    def warming(self) -> bool:
        """Tell whether it is before the place that was committed."""
        return self._position < self._committed

    def take(self) -> Taken:
        """Give the next batch; the last one is empty and says that the source has ended."""
        batch, dead, position = next(self._slices)
        self._position = position
        if batch is None:
            self._check_end(position)
            self.settled = ENDED
            return self._taken(NO_ROWS, NO_ROWS, None)
        self._listen(batch.num_rows, silent=not batch.num_rows and dead is None)
        stamps = batch.column("@timestamp").cast(pa.int64()).to_numpy()
        self.latest = max(self.latest, int(stamps.max(initial=NOT_BEGUN)))
        if position > self._committed:
            self.settled = max(self.settled, self.feed.settled)
        before = NOT_BEGUN if self.settled == NOT_BEGUN else self.settled + self.feed.lateness
        late, watermark = too_late(stamps, self.feed.lateness, before)
        if watermark != NOT_BEGUN:
            self.settled = watermark - self.feed.lateness
        rows, behind = batch, batch.slice(0, 0)
        if late.any():
            rows, behind = batch.filter(pa.array(~late)), batch.filter(pa.array(late))
        return self._taken(rows, behind, dead)

    def close(self) -> None:
        """See `Line.close`."""
        self._slices.close()

    def _taken(self, rows: pa.RecordBatch, late: pa.RecordBatch, dead: pa.RecordBatch | None) -> Taken:
        new = bool(rows.num_rows or late.num_rows or dead is not None or self.settled >= self._told + BEAT)
        if new:
            self._told = self.settled
        at = self._position
        warm = self.settled != ENDED and at <= self._committed
        told, self._doubts = self._doubts, Counter()
        return Taken(self.feed.id, rows, late, dead, at, self.settled, self.latest, warm, new, told)

    def _listen(self, rows: int, *, silent: bool) -> None:
        """Count how long it has been without an event."""
        now = time.monotonic()
        self.quiet = 0 if rows else self.quiet + int(min(now - self._asked, HELD_UP) * 1_000_000)
        self._asked = now
        self.again = now + _POLL if silent else 0.0

    def _check_end(self, position: Position) -> None:
        """Check that there is as much as was committed; raises SourceError."""
        if position < self._committed:
            raise SourceError(
                f"ends before what the positions say was read of it ({position} of {self._committed})",
                where=self.feed.source.uri,
                remedy="they are of another input; name another file with --positions, or remove it",
            )

    def _sliced(self) -> Generator[tuple[pa.RecordBatch | None, pa.RecordBatch | None, Position]]:
        """Cut what is decoded into batches, from the start on, and at the committed position.

        Dead letters come behind the rows that they were decoded with: a file that grew may have more of them,
        and then the old ones are told again.
        """
        since = self._start.row if self._start > Position() else None
        request = replace(self.feed.request, since=since)
        fragments = self.feed.source.fragments(request)
        for number in range(self._start.fragment, len(fragments)):
            row, dead = 0, 0
            for decoded in self.feed.source.read(fragments[number], request):
                self._doubts += doubts(decoded.counts)
                if decoded.place is not None:
                    yield from self._placed(decoded.rows, decoded.dead, decoded.place)
                    continue
                first, last = row, row + decoded.rows.num_rows
                while row < last:
                    end = self._end(number, row, last)
                    if (position := Position(number, end, dead)) > self._start:
                        yield decoded.rows.slice(row - first, end - row), None, position
                    row = end
                dead += decoded.dead.num_rows
                position = Position(number, last, dead)
                if decoded.dead.num_rows and position > self._start:
                    yield decoded.rows.slice(0, 0), decoded.dead, position
                if self.feed.idle is not None and not decoded.rows.num_rows and not decoded.dead.num_rows:
                    self._check_end(position)
                    yield NO_ROWS, None, self._position
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
            yield NO_ROWS, None, self._position

    def _next(self, place: int, *, whole: bool, told: bool) -> Position:
        """Give the position behind a batch; not that of the place before all that came with it is there."""
        at, committed = self._position, self._committed
        at = replace(at, dead=at.dead + 1)
        if whole:
            at = max(at, Position(at.fragment, place))
        return min(at, committed) if told else max(at, replace(committed, dead=committed.dead + 1))

    def _end(self, fragment: int, at: int, last: int) -> int:
        """Give the row before which a batch ends."""
        end = min(at + self._rows, last)
        for stop in (self._start, self._committed):
            if stop.fragment == fragment and at < stop.row < end:
                end = stop.row
        return end
