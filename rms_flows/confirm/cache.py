"""What was told of probes is remembered for a time, so that it isn't asked for with each batch."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple
from urllib.parse import quote
from uuid import uuid4
from weakref import WeakValueDictionary

from rms_flows.confirm.contract import ProbeTrust, Told
from rms_flows.errors import RmsError, SourceError
from rms_flows.model import Trust

FRESH: Final = 10.0
"""Seconds in which what was told is not asked for again: so late a revocation takes effect."""

AGAIN: Final = 10.0
"""Seconds in which nobody is asked who did not answer."""

KEPT: Final = 3_600.0
"""Seconds in which what was told holds though nobody answers any more; then nothing is known."""

REMEMBERED: Final = 100_000
"""Probes, the latest: who makes up ids would fill any memory."""

_LONGEST: Final = 200
"""Bytes of an id as it stands in a path; nobody has confirmed what is longer."""

_LOG: Final = logging.getLogger(__name__)


class Standing(NamedTuple):
    """What is known of a probe.

    Args:
        trust: What is confirmed; None where nobody knows it.
        sure: Whether that was told lately; else nobody answers, and it is what was told before, if anything.
    """

    trust: Trust | None
    sure: bool = True


class _Kept(NamedTuple):
    told: Told | None
    told_at: float
    asked_at: float


class Confirmed:
    """Whom somebody has confirmed, as of a few seconds ago; for any number of threads.

    Copies that are unpickled in another process ask for themselves; in one process they are the same.

    Args:
        source: Who confirms; asked by one thread at a time.
        clock: Seconds.

    Example:
        >>> from rms_flows.confirm import Memory
        >>> known = Confirmed(Memory({"hub": Trust(publicKey="ed25519:…")}))
        >>> known.of("hub").trust.publicKey, known.of("attic")
        ('ed25519:…', Standing(trust=None, sure=True))
    """

    def __init__(self, source: ProbeTrust, clock: Callable[[], float] = time.monotonic) -> None:
        self._source = source
        self._clock = clock
        self._known: OrderedDict[str, _Kept] = OrderedDict()
        self._listed: tuple[float, Mapping[str, Trust | None]] | None = None
        self._again = 0.0
        self._lock = threading.Lock()
        self._name = uuid4().hex
        _HERE[self._name] = self
        self.trouble: str | None = None
        """Why nobody answers."""

    @property
    def where(self) -> str:
        """Names who confirms."""
        return self._source.where

    def all(self) -> Mapping[str, Trust | None]:
        """Tell of all probes that are listed, now or lately; raises RmsError where that can't be told."""
        with self._lock:
            now = self._clock()
            if self._listed is None or now - self._listed[0] >= FRESH:
                found = self._source.all()
                self._listed = now, found
                for probe, trust in itertools.islice(found.items(), REMEMBERED):
                    self._known[probe] = _Kept(Told(trust), now, now)
            return self._listed[1]

    def of(self, probe: str) -> Standing:
        """Tell what is known of a probe."""
        if not 0 < len(quote(probe, safe="")) <= _LONGEST or not probe.strip("."):
            return Standing(None)
        with self._lock:
            now = self._clock()
            kept = self._known.get(probe)
            if kept is None or now - kept.asked_at >= FRESH:
                kept = self._asked(probe, kept, now)
            sure = kept.told_at == kept.asked_at
            lasts = kept.told is not None and now - kept.told_at < KEPT
            return Standing(kept.told.trust if kept.told and lasts else None, sure)

    def _asked(self, probe: str, kept: _Kept | None, now: float) -> _Kept:
        before = kept.told if kept else None
        told_at = kept.told_at if kept else -KEPT
        if now >= self._again:
            try:
                told = self._source.ask(probe, before)
            except RmsError as error:
                kept = _Kept(before, told_at, now)
                self._failed(error, now)
            else:
                kept = _Kept(told, now, now)
                self._answered()
            self._known[probe] = kept
            self._known.move_to_end(probe)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return kept
        return _Kept(before, told_at, now)

    def _failed(self, error: RmsError, now: float) -> None:
        if isinstance(error, SourceError):
            self._again = now + AGAIN
        if str(error) != self.trouble:
            _LOG.warning(
                "%s (what was told before holds for %d minutes, then nobody knows its probes)",
                error,
                KEPT // 60,
            )
        self.trouble = str(error)

    def _answered(self) -> None:
        if self.trouble is not None:
            _LOG.warning("%s: probes are confirmed again", self.where)
        self.trouble = None

    def __reduce__(self) -> tuple[object, ...]:
        """Cross to another process without what is remembered: it may be old when it arrives."""
        return (_here, (self._name, self._source))


_HERE: Final[WeakValueDictionary[str, Confirmed]] = WeakValueDictionary()


def _here(name: str, source: ProbeTrust) -> Confirmed:
    """Give the one that a name is of in this process, else another that is so called from now on."""
    found = _HERE.get(name)
    if found is None:
        found = Confirmed(source)
        found._name = name  # noqa: SLF001  of another process
        _HERE[name] = found
    return found
