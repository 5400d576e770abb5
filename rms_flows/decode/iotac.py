"""Threat reports as the IoTAC project writes them; a lenient reader for all its partners' spellings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa

from rms_flows.decode import clock
from rms_flows.decode.contract import Context, Failure, Format, Parsed
from rms_flows.decode.json_lines import no_time, sniff_keys
from rms_flows.decode.json_slow import Float, Integer, compact, parse
from rms_flows.schema import MEASUREMENTS, TEXTS

_STAMPS: Final = ("_timestamp", "timestamp", "acquisitionTimestamp", "@timestamp")
_TEXTS: Final = {
    "rms.report_type": ("type", "reportType"),
    "rms.system_id": ("systemID", "systemId"),
    "rms.location": ("location",),
    "rms.request_source": ("requestSource",),
    "iotac.data_source_id": ("dataSourceID", "dataSourceId", "dataSourceManifestReferenceID"),
    "iotac.id": ("id", "_id"),
}
_LISTS: Final = {
    "rms.monitored_asset_id": ("monitoredAssetID", "monitoredAssetId"),
    "rms.monitored_asset_ip": ("monitoredAssetIP", "monitoredAssetIp"),
}


class IotacDecoder:
    """Decodes reports: a document, an array of them, or either once more as a JSON string."""

    def __init__(self, context: Context) -> None:
        self._options = context.options

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn reports into columns, a row a report."""
        parsed = Parsed({})
        reports: list[dict[str, Any]] = []
        places: list[int] = []
        for number, record in enumerate(records):
            if not record.strip():
                parsed.blank.append(number)
                continue
            try:
                found = list(_reports(parse(record)))
            except (ValueError, RecursionError) as error:
                parsed.failures.append(Failure(number, "iotac", f"no threat report: {error}"))
                continue
            reports += found
            places += [number] * len(found)
            if not found:
                parsed.blank.append(number)  # an empty array
        if reports:
            self._columns(reports, np.array(places, np.int64), parsed)
        return parsed

    def _columns(self, reports: list[dict[str, Any]], places: np.ndarray, parsed: Parsed) -> None:
        stamps = pa.array([_stamp(report) for report in reports], pa.string())
        times = clock.parse(stamps, self._options)
        lost = times.values.is_null().to_numpy(zero_copy_only=False)
        for record in np.unique(places[lost]).tolist():  # all rows of a record share its fate
            text = stamps[int(np.flatnonzero(lost & (places == record))[0])].as_py()
            parsed.failures.append(Failure(record, "timestamp", no_time(text, _STAMPS)))
        kept = ~np.isin(places, places[lost])
        rows = [report for report, keep in zip(reports, kept.tolist(), strict=True) if keep]
        parsed.record = places[kept]
        parsed.columns = {"@timestamp": times.values.filter(pa.array(kept))}
        for name, keys in _TEXTS.items():
            parsed.columns[name] = pa.array([_text(_value(row, keys)) for row in rows], pa.string())
        for name, keys in _LISTS.items():
            parsed.columns[name] = pa.array([_texts(_value(row, keys)) for row in rows], TEXTS)
        if self._options.swapped_roles:
            _swap(parsed.columns)
        measured = [_measurements(_value(row, ("measurement", "measurements"))) for row in rows]
        parsed.columns["rms.measurement"] = pa.array(measured, MEASUREMENTS)
        parsed.columns["event.dataset"] = pa.repeat("iotac.threat_report", len(rows))


def _swap(columns: dict[str, pa.Array]) -> None:
    """Put attacker and victim where they belong; of several attackers the first is the source of requests."""
    attackers, victims = columns["rms.monitored_asset_ip"], columns["rms.request_source"]
    columns["related.ip"] = attackers
    columns["rms.request_source"] = pa.array(
        [(one or [None])[0] for one in attackers.to_pylist()], pa.string()
    )
    columns["rms.monitored_asset_ip"] = pa.array(
        [None if one is None else [one] for one in victims.to_pylist()], TEXTS
    )


def _reports(value: Any) -> Iterator[dict[str, Any]]:
    """Give the reports of a document, an array, or a string that holds one of these."""
    if isinstance(value, str) and not isinstance(value, (Integer, Float)):
        yield from _reports(parse(value.encode()))
    elif isinstance(value, list):
        for one in value:
            yield from _reports(one)
    elif isinstance(value, dict):
        yield value
    else:
        raise ValueError(f"expected an object, an array or a string of them, not {compact(value)[:40]}")  # noqa: TRY004


def _value(report: dict[str, Any], keys: Sequence[str]) -> Any:
    """Look a field up in the report's value, then in the report, whatever the case of its first letter."""
    inner = report.get("value", report.get("Value"))
    for place in (inner, report):
        if isinstance(place, dict):
            for key in keys:
                for spelling in (key, key[0].upper() + key[1:]):
                    if place.get(spelling) is not None:
                        return place[spelling]
    return None


def _stamp(report: dict[str, Any]) -> str | None:
    return _text(_value(report, _STAMPS))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else compact(value)


def _texts(value: Any) -> list[str] | None:
    if value is None:
        return None
    return [text for one in (value if isinstance(value, list) else [value]) if (text := _text(one))]


def _measurements(value: Any) -> list[dict[str, Any]] | None:
    """Read `[{name, value}]` in any spelling; a value that is no number is null."""
    if value is None:
        return None
    found = []
    for one in value if isinstance(value, list) else [value]:
        if isinstance(one, dict):
            spelled = {str(key).lower(): content for key, content in one.items()}
            found.append({"name": _text(spelled.get("name")), "value": _number(spelled.get("value"))})
    return found


def _number(value: Any) -> float | None:
    try:
        return float(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _sniff(head: bytes) -> int:
    start = head.lstrip()
    text = start[1:].replace(b'\\"', b'"') if start.startswith(b'"') else head
    found = sniff_keys(
        text.lstrip(), b'"monitoredAsset', b'"reportType"', b'"requestSource"', b'"dataSourceID"'
    )
    return 85 if found >= 2 else 0  # noqa: PLR2004  one alone may be chance


FORMAT = Format("iotac", "IoTAC threat reports", "documents", _sniff, IotacDecoder)
