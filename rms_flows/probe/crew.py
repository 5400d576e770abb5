"""A thread for each collector: one that hangs or fails holds up no other."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

from rms_flows.probe.collectors import open_collector
from rms_flows.probe.collectors.contract import Collector, Look
from rms_flows.probe.settings import Entry

WAITING: Final = 4
"""Looks that wait to be written; collectors wait while there are more."""


class Seen(NamedTuple):
    """What a collector gave, or why it could not.

    Args:
        name: Of the collector.
        look: What it saw, None where it failed.
        held_back: Observations that passed no threshold.
        problem: Why it failed.
    """

    name: str
    look: Look | None
    held_back: int = 0
    problem: str | None = None


Seeing = queue.Queue[Seen]


class Watch(threading.Thread):
    """Lets one collector look again and again.

    Args:
        entry: What it is told.
        position: How far it had read.
        seeing: Where what it sees goes.
    """

    def __init__(self, entry: Entry, position: Any, seeing: Seeing) -> None:
        super().__init__(name=entry.called, daemon=True)
        self.entry = entry
        self._position = position
        self._seeing = seeing
        self._end = threading.Event()

    def end(self) -> None:
        """Let it stop after the look under way."""
        self._end.set()

    def run(self) -> None:
        """Look at once, then at each interval; after a failure begin anew at the next."""
        collector: Collector | None = None
        due = time.monotonic()
        while not self._end.is_set():
            more = False
            try:
                if collector is None:
                    collector = open_collector(self.entry, self._position)
                look = collector.look()
                more = look.more
                if look.position is not None:
                    self._position = look.position
                seen = _chosen(self.entry, look)
            except Exception as error:  # noqa: BLE001  whatever it is becomes the state of the collector
                _close(collector)
                collector = None
                seen = Seen(self.entry.called, None, problem=f"{type(error).__name__}: {error}")
            if not self._put(seen):
                break
            due = max(due + self.entry.seconds, time.monotonic())
            self._end.wait(0 if more else due - time.monotonic())
        _close(collector)

    def _put(self, seen: Seen) -> bool:
        """Hand over; tell whether that worked before the end."""
        while not self._end.is_set():
            try:
                self._seeing.put(seen, timeout=0.2)
            except queue.Full:
                continue
            return True
        return False


def _close(collector: Collector | None) -> None:
    if collector is not None:
        collector.close()


def _chosen(entry: Entry, look: Look) -> Seen:
    """Leave out what nobody wants of what was seen."""
    passed = [one for one in look.observed if _passes(entry, one.payload)]
    kept = (
        [one._replace(payload=_some(entry.fields, one.payload)) for one in passed] if entry.fields else passed
    )
    left = Look([one for one in kept if one.payload], look.position, look.more)
    return Seen(entry.called, left, len(look.observed) - len(passed))


def _passes(entry: Entry, payload: Mapping[str, Any]) -> bool:
    return not entry.thresholds or any(
        bounds.passed(payload.get(name)) for name, bounds in entry.thresholds.items()
    )


def _some(patterns: tuple[str, ...], payload: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: value
        for name, value in payload.items()
        if any(fnmatchcase(name, pattern) for pattern in patterns)
    }


class Crew:
    """The watches of a probe; changed while they work."""

    def __init__(self) -> None:
        self.seeing: Seeing = queue.Queue(WAITING)
        self._watches: dict[str, Watch] = {}

    def dismiss(self, entries: tuple[Entry, ...]) -> list[str]:
        """Let those end that are not among these entries, word for word; give their names."""
        wanted = {entry.called: entry for entry in entries}
        gone = [name for name, watch in self._watches.items() if wanted.get(name) != watch.entry]
        for name in gone:
            self._watches[name].end()
        for name in gone:
            self._watches.pop(name).join(2.0)  # one that hangs is left alone; what it says later is not heard
        return gone

    def engage(self, entries: tuple[Entry, ...], positions: Mapping[str, Any]) -> None:
        """Let those begin that don't work yet."""
        for entry in entries:
            if entry.called not in self._watches:
                watch = Watch(entry, positions.get(entry.called), self.seeing)
                self._watches[entry.called] = watch
                watch.start()
