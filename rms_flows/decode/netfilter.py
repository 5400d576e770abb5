"""Packets that firewalls log by syslog: Linux netfilter (iptables, nftables, ufw) and MikroTik's RouterOS."""

from __future__ import annotations

from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.lines import ADDRESS, Columns, extract

_NETFILTER: Final = {
    "observer.ingress.interface.name": r"\bIN=(?P<v>\S*)",
    "observer.egress.interface.name": r"\bOUT=(?P<v>\S*)",
    "source.ip": r"\bSRC=(?P<v>\S+)",
    "destination.ip": r"\bDST=(?P<v>\S+)",
    "network.transport": r"\bPROTO=(?P<v>\S+)",
    "source.port": r"\bSPT=(?P<v>\d+)",
    "destination.port": r"\bDPT=(?P<v>\d+)",
    "iptables.length": r"\bLEN=(?P<v>\d+)",
    "iptables.prefix": r"^(?:\[ *[\d.]+\] *)?(?P<v>.*?) *\bIN=",
}
_END: Final = rf"(?:{ADDRESS}|\[[0-9A-Fa-f:.]+\])"
_MIKROTIK: Final = (
    r"^(?P<topics>[a-z0-9,-]+) (?P<prefix>.*?) ?(?P<chain>[A-Za-z0-9_-]+): in:(?P<inside>\(.*?\)|\S+) "
    r"out:(?P<outside>\(.*?\)|[^\s,]+),? .*?\bproto (?P<proto>[A-Za-z0-9-]+)(?: \([^)]*\))?, "
    r"(?P<source>[0-9.]+|\[[0-9A-Fa-f:.]+\])(?::(?P<sport>\d+))?->(?P<target>[0-9.]+|\[[0-9A-Fa-f:.]+\])"
    r"(?::(?P<dport>\d+))?(?:, .*)?$"
)


def is_netfilter(message: pa.Array) -> pa.Array:
    """Tell which messages are packets that Linux logged."""
    return pc.match_substring_regex(message, r"\bIN=\S* OUT=\S* .*\bSRC=\S+ DST=\S+ ")


def netfilter(message: pa.Array) -> Columns:
    """Read packets that Linux logged: interfaces, addresses, ports, transport, and the rule's prefix."""
    found = {name: extract(message, pattern)["v"] for name, pattern in _NETFILTER.items()}
    return {**found, "network.transport": pc.utf8_lower(found["network.transport"])}


def is_mikrotik(message: pa.Array) -> pa.Array:
    """Tell which messages are packets that RouterOS logged."""
    return pc.match_substring_regex(message, r"^[a-z0-9,-]+ .*: in:\S+.* out:.*\bproto [A-Z].*->")


def mikrotik(message: pa.Array) -> Columns:
    """Read packets that RouterOS logged."""
    found = extract(message, _MIKROTIK)
    return {
        "observer.ingress.interface.name": found["inside"],
        "observer.egress.interface.name": found["outside"],
        "source.ip": _bare(found["source"]),
        "destination.ip": _bare(found["target"]),
        "source.port": found["sport"],
        "destination.port": found["dport"],
        "network.transport": pc.utf8_lower(found["proto"]),
        "mikrotik.topics": found["topics"],
        "mikrotik.prefix": found["prefix"],
        "mikrotik.chain": found["chain"],
    }


def _bare(addresses: pa.Array) -> pa.Array:
    """Take IPv6 out of its brackets."""
    return pc.replace_substring_regex(addresses, r"[\[\]]", "")
