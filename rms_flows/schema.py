"""Names and types of columns: one name has one type everywhere.

Columns are flat with dotted ECS names. A name that is not listed here and fits no pattern is text: a JSON
number in it is kept as its text, so that batches, files and machines never disagree on a type. A value that
does not fit its column's type becomes null there and is kept, as it came, in the row's `rms.misfit`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from fnmatch import fnmatchcase
from functools import lru_cache

import pyarrow as pa

TIMESTAMP = pa.timestamp("us", tz="UTC")
DICTIONARY = pa.dictionary(pa.int32(), pa.string())
TEXTS = pa.list_(pa.string())
MEASUREMENTS = pa.list_(pa.struct([("name", pa.string()), ("value", pa.float64())]))

MISFIT = "rms.misfit"
"""JSON text of an object, field to the value that did not fit its type; null where everything did."""

ENVELOPE: Mapping[str, pa.DataType] = {
    "@timestamp": TIMESTAMP,
    "event.ingested": TIMESTAMP,
    "event.id": pa.string(),
    "event.dataset": DICTIONARY,
    "rms.source": DICTIONARY,
    "rms.origin": pa.string(),
    "rms.trust": DICTIONARY,
}
"""Columns of every batch of observations, in this order, before all others."""

APART = frozenset({"event.ingested", "event.id", "rms.origin"})
"""What of the envelope tells one row from another, most of its bytes: no picture of many rows needs it."""

OPTIONAL_ENVELOPE: Mapping[str, pa.DataType] = {
    "event.original": pa.binary(),
    "rms.late": pa.bool_(),
    MISFIT: pa.string(),
}

DEAD_LETTER = pa.schema(
    [
        ("event.ingested", TIMESTAMP),
        ("rms.source", DICTIONARY),
        ("rms.origin", pa.string()),
        ("error.type", DICTIONARY),  # short and countable: `json`, `timestamp`, `future`, `too-long`
        ("error.message", pa.string()),  # what came, what was expected, how to mend it
        ("event.original", pa.binary()),  # the record's bytes, whole
    ]
)
"""A record that could not become an observation."""

NO_DEAD_LETTERS = pa.RecordBatch.from_pylist([], DEAD_LETTER)

REPORT = pa.schema(
    [
        ("@timestamp", TIMESTAMP),  # the anchor's time
        ("event.id", pa.string()),  # the report's id, see `report.identity`
        ("event.dataset", DICTIONARY),  # of the anchor event
        ("rms.source", DICTIONARY),  # of the anchor event
        ("rms.processor", DICTIONARY),  # id of the processor manifest that found it
        ("rms.report_type", DICTIONARY),  # `threshold`, `sigma`, later the kinds of correlation
        ("rule.id", DICTIONARY),  # the Sigma rule's id, else the processor's
        ("rule.name", DICTIONARY),
        ("rule.author", DICTIONARY),
        ("rule.level", DICTIONARY),  # informational, low, medium, high, critical
        ("rule.tags", TEXTS),
        ("rms.pack", DICTIONARY),  # hash of all rules of the processor, as they were when they judged
        ("message", pa.string()),
        ("rms.group", pa.string()),  # JSON text of the group key, null for single events
        ("rms.first", TIMESTAMP),
        ("rms.last", TIMESTAMP),
        ("rms.count", pa.int64()),
        ("rms.evidence", TEXTS),  # the first 100 event ids by time and id
        ("rms.revision", pa.int64()),  # number of distinct contributing events
        ("rms.status", DICTIONARY),  # `open`
        ("rms.measurement", MEASUREMENTS),
        ("rms.monitored_asset_id", TEXTS),
        ("rms.monitored_asset_ip", TEXTS),
        ("rms.request_source", pa.string()),  # the attacker's address, if there is one
        ("rms.system_id", pa.string()),
        ("rms.location", pa.string()),
    ]
)
"""A threat report; the writers in `report` turn it into IoTAC or ECS documents."""

_REPORT_TYPES = {field.name: field.type for field in REPORT}

FIELDS: Mapping[str, pa.DataType] = {
    "message": pa.string(),
    "event.created": TIMESTAMP,
    "event.duration": pa.int64(),
    "event.severity": pa.int64(),
    "event.start": TIMESTAMP,
    "event.end": TIMESTAMP,
    "event.category": TEXTS,
    "event.type": TEXTS,
    "host.cpu.usage": pa.float64(),
    "host.ip": TEXTS,
    "host.mac": TEXTS,
    "http.response.status_code": pa.int64(),
    "log.syslog.priority": pa.int64(),
    "log.syslog.facility.code": pa.int64(),
    "log.syslog.severity.code": pa.int64(),
    "probe.dropped": pa.int64(),
    "probe.failed": TEXTS,
    "probe.held_back": pa.int64(),
    "probe.sequence": pa.int64(),
    "probe.uptime": pa.float64(),
    "probe.waiting": pa.int64(),
    "process.args": TEXTS,
    "process.pid": pa.int64(),
    "process.parent.pid": pa.int64(),
    "related.ip": TEXTS,
    "related.user": TEXTS,
    "system.cpu.cores": pa.int64(),
    "system.load.1": pa.float64(),
    "system.load.5": pa.float64(),
    "system.load.15": pa.float64(),
    "tags": TEXTS,
}
"""Columns of observations that have another type than text, by name."""

PATTERNS: tuple[tuple[str, pa.DataType], ...] = (
    ("*.bytes", pa.int64()),
    ("*.packets", pa.int64()),
    ("*.port", pa.int64()),
    ("*.geo.location", pa.string()),
    ("*.pct", pa.float64()),
    ("*.ticks", pa.int64()),
    ("system.memory.*", pa.int64()),
    ("system.network.*.dropped", pa.int64()),
    ("system.network.*.errors", pa.int64()),
)
"""The same by patterns of names, of which the first that fits counts."""

LOW_VARIETY = frozenset(
    {
        "agent.type", "agent.version", "ecs.version", "event.action", "event.kind", "event.module",
        "event.outcome", "event.provider", "host.hostname", "host.name", "log.level", "network.transport",
        "network.protocol", "network.type", "observer.vendor", "observer.product", "probe.collector",
        "probe.state", "process.name",
        "service.name", "service.type",
    }
)  # fmt: skip
"""Columns of text in which the same values come again and again."""


def micros(moment: datetime) -> int:
    """Give a time as a column of `TIMESTAMP` holds it: microseconds since 1970; one without a zone is UTC.

    Example:
        >>> micros(datetime(1970, 1, 2))
        86400000000
    """
    value: int = pa.scalar(moment, TIMESTAMP).value
    return value


@lru_cache(maxsize=65_536)
def field_type(name: str) -> pa.DataType:
    """Type of the column `name`, the same in every batch, file and mapping.

    Example:
        >>> field_type("source.port"), field_type("CommandLine")
        (DataType(int64), DataType(string))
    """
    for table in (ENVELOPE, OPTIONAL_ENVELOPE, _REPORT_TYPES, FIELDS):
        if name in table:
            return table[name]
    if name in LOW_VARIETY:
        return DICTIONARY
    return next((kind for pattern, kind in PATTERNS if fnmatchcase(name, pattern)), pa.string())
