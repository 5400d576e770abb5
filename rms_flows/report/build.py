"""Matches become threat reports: batches of observations → batches of `schema.REPORT`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.report.identity import report_ids
from rms_flows.schema import DICTIONARY, MEASUREMENTS, REPORT, TEXTS

__all__ = ["Rule", "many_rules", "single_event"]

ASSETS = ("rms.monitored_asset_id", "host.name", "host.hostname", "Hostname", "Computer")
ADDRESSES = ("rms.monitored_asset_ip", "destination.ip", "id.resp_h", "host.ip")
ATTACKERS = ("rms.request_source", "source.ip", "id.orig_h")
"""Where an event names these: in our own columns, in ECS, and as Windows and Zeek do; the first counts."""

EVENT_COLUMNS = (
    "@timestamp",
    "event.id",
    "event.dataset",
    "rms.source",
    "host.geo.name",
    "rms.system_id",
    *ASSETS,
    *ADDRESSES,
    *ATTACKERS,
)
"""What a report takes over from its event; a flow that reports reads these beside what its rules need."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a report says about the rule that made it.

    Args:
        id: The Sigma rule's id, else the processor's.
        name: Its title.
        author: Kept in every message, as the licence of SigmaHQ's rules asks.
        level: informational, low, medium, high or critical.
        tags: For example `attack.t1110`.
        meaning: Hash of what the rule means, in hex; part of the report's id.
        pack: Hash of what all rules beside it mean; says which ones were there when it was made.
    """

    id: str
    name: str
    author: str | None = None
    level: str | None = None
    tags: tuple[str, ...] = ()
    meaning: str = ""
    pack: str | None = None


def single_event(
    batch: pa.RecordBatch,
    rows: np.ndarray,
    rule: Rule,
    *,
    processor: str,
    kind: str,
    message: str,
    measurement: Sequence[str] = (),
) -> pa.RecordBatch:
    """Make a report of each of some rows of a batch.

    Args:
        batch: Observations.
        rows: int64, the rows that matched.
        rule: What matched.
        processor: Id of the processor's manifest.
        kind: `rms.report_type`.
        message: For people.
        measurement: Numeric columns whose values the report carries.

    Returns:
        As many rows as `rows` has, in `schema.REPORT`.
    """
    reports = _build(
        batch,
        rows,
        np.zeros(len(rows), np.int64),
        [rule],
        processor=processor,
        kind=kind,
        measurement=measurement,
    )
    texts = pa.repeat(pa.scalar(message, pa.string()), len(rows))
    return reports.set_column(REPORT.get_field_index("message"), REPORT.field("message"), texts)


def many_rules(
    batch: pa.RecordBatch,
    rows: np.ndarray,
    rule_of_row: np.ndarray,
    rules: Sequence[Rule],
    *,
    processor: str,
    kind: str,
) -> pa.RecordBatch:
    """Make a report of each (row, rule) pair; the rule's name is the message.

    Args:
        batch: Observations.
        rows: int64, the row of each match.
        rule_of_row: Integers, the index into `rules` of each match.
        rules: All rules.
        processor: Id of the processor's manifest.
        kind: `rms.report_type`.
    """
    return _build(batch, rows, rule_of_row, rules, processor=processor, kind=kind, measurement=())


_NONE: Final = pa.RecordBatch.from_pylist([], REPORT)


def _build(
    batch: pa.RecordBatch,
    rows: np.ndarray,
    which: np.ndarray,
    rules: Sequence[Rule],
    *,
    processor: str,
    kind: str,
    measurement: Sequence[str],
) -> pa.RecordBatch:
    count = len(rows)
    if not count:
        return _NONE
    used, which = np.unique(which, return_inverse=True)
    chosen = [rules[index] for index in used]
    picked = batch.select([n for n in batch.schema.names if n in {*EVENT_COLUMNS, *measurement}])
    events = picked.take(pa.array(rows, pa.int64()))
    indices = pa.array(which, pa.int32())
    stamps, ids = events["@timestamp"], events["event.id"]
    one = pa.repeat(pa.scalar(1, pa.int64()), count)
    columns = {
        "@timestamp": stamps,
        "event.id": _ids(ids, which, chosen),
        "event.dataset": _text(events, "event.dataset"),
        "rms.source": _text(events, "rms.source"),
        "rms.processor": _constant(processor, count),
        "rms.report_type": _constant(kind, count),
        "rule.id": _of_rule(indices, [rule.id for rule in chosen]),
        "rule.name": _of_rule(indices, [rule.name for rule in chosen]),
        "rule.author": _of_rule(indices, [rule.author for rule in chosen]),
        "rule.level": _of_rule(indices, [rule.level for rule in chosen]),
        "rule.tags": pa.array([list(rule.tags) for rule in chosen], TEXTS).take(indices),
        "rms.pack": _of_rule(indices, [rule.pack for rule in chosen]),
        "message": pa.array([rule.name for rule in chosen], pa.string()).take(indices),
        "rms.first": stamps,
        "rms.last": stamps,
        "rms.count": one,
        "rms.evidence": _lists(ids),
        "rms.revision": one,
        "rms.status": _constant("open", count),
        "rms.measurement": _measurements(events, measurement),
        "rms.monitored_asset_id": _first_list(events, ASSETS),
        "rms.monitored_asset_ip": _first_list(events, ADDRESSES),
        "rms.request_source": _first_text(events, ATTACKERS),
        "rms.system_id": _text(events, "rms.system_id"),
        "rms.location": _text(events, "host.geo.name"),
    }
    arrays = [
        _as(columns[field.name], field.type) if field.name in columns else pa.nulls(count, field.type)
        for field in REPORT
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=REPORT)


def _as(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind)  # Arrow takes its time to find nothing to do


def _ids(events: pa.Array, which: np.ndarray, rules: Sequence[Rule]) -> pa.Array:
    """Hash rule by rule, so that each rule's part is hashed once."""
    made = np.empty(len(events), object)
    for index, rule in enumerate(rules):
        at = np.flatnonzero(which == index)
        made[at] = report_ids(rule.id, rule.meaning, "", events.take(pa.array(at)).to_pylist())
    return pa.array(made, pa.string())


def _constant(text: str, count: int) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.repeat(pa.scalar(0, pa.int32()), count), pa.array([text]))


def _of_rule(indices: pa.Array, values: Sequence[str | None]) -> pa.Array:
    """Give each row its rule's value; rules that share one share its entry."""
    return pa.array(values, pa.string()).dictionary_encode().cast(DICTIONARY).take(indices)


def _text(events: pa.RecordBatch, name: str) -> pa.Array:
    if name not in events.schema.names:
        return pa.nulls(events.num_rows, pa.string())
    return events[name].cast(pa.string())


def _lists(values: pa.Array) -> pa.Array:
    """Wrap each value in a list of its own; null becomes null."""
    offsets = pa.array(np.arange(len(values) + 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, values.cast(pa.string()), mask=values.is_null())


def _first_list(events: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    found = pa.nulls(events.num_rows, TEXTS)
    for name in names:
        if name in events.schema.names:
            column = events[name]
            lists = column if pa.types.is_list(column.type) else _lists(column)
            found = pc.coalesce(found, lists.cast(TEXTS))
    return found


def _first_text(events: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    return pc.coalesce(*(_text(events, name) for name in names))


def _measurements(events: pa.RecordBatch, names: Sequence[str]) -> pa.Array:
    """Give each row the list of its measurements; a column that is absent is left out."""
    present = [name for name in names if name in events.schema.names]
    rows, width = events.num_rows, len(present)
    if not width:
        return pa.nulls(rows, MEASUREMENTS)
    columns = [pc.cast(events[name], pa.float64(), safe=False) for name in present]
    table = pa.chunked_array(columns).combine_chunks()  # column after column
    order = pa.array(np.arange(rows * width).reshape(width, rows).T.ravel())
    labels = pa.array(np.tile(np.arange(width), rows), pa.int32())
    pairs = pa.StructArray.from_arrays([pa.array(present).take(labels), table.take(order)], ["name", "value"])
    return pa.ListArray.from_arrays(pa.array(np.arange(0, rows * width + 1, width), pa.int32()), pairs)
