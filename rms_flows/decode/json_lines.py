"""JSON documents of any shape → columns; formats written in JSON are this with a shape of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode import clock, json_slow
from rms_flows.decode.contract import Context, Decoder, Failure, Format, Options, Parsed
from rms_flows.decode.json_slow import Column
from rms_flows.decode.records import Records
from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE, TIMESTAMP

if TYPE_CHECKING:
    from rms_flows.decode.json_scan import Scanner

__all__ = ["FORMAT", "JsonDecoder", "Shape", "sniff_keys"]

ENOUGH: Final = 8 * 1024 * 1024
"""Bytes from which on the compiled loops pay for being loaded (about two seconds a process)."""

TIMES: Final = (
    "@timestamp", "timestamp", "_timestamp", "time", "ts", "Timestamp", "TimeStamp", "datetime", "date",
)  # fmt: skip
"""Where the time of an event stands when nothing is declared: the first of these that the row has."""

Columns = dict[str, Column]


_OURS: Final = ENVELOPE.keys() | OPTIONAL_ENVELOPE.keys()


def _nothing(_needed: frozenset[str]) -> frozenset[str]:
    return frozenset()


def _as_it_is(columns: Columns, _context: Context) -> Columns:
    return columns


@dataclass(frozen=True, slots=True)
class Shape:
    """What a format knows beyond JSON.

    Args:
        times: Fields of the event's time; the first that a row has counts.
        needs: Columns that the flow needs → fields that they are made of.
        finish: Renames and adds columns; `event.dataset` is one of them.
    """

    times: tuple[str, ...] = TIMES
    needs: Callable[[frozenset[str]], frozenset[str]] = _nothing
    finish: Callable[[Columns, Context], Columns] = _as_it_is


class JsonDecoder:
    """Decodes one input: small ones record by record, large ones by compiled loops, with the same result."""

    _fast = False  # the compiled loops are loaded in this process

    def __init__(self, context: Context, shape: Shape) -> None:
        self._context = context
        self._shape = shape
        self._times = (context.options.time_column,) if context.options.time_column else shape.times
        self._seen = 0
        self._names: set[str] = set()  # of all fields so far
        self._scanner: Scanner | None = None
        self._wanted: frozenset[str] | None = None
        if context.columns is not None:
            own = {"event.id", "event.dataset", *self._times, *(_OURS if context.archived else ())}
            self._wanted = context.columns | shape.needs(context.columns) | own

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn documents into columns."""
        found = self._read(records)
        known = _OURS if self._context.archived else frozenset[str]()
        columns = {name if name in known else _outer(name): c for name, c in found.columns.items()}
        columns = self._shape.finish(columns, self._context)
        times = _times(columns, self._times, len(found.record), self._context.options)
        parsed = Parsed(
            columns={
                "@timestamp": times.values,
                **{n: c.text for n, c in columns.items() if n != "@timestamp"},
            },
            kinds={name: column.kinds for name, column in columns.items() if name != "@timestamp"},
            record=found.record,
            failures=found.failures,
            blank=found.blank,
        )
        if times.values.null_count:
            _without_time(parsed, found.record, columns, self._times)
        return parsed

    def _read(self, records: Sequence[bytes]) -> json_slow.Read:
        records = Records.of(records)
        self._seen += records.size()
        if not (JsonDecoder._fast or self._seen > ENOUGH):
            return json_slow.read(records, self._wanted, self._names)
        if self._scanner is None:
            from rms_flows.decode.json_scan import Scanner  # noqa: PLC0415  loads a compiler: seconds

            JsonDecoder._fast = True
            self._scanner = Scanner(self._wanted)
        scanned = self._scanner.scan(records)
        places = np.flatnonzero(scanned.slow)
        names = self._names | scanned.names
        slow = json_slow.read(records.take(places), self._wanted, names)
        if len(names) > json_slow.FIELDS or any(one.kind == "too-many-fields" for one in slow.failures):
            return json_slow.read(records, self._wanted, self._names)  # which ones depends on their order
        self._names = names
        slow.record = places[slow.record]
        slow.failures = [failure._replace(record=int(places[failure.record])) for failure in slow.failures]
        slow.blank = [int(places[number]) for number in slow.blank]
        return _merged(json_slow.Read(dict(scanned.columns), np.flatnonzero(~scanned.slow)), slow)


def load() -> None:
    """Load the compiled loops now, which takes seconds: for who reads without an end, and must not pause."""
    from rms_flows.decode.json_scan import Scanner  # noqa: PLC0415  loads a compiler

    Scanner(None).scan(Records.of([b"{}"]))
    JsonDecoder._fast = True  # noqa: SLF001  of this module


def _merged(fast: json_slow.Read, slow: json_slow.Read) -> json_slow.Read:
    """Put the rows of both ways in the order of their records."""
    if not len(slow.record):
        return json_slow.Read(fast.columns, fast.record, slow.failures, slow.blank)
    record = np.concatenate([fast.record, slow.record])
    order = np.argsort(record)
    indices = pa.array(order)
    columns: Columns = {}
    for name in {**fast.columns, **slow.columns}:
        parts = [one.columns.get(name) or absent(len(one.record)) for one in (fast, slow)]
        text = pa.concat_arrays([part.text for part in parts]).take(indices)
        columns[name] = Column(text, np.concatenate([part.kinds for part in parts])[order])
    return json_slow.Read(columns, record[order], slow.failures, slow.blank)


def absent(rows: int) -> Column:
    """Give a column that no row has."""
    return Column(pa.nulls(rows, pa.string()), np.zeros(rows, np.uint8))


def _outer(name: str) -> str:
    """Keep apart what a document calls by our own names: no log says what it is trusted for."""
    return f"document.{name}" if name.startswith("rms.") else name


def _times(columns: Columns, names: Sequence[str], rows: int, options: Options) -> clock.Times:
    """Read each row's time from the first field that it has."""
    there = [columns[name].text for name in names if name in columns]
    if not there:
        return clock.Times(pa.nulls(rows, TIMESTAMP), np.zeros(rows, np.bool_))
    return clock.parse(pc.coalesce(*there) if there[0].null_count else there[0], options)


def _without_time(parsed: Parsed, record: np.ndarray, columns: Columns, names: Sequence[str]) -> None:
    """Turn rows without a time into failures that say what stood there."""
    there = [columns[name].text for name in names if name in columns]
    lost = parsed.columns["@timestamp"].is_null()
    for row in np.flatnonzero(lost.to_numpy(zero_copy_only=False)).tolist():
        text = next((t for column in there if (t := column[row].as_py()) is not None), None)
        parsed.failures.append(Failure(int(record[row]), "timestamp", no_time(text, names)))
    kept = pc.invert(lost)
    mask = kept.to_numpy(zero_copy_only=False)
    parsed.columns = {name: column.filter(kept) for name, column in parsed.columns.items()}
    parsed.kinds = {name: kinds[mask] for name, kinds in parsed.kinds.items()}
    parsed.record = record[mask]


def no_time(text: str | None, names: Sequence[str]) -> str:
    """Say why a record has no time."""
    fields = " or ".join(names)
    if text is None:
        return (
            f"no time: expected it in {fields}; name the field with time_column=, as in FILE?time_column=NAME"
        )
    return (
        f"{text[:60]!r} is no time (field {fields}); expected ISO 8601, an epoch number, "
        "or a date whose order date_order= declares"
    )


def sniff_keys(head: bytes, *keys: bytes) -> int:
    """Count which of some texts the first kilobytes of a JSON input hold; -1 where it is no JSON."""
    start = head.lstrip()[:1]
    return sum(key in head for key in keys) if start in {b"{", b"["} else -1


def _sniff(head: bytes) -> int:
    return 20 if sniff_keys(head) == 0 else 0


def _open(context: Context) -> Decoder:
    return JsonDecoder(context, Shape())


FORMAT = Format("json", "JSON documents: ECS or any other, flat or nested", "documents", _sniff, _open, TIMES)
