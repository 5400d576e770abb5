"""Suricata's EVE JSON: alerts, flows and protocol records under ECS names where ECS has one."""

from __future__ import annotations

from typing import Final

import pyarrow.compute as pc

from rms_flows.decode.contract import Context, Decoder, Format
from rms_flows.decode.json_lines import Columns, JsonDecoder, Shape, sniff_keys
from rms_flows.decode.json_slow import Column

_TIMES: Final = ("timestamp", "@timestamp")

_NAMES: Final = {
    "src_ip": "source.ip",
    "src_port": "source.port",
    "dest_ip": "destination.ip",
    "dest_port": "destination.port",
    "proto": "network.transport",
    "app_proto": "network.protocol",
    "in_iface": "observer.ingress.interface.name",
    "http.hostname": "url.domain",
    "http.url": "url.original",
    "http.http_user_agent": "user_agent.original",
    "http.http_method": "http.request.method",
    "http.status": "http.response.status_code",
    "alert.signature": "rule.name",
    "alert.category": "rule.category",
    "alert.signature_id": "rule.id",
}


def _needs(needed: frozenset[str]) -> frozenset[str]:
    return frozenset(old for old, new in _NAMES.items() if new in needed) | {"event_type"}


def _finish(columns: Columns, _context: Context) -> Columns:
    made = {
        (new if (new := _NAMES.get(name, name)) not in columns else name): c for name, c in columns.items()
    }
    if "network.transport" in made:
        transport = made["network.transport"]
        made["network.transport"] = Column(pc.utf8_lower(transport.text), transport.kinds)
    kind = columns.get("event_type")
    if kind is not None and "event.dataset" not in made:
        made["event.dataset"] = Column(pc.binary_join_element_wise("suricata", kind.text, "."), kind.kinds)
    return made


def _sniff(head: bytes) -> int:
    return 80 if sniff_keys(head, b'"event_type"', b'"flow_id"', b'"src_ip"') >= 2 else 0  # noqa: PLR2004


def _open(context: Context) -> Decoder:
    return JsonDecoder(context, Shape(_TIMES, _needs, _finish))


FORMAT = Format("suricata", "Suricata EVE JSON", "documents", _sniff, _open, _TIMES)
