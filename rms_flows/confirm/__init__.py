"""Who confirms probes: the registry, a file of devices, a gateway; and what was told, remembered for a while.

`confirm.contract` has the interface `ProbeTrust`. What is confirmed is a document (`model.Trust`); what that
says of an event is judged elsewhere (`rms_flows.trust`), by the event's own time and when it came.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from rms_flows.confirm.cache import Confirmed, Standing
from rms_flows.confirm.contract import Memory, ProbeTrust, Told
from rms_flows.confirm.devices import Devices
from rms_flows.confirm.gateway import Gateway
from rms_flows.confirm.manifests import Manifests
from rms_flows.errors import DocumentError

__all__ = [
    "Confirmed",
    "Devices",
    "Gateway",
    "Manifests",
    "Memory",
    "ProbeTrust",
    "Standing",
    "Told",
    "open_trust",
]

_FILES: Final = (".yaml", ".yml", ".json", ".csv")


def open_trust(where: str, base: Path) -> Confirmed:
    """Open who confirms probes, and see that it answers.

    Args:
        where: A folder of the registry, a file of devices (`.yaml`, `.yml`, `.json` or `.csv`), or
            `https://HOST[:PORT][/PATH]` of a gateway.
        base: Where relative paths begin.

    Raises:
        RmsError: It is not there, or not what it has to be.
    """
    scheme, colon, _ = where.partition("://")
    source: ProbeTrust
    if colon and scheme in {"http", "https"}:
        source = Gateway(where)
    elif colon:
        raise DocumentError(
            f"nobody can be asked by {scheme}: who confirms probes",
            where=where,
            remedy="there are a folder of the registry, a file of devices, and https://",
        )
    else:
        path = base / where
        source = Devices(path) if path.suffix in _FILES and not path.is_dir() else Manifests(path)
    confirmed = Confirmed(source)
    confirmed.all()
    return confirmed
