"""Zeek logs of every type, as TSV with its header and as JSON; names as Zeek writes them (`id.orig_h`)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode import clock
from rms_flows.decode.contract import Context, Decoder, Failure, Format, Parsed
from rms_flows.decode.json_lines import Columns, JsonDecoder, Shape, no_time, sniff_keys
from rms_flows.decode.json_slow import Column
from rms_flows.schema import TIMESTAMP

_DIALECT: Final = {f"id_{end}_{part}": f"id.{end}_{part}" for end in ("orig", "resp") for part in "hp"}
_STREAMS: Final = ("@stream", "_path")
_TIMES: Final = ("ts", "@timestamp", "_write_ts")


def _needs(needed: frozenset[str]) -> frozenset[str]:
    return frozenset(old for old, new in _DIALECT.items() if new in needed) | frozenset(_STREAMS)


def _finish(columns: Columns, context: Context) -> Columns:
    made = {_DIALECT.get(name, name): column for name, column in columns.items()}
    stream = next((made[name] for name in _STREAMS if name in made), None)
    if stream is not None:
        made["event.dataset"] = Column(pc.binary_join_element_wise("zeek", stream.text, "."), stream.kinds)
    elif made and (name := _log_name(context.name)):
        first = next(iter(made.values()))
        text = pa.array([f"zeek.{name}"] * len(first.text), pa.string())
        made["event.dataset"] = Column(text, np.full(len(text), 2, np.uint8))
    return made


def _log_name(name: str) -> str | None:
    """Give `conn` of `zeek/conn.log`, `conn.2026-01-01.log.gz`: Zeek names a file after its log."""
    found = re.match(r"(?:.*[/!])?([a-z][a-z0-9_]*)\b.*\.log\b", name)
    return found[1] if found else None


def _sniff_json(head: bytes) -> int:
    if sniff_keys(head) < 0:
        return 0
    dialects = sniff_keys(head, b'"id.orig_h"', b'"id_orig_h"')
    return 80 if (b'"ts"' in head and (dialects or b'"uid"' in head)) or b'"@stream"' in head else 0


def _open_json(context: Context) -> Decoder:
    return JsonDecoder(context, Shape(_TIMES, _needs, _finish))


JSON = Format("zeek-json", "Zeek logs as JSON", "documents", _sniff_json, _open_json, _TIMES)


class ZeekDecoder:
    """Decodes TSV; the header says what the columns are, and may change within a file."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._separator = "\t"
        self._unset, self._empty = "-", "(empty)"
        self._fields: tuple[str, ...] = ()
        self._path: str | None = _log_name(context.name)

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn lines into columns; lines that begin with `#` are the header."""
        parsed = Parsed({})
        parts: list[pa.Table] = []
        places: list[np.ndarray] = []
        for first, run in self._runs(records, parsed):
            table, place = self._rows(run, first, parsed)
            if len(place):
                parts.append(table)
                places.append(place)
        if parts:
            table = pa.concat_tables(parts, promote_options="default").combine_chunks()
            parsed.columns = {
                name: column.chunk(0) if column.num_chunks else pa.nulls(0, column.type)
                for name, column in zip(table.column_names, table.columns, strict=True)
            }
            parsed.record = np.concatenate(places)
        return parsed

    def _runs(self, records: Sequence[bytes], parsed: Parsed) -> Iterator[tuple[int, Sequence[bytes]]]:
        """Give the runs of data lines between headers."""
        headers = [number for number, record in enumerate(records) if not record or record.startswith(b"#")]
        parsed.blank = headers
        start = 0
        for header in [*headers, len(records)]:
            if header > start:
                yield start, records[start:header]
            if header < len(records):
                self._header(records[header].decode())
            start = header + 1

    def _header(self, line: str) -> None:
        if line.startswith("#separator "):
            self._separator = _unescape(line.removeprefix("#separator "))
            return
        key, _, rest = line.partition(self._separator)
        if key == "#fields":
            self._fields = tuple(_DIALECT.get(name, name) for name in rest.split(self._separator))
        elif key == "#path":
            self._path = rest
        elif key == "#unset_field":
            self._unset = rest
        elif key == "#empty_field":
            self._empty = rest

    def _rows(self, run: Sequence[bytes], first: int, parsed: Parsed) -> tuple[pa.Table, np.ndarray]:
        cells = pc.split_pattern(pa.array(run, pa.binary()).cast(pa.string()), self._separator)
        width = len(self._fields)
        fits = pc.list_value_length(cells).to_numpy(zero_copy_only=False) == width
        for row in np.flatnonzero(~fits).tolist():
            reason = f"{len(cells[row])} columns; expected the {width} of the #fields line before it"
            if not width:
                reason = (
                    "a Zeek log has to begin with its header (#separator, #fields); this line came before"
                )
            parsed.failures.append(Failure(first + row, "zeek", reason))
        rows = np.flatnonzero(fits) if width else np.empty(0, np.int64)
        flat = cells.filter(pa.array(fits)).flatten()
        steps = pa.array(np.arange(len(rows)) * width)
        columns = {
            name: self._cell(flat.take(pc.add(steps, at))) for at, name in enumerate(self._fields) if width
        }
        stamps = columns.pop("ts", None)
        values = (
            clock.parse(stamps, self._context.options).values
            if stamps is not None
            else pa.nulls(len(rows), TIMESTAMP)
        )
        for row in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist():
            text = None if stamps is None else stamps[row].as_py()
            parsed.failures.append(Failure(first + int(rows[row]), "timestamp", no_time(text, ("ts",))))
        if self._path:
            columns["event.dataset"] = pa.repeat(f"zeek.{self._path}", len(rows))
        table = pa.table({"@timestamp": values, **columns}).filter(values.is_valid())
        return table, (rows + first)[values.is_valid().to_numpy(zero_copy_only=False)]

    def _cell(self, texts: pa.Array) -> pa.Array:
        r"""Read unset and empty values, and bytes written as `\xNN`."""
        words = texts.dictionary_encode()
        plain = [
            None if word == self._unset else "" if word == self._empty else _unescape(word)
            for word in words.dictionary.to_pylist()
        ]
        return pa.array(plain, pa.string()).take(words.indices)


def _unescape(text: str) -> str:
    r"""Read `\xNN`; what is no UTF-8 after that stays as it was written.

    Example:
        >>> _unescape(r"a\x09b"), _unescape(r"\xc3\xa9"), _unescape(r"\xff")
        ('a\tb', 'é', '\\xff')
    """
    if "\\x" not in text:
        return text
    plain = re.sub(rb"\\x([0-9a-fA-F]{2})", lambda found: bytes([int(found[1], 16)]), text.encode())
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return text


def _sniff(head: bytes) -> int:
    return 90 if head.startswith(b"#separator") or b"\n#fields\t" in head[:4096] else 0


FORMAT = Format("zeek", "Zeek logs as TSV", "lines", _sniff, ZeekDecoder)
