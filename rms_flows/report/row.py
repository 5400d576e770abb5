"""Threat reports as plain values, and what several of the standards ask of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, Final, NamedTuple

import pyarrow as pa

_TECHNIQUE: Final = re.compile(r"t[0-9]{4}(?:\.[0-9]{3})?")
_OTHER: Final = re.compile(r"[gs][0-9]{4}")
"""Groups and software; what is left of ATT&CK's tags are tactics."""


def group_text(group: str | None) -> str:
    """Say for people whom a correlation speaks of; empty where it speaks of nobody, or of a single event.

    Example:
        >>> group_text('{"source.ip":"10.0.0.1","user.name":"ana"}')
        'source.ip = 10.0.0.1, user.name = ana'
    """
    known = json.loads(group) if group else {}
    return ", ".join(f"{name} = {value}" for name, value in known.items())


def rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any]]:
    """Give each report of a batch (`schema.REPORT`); times are microseconds since 1970.

    First and last event, count and revision are those of a single event where a report does not say.
    """
    columns = [
        column.cast(pa.int64()).to_pylist() if pa.types.is_timestamp(column.type) else column.to_pylist()
        for column in batch.columns
    ]
    for values in zip(*columns, strict=True):
        row = dict(zip(batch.schema.names, values, strict=True))
        for name in ("rms.first", "rms.last"):
            row[name] = row["@timestamp"] if row[name] is None else row[name]
        for name in ("rms.count", "rms.revision"):
            row[name] = row[name] or 1
        yield row


def address(text: str | None) -> IPv4Address | IPv6Address | None:
    """Read an IP address; None where the text is none. An interface (`%eth0`) is left out.

    Example:
        >>> address("fe80::0001%eth0"), address("router-7")
        (IPv6Address('fe80::1'), None)
    """
    try:
        return ip_address((text or "").strip().partition("%")[0])
    except ValueError:
        return None


class Attack(NamedTuple):
    """What a rule's tags say in ATT&CK's words.

    Args:
        tactics: As ATT&CK writes them, `credential-access`.
        techniques: `T1110` or `T1110.001`.
    """

    tactics: tuple[str, ...]
    techniques: tuple[str, ...]


def attack(tags: Sequence[str] | None) -> Attack:
    """Read the tags of a rule that name tactics and techniques.

    Example:
        >>> attack(["attack.credential_access", "attack.t1110.001", "attack.g0007", "cve.2021-44228"])
        Attack(tactics=('credential-access',), techniques=('T1110.001',))
    """
    named = [tag.removeprefix("attack.") for tag in tags or () if tag.startswith("attack.")]
    techniques = [name.upper() for name in named if _TECHNIQUE.fullmatch(name)]
    tactics = [
        name.replace("_", "-")
        for name in named
        if name and not _TECHNIQUE.fullmatch(name) and not _OTHER.fullmatch(name)
    ]
    return Attack(tuple(dict.fromkeys(tactics)), tuple(dict.fromkeys(techniques)))
