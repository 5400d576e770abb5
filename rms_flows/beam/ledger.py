"""What a stream has read, and what all its sinks have acknowledged: only the latter is committed.

Each batch goes to every sink, also where nothing is left of it; a sink acknowledges it after its flush. The
position of a source is that before its lowest batch that a sink still owes. Knows no Beam.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rms_flows.errors import SourceError
from rms_flows.io.live import ENDED, NOT_BEGUN, Position
from rms_flows.io.staging import publish, writing

VERSION: Final = 1
WRITE_EVERY: Final = 0.2
"""Seconds between two writes of the file of positions, unless told otherwise."""

_TRAIL: Final = 1_000
"""Places a source at most at which a restart can begin."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position with what was settled there, microseconds."""

    position: Position = field(default_factory=Position)
    settled: int = NOT_BEGUN


@dataclass(slots=True)
class Known:
    """What is committed of a source.

    Args:
        place: Up to here.
        trail: Places before it, rising: where a restart can begin.
    """

    place: Place = field(default_factory=Place)
    trail: list[Place] = field(default_factory=list)

    def before(self, line: int, lateness: int) -> Position:
        """Give the last place before which no event is from `line`, microseconds, on."""
        found = Position()
        for place in [*self.trail, self.place]:
            if place.settled != NOT_BEGUN and place.settled + lateness < line:
                found = place.position
        return found


class Ledger:
    """Keeps the positions of a stream.

    Args:
        path: The file of positions; None keeps them in memory.
        owed: Source → how often a batch of it is to be acknowledged, over all sinks and ways.
        lateness: Source → microseconds.
        needed: What was settled → the time from which on events still matter, for trimming.
        every: Seconds between two writes of the file.
    """

    def __init__(
        self,
        path: Path | None,
        owed: Mapping[str, int],
        lateness: Mapping[str, int],
        needed: Callable[[int], int] = lambda line: line,
        every: float = WRITE_EVERY,
    ) -> None:
        self._path = path
        self._owed = owed
        self._lateness = lateness
        self._needed = needed
        self._every = every
        self._waiting: dict[str, dict[int, tuple[Place, int]]] = {name: {} for name in owed}
        self.known = {name: Known() for name in owed} if path is None else load(path, owed)
        self._written = 0.0
        self._changed = False

    def issue(self, source: str, number: int, position: Position, settled: int) -> None:
        """Note that a batch is on its way; what was committed before a restart is not noted again."""
        self._waiting[source][number] = (Place(position, settled), self._owed[source])
        if not self._owed[source]:
            self._advance(source)

    def acknowledge(self, source: str, number: int) -> None:
        """Note that a sink has flushed all that came to it of a batch, on one way."""
        place, owed = self._waiting[source][number]
        self._waiting[source][number] = (place, owed - 1)
        if owed == 1:
            self._advance(source)

    def _advance(self, source: str) -> None:
        waiting, known = self._waiting[source], self.known[source]
        for number in sorted(waiting):
            place, owed = waiting[number]
            if owed:
                break
            del waiting[number]
            if place.position > known.place.position:
                known.trail.append(known.place)
                known.place = place
                self._changed = True
            elif place.position == known.place.position and known.place.settled < place.settled != ENDED:
                known.place = place  # time went on without an event; what ended may grow
                self._changed = True
        self._trim(known, self._lateness[source])
        if time.monotonic() - self._written > self._every:
            self.write()

    def _trim(self, known: Known, lateness: int) -> None:
        line = self._needed(self.settled())
        while len(known.trail) > 1 and known.trail[1].settled + lateness < line:
            known.trail.pop(0)
        if len(known.trail) > _TRAIL:
            del known.trail[1::2]  # a restart then begins a little earlier

    def settled(self) -> int:
        """Give what is settled in all sources that are committed."""
        return min((one.place.settled for one in self.known.values()), default=NOT_BEGUN)

    def write(self) -> None:
        """Write the positions, whole or not at all."""
        if self._path is None or not self._changed:
            return
        data = {
            "version": VERSION,
            "sources": {
                name: {"at": _plain(one.place), "trail": [_plain(place) for place in one.trail]}
                for name, one in self.known.items()
            },
        }
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with writing(str(self._path)):
            aside.write_text(json.dumps(data), encoding="utf-8")
            publish(aside, self._path)
        self._written, self._changed = time.monotonic(), False


def load(path: Path, sources: Mapping[str, int]) -> dict[str, Known]:
    """Read a file of positions; one that isn't there is a beginning.

    Raises:
        SourceError: It is damaged, or of another version.
    """
    known = {name: Known() for name in sources}
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        versions = {VERSION: data["sources"]}
        for name, one in versions[data["version"]].items():
            if name in known:
                known[name] = Known(_place(one["at"]), [_place(place) for place in one["trail"]])
    except FileNotFoundError:
        return known
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"can't be read as positions of a stream ({error})",
            where=str(path),
            remedy="remove it to begin anew: ids make repeats harmless",
        ) from None
    return known


def _plain(place: Place) -> list[int]:
    at = place.position
    return [at.fragment, at.row, at.dead, place.settled]


def _place(plain: list[int]) -> Place:
    fragment, row, dead, settled = map(int, plain)
    return Place(Position(fragment, row, dead), settled)
