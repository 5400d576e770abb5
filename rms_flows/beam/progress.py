"""How far a run is, told while it lasts. Knows no Beam, so that who only watches imports none."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Progress:
    """One look at a run under way.

    Args:
        rows: Rows read so far, over all workers.
        seconds: Since the run began.
        done: Bytes read so far where sizes are known, else fragments.
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
