"""How far a run is, told while it lasts. Knows no Beam, so that who only watches imports none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

Listener = Callable[[int, float], None]
"""Takes what came since the last call: rows, and work done in the measure of `Progress.done`."""

_listener: Listener | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run under way.

    Args:
        rows: Rows read so far, over all workers.
        seconds: Since the run began.
        done: Work done so far, in bytes of the fragments (1 for a fragment of unknown size).
        total: The same measure of the whole; None before the sources have been listed.

    Example:
        >>> Progress(rows=500, seconds=2.0, done=1.0, total=4.0).left
        6.0
    """

    rows: int
    seconds: float
    done: float
    total: float | None

    @property
    def left(self) -> float | None:
        """Seconds until the end at the speed so far; None where that can't be told yet."""
        if self.total is None or self.done <= 0:
            return None
        return self.seconds * max(self.total - self.done, 0.0) / self.done


def listen(listener: Listener | None) -> None:
    """Name who hears of this process's progress; DoFns are copies made by Beam and can't hold a listener."""
    global _listener  # noqa: PLW0603  one pipeline runs in a process at a time
    _listener = listener


def advance(rows: int, done: float) -> None:
    """Tell of rows read and work done."""
    if _listener is not None:
        _listener(rows, done)
