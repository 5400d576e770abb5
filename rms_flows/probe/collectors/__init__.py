"""What a probe can observe: one file a collector."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from rms_flows.probe.collectors import command, cpu, memory, mqtt, network, processes, tail
from rms_flows.probe.collectors.contract import Collector
from rms_flows.probe.settings import Entry

__all__ = ["COLLECTORS", "open_collector"]

COLLECTORS: Final[Mapping[str, Callable[[Any, Any], Collector]]] = {
    "cpu": cpu.Cpu,
    "memory": memory.Memory,
    "network": network.Network,
    "processes": processes.Processes,
    "tail": tail.Tail,
    "command": command.Command,
    "mqtt": mqtt.Mqtt,
}
"""What is collected → makes the collector from its entry and the position that it had reached."""


def open_collector(entry: Entry, position: Any) -> Collector:
    """Make a collector; raises RmsError or OSError where it can't begin."""
    return COLLECTORS[str(getattr(entry, "collect", ""))](entry, position)
