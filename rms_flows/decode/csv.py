"""CSV with a header and a column that holds the time."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from rms_flows.decode import clock
from rms_flows.decode.contract import Context, Failure, Format, Parsed
from rms_flows.decode.json_lines import TIMES, no_time
from rms_flows.errors import DecodeError

_DELIMITERS = (",", ";", "\t", "|")


class CsvDecoder:
    """Decodes one input; its first line that is not blank is the header. No cell holds a line break.

    A time column that was declared and is not in the header is an error of who declared it: DecodeError.
    """

    def __init__(self, context: Context) -> None:
        self._name = context.name
        self._options = context.options
        self._delimiter = context.options.delimiter
        self._header: list[str] = []
        self._time: str | None = None

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn lines into text columns; empty cells are null."""
        parsed = Parsed({})
        rows: list[list[str]] = []
        places: list[int] = []
        for number, record in enumerate(records):
            text = record.decode()
            if not text.strip():
                parsed.blank.append(number)
                continue
            try:
                if not self._header:
                    self._begin(text)
                    parsed.blank.append(number)
                    continue
                cells = self._cells(text)
            except csv.Error as error:
                reason = f"{error}; expected one row a line, with a quote doubled inside a quoted cell"
                parsed.failures.append(Failure(number, "csv", reason))
                continue
            if len(cells) != len(self._header):
                reason = f"{len(cells)} cells; expected the {len(self._header)} of the header"
                parsed.failures.append(Failure(number, "csv", reason))
                continue
            rows.append(cells)
            places.append(number)
        if rows:
            self._columns(rows, np.array(places, np.int64), parsed)
        return parsed

    def _begin(self, text: str) -> None:
        if self._delimiter is None:
            counts = Counter(text)
            self._delimiter = max(_DELIMITERS, key=lambda one: counts[one])
        names = [name.strip() for name in self._cells(text)]
        self._header = _apart([name or f"column_{at}" for at, name in enumerate(names, 1)])
        declared = self._options.time_column
        if declared is not None and declared not in self._header:
            raise DecodeError(
                f"the header has no column {declared!r}",
                where=self._name,
                remedy=f"name another with time_column=; it has {', '.join(self._header)}",
            )
        self._time = declared or next((name for name in TIMES if name in names), None)

    def _cells(self, text: str) -> list[str]:
        delimiter = self._delimiter or ","
        if '"' not in text:
            return text.split(delimiter)
        return next(csv.reader([text], delimiter=delimiter, strict=True))

    def _columns(self, rows: list[list[str]], places: np.ndarray, parsed: Parsed) -> None:
        columns: dict[str, pa.Array] = {}
        for name, cells in zip(self._header, zip(*rows, strict=True), strict=True):
            columns[name] = pa.array([cell or None for cell in cells], pa.string())
        stamps = columns.pop(self._time or "", pa.nulls(len(rows), pa.string()))
        values = clock.parse(stamps, self._options).values
        known = values.is_valid()
        for row in np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False)).tolist():
            fields = (self._time,) if self._time else TIMES
            reason = no_time(stamps[row].as_py(), fields)
            parsed.failures.append(Failure(int(places[row]), "timestamp", reason))
        parsed.columns = {"@timestamp": values.filter(known)}
        parsed.columns |= {name: column.filter(known) for name, column in columns.items()}
        parsed.record = places[known.to_numpy(zero_copy_only=False)]


def _apart(names: list[str]) -> list[str]:
    """Number names that come again: `a`, `a_2`."""
    found: list[str] = []
    for name in names:
        same, number = name, 1
        while same in found or (number > 1 and same in names):
            number += 1
            same = f"{name}_{number}"
        found.append(same)
    return found


def _sniff(head: bytes) -> int:
    """Take tables whose first lines have the same number of cells and whose header names a time."""
    lines = [line for line in head.split(b"\n")[:20] if line.strip()]
    if len(lines) < 2 or head.lstrip()[:1] in {b"{", b"[", b"<", b"#"}:  # noqa: PLR2004  header and a row
        return 0
    for delimiter in b",;\t|":
        counts = {line.count(bytes([delimiter])) for line in lines[:-1]}
        header = {cell.strip(b' "\r').decode(errors="replace") for cell in lines[0].split(bytes([delimiter]))}
        if len(counts) == 1 and counts != {0} and header & set(TIMES):
            return 50
    return 0


FORMAT = Format("csv", "CSV with a header and a time column", "lines", _sniff, CsvDecoder)
