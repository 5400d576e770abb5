"""Archives read as a stream: batch after batch of all sources, with watermarks, to be resumed anywhere.

A partition here is a source; its watermark is the highest time of the events that it gave. What comes more
than the source's lateness behind that is late: it moves nothing, and goes its own way. Whether an event is
late depends on the order of the events alone, not on how they come in batches.

One exception: a source without an end that has given no event for its time of idleness is not waited for. Its
time goes on with that of the others or, where all are idle, with the clock from its last event on. What other
readers of the same stream have settled counts as theirs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.io.line import ENDED, Feed, Line, Lined, Taken
from rms_flows.io.position import NOT_BEGUN
from rms_flows.io.sliced import Sliced
from rms_flows.objects import json_lines
from rms_flows.schema import DEAD_LETTER, NO_DEAD_LETTERS

_SLACK: Final = 1.0
"""Seconds of a rate that are made up for where a reader was held up."""


class Reading:
    """Reads feeds side by side, the one that is behind in time first.

    Args:
        feeds: The sources.
        rows: Rows of a batch at most.
        rate: Rows a second; None reads as fast as it goes.
        fault: Called before each batch; may raise, to show what a crash leaves.
        others: Tells what other readers of the stream have settled: of sources that are not idle, and of all.

    `lines` are the sources by their ids, `looked` is when it last asked one, by the monotonic clock.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        *,
        rows: int = 10_000,
        rate: float | None = None,
        fault: Callable[[], None] | None = None,
        others: Callable[[], tuple[Sequence[int], Sequence[int]]] = lambda: ((), ()),
    ) -> None:
        self._rate = rate
        self._others = others
        self._fault = fault
        self._due: float | None = None
        self.lines = {feed.id: _line(feed, rows) for feed in feeds}
        self.looked = time.monotonic()
        self._open = dict(self.lines)

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
        self.looked = time.monotonic()
        if taken.settled == ENDED or taken.last:
            del self._open[line.feed.id]
        if self._rate is not None and not taken.warm:
            self._wait(taken.rows.num_rows / self._rate)
        return taken

    def close(self) -> None:
        """Let go of all sources, when all that was taken is acknowledged."""
        for line in self.lines.values():
            line.close()

    def _time(self, idle: Line) -> int:
        """Tell what may be settled in a source that is idle."""
        others, known = self._others()
        awake = [*(line.settled for line in self._open.values() if not line.idle), *others]
        if awake:
            return min(awake)
        begun = [line.latest + line.quiet for line in self.lines.values() if line.latest != NOT_BEGUN]
        return max([*known, max(begun, default=NOT_BEGUN) - idle.feed.lateness])

    def _wait(self, seconds: float) -> None:
        """Wait until rows that take so long at the rate may be given; what only warms up took no time."""
        now = time.monotonic()
        self._due = max(now if self._due is None else self._due, now - _SLACK) + seconds
        time.sleep(max(0.0, self._due - now))


def _line(feed: Feed, rows: int) -> Line:
    return feed.source.line(feed, rows) if isinstance(feed.source, Lined) else Sliced(feed, rows)


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
