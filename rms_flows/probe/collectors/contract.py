"""What a collector is: it looks when it is told to, and says what it saw."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Protocol

from rms_flows.envelope import Observed
from rms_flows.errors import DocumentError

try:
    import psutil  # noqa: F401  most collectors need it
except ImportError:
    raise DocumentError(
        "a probe needs psutil, which is not installed", remedy="pip install 'rms-flows[probe]'"
    ) from None


@dataclass(frozen=True, slots=True)
class Look:
    """What one look gave.

    Args:
        observed: In the order of time.
        position: How far it has read, as JSON; None where it has no position.
        more: There is more to be read at once.
    """

    observed: list[Observed]
    position: Any = None
    more: bool = False


class Collector(Protocol):
    """Observes one thing; made, used and closed by one thread."""

    def look(self) -> Look:
        """Look now; whatever it raises is reported as the collector's state, and it is asked again later."""

    def close(self) -> None:
        """Let go of what it holds."""


def now() -> int:
    """Give the time, microseconds since 1970."""
    return time.time_ns() // 1_000
