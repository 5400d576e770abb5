"""What a stream has read, and what all its sinks have acknowledged: only the latter is committed.

Each batch goes to every sink, also where nothing is left of it; a sink acknowledges it after its flush. The
position of a source is that before its lowest batch that a sink still owes. Where several readers share a
source, each has a position of its own, and the file holds what they come to together. Knows no Beam.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rms_flows.errors import SourceError
from rms_flows.io.line import ENDED
from rms_flows.io.position import NOT_BEGUN, At, Offsets, Position
from rms_flows.io.share import Share
from rms_flows.io.staging import publish, writing

VERSION: Final = 1
PACKS: Final = 1_000
"""Changes of rules at most that are remembered, the last ones."""
WRITE_EVERY: Final = 0.2
"""Seconds between two writes of the file of positions, unless told otherwise."""

AGAIN: Final = 10.0
"""Seconds after which they are written again for several readers: an attempt before may have written late."""


@dataclass(frozen=True, slots=True)
class Place:
    """A position with what was settled there, microseconds."""

    position: At = field(default_factory=Position)
    settled: int = NOT_BEGUN


@dataclass(slots=True)
class Known:
    """What is committed of a source.

    Args:
        place: Up to here.
        trail: Places before it, rising: where a restart can begin.
        first: Where the stream began: what lies before is never read.
    """

    place: Place = field(default_factory=Place)
    trail: list[Place] = field(default_factory=list)
    first: At = field(default_factory=Position)

    @classmethod
    def at(cls, first: At) -> Known:
        """Begin somewhere."""
        return cls(Place(first), first=first)

    def before(self, line: int, lateness: int) -> At:
        """Give the last place before which no event is from `line`, microseconds, on."""
        found = self.first
        for place in [*self.trail, self.place]:
            found = _begin(place, found, line, lateness)
        return found

    def apart(self, share: Share) -> Known:
        """Give what one of several readers needs to know."""
        return Known(
            _within(self.place, share),
            [_within(place, share) for place in self.trail],
            _only(self.first, share),
        )

    @classmethod
    def together(cls, parts: Sequence[Known]) -> Known:
        """Put together what readers have of a source; a place of the trail holds what lies before it."""
        if len(parts) == 1:
            return parts[0]
        places = sorted((place for part in parts for place in part.trail), key=lambda one: one.settled)
        apart = max(1, -(-len(places) // Offsets.TRAIL))
        spots: dict[str, tuple[int, int]] = {}
        trail = []
        for number, place in enumerate(places):
            spots |= _spots(place.position)
            if number % apart == 0:
                trail.append(Place(Offsets(dict(spots)), place.settled))
        at = _union(part.place.position for part in parts)
        return cls(
            Place(at, min(part.place.settled for part in parts)), trail, _union(part.first for part in parts)
        )


def fed(source: str, share: Share) -> str:
    """Name what a reader reads of a source; who reads all of it is called like the source."""
    return source if share.of == 1 else f"{source}/{share.number}"


def _spots(at: At) -> Mapping[str, tuple[int, int]]:
    assert isinstance(at, Offsets)  # noqa: S101  nothing else is shared
    return at.spots


def _union(parts: Iterable[At]) -> Offsets:
    return Offsets({name: spot for part in parts for name, spot in _spots(part).items()})


def _only(at: At, share: Share) -> At:
    return at.within(share.takes) if isinstance(at, Offsets) and share.of > 1 else at


def _within(place: Place, share: Share) -> Place:
    return Place(_only(place.position, share), place.settled)


def _begin(place: Place, before: At, line: int, lateness: int) -> At:
    latest = NOT_BEGUN if place.settled == NOT_BEGUN else place.settled + lateness
    return place.position.begin(before, line, latest)


class Ledger:
    """Keeps the positions of a stream.

    Args:
        path: The file of positions; None keeps them in memory.
        owed: Source → how often a batch of it is to be acknowledged, over all sinks and ways.
        lateness: Source → microseconds.
        needed: What was settled → the time from which on events still matter, for trimming.
        every: Seconds between two writes of the file.
        begins: Source → where nothing of it has been read, if that is not `Position()`.
        readers: Source → how many share it, if that is not one; `known` and all calls then name a source by
            what a reader has of it, see `fed`, and nothing is written before all have been heard.
        attempt: Of the job, written for its readers beside what they have settled; 0 where there is one.
    """

    def __init__(  # noqa: PLR0913, PLR0917  each is something else
        self,
        path: Path | None,
        owed: Mapping[str, int],
        lateness: Mapping[str, int],
        needed: Callable[[int], int] = lambda line: line,
        every: float = WRITE_EVERY,
        begins: Mapping[str, At] = {},
        readers: Mapping[str, int] = {},
        attempt: int = 0,
    ) -> None:
        self._path = path
        counts = {name: readers.get(name, 1) for name in owed}
        self._fed = {name: [Share(one, of) for one in range(of)] for name, of in counts.items()}
        self._source = {fed(name, share): name for name, shares in self._fed.items() for share in shares}
        self._owed = owed
        self._lateness = lateness
        self._attempt = attempt
        self._number = {
            fed(name, share): share.number for name, shares in self._fed.items() for share in shares
        }
        self._unheard = {*range(max(counts.values(), default=1))} if len(owed) < len(self._source) else set()
        self._idle: dict[str, bool] = {}
        self._needed = needed
        self._every = every
        self._waiting: dict[str, dict[int, tuple[Place, int]]] = {name: {} for name in self._source}
        begun = {name: begins.get(name, Position()) for name in owed}
        whole = {name: Known.at(at) for name, at in begun.items()} if path is None else load(path, begun)
        self.known = {
            fed(name, share): whole[name].apart(share)
            for name, shares in self._fed.items()
            for share in shares
        }
        self.packs: list[Packs] = [] if path is None else load_packs(path)
        self._written = 0.0
        self._changed = attempt != 0
        self._moved = dict.fromkeys(self._source, 0.0)

    def begin(self, source: str, first: At, place: Place) -> None:
        """Say where a source begins that the file says nothing of."""
        self.known[source] = Known(place, first=first)
        self._changed = True

    def judged_by(self, packs: Mapping[str, str]) -> None:
        """Note which rules judge what is read from here on, where others did before.

        It is written with the first position behind it: until then they have judged nothing.

        Args:
            packs: Processor → `rms.pack` of its reports.
        """
        if self.packs and self.packs[-1]["packs"] == packs:
            return
        whole = self._whole()
        begin = {name: one.place.position.plain() for name, one in whole.items()}
        settled = {name: one.place.settled for name, one in whole.items()}
        entry: Packs = {"packs": dict(packs), "from": begin, "settled": settled}
        self.packs = [*self.packs, entry][-PACKS:]

    def _whole(self) -> dict[str, Known]:
        """Give what is known of sources, whoever reads them."""
        return {
            name: Known.together([self.known[fed(name, share)] for share in shares])
            for name, shares in self._fed.items()
        }

    def reader_of(self, source: str) -> int:
        """Tell which of several readers reads what is called so."""
        return self._number[source]

    def committed(self, source: str) -> tuple[At, int]:
        """Give up to where all is acknowledged, and what is settled there."""
        place = self.known[source].place
        return place.position, place.settled

    def issue(self, source: str, number: int, position: At, settled: int, *, idle: bool = False) -> int:
        """Note that a batch is on its way, and if its reader waits; tell how often to acknowledge it."""
        owed = self._owed[self._source[source]]
        if self._number[source] in self._unheard:  # who gives one batch has begun with all
            self._unheard.discard(self._number[source])
            self._changed = True
        if self._idle.get(source, False) != idle:
            self._idle[source], self._changed = idle, True
        if not self._waiting[source]:
            self._moved[source] = time.monotonic()
        self._waiting[source][number] = (Place(position, settled), owed)
        if not owed:
            self._advance(source)
        return owed

    def acknowledge(self, source: str, number: int) -> None:
        """Note that a sink has flushed all that came to it of a batch, on one way."""
        place, owed = self._waiting[source][number]
        self._waiting[source][number] = (place, owed - 1)
        if owed == 1:
            self._advance(source)

    def owing(self) -> dict[str, int]:
        """Give how many batches of each source were read that not all sinks have, none left out."""
        return {source: len(waiting) for source, waiting in self._waiting.items() if waiting}

    def _advance(self, source: str) -> None:
        waiting, known = self._waiting[source], self.known[source]
        for number in sorted(waiting):
            place, owed = waiting[number]
            if owed:
                break
            del waiting[number]
            self._moved[source] = time.monotonic()
            if place.position.beyond(known.place.position):
                known.trail.append(known.place)
                known.place = place
                self._changed = True
            elif place.position == known.place.position and known.place.settled < place.settled != ENDED:
                known.place = place  # time went on without an event; what ended may grow
                self._changed = True
        self._trim(known, self._lateness[self._source[source]])
        self.write_when_due()

    def _trim(self, known: Known, lateness: int) -> None:
        line = self._needed(self.settled())
        while len(known.trail) > 1:
            first, second = known.trail[0].position, known.trail[1]
            if _begin(second, first, line, lateness) != second.position:
                break
            known.trail.pop(0)
        if len(known.trail) > known.place.position.TRAIL:
            del known.trail[1::2]  # a restart then begins a little earlier

    def overdue(self) -> float:
        """Give the seconds for which nothing of a source was acknowledged though something is owed."""
        now = time.monotonic()
        return max((now - self._moved[name] for name, one in self._waiting.items() if one), default=0.0)

    def settled(self) -> int:
        """Give what is settled in all sources that are committed."""
        return min((one.place.settled for one in self.known.values()), default=NOT_BEGUN)

    def write_when_due(self) -> None:
        """Write the positions where it is time to; also called while nothing comes."""
        passed = time.monotonic() - self._written
        if self._attempt and passed > AGAIN:
            self._changed = True
        if passed > self._every:
            self.write()

    def leave(self) -> None:
        """Write nothing any more: somebody else does."""
        self._path = None

    def write(self) -> None:
        """Write the positions, whole or not at all."""
        if self._path is None or not self._changed or self._unheard:
            return
        data = {
            "version": VERSION,
            "sources": {
                name: {
                    "first": one.first.plain(),
                    "at": _plain(one.place),
                    "trail": [_plain(place) for place in one.trail],
                }
                for name, one in self._whole().items()
            },
            "packs": self.packs,
        }
        if self._attempt:
            shared = len(self._fed) < len(self._source)
            told = [
                (name, one.place.settled, self._idle.get(name, False)) for name, one in self.known.items()
            ]
            data["readers"] = {"attempt": self._attempt, "settled": told if shared else []}
        aside = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        with writing(str(self._path)):
            aside.write_text(json.dumps(data), encoding="utf-8")
            publish(aside, self._path)
        self._written, self._changed = time.monotonic(), False


Packs = dict[str, dict[str, Any]]
"""Which rules judged, `packs`: processor → `rms.pack`; where they began, `from`: source → the plain position;
and what was settled there, `settled`: source → microseconds."""


def load(path: Path, sources: Mapping[str, At]) -> dict[str, Known]:
    """Read a file of positions; one that isn't there is a beginning.

    Args:
        path: The file.
        sources: Source → where nothing of it has been read.

    Raises:
        SourceError: It is damaged, of another version, or of other kinds of sources.
    """
    return load_readers(path, sources)[0]


def load_packs(path: Path) -> list[Packs]:
    """Read of a file of positions which rules judged what; raises SourceError as `load`."""
    packs: list[Packs] = []
    with _reading(path) as data:
        for one in data.get("packs", ()):  # files of before have none, or know not what was settled
            words = {word: dict(one[word]) for word in ("packs", "from")}
            packs.append({**words, "settled": dict(one.get("settled", {}))})
    return packs


@dataclass(frozen=True, slots=True)
class Told:
    """What several readers have settled, as it was written.

    Args:
        attempt: Of the job; 0 where there was one reader.
        readers: What a reader has of a source, see `fed` → microseconds, and whether it waits for events;
            empty until all have begun.
    """

    attempt: int = 0
    readers: Mapping[str, tuple[int, bool]] = field(default_factory=dict)


def load_readers(path: Path, sources: Mapping[str, At]) -> tuple[dict[str, Known], Told]:
    """Read of a file of positions what is known of sources, as `load`, and of several readers of them.

    Raises:
        SourceError: As `load`.
    """
    known, told = {name: Known.at(at) for name, at in sources.items()}, Told()
    with _reading(path) as data:
        for name, one in data["sources"].items():
            if name in known:
                kind = type(sources[name])
                first = kind.of(one["first"]) if "first" in one else sources[name]
                trail = [_place(place, kind) for place in one["trail"]]
                known[name] = Known(_place(one["at"], kind), trail, first)
        if "readers" in data:
            settled = {str(name): (int(at), bool(idle)) for name, at, idle in data["readers"]["settled"]}
            told = Told(int(data["readers"]["attempt"]), settled)
    return known, told


@contextmanager
def _reading(path: Path) -> Iterator[dict[str, Any]]:
    try:
        data: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        yield {VERSION: data}[data["version"]]
    except FileNotFoundError:
        yield {"sources": {}}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SourceError(
            f"can't be read as positions of a stream ({error})",
            where=str(path),
            remedy="remove it to begin anew: ids make repeats harmless",
        ) from None


def _plain(place: Place) -> list[Any]:
    return [*place.position.plain(), place.settled]


def _place(plain: list[Any], kind: type[At]) -> Place:
    *at, settled = plain
    return Place(kind.of(at), int(settled))
