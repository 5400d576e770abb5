"""What tells whom a gateway has confirmed: the interface, and its twin in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

from rms_flows.errors import RmsError
from rms_flows.model import Trust


class Told(NamedTuple):
    """What was said of a probe.

    Args:
        trust: What is confirmed of it; None where nobody knows it.
        tag: With which to ask whether that has changed.
    """

    trust: Trust | None
    tag: str | None = None


class ProbeTrust(Protocol):
    """Who confirms probes.

    Args:
        where: Names it: what `confirm.open_trust` opens it by.
    """

    where: str

    def ask(self, probe: str, before: Told | None) -> Told:
        """Tell what is confirmed of a probe now.

        Args:
            probe: Its id.
            before: What was told the last time; comes back where nothing has changed.

        Raises:
            SourceError: Of no probe can that be told now.
            DocumentError: Of this one it can't.
        """

    def all(self) -> Mapping[str, Trust | None]:
        """Tell of all probes that are known now, as far as they are listed; raises RmsError."""


class Memory:
    """Knows what it is given; a twin for tests and for documents that are read already.

    Args:
        known: Probe → what is confirmed of it; may change.
        where: Names it.
    """

    def __init__(self, known: Mapping[str, Trust | None], where: str = "memory:") -> None:
        self.known = known
        self.where = where
        self.fault: RmsError | None = None
        """What is raised instead of an answer."""

    def ask(self, probe: str, before: Told | None) -> Told:
        """See `ProbeTrust.ask`."""
        del before
        if self.fault is not None:
            raise self.fault
        return Told(self.known.get(probe))

    def all(self) -> Mapping[str, Trust | None]:
        """See `ProbeTrust.all`."""
        if self.fault is not None:
            raise self.fault
        return dict(self.known)
