"""Which spans of time are due."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from rms_flows.errors import DocumentError
from rms_flows.model import microseconds

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Span:
    """Half-open range of time [start, end)."""

    start: datetime
    end: datetime

    def __str__(self) -> str:
        return f"{text(self.start)} to {text(self.end)}"


@dataclass(frozen=True, slots=True)
class Timetable:
    """How time is cut.

    Args:
        every: Length of a span; all but the first begin at whole multiples of it since 1970, UTC.
        lag: How long after its end a span is left alone, for events that come late.
        start: Where the first span begins, where nothing is done yet.
        end: No span ends later.
    """

    every: timedelta
    lag: timedelta = timedelta(0)
    start: datetime | None = None
    end: datetime | None = None

    def due(self, done: datetime, now: datetime) -> Iterator[Span]:
        """Give the spans that are due, the earliest first.

        Args:
            done: Up to here all is done.
            now: The time.

        Example:
            >>> table = Timetable(timedelta(hours=1), lag=timedelta(minutes=10))
            >>> done, now = (datetime(2026, 1, 1, *at, tzinfo=UTC) for at in ((8, 30), (11, 5)))
            >>> for span in table.due(done, now):
            ...     print(span)
            2026-01-01T08:30:00Z to 2026-01-01T09:00:00Z
            2026-01-01T09:00:00Z to 2026-01-01T10:00:00Z
        """
        last = now - self.lag if self.end is None else min(self.end, now - self.lag)
        while (end := _EPOCH + ((done - _EPOCH) // self.every + 1) * self.every) <= last:
            yield Span(done, end)
            done = end


def length(words: str, what: str) -> timedelta:
    """Read a length of time such as `10m`.

    Raises:
        DocumentError: It is none.

    Example:
        >>> length("90m", "--every")
        datetime.timedelta(seconds=5400)
    """
    if not re.fullmatch(r"[1-9][0-9]{0,8}(s|m|h|d)", words):
        raise DocumentError(f"{words!r} is no length of time", where=what, remedy="write 10m, 1h or 1d")
    return timedelta(microseconds=microseconds(words))


def text(time: datetime) -> str:
    """Write a time in UTC."""
    return f"{time.astimezone(UTC).replace(tzinfo=None).isoformat()}Z"
