"""Threat reports as `ThreatReport` documents of the IoTAC project, strict or with what we know beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
import pyarrow as pa

from rms_flows.objects import stamps

_ENCODE: Final = msgspec.json.Encoder().encode
_LISTS: Final = ("monitoredAssetID", "monitoredAssetIP", "measurement")


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report of a batch (`schema.REPORT`) as a `ThreatReport` without its line feed."""
    return _written(batch, lambda report: _without_nulls({**_native(report), **_beside(report)}))


def strict_documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report with the fields that IoTAC has and no others, for readers that expect just these.

    All of them are there: a list may be empty, text may be null.
    """
    return _written(batch, _strict)


def _written(batch: pa.RecordBatch, document: Callable[[dict[str, Any]], dict[str, Any]]) -> list[bytes]:
    names = batch.schema.names
    columns = [_plain(column) for column in batch.columns]
    return [_ENCODE(document(dict(zip(names, row, strict=True)))) for row in zip(*columns, strict=True)]


def _plain(column: pa.Array) -> list[Any]:
    if pa.types.is_dictionary(column.type):
        words: list[Any] = column.dictionary.to_pylist()  # each made once: Arrow would make it for each row
        return [None if index is None else words[index] for index in column.indices.to_pylist()]
    values: list[Any] = (stamps(column) if pa.types.is_timestamp(column.type) else column).to_pylist()
    return values


def _native(report: dict[str, Any]) -> dict[str, Any]:
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
    }


def _strict(report: dict[str, Any]) -> dict[str, Any]:
    found = _native(report)
    for name in _LISTS:
        found["value"][name] = found["value"][name] or []
    return found


def _beside(report: dict[str, Any]) -> dict[str, Any]:
    return {
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
