"""Threat reports as the IoTAC project writes them: `ThreatReport` documents."""

from __future__ import annotations

from typing import Any

import msgspec
import pyarrow as pa

from rms_flows.report.ecs import plain

_ENCODE = msgspec.json.Encoder().encode


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report of a batch (`schema.REPORT`) as a `ThreatReport` without its line feed."""
    names = batch.schema.names
    columns = [plain(column) for column in batch.columns]
    return [
        _ENCODE(_without_nulls(_document(dict(zip(names, row, strict=True)))))
        for row in zip(*columns, strict=True)
    ]


def _document(report: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": report["event.id"],
        "dataSourceID": report["rms.source"],
        "systemID": report["rms.system_id"],
        "reportType": report["rms.report_type"],
        "_timestamp": report["@timestamp"],
        "location": report["rms.location"],
        "value": {
            "type": report["message"] or report["rule.name"],
            "monitoredAssetID": report["rms.monitored_asset_id"],
            "monitoredAssetIP": report["rms.monitored_asset_ip"],
            "measurement": report["rms.measurement"],
            "requestSource": report["rms.request_source"],
            "_timestamp": report["@timestamp"],
        },
        "rule": {
            "id": report["rule.id"],
            "name": report["rule.name"],
            "author": report["rule.author"],
            "level": report["rule.level"],
            "tags": report["rule.tags"],
        },
        "group": report["rms.group"],
        "firstEvent": report["rms.first"],
        "lastEvent": report["rms.last"],
        "count": report["rms.count"],
        "evidence": report["rms.evidence"],
        "status": report["rms.status"],
        "revision": report["rms.revision"],
    }


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nulls(one) for key, one in value.items() if one is not None}
    return value
