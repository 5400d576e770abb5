"""What a stream looks like from outside while it runs: counts, how far it is behind, whether it goes on.

Knows no Beam. It is looked at from another thread, which never waits for the stream's own.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rms_flows.beam import account
from rms_flows.io.line import ENDED
from rms_flows.io.position import NOT_BEGUN

if TYPE_CHECKING:
    from rms_flows.beam.reading import Live

PATIENCE: Final = 60.0
"""Seconds for which nothing is read, or nothing flushed, until a stream is no longer called healthy."""


@dataclass(frozen=True, slots=True)
class SourceSeen:
    """A source while it is read.

    Args:
        rows: Events that were read, since the start.
        late: Events that came too late.
        left: Messages that the brokers have, as far as they said, and that were not read; None where it is
            not known.
        settled: Seconds since 1970 up to which its time is settled; None before there is any, and at its end.
        warming: Whether it still reads again what was acknowledged before the start.
        trouble: Why nothing can be had from it at the moment; None where it can.
        answered: Questions that a server answered; 0 where none is polled.
        failed: Those that it didn't.
        repeated: Records in its answers that had come before.
    """

    rows: int
    late: int
    left: int | None
    settled: float | None
    warming: bool
    trouble: str | None = None
    answered: int = 0
    failed: int = 0
    repeated: int = 0


@dataclass(frozen=True, slots=True)
class Seen:
    """A stream at one moment.

    Args:
        sources: Id → what is seen of it.
        reports: Processor id → what it found; of one that tells observations, these.
        sinks: Id → rows appended.
        dead_letters: How many were appended.
        unread: Seconds since the reader last looked for events.
        unflushed: Seconds for which the sinks have owed an acknowledgement; 0 where they owe none.
        stopping: Whether it was told to stop.
    """

    sources: Mapping[str, SourceSeen]
    reports: Mapping[str, int]
    sinks: Mapping[str, int]
    dead_letters: int
    unread: float
    unflushed: float
    stopping: bool

    @property
    def rows(self) -> int:
        """Events that were read from all sources."""
        return sum(one.rows for one in self.sources.values())

    @property
    def left(self) -> int | None:
        """Messages that were not read, of the sources of which it is known."""
        known = [one.left for one in self.sources.values() if one.left is not None]
        return sum(known) if known else None

    @property
    def settled(self) -> float | None:
        """Seconds since 1970 up to which time is settled in all sources that have any."""
        return min((one.settled for one in self.sources.values() if one.settled is not None), default=None)

    @property
    def ill(self) -> str | None:
        """Say why it is not healthy; None where it is."""
        if self.unflushed > PATIENCE:  # first: a sink that hangs holds up the reader too
            return f"a sink has not flushed for {self.unflushed:.0f} s"
        if self.unread > PATIENCE:
            return f"nothing was read for {self.unread:.0f} s"
        return None

    @property
    def unready(self) -> str | None:
        """Say why what it tells is not yet up to date with where it was; None where it is."""
        if self.stopping:
            return "it was told to stop"
        troubles = [f"{name}: {one.trouble}" for name, one in self.sources.items() if one.trouble]
        warming = [name for name, one in self.sources.items() if one.warming]
        return self.ill or "; ".join(troubles) or (f"warming up: {', '.join(warming)}" if warming else None)


def seen(live: Live) -> Seen:
    """Look at a stream."""
    counts = dict(live.counts)

    def of(stage: str, word: str = "rows") -> int:
        return counts.get((stage, word), 0)

    lines = live.reading.lines
    return Seen(
        {
            name: SourceSeen(
                of(account.source(name)),
                of(account.source(name), "late"),
                line.left,
                None if line.settled in {NOT_BEGUN, ENDED} else line.settled / 1e6,
                line.warming,
                line.trouble,
                *(of(account.source(name), word) for word in ("answered", "failed", "duplicates")),
            )
            for name, line in lines.items()
        },
        {
            name: of(account.processor(name), "found") + of(account.together(name), "found")
            for name in live.processors
        },
        {name: of(account.sink(name)) for name in live.sinks if name != account.DEAD_LETTERS},
        of(account.DEAD_LETTERS),
        time.monotonic() - live.reading.looked,
        live.ledger.overdue(),
        live.stopped(),
    )
