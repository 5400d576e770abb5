"""Traffic of each network interface, under Metricbeat's names."""

from __future__ import annotations

from typing import Any

import psutil

from rms_flows.envelope import Observed
from rms_flows.probe.collectors.contract import Look, now

_COUNTED = {
    "in.bytes": "bytes_recv",
    "in.packets": "packets_recv",
    "in.errors": "errin",
    "in.dropped": "dropin",
    "out.bytes": "bytes_sent",
    "out.packets": "packets_sent",
    "out.errors": "errout",
    "out.dropped": "dropout",
}


class Network:
    """Tells the counters of each interface, and what came and went since the look before."""

    def __init__(self, entry: Any, position: Any) -> None:
        del entry, position
        self._before = psutil.net_io_counters(pernic=True)

    def look(self) -> Look:
        """See `Collector.look`."""
        counters, moment = psutil.net_io_counters(pernic=True), now()
        observed = []
        for name, count in sorted(counters.items()):
            before = self._before.get(name, count)
            payload: dict[str, Any] = {"system.network.name": name}
            payload |= {f"system.network.{ours}": getattr(count, theirs) for ours, theirs in _COUNTED.items()}
            for way, theirs in (("ingress", "bytes_recv"), ("egress", "bytes_sent")):
                payload[f"host.network.{way}.bytes"] = max(
                    0, getattr(count, theirs) - getattr(before, theirs)
                )
            observed.append(Observed("system.network", payload, moment))
        self._before = counters
        return Look(observed)

    def close(self) -> None:
        """See `Collector.close`."""
