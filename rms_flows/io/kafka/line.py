"""Topics while a stream reads them: one reader for all partitions, each of which has a time of its own."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from rms_flows.decode import FORMATS, json_lines
from rms_flows.decode.contract import Format
from rms_flows.decode.driver import Inlet
from rms_flows.errors import SourceError
from rms_flows.io.kafka.begin import noted
from rms_flows.io.kafka.client import Bounds, Messages, Reader, Spot, gone
from rms_flows.io.kafka.frames import framed
from rms_flows.io.kafka.source import before
from rms_flows.io.line import BEAT, HELD_UP, NO_ROWS, Feed, Taken, doubts, too_late
from rms_flows.io.position import NOT_BEGUN, At, Offsets

if TYPE_CHECKING:
    from rms_flows.io.kafka.source import KafkaSource

_LOG: Final = logging.getLogger(__name__)

_POLL: Final = 0.02
"""Seconds for which a batch is gathered."""

_BREATH: Final = 0.001
"""Seconds until it is asked again when it had nothing: others come first, who had to wait meanwhile."""

_LOOK: Final = 0.5
"""Seconds between two questions whether a silent partition holds anything that was not read."""

_AWAY: Final = 5.0
"""Seconds until brokers that did not answer are asked again."""

_DISCOVER: Final = 5.0
"""Seconds between two looks for new partitions."""

_COMMIT: Final = 1.0
"""Seconds between two commits for the group."""

_SOON: Final = 1.0
"""Seconds for an answer while the stream waits."""


@dataclass(slots=True)
class _Part:
    """A partition while it is read.

    Args:
        high: Time of its latest event, microseconds.
        quiet: Microseconds without an event though nothing was left unread.
        heard: Whether an event came since it was looked at.
    """

    high: int = NOT_BEGUN
    quiet: int = 0
    heard: bool = False


class KafkaLine:
    """See `io.line.Line`; a partition is idle when the broker itself says that nothing is left to read.

    Behind a start it first reads again what is acknowledged and still matters, up to the place where the
    stream was, then goes on from there in all partitions. Where it is told its end (`Feed.until`), it reads
    the partitions that are named there up to it, and waits for all of them.

    Args:
        source: The topics.
        feed: Where to begin.
        rows: Messages of a batch at most.
    """

    def __init__(self, source: KafkaSource, feed: Feed, rows: int) -> None:
        self.feed = feed
        self.settled = NOT_BEGUN
        self.latest = NOT_BEGUN
        self.again = 0.0
        self.left: int | None = None
        self.trouble: str | None = None
        self._source = source
        self._rows = rows
        self._told = NOT_BEGUN
        self._doubts: Counter[str] = Counter()
        self._inlet: Inlet | None = None
        self._known: Format | None = None
        self._reader: Reader | None = None
        self._parts: dict[Spot, _Part] = {}
        self._warming: dict[Spot, int] = {}  # offsets up to which all was acknowledged before
        self._cold: dict[Spot, int] = {}  # where to go on behind that
        self._looked = self._look = self._discover = self._commit_at = time.monotonic()
        self._committed: tuple[At, int] = (Offsets(), NOT_BEGUN)
        assert feed.until is None or isinstance(feed.until, Offsets)  # noqa: S101  it is of this kind of source
        until = None if feed.until is None else feed.until.spots.items()
        self._ends = None if until is None else {Spot.of(name): offset for name, (offset, _) in until}

    @property
    def quiet(self) -> int:
        """Microseconds without an event."""
        return min((part.quiet for part in self._parts.values()), default=0)

    @property
    def idle(self) -> bool:
        """Tell whether nobody waits for it; nor is there anything to wait for where it has no partition."""
        if self.feed.idle is None or self._reader is None:
            return False
        return not self._parts or self.quiet >= self.feed.idle

    @property
    def warming(self) -> bool:
        """Tell whether it has not come to the place where the stream was, or has not begun."""
        return bool(self._warming) or self._reader is None

    def take(self) -> Taken:
        """See `Line.take`; raises SourceError for what doesn't pass."""
        if self._reader is None:
            self._reader = self._source.connect()
            self._open(self._reader)
        reader, warm = self._reader, bool(self._warming)
        self._commit(reader, wait=False)
        polled = reader.poll(_POLL, self._rows) if self._parts else {}
        if warm or self._ends is not None:
            polled = before(polled, self._warming if warm else self._ends or {})
        taken = self._taken(reader, polled, warm=warm)
        if not warm:
            if self._ends is not None:
                return self._ended(reader, taken)
            self._listen(reader)
        elif all(reader.reached()[spot] >= offset for spot, offset in self._warming.items()):
            self._go_on(reader)
        self.again = 0.0 if polled else time.monotonic() + (_BREATH if self._parts else _POLL)
        return taken

    def close(self) -> None:
        """See `Line.close`."""
        if self._reader is not None:
            self._commit_at = 0.0
            self._commit(self._reader, wait=True)
            self._reader.close()
            self._reader = None

    def _open(self, reader: Reader) -> None:
        """Find out where to begin, and begin."""
        if self._source.endless:
            json_lines.load()
        start, committed = self.feed.start, self.feed.committed
        assert isinstance(start, Offsets)  # noqa: S101  it is of this kind of source
        assert isinstance(committed, Offsets)  # noqa: S101
        spots = [spot for spot in self._mine(reader.partitions()) if self._ends is None or spot in self._ends]
        bounds = reader.bounds(spots)
        since = {spot: bounds[spot].first for spot in spots}
        if self.feed.line != NOT_BEGUN and spots:  # what was received earlier is from before the line
            since = reader.since(spots, (self.feed.line - self._source.options.max_ahead) // 1_000)
        for spot in spots:
            offset = committed.offset(str(spot))
            if offset < 0:
                offset = max(start.offset(str(spot)), bounds[spot].first)
            self._check(spot, offset, bounds[spot])
            begin = max(start.offset(str(spot)), since[spot], bounds[spot].first)
            self._cold[spot], self._parts[spot] = offset, _Part()
            if begin < offset:
                self._warming[spot] = offset
        if self._warming:
            reader.assign(
                {
                    spot: max(start.offset(str(spot)), since[spot], bounds[spot].first)
                    for spot in self._warming
                }
            )
        else:
            self._go_on(reader)

    def _mine(self, spots: list[Spot]) -> list[Spot]:
        return [spot for spot in spots if self.feed.share.takes(str(spot))]

    def _check(self, spot: Spot, offset: int, bounds: Bounds) -> None:
        if offset < bounds.first:
            raise gone(self._source.address, SourceError, str(spot))
        if offset > bounds.last:
            raise SourceError(
                f"{spot} ends before what the positions say was read of it ({bounds.last} of {offset})",
                where=self._source.uri,
                remedy="it was made anew; name another file with --positions, or remove it",
            )

    def _go_on(self, reader: Reader) -> None:
        """Read on from where the stream was."""
        assert isinstance(self.feed.committed, Offsets)  # noqa: S101  it is of this kind of source
        for name, (_, high) in self.feed.committed.spots.items():
            part = self._parts.get(Spot.of(name))
            if part is not None:
                part.high = max(part.high, high)
        self._warming = {}
        if self._cold:
            reader.assign(self._cold)
        self.settled = max(self.settled, self.feed.settled)
        self._looked = self._look = self._discover = time.monotonic()

    def _taken(self, reader: Reader, polled: Mapping[Spot, Messages], *, warm: bool) -> Taken:
        """Decode what came, and tell what is late in each partition."""
        rows, late, dead = NO_ROWS, NO_ROWS, None
        if polled:
            rows, late, dead = self._decoded(polled)
        self._settle()
        new = bool(rows.num_rows or late.num_rows or dead is not None or self.settled >= self._told + BEAT)
        if new:
            self._told = self.settled
        position = self.feed.committed if warm else self._position(reader)
        told, self._doubts = self._doubts, Counter()
        return Taken(self.feed.id, rows, late, dead, position, self.settled, self.latest, warm, new, told)

    def _decoded(
        self, polled: Mapping[Spot, Messages]
    ) -> tuple[pa.RecordBatch, pa.RecordBatch, pa.RecordBatch | None]:
        """Give the rows in time, those that are late, and dead letters."""
        inlet, known = self._opened(polled)
        one = framed(polled, self._source.options.max_record, lines=known.framing == "lines")
        decoded = inlet.take(one.frame)
        self._doubts += doubts(decoded.counts)
        rows, dead = decoded.rows, decoded.dead if decoded.dead.num_rows else None
        stamps = rows.column("@timestamp").cast(pa.int64()).to_numpy()
        behind = np.zeros(rows.num_rows, np.bool_)
        assert decoded.record is not None  # noqa: S101  messages have names
        for spot, which in one.rows(decoded.record).items():
            behind[which] = self._heard(self._parts[spot], stamps[which])
        self.latest = max(self.latest, int(stamps.max(initial=NOT_BEGUN)))
        if not behind.any():
            return rows, rows.slice(0, 0), dead
        return rows.filter(pa.array(~behind)), rows.filter(pa.array(behind)), dead

    def _opened(self, polled: Mapping[Spot, Messages]) -> tuple[Inlet, Format]:
        """Give the decoder; guesses the format of the first messages where it is not told."""
        if self._inlet is None or self._known is None:
            sample = [value for one in polled.values() for value in one.values if value is not None]
            if not sample:  # tombstones are of no format
                return self._source.inlet(FORMATS["json"], self.feed.request), FORMATS["json"]
            self._known = self._source.format(sample)
            self._inlet = self._source.inlet(self._known, self.feed.request)
        return self._inlet, self._known

    def _heard(self, part: _Part, stamps: np.ndarray) -> np.ndarray:
        """Tell which events of a partition are late, and take note of the others."""
        part.quiet, part.heard = 0, True
        floor = NOT_BEGUN if self.settled == NOT_BEGUN else self.settled + self.feed.lateness
        late, _ = too_late(stamps, self.feed.lateness, max(part.high, floor))
        part.high = max(part.high, int(stamps[~late].max(initial=NOT_BEGUN)))
        return late

    def _settle(self) -> None:
        """Go on with the slowest partition that is not idle."""
        waits = self.feed.idle
        awake = [part.high for part in self._parts.values() if waits is None or part.quiet < waits]
        if self._ends is not None:  # what has no event will have none up to there, or is waited for
            awake = [self._parts[spot].high for spot in self._cold if not self._void(spot)]
        if awake and min(awake) != NOT_BEGUN:
            self.settled = max(self.settled, min(awake) - self.feed.lateness)

    def _void(self, spot: Spot) -> bool:
        """Tell whether a partition has nothing before its end."""
        return self._parts[spot].high == NOT_BEGUN and self._cold[spot] == (self._ends or {})[spot]

    def _ended(self, reader: Reader, taken: Taken) -> Taken:
        """Tell whether all is read up to the end that was told."""
        reached, ends = reader.reached(), self._ends or {}
        if any(reached[spot] < ends[spot] for spot in self._cold):
            return taken
        self.settled = max(self.settled, self.feed.ends)
        return replace(taken, settled=self.settled, new=True, last=True)

    def _position(self, reader: Reader) -> Offsets:
        reached = reader.reached()
        if self._ends is not None:
            reached = {spot: min(at, self._ends.get(spot, at)) for spot, at in reached.items()}
        return Offsets({str(spot): (reached[spot], part.high) for spot, part in self._parts.items()})

    def _listen(self, reader: Reader) -> None:
        """Look for silent partitions and for new ones; brokers that are away make nobody idle."""
        now = time.monotonic()
        if now < self._look:
            return
        self._look = now + _LOOK
        reached, ends = reader.reached(), reader.ends()
        self.left = sum(max(0, ends[spot] - reached.get(spot, 0)) for spot in ends)
        try:
            self._count(reader, int(min(now - self._looked, HELD_UP) * 1_000_000))
            if now >= self._discover:
                self._discover = now + _DISCOVER
                self._found(reader)
        except SourceError as error:
            _LOG.warning("%s", error)
            self._look = time.monotonic() + _AWAY
        self._looked = now

    def _count(self, reader: Reader, passed: int) -> None:
        """Count how long partitions have been silent, microseconds."""
        silent = [spot for spot, part in self._parts.items() if not part.heard]
        for part in self._parts.values():
            part.heard = False
        if not silent:
            return
        reached = reader.reached()
        for spot, bounds in reader.bounds(silent, _SOON).items():
            if reached[spot] >= bounds.last:
                self._parts[spot].quiet += passed

    def _found(self, reader: Reader) -> None:
        """Read partitions that are new too, from their beginning."""
        new = [spot for spot in self._mine(reader.partitions(_SOON)) if spot not in self._parts]
        if new:
            firsts = {spot: one.first for spot, one in reader.bounds(new, _SOON).items()}
            reader.assign({**reader.reached(), **firsts})
            self._parts |= {spot: _Part() for spot in new}

    def _commit(self, reader: Reader, *, wait: bool) -> None:
        """Commit for the group what is acknowledged, for others to see, and should the positions be lost."""
        now = time.monotonic()
        if self.feed.acknowledged is None or now < self._commit_at:
            return
        self._commit_at = now + _COMMIT
        done = at, settled = self.feed.acknowledged()
        if done != self._committed and isinstance(at, Offsets) and at.spots:
            reader.commit(noted(at, settled), wait=wait)
            self._committed = done
