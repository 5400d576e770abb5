"""What correlations found becomes threat reports."""

from __future__ import annotations

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.report.build import ADDRESSES, ASSETS, ATTACKERS, Rule
from rms_flows.report.identity import report_ids
from rms_flows.schema import DICTIONARY, MEASUREMENTS, REPORT, TEXTS

_decode: Final = msgspec.json.Decoder(dict[str, str]).decode


def correlated(found: pa.RecordBatch, rule: Rule, *, processor: str, kind: str) -> pa.RecordBatch:
    """Make a report of each anchor that a correlation found.

    What a group is named after tells who is meant: `source.ip` is the attacker's address, `host.name` the
    asset, as with single events.

    Args:
        found: `time`, `anchor`, `group`, `first`, `last`, `count`, `evidence` and `measured`.
        rule: The correlation.
        processor: Id of the processor's manifest.
        kind: `rms.report_type`: the correlation's kind.

    Returns:
        As many rows as `found` has, in `schema.REPORT`; `rms.revision` is the number of events.
    """
    count = found.num_rows
    groups = found.column("group").dictionary_encode()
    known = [_decode(text) for text in groups.dictionary.to_pylist()]
    columns = {
        "@timestamp": found.column("time"),
        "event.id": ids(found, rule),
        "rms.processor": _constant(processor, count),
        "rms.report_type": _constant(kind, count),
        "rule.id": _constant(rule.id, count),
        "rule.name": _constant(rule.name, count),
        "rule.author": _constant(rule.author, count),
        "rule.level": _constant(rule.level, count),
        "rule.tags": pa.array([list(rule.tags)], TEXTS).take(pa.array(np.zeros(count, np.int64))),
        "rms.pack": _constant(rule.pack, count),
        "message": pa.repeat(pa.scalar(rule.name, pa.string()), count),
        "rms.group": pc.if_else(pc.equal(found.column("group"), "{}"), None, found.column("group")),
        "rms.first": found.column("first"),
        "rms.last": found.column("last"),
        "rms.count": found.column("count"),
        "rms.evidence": found.column("evidence"),
        "rms.revision": found.column("count"),
        "rms.status": _constant("open", count),
        "rms.measurement": _measured(found.column("measured"), kind),
        "rms.monitored_asset_id": _of_group(groups, known, ASSETS, TEXTS),
        "rms.monitored_asset_ip": _of_group(groups, known, ADDRESSES, TEXTS),
        "rms.request_source": _of_group(groups, known, ATTACKERS, pa.string()),
    }
    arrays = [
        columns[field.name].cast(field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in REPORT
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=REPORT)


def ids(found: pa.RecordBatch, rule: Rule) -> pa.Array:
    """Give the id of each report: of the rule, what it means, the group and the anchor."""
    groups, anchors = found.column("group").to_pylist(), found.column("anchor").to_pylist()
    order = sorted(range(len(groups)), key=groups.__getitem__)
    made: list[str] = [""] * len(groups)
    start = 0
    for end in range(1, len(order) + 1):
        if end == len(order) or groups[order[end]] != groups[order[start]]:
            rows = order[start:end]
            named = report_ids(rule.id, rule.meaning, groups[rows[0]], [anchors[row] for row in rows])
            for row, name in zip(rows, named, strict=True):
                made[row] = name
            start = end
    return pa.array(made, pa.string())


def _constant(text: str | None, count: int) -> pa.Array:
    return (
        pa.array([text], pa.string())
        .take(pa.array(np.zeros(count, np.int64)))
        .dictionary_encode()
        .cast(DICTIONARY)
    )


def _of_group(
    groups: pa.Array, known: list[dict[str, str]], names: tuple[str, ...], kind: pa.DataType
) -> pa.Array:
    """Give each row what its group says under the first of some names."""

    def first(group: dict[str, str]) -> Any:
        value = next((group[name] for name in names if name in group), None)
        return [value] if value is not None and pa.types.is_list(kind) else value

    return pa.array([first(group) for group in known], kind).take(groups.indices)


def _measured(values: pa.Array, kind: str) -> pa.Array:
    """Give each row the number that was compared, under the kind's name; null where none was."""
    rows = np.arange(len(values) + 1, dtype=np.int32)
    names = pa.repeat(pa.scalar(kind, pa.string()), len(values))
    pairs = pa.StructArray.from_arrays([names, values], ["name", "value"])
    return pa.ListArray.from_arrays(pa.array(rows), pairs, mask=values.is_null()).cast(MEASUREMENTS)
