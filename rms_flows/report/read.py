"""Threat reports are read back: ECS and IoTAC documents a line each, folded by id."""

from __future__ import annotations

import glob
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.errors import SourceError
from rms_flows.schema import REPORT, TIMESTAMP

_ECS: Final = frozenset(REPORT.names)
_IOTAC: Final[Mapping[str, tuple[str, ...]]] = {
    "@timestamp": ("_timestamp",),
    "event.id": ("id",),
    "rms.source": ("dataSourceID",),
    "rms.report_type": ("reportType",),
    "rms.system_id": ("systemID",),
    "rms.location": ("location",),
    "message": ("value", "type"),
    "rms.monitored_asset_id": ("value", "monitoredAssetID"),
    "rms.monitored_asset_ip": ("value", "monitoredAssetIP"),
    "rms.measurement": ("value", "measurement"),
    "rms.request_source": ("value", "requestSource"),
    "rule.id": ("rule", "id"),
    "rule.name": ("rule", "name"),
    "rule.author": ("rule", "author"),
    "rule.level": ("rule", "level"),
    "rule.tags": ("rule", "tags"),
    "rms.group": ("group",),
    "rms.first": ("firstEvent",),
    "rms.last": ("lastEvent",),
    "rms.count": ("count",),
    "rms.evidence": ("evidence",),
    "rms.status": ("status",),
    "rms.revision": ("revision",),
}

_ATTACKER, _VICTIM = "rms.request_source", "rms.monitored_asset_ip"


def read_reports(paths: Sequence[str], *, swapped_roles: bool = False) -> pa.Table:
    """Read the reports that runs wrote.

    Args:
        paths: Files of JSON lines, or globs.
        swapped_roles: IoTAC documents name the victim as `requestSource` and the attacker as monitored.

    Returns:
        `schema.REPORT`: one row an id, the one of the highest revision, sorted by time and id.

    Raises:
        SourceError: There is no such file, or a line is no report.
    """
    rows = [row for path in _files(paths) for row in _rows(path, swapped_roles=swapped_roles)]
    best: dict[str, dict[str, Any]] = {}
    for row in rows:
        known = best.get(row["event.id"])
        if known is None or (row.get("rms.revision") or 0) > (known.get("rms.revision") or 0):
            best[row["event.id"]] = row
    table = _table(list(best.values()))
    return table.sort_by([("@timestamp", "ascending"), ("event.id", "ascending")])


def tabled(documents: Sequence[bytes]) -> tuple[pa.Table, dict[int, str]]:
    """Read reports, ECS or IoTAC documents.

    Args:
        documents: JSON, one report each.

    Returns:
        `schema.REPORT`, a row a report, in their order; and of those that are none, by their number, why.
    """
    rows: dict[int, dict[str, Any]] = {}
    faults: dict[int, str] = {}
    decoder = msgspec.json.Decoder(dict[str, Any])
    for number, document in enumerate(documents):
        try:
            row = _row(decoder.decode(document), swapped_roles=False)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            faults[number] = f"no threat report: {error}; {_EXPECTED}"
            continue
        if row is None:
            faults[number] = f"JSON, but no threat report; {_EXPECTED}"
        else:
            rows[number] = row
    if _fault(list(rows.values())) is not None:
        wrong = {number: why for number, row in rows.items() if (why := _fault([row])) is not None}
        faults |= {number: f"no threat report: {why}; {_EXPECTED}" for number, why in wrong.items()}
        rows = {number: row for number, row in rows.items() if number not in wrong}
    return _table(list(rows.values())), faults


def _fault(rows: Sequence[dict[str, Any]]) -> str | None:
    """Say what keeps rows from being reports; None where nothing does."""
    try:
        table = _table(rows)
    except (ValueError, TypeError, AttributeError, pa.ArrowException) as error:
        return str(error)
    lacks = [name for name in ("@timestamp", "event.id") if table[name].null_count]
    return f"{lacks[0]} is null" if lacks else None


_EXPECTED: Final = "expected ECS or IoTAC threat reports as a run writes them"


def _files(paths: Sequence[str]) -> Iterator[Path]:
    for path in paths:
        found = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207  any path
        if not found:
            raise SourceError("no such file", where=path, remedy="name a file of reports or a glob")
        yield from map(Path, found)


def _rows(path: Path, *, swapped_roles: bool) -> Iterator[dict[str, Any]]:
    decoder = msgspec.json.Decoder(dict[str, Any])
    remedy = f"{_EXPECTED}, one a line"
    try:
        with path.open("rb") as file, pa.input_stream(file, _compression(path)) as handle:
            for number, line in enumerate(io.BufferedReader(handle), 1):
                if not line.strip():
                    continue
                where = f"{path}:{number}"
                try:
                    document = decoder.decode(line)
                except (msgspec.DecodeError, UnicodeDecodeError) as error:
                    raise SourceError(f"no threat report: {error}", where=where, remedy=remedy) from None
                row = _row(document, swapped_roles=swapped_roles)
                if row is None:
                    raise SourceError("JSON, but no threat report", where=where, remedy=remedy)
                yield row
    except OSError as error:
        raise SourceError(
            f"can't be read ({error.strerror or error})", where=str(path), remedy="check path and rights"
        ) from None


def _compression(path: Path) -> str | None:
    return {".gz": "gzip", ".zst": "zstd"}.get(path.suffix)


def _row(document: dict[str, Any], *, swapped_roles: bool) -> dict[str, Any] | None:
    """Give the columns of a document; None where it lacks what every report has."""
    if "rms.report_type" in document:
        row = {name: document[name] for name in _ECS & document.keys()}
    else:
        found = {name: _at(document, place) for name, place in _IOTAC.items()}
        row = {name: value for name, value in found.items() if value is not None}
        if swapped_roles:
            _swap(row)
    required = {"@timestamp", "event.id", "rms.report_type"}
    return row if required <= row.keys() and isinstance(row["event.id"], str) else None


def _swap(row: dict[str, Any]) -> None:
    """Put attacker and victim where they belong; of several attackers the first counts."""
    attackers, victim = row.pop(_VICTIM, None), row.pop(_ATTACKER, None)
    if attackers:
        row[_ATTACKER] = attackers[0]
    if victim is not None:
        row[_VICTIM] = [victim]


def _at(document: Any, place: Sequence[str]) -> Any:
    for key in place:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _table(rows: Sequence[dict[str, Any]]) -> pa.Table:
    columns = []
    for field in REPORT:
        values = [row.get(field.name) for row in rows]
        if field.type == TIMESTAMP:
            stamps = np.array(
                [None if value is None else value.removesuffix("Z") for value in values], "datetime64[us]"
            )
            columns.append(pa.array(stamps, pa.timestamp("us")).cast(TIMESTAMP))
        else:
            columns.append(pa.array(values, field.type))
    return pa.Table.from_arrays(columns, schema=REPORT)
