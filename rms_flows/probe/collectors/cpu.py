"""Load of the processors between two looks, under Metricbeat's names."""

from __future__ import annotations

import os
from typing import Any

import psutil

from rms_flows.envelope import Observed
from rms_flows.probe.collectors.contract import Look, now


class Cpu:
    """Tells shares of the time, 0 to 1 over all processors, whatever their number."""

    def __init__(self, entry: Any, position: Any) -> None:
        del entry, position
        self._before = psutil.cpu_times()

    def look(self) -> Look:
        """See `Collector.look`; too soon after the one before there is nothing to tell."""
        times = psutil.cpu_times()
        spent = {
            name: max(0.0, value - getattr(self._before, name)) for name, value in times._asdict().items()
        }
        for part in ("guest", "guest_nice"):  # which are in user and nice already
            spent.pop(part, None)
        total = sum(spent.values())
        if total <= 0:
            return Look([])
        self._before = times
        shares = {f"system.cpu.{name}.norm.pct": round(value / total, 4) for name, value in spent.items()}
        idle = spent.get("idle", 0.0) + spent.get("iowait", 0.0)
        usage = round(1 - idle / total, 4)
        loads = zip((1, 5, 15), os.getloadavg(), strict=True)
        payload = {
            "host.cpu.usage": usage,
            "system.cpu.total.norm.pct": usage,
            "system.cpu.cores": psutil.cpu_count() or 1,
            **shares,
            **{f"system.load.{minutes}": round(load, 2) for minutes, load in loads},
        }
        return Look([Observed("system.cpu", payload, now())])

    def close(self) -> None:
        """See `Collector.close`."""
