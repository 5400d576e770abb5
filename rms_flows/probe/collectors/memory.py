"""Use of memory, under Metricbeat's names."""

from __future__ import annotations

from typing import Any

import psutil

from rms_flows.envelope import Observed
from rms_flows.probe.collectors.contract import Look, now


class Memory:
    """Tells bytes, and shares from 0 to 1; `actual` leaves out what is only cached."""

    def __init__(self, entry: Any, position: Any) -> None:
        del entry, position

    def look(self) -> Look:
        """See `Collector.look`."""
        main, swap = psutil.virtual_memory(), psutil.swap_memory()
        payload = {
            "system.memory.total": main.total,
            "system.memory.free": main.free,
            "system.memory.used.bytes": main.total - main.free,
            "system.memory.used.pct": round(1 - main.free / main.total, 4),
            "system.memory.actual.free": main.available,
            "system.memory.actual.used.bytes": main.total - main.available,
            "system.memory.actual.used.pct": round(1 - main.available / main.total, 4),
            "system.memory.swap.total": swap.total,
            "system.memory.swap.used.bytes": swap.used,
            "system.memory.swap.used.pct": round(swap.used / swap.total, 4) if swap.total else 0.0,
        }
        return Look([Observed("system.memory", payload, now())])

    def close(self) -> None:
        """See `Collector.close`."""
