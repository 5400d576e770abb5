"""Processes that start and end, and those that use most, under the names of Auditbeat and Metricbeat."""

from __future__ import annotations

import time
from typing import Any, NamedTuple

import psutil

from rms_flows.envelope import Observed
from rms_flows.probe.collectors.contract import Look, now
from rms_flows.probe.settings import Processes as Settings

LONGEST = 8_192
"""Characters of a command line that are told."""


class _Known(NamedTuple):
    """What is known of a process since it was seen first."""

    payload: dict[str, Any]
    spent: float  # seconds of processors


class _Use(NamedTuple):
    """What a process used since the look before."""

    spent: float
    resident: int
    payload: dict[str, Any]


class Processes:
    """Tells which processes started and ended between two looks; of the first look, which use most.

    What lives for less than the interval may not be seen: this is no audit.
    """

    def __init__(self, entry: Settings, position: Any) -> None:
        del position
        self._top = entry.top
        self._known: dict[tuple[int, float], _Known] | None = None
        self._cores = psutil.cpu_count() or 1
        self._then = time.monotonic()

    def look(self) -> Look:
        """See `Collector.look`."""
        moment, then = now(), time.monotonic()
        before, self._known = self._known, {}
        observed: list[Observed] = []
        used: list[_Use] = []
        for process in psutil.process_iter():
            try:
                with process.oneshot():
                    key = (process.pid, process.create_time())
                    known = (before or {}).get(key)
                    payload = _described(process) if known is None else known.payload
                    spent, resident = sum(process.cpu_times()[:2]), process.memory_info().rss
            except psutil.Error:  # it ended meanwhile, or can't be looked at
                continue
            self._known[key] = _Known(payload, spent)
            if known is None and before is not None:
                observed.append(_event("process_started", "start", payload, moment))
            used.append(_Use(max(0.0, spent - (known.spent if known else spent)), resident, payload))
        ended = sorted((before or {}).keys() - self._known.keys())
        observed += [_event("process_stopped", "end", (before or {})[key].payload, moment) for key in ended]
        observed += self._most(used, max(then - self._then, 1e-3), moment)
        self._then = then
        return Look(observed)

    def _most(self, used: list[_Use], seconds: float, moment: int) -> list[Observed]:
        """Tell of those that used most processor time, and of those that use most memory."""
        total = psutil.virtual_memory().total
        most = sorted(used, key=lambda one: one.spent)[-self._top :] if self._top else []
        most += sorted(used, key=lambda one: one.resident)[-self._top :] if self._top else []
        chosen = {one.payload["process.pid"]: one for one in most}
        return [
            Observed(
                "system.process",
                {
                    **one.payload,
                    "system.process.cpu.total.norm.pct": round(one.spent / seconds / self._cores, 4),
                    "system.process.memory.rss.bytes": one.resident,
                    "system.process.memory.rss.pct": round(one.resident / total, 4),
                },
                moment,
            )
            for _, one in sorted(chosen.items())
        ]

    def close(self) -> None:
        """See `Collector.close`."""


def _event(action: str, kind: str, payload: dict[str, Any], moment: int) -> Observed:
    said = {"event.action": action, "event.category": ["process"], "event.type": [kind]}
    return Observed("process", {**said, **payload}, moment)


def _described(process: psutil.Process) -> dict[str, Any]:
    """Say what a process is; what we may not see is left out."""
    found: dict[str, Any] = {"process.pid": process.pid, "process.name": process.name()}
    parent = process.ppid()
    if parent:
        found["process.parent.pid"] = parent
    for name, ask in (("process.executable", process.exe), ("user.name", process.username)):
        try:
            if text := ask():
                found[name] = text
        except (psutil.AccessDenied, KeyError):  # a user without a name
            continue
    try:
        line = process.cmdline()
    except psutil.AccessDenied:
        line = []
    if line:
        found["process.command_line"] = _clean(" ".join(line))[:LONGEST]
    return {name: _clean(one) if isinstance(one, str) else one for name, one in found.items()}


def _clean(text: str) -> str:
    """Write bytes that are no text as what stands for them, since JSON has no other way."""
    return text.encode("utf-8", "backslashreplace").decode()
