"""Whom a flow asks who is confirmed, and which probes it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rms_flows.confirm import Confirmed, open_trust
from rms_flows.model import Orchestrator, Trust
from rms_flows.schema import micros

Probed = Mapping[str, Confirmed]
"""Id of a source → who confirms its probes."""

Sources = tuple[tuple[str, int | None], ...]
"""Ids of sources, and from when on each is confirmed, microseconds."""


def probed_by(flow: Orchestrator, folder: Path) -> Probed:
    """Open who confirms the probes of each source, each once; raises RmsError where nobody can be asked."""
    opened = {where: open_trust(where, folder) for where in {one.probes for one in flow.sources} if where}
    return {one.id: opened[one.probes] for one in flow.sources if one.probes}


def behind(flow: Orchestrator, probed: Probed) -> dict[str, Sources]:
    """Give the sources behind each source and processor; of several probes in one those with a key."""
    found: dict[str, Sources] = {}
    for one in flow.sources:
        known, many = probed.get(one.id), one.format in {None, "probe"}
        if known is None or not many:
            there = {one.id: known.of(one.id).trust if known else one.trust}
        else:
            listed = known.all().items()
            there = {
                name: trust for name, trust in listed if trust and any(k.publicKey for k in trust.known_keys)
            }
        found[one.id] = tuple((name, _begins(trust)) for name, trust in there.items())
    for entry in flow.in_order():
        found[entry.id] = tuple(dict.fromkeys(one for name in entry.inputs for one in found[name]))
    return found


def _begins(trust: Trust | None) -> int | None:
    """Give when a probe is confirmed from, by the first of its keys if it has any, microseconds.

    None: from ever, or nobody has confirmed it.
    """
    if trust is None:
        return None
    begins = [key.validFrom for key in trust.known_keys] or [trust.validFrom]
    known = [micros(one) for one in begins if one is not None]
    return min(known) if known and len(known) == len(begins) else None
