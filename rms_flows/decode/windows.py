"""Windows events as flat JSON, with the field names that Sigma rules use."""

from __future__ import annotations

from typing import Final

import pyarrow as pa

from rms_flows.decode.contract import Context, Decoder, Format
from rms_flows.decode.json_lines import Columns, JsonDecoder, Shape, sniff_keys
from rms_flows.decode.json_slow import Column

TIMES: Final = ("@timestamp", "TimeCreated", "UtcTime", "EventTime", "SystemTime")

_KNOWN: Final = {
    "microsoft-windows-sysmon/operational": "windows.sysmon",
    "microsoft-windows-powershell/operational": "windows.powershell",
    "windows powershell": "windows.powershell",
    "powershellcore/operational": "windows.powershell",
}


def dataset(channel: str) -> str:
    """Name the log of a channel.

    Example:
        >>> dataset("Microsoft-Windows-Sysmon/Operational"), dataset("Security")
        ('windows.sysmon', 'windows.security')
        >>> dataset("Microsoft-Windows-WMI-Activity/Operational")
        'windows.wmi-activity'
    """
    name = channel.lower()
    short = name.removeprefix("microsoft-windows-").removesuffix("/operational").replace(" ", "-")
    return _KNOWN.get(name, f"windows.{short}")


def _finish(columns: Columns, _context: Context) -> Columns:
    channel = columns.get("Channel")
    if channel is None or "event.dataset" in columns:
        return columns
    words = channel.text.dictionary_encode()
    names = pa.array([dataset(name) for name in words.dictionary.to_pylist()], pa.string())
    return {**columns, "event.dataset": Column(names.take(words.indices), channel.kinds)}


def _needs(_needed: frozenset[str]) -> frozenset[str]:
    return frozenset({"Channel"})


def _sniff(head: bytes) -> int:
    return 80 if sniff_keys(head, b'"EventID"', b'"Channel"', b'"SourceName"') >= 2 else 0  # noqa: PLR2004


def _open(context: Context) -> Decoder:
    return JsonDecoder(context, Shape(TIMES, _needs, _finish))


FORMAT = Format(
    "windows",
    "Windows events as flat JSON (Sysmon, Security, PowerShell …)",
    "documents",
    _sniff,
    _open,
    TIMES,
)
