"""Several readers of one stream, each in a process of its own, and one process behind them all.

Readers share the partitions of topics, and judge what needs no state. All that keeps state, acknowledges or
writes is in one process, which also writes the positions; so a start is the same rewind for all readers, and
the state of a correlation is in one place, whoever read its events. What a reader begins from has to be what
that process begins from: each batch says it.
"""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rms_flows.beam.ledger import Ledger, fed, load_readers
from rms_flows.errors import SourceError
from rms_flows.io.position import NOT_BEGUN, At
from rms_flows.io.share import Share

if TYPE_CHECKING:
    from rms_flows.beam.reading import Live

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at what all readers have committed."""

PATIENCE: Final = 60.0
"""Seconds for which the positions may not be had."""

GROUPS: Final = 128
"""Groups of keys that Flink deals to the tasks of an operator, for up to 85 of them."""

_NONCE: Final = 20
"""Bits of a ticket that tell readers apart."""


@dataclass(frozen=True, slots=True)
class Several:
    """How processes of a runner's make what their steps work on; all of it picklable.

    Args:
        count: Readers.
        positions: Their file.
        begin: Called once for an attempt of the job, before any reader begins.
        reader: Makes what a reader works on.
        writer: Makes what is behind them.
    """

    count: int
    positions: Path
    begin: Callable[[int], None]
    reader: Callable[[Share, int], Live]
    writer: Callable[[int], Live]


def attempted(positions: Path) -> int:
    """Give the number of an attempt that begins: it follows that which wrote the positions last."""
    return max(time.time_ns() // 1_000_000, load_readers(positions, {})[1].attempt + 1)


def tickets(count: int, attempt: int) -> Iterator[int]:
    """Give one for each reader of an attempt; Flink deals each to a task of its own.

    Its tasks get what hashes to their groups of keys: the hash of the ticket, as Beam's runner takes it,
    hashed again by Flink. Where a runner does otherwise, a task may get two, which is slower, no more.
    """
    for number in range(count):
        first = attempt << _NONCE
        first += (number - first) % count
        yield next(one for one in range(first, first + (1 << _NONCE), count) if task_of(one, count) == number)


def attempt_of(ticket: int) -> int:
    """Tell which attempt of a job a ticket is of."""
    return ticket >> _NONCE


def task_of(ticket: int, tasks: int) -> int:
    """Tell which task of an operator gets an element: `FlinkKey.hashCode`, then `KeyGroupRangeAssignment`."""
    import mmh3  # noqa: PLC0415  only where a job with several readers begins
    from apache_beam.coders import VarIntCoder  # noqa: PLC0415  likewise

    key = mmh3.hash128(VarIntCoder().encode(ticket), 0, x64arch=True, signed=False) & 0xFFFF_FFFF
    return int(abs(mmh3.hash(struct.pack("<I", key))) % GROUPS * tasks // GROUPS)


def of_attempt(positions: Path, attempt: int) -> None:
    """See that positions are those with which an attempt began, or that it has written since.

    Raises:
        SourceError: They are not.
    """
    found = load_readers(positions, {})[1].attempt
    if found != attempt:
        raise SourceError(
            "is not what was written as the job began",
            where=str(positions),
            remedy="have the positions on a disk that all machines with workers reach, under one path",
        )


def origin(share: Share) -> str:
    """Say which reader a batch comes from, where there is more than one."""
    return "" if share.of == 1 else f"#{share.number}"


class Followed(Ledger):
    """What one reader of several knows of the positions, which somebody else writes.

    Args:
        path: Their file.
        owed: Source → how often a batch of it is to be acknowledged.
        begins: Source → where nothing of it has been read.
        shared: Sources of which it reads a share; others are read by the first reader.
        share: Which reader it is.
        attempt: Of the job.
    """

    def __init__(
        self,
        path: Path,
        owed: Mapping[str, int],
        begins: Mapping[str, At],
        shared: Sequence[str],
        share: Share,
        attempt: int,
    ) -> None:
        of_attempt(path, attempt)
        super().__init__(None, owed, {})
        self._file, self._begins, self._share, self._of = path, begins, share, attempt
        self._others: tuple[Sequence[int], Sequence[int]] = [], []
        self._mine = {fed(name, share) for name in shared}
        if share.number == 0:
            self._mine |= owed.keys() - shared
        self._looked = time.monotonic()
        self._look()
        self.known = self._now

    def issue(self, source: str, number: int, position: At, settled: int, *, idle: bool = False) -> int:
        """Tell how often a batch is to be acknowledged; who writes the positions hears of it by the batch."""
        del number, position, settled, idle
        return self._owed[source]

    def committed(self, source: str) -> tuple[At, int]:
        """Give up to where all is acknowledged of what it reads, as far as it knows by now."""
        self._look_when_due()
        place = self._now[source].place
        return place.position, place.settled

    def others(self) -> tuple[Sequence[int], Sequence[int]]:
        """Give what other readers have settled: of sources where they don't wait for events, and of all.

        They are waited for until all have begun.
        """
        self._look_when_due()
        return self._others

    def _look_when_due(self) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_EVERY:
            return
        self._looked = now
        try:
            self._look()
        except SourceError:
            if now - self._seen > PATIENCE:
                raise

    def _look(self) -> None:
        known, told = load_readers(self._file, self._begins)
        self._seen = time.monotonic()
        self._now = {name: one.apart(self._share) for name, one in known.items()}
        if told.attempt != self._of or not told.readers:
            self._others = [NOT_BEGUN], []
            return
        others = [one for name, one in told.readers.items() if name not in self._mine]
        self._others = [settled for settled, idle in others if not idle], [settled for settled, _ in others]
