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

from rms_flows.beam.ledger import Known, Ledger, fed, load, load_readers
from rms_flows.io.position import At
from rms_flows.io.share import Share

if TYPE_CHECKING:
    from rms_flows.beam.reading import Live

LOOK_EVERY: Final = 0.5
"""Seconds between two looks at what all readers have committed."""

GROUPS: Final = 128
"""Groups of keys that Flink deals to the tasks of an operator, for up to 85 of them."""

MOST: Final = 64
"""Readers at most."""

_NONCE: Final = 20
"""Bits of a ticket that tell readers apart."""


@dataclass(frozen=True, slots=True)
class Several:
    """How processes of a runner's make what their steps work on; all of it picklable.

    Args:
        count: Readers.
        positions: Their file.
        begin: Called once, before any reader begins.
        reader: Makes what a reader works on.
        writer: Makes what is behind them.
    """

    count: int
    positions: Path
    begin: Callable[[], None]
    reader: Callable[[Share, int], Live]
    writer: Callable[[int], Live]


def tickets(count: int, before: int) -> Iterator[int]:
    """Give one for each reader of an attempt that follows another; Flink deals each to a task of its own.

    Its tasks get what hashes to their groups of keys: the hash of the ticket, as Beam's runner takes it,
    hashed again by Flink. Where a runner does otherwise, a task may get two, which is slower, no more.
    """
    attempt = max(time.time_ns() // 1_000_000, before + 1)
    for number in range(count):
        first = attempt << _NONCE
        first += (number - first) % count
        yield next(one for one in range(first, first + (1 << _NONCE), count) if task_of(one, count) == number)


def attempt_known(positions: Path) -> int:
    """Read which attempt has written the positions, with all its readers begun."""
    return load_readers(positions)[0]


def attempt_of(ticket: int) -> int:
    """Tell which attempt of a job a ticket is of."""
    return ticket >> _NONCE


def task_of(ticket: int, tasks: int) -> int:
    """Tell which task of an operator gets an element: `FlinkKey.hashCode`, then `KeyGroupRangeAssignment`."""
    import mmh3  # noqa: PLC0415  only where a job with several readers begins
    from apache_beam.coders import VarIntCoder  # noqa: PLC0415  likewise

    key = mmh3.hash128(VarIntCoder().encode(ticket), 0, x64arch=True, signed=False) & 0xFFFF_FFFF
    return int(abs(mmh3.hash(struct.pack("<I", key))) % GROUPS * tasks // GROUPS)


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
        super().__init__(None, owed, {})
        self._file, self._begins, self._share, self._of = path, begins, share, attempt
        self._mine = {fed(name, share) for name in shared}
        if share.number == 0:
            self._mine |= owed.keys() - shared
        self.known = self._now = self._load()
        self._looked = time.monotonic()
        self._others: tuple[Sequence[int], Sequence[int]] = ((), ())

    def _load(self) -> dict[str, Known]:
        return {name: one.apart(self._share) for name, one in load(self._file, self._begins).items()}

    def issue(self, source: str, number: int, position: At, settled: int, *, idle: bool = False) -> int:
        """Tell how often a batch is to be acknowledged; who writes the positions hears of it by the batch."""
        del number, position, settled, idle
        return self._owed[source]

    def committed(self, source: str) -> tuple[At, int]:
        """Give up to where all is acknowledged of what it reads, as far as it knows by now."""
        self._look()
        place = self._now[source].place
        return place.position, place.settled

    def others(self) -> tuple[Sequence[int], Sequence[int]]:
        """Give what other readers have settled: of sources where they don't wait for events, and of all."""
        self._look()
        return self._others

    def _look(self) -> None:
        if time.monotonic() - self._looked < LOOK_EVERY:
            return
        self._looked = time.monotonic()
        self._now = self._load()
        attempt, readers = load_readers(self._file)
        told = [one for name, one in readers.items() if attempt == self._of and name not in self._mine]
        self._others = [settled for settled, idle in told if not idle], [settled for settled, _ in told]
