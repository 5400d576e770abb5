"""Where a stream over topics begins for the first time."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from rms_flows.io.kafka.client import Committed, Reader, Spot
from rms_flows.io.line import Start
from rms_flows.io.position import NOT_BEGUN, Offsets

_NOTE: Final = "rms1"
"""What a note beside our committed offsets begins with."""


def first(reader: Reader, begin: str | datetime) -> Start:
    """Ask brokers where to begin.

    Args:
        reader: Of the topics.
        begin: `earliest`, `latest`, a time of Kafka's, or `committed`: where the group is, `earliest` where
            it has committed nothing. What a stream of ours committed says how far it was settled, so that
            it goes on as it would from its file of positions.
    """
    spots = reader.partitions()
    if isinstance(begin, datetime):
        return _at(reader.since(spots, int(begin.timestamp() * 1_000)))
    if begin == "latest":
        return _at({spot: one.last for spot, one in reader.bounds(spots).items()})
    found = reader.committed(spots) if begin == "committed" else {}
    notes = {spot: _read(one.note) for spot, one in found.items()}
    if any(note is None for note in notes.values()):  # somebody else's: there is no state to go on with
        return _at({spot: one.offset for spot, one in found.items()})
    known = {str(spot): (one.offset, note[0]) for spot, one in found.items() if (note := notes[spot])}
    settled = min((note[1] for note in notes.values() if note), default=NOT_BEGUN)
    return Start(Offsets(), Offsets(known), settled)


def _at(offsets: dict[Spot, int]) -> Start:
    at = Offsets({str(spot): (offset, NOT_BEGUN) for spot, offset in offsets.items()})
    return Start(at, at, NOT_BEGUN)


def noted(at: Offsets, settled: int) -> dict[Spot, Committed]:
    """Give what to commit for a group: offsets, with what is needed to go on from them beside."""
    return {
        Spot.of(name): Committed(offset, f"{_NOTE} {latest} {settled}")
        for name, (offset, latest) in at.spots.items()
    }


def _read(note: str) -> tuple[int, int] | None:
    words: Sequence[str] = note.split(" ")
    if words[0] != _NOTE:
        return None
    _, latest, settled = words
    return int(latest), int(settled)
