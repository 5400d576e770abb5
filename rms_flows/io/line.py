"""What a source is while a stream reads it: batch after batch, each with its place and what is settled."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol, runtime_checkable

import numpy as np
import pyarrow as pa

from rms_flows.decode.contract import Counts
from rms_flows.io.contract import Request, Source
from rms_flows.io.position import NOT_BEGUN, At, Position
from rms_flows.io.share import ALL, Share

ENDED: Final = 2**62
"""Watermark of a source that has ended."""

HELD_UP: Final = 1.0
"""Seconds between two questions that count as idle at most: in a longer time it was us who did not look."""

BEAT: Final = 500_000
"""Microseconds of event time by which an idle source has to be settled further for it to be told."""


DOUBTS: Final = ("conflicts", "unsure")
"""Of `decode.contract.Counts` what tells of trust."""

NO_ROWS: Final = pa.RecordBatch.from_pydict({"@timestamp": pa.array([], pa.timestamp("us", "UTC"))})


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
        line: Microseconds: events from there on still matter; `NOT_BEGUN` where all do.
        acknowledged: Gives what is committed by now: a position, and what is settled there.
        until: Where it ends, though there may be more; None where it doesn't, or by itself.
        ends: What is settled there, microseconds.
        share: Which of its partitions are read, where others read the rest.
    """

    id: str
    source: Source
    request: Request
    lateness: int
    start: At = field(default_factory=Position)
    committed: At = field(default_factory=Position)
    settled: int = NOT_BEGUN
    idle: int | None = None
    line: int = NOT_BEGUN
    acknowledged: Callable[[], tuple[At, int]] | None = None
    until: At | None = None
    ends: int = ENDED
    share: Share = ALL


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
        counts: What else there is to count since the last batch, by its word in the account: what tells of
            trust (`doubts`), and of a server that is polled `answered`, `failed` and `duplicates`.
        last: Whether nothing comes behind it, which `ENDED` says as well.
    """

    source: str
    rows: pa.RecordBatch
    late: pa.RecordBatch
    dead: pa.RecordBatch | None
    position: At
    settled: int
    latest: int
    warm: bool
    new: bool = True
    counts: Mapping[str, int] = field(default_factory=dict)
    last: bool = False


def doubts(counts: Counts) -> Counter[str]:
    """Give the counts of what was decoded that tell of trust."""
    return Counter({word: getattr(counts, word) for word in DOUBTS})


class Line(Protocol):
    """A feed while it is read.

    Args:
        feed: What it reads.
        settled: Microseconds: no event is before it any more.
        latest: Time of the last event.
        again: When to ask it next, by the monotonic clock.
        left: What lies there and was not read, as far as is known; None where nothing is.
        trouble: Why nothing can be had from it at the moment; None where it can.
    """

    feed: Feed
    settled: int
    latest: int
    again: float
    left: int | None
    trouble: str | None

    @property
    def warming(self) -> bool:
        """Tell whether what was acknowledged before the start is still being read again."""

    @property
    def quiet(self) -> int:
        """Microseconds without an event."""

    @property
    def idle(self) -> bool:
        """Tell whether it has been without an event for so long that nobody waits for it."""

    def take(self) -> Taken:
        """Give the next batch; the last one is empty and says that the source has ended."""

    def close(self) -> None:
        """Let go of the source, when all that was taken is acknowledged."""


@dataclass(frozen=True, slots=True)
class Start:
    """Where a stream begins that has no positions.

    Args:
        first: Nothing before it is ever read.
        committed: Up to here all was acknowledged before.
        settled: What was settled there.
    """

    first: At
    committed: At
    settled: int


@runtime_checkable
class Lined(Protocol):
    """A source that has its own way to be read as a stream."""

    @property
    def begins(self) -> At:
        """Where nothing of it has been read."""

    def line(self, feed: Feed, rows: int) -> Line:
        """Read it, in batches of so many rows at most."""

    def first(self, begin: str | datetime) -> Start:
        """Tell where to begin: `earliest`, `latest`, `committed` or a time; raises SourceError."""


def too_late(stamps: np.ndarray, lateness: int, watermark: int = NOT_BEGUN) -> tuple[np.ndarray, int]:
    """Tell which events come more than the lateness behind the latest before them, and the latest time.

    Example:
        >>> too_late(np.array([10, 30, 19, 20]), 10)
        (array([False, False,  True, False]), 30)
    """
    highest = np.maximum.accumulate(np.concatenate([[watermark], stamps]))
    return stamps < highest[:-1] - lateness, int(highest[-1])
