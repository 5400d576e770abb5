"""Threat reports as OCSF events: class Detection Finding (2004) of the schema 1.8.0.

The attacker is `evidences[].src_endpoint`, the victim `evidences[].dst_endpoint` and `resources[]` in the
role of a target. `finding_info.uid` is the report's id, the same in every revision; `metadata.uid` is that of
the event, one for each revision. What OCSF has no attribute for stands under `unmapped`, by our own names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec
import pyarrow as pa

from rms_flows.report.row import address, attack, rows

VERSION: Final = "1.8.0"
"""Of the schema."""

_ENCODE: Final = msgspec.json.Encoder().encode
_SEVERITIES: Final[Mapping[str | None, tuple[int, str]]] = {
    "informational": (1, "Informational"),
    "low": (2, "Low"),
    "medium": (3, "Medium"),
    "high": (4, "High"),
    "critical": (5, "Critical"),
}
_UNMAPPED: Final = (
    "rms.revision",
    "rms.report_type",
    "rms.processor",
    "rms.system_id",
    "rms.location",
    "rms.group",
    "rms.measurement",
    "rms.pack",
    "rule.author",
    "rule.tags",
)
_IP: Final = 2
"""`observable.type_id` of an IP address."""


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report of a batch (`schema.REPORT`) as a Detection Finding without its line feed."""
    return [_ENCODE(_document(row)) for row in rows(batch)]


def _document(report: Mapping[str, Any]) -> dict[str, Any]:
    severity, caption = _SEVERITIES.get(report["rule.level"], (0, "Unknown"))
    finding = {
        "activity_id": 1,
        "activity_name": "Create",
        "category_uid": 2,
        "category_name": "Findings",
        "class_uid": 2004,
        "class_name": "Detection Finding",
        "type_uid": 200401,
        "type_name": "Detection Finding: Create",
        "time": _millis(report["@timestamp"]),
        "start_time": _millis(report["rms.first"]),
        "end_time": _millis(report["rms.last"]),
        "severity_id": severity,
        "severity": caption,
        "status_id": 1,
        "status": "New",
        "is_alert": True,
        "message": report["message"] or report["rule.name"],
        "count": report["rms.count"],
        "metadata": {
            "version": VERSION,
            "product": {"name": "rms_flows", "vendor_name": "rms_flows"},
            "uid": f"{report['event.id']}:{report['rms.revision']}",
            "log_name": report["event.dataset"],
        },
        "finding_info": _finding(report),
        "evidences": list(_evidences(report)),
        "resources": list(_resources(report)),
        "observables": list(_observables(report)),
        "unmapped": {name: report[name] for name in _UNMAPPED},
    }
    return _filled(finding)


def _millis(micros: int) -> int:
    return micros // 1000


def _finding(report: Mapping[str, Any]) -> dict[str, Any]:
    evidence = report["rms.evidence"] or []
    rule = {"uid": report["rule.id"], "name": report["rule.name"], "type_id": 1, "type": "Rule"}
    return {
        "uid": report["event.id"],
        "title": report["rule.name"] or report["message"] or report["rms.report_type"] or "threat",
        "desc": report["message"],
        "types": [report["rms.report_type"]] if report["rms.report_type"] else [],
        "analytic": rule if rule["uid"] or rule["name"] else None,
        "attacks": list(_attacks(report)),
        "data_sources": [report["rms.source"]] if report["rms.source"] else [],
        "created_time": _millis(report["@timestamp"]),
        "first_seen_time": _millis(report["rms.first"]),
        "last_seen_time": _millis(report["rms.last"]),
        "related_events": [{"uid": one} for one in evidence],
        "related_events_count": report["rms.count"],
    }


def _attacks(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Give tactics and techniques apart: a rule's tags don't say which belong together."""
    said = attack(report["rule.tags"])
    for tactic in said.tactics:
        yield {"tactic": {"name": tactic.replace("-", " ").title().replace(" And ", " and ")}}
    for technique in said.techniques:
        whole, _, part = technique.partition(".")
        yield {"technique": {"uid": whole}} | ({"sub_technique": {"uid": technique}} if part else {})


def _evidences(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    source = _endpoint(report["rms.request_source"])
    targets = [_endpoint(text) for text in report["rms.monitored_asset_ip"] or () if text]
    for target in targets or [None]:
        if source or target:
            yield {"src_endpoint": source, "dst_endpoint": target}


def _endpoint(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    known = address(text)
    return {"ip": str(known)} if known else {"name": text}


def _resources(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for asset in report["rms.monitored_asset_id"] or ():
        if asset:
            yield {"name": asset, "role_id": 1, "role": "Target"}


def _observables(report: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for number, evidence in enumerate(_evidences(report)):
        for role in ("src_endpoint", "dst_endpoint"):
            ip = (evidence[role] or {}).get("ip")
            if ip and not (number and role == "src_endpoint"):  # it is the same in all of them
                place = f"evidences[{number}].{role}.ip"
                yield {"name": place, "type_id": _IP, "type": "IP Address", "value": ip}


def _filled(document: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is null or empty."""
    found = {}
    for key, value in document.items():
        if isinstance(value, dict):
            value = _filled(value)  # noqa: PLW2901  what is left of it
        elif isinstance(value, list):
            value = [_filled(one) if isinstance(one, dict) else one for one in value]  # noqa: PLW2901
        if value is not None and value not in ({}, []):
            found[key] = value
    return found
