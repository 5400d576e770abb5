"""Reports read from wherever runs wrote them: files, Kafka, Elasticsearch, Parquet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from rms_flows.decode.contract import Decoded, Options
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Source, Window
from rms_flows.report.fold import folded
from rms_flows.report.read import tabled
from rms_flows.schema import DEAD_LETTER, REPORT


@dataclass(frozen=True, slots=True)
class Read:
    """What a place holds.

    Args:
        reports: `schema.REPORT`, of each id the highest revision, by time.
        dead: What is no report: rows of `schema.DEAD_LETTER`.
    """

    reports: pa.Table
    dead: list[dict[str, Any]] = field(default_factory=list)


def open_reports(uri: str, base: Path) -> Source:
    """Open where reports lie; raises DocumentError where the URI is none."""
    # A record's bytes say what report it is, whatever a decoder of observations makes of it.
    return open_source(uri, base=base, options=Options(keep_original=True))


def read(source: Source, window: Window) -> Read:
    """Read the reports of a period, and of others where the source does not tell beforehand.

    Raises:
        SourceError: It can't be read.
    """
    tables, dead = [REPORT.empty_table()], list[dict[str, Any]]()
    request = Request(window=window)
    for fragment in source.fragments(request):
        for decoded in source.read(fragment, request):
            table, letters = _reports(decoded)
            tables.append(table)
            dead += letters
    return Read(folded(pa.concat_tables(tables).unify_dictionaries().combine_chunks()), dead)


def _reports(decoded: Decoded) -> tuple[pa.Table, list[dict[str, Any]]]:
    batch, dead = decoded.rows, decoded.dead.to_pylist()
    if "event.original" in batch.schema.names and batch["event.original"].null_count < batch.num_rows:
        documents = [one or b"" for one in batch["event.original"].to_pylist()]
        table, faults = tabled(documents)
        origins = batch["rms.origin"].to_pylist()
        return table, [*dead, *(letter(origins[n], "report", why, documents[n]) for n, why in faults.items())]
    if batch.num_rows and "rms.report_type" not in batch.schema.names:
        why = "observations, and no threat reports; name where a flow's sink writes its reports"
        return REPORT.empty_table(), [
            *dead, *(letter(one, "report", why, b"") for one in batch["rms.origin"].to_pylist())
        ]  # fmt: skip
    return _columns(batch), dead


def _columns(batch: pa.RecordBatch) -> pa.Table:
    """Give the columns of reports, those that lack null."""
    rows = pa.Table.from_batches([batch])
    return pa.table(
        [
            rows[one.name].cast(one.type)
            if one.name in rows.schema.names
            else pa.nulls(rows.num_rows, one.type)
            for one in REPORT
        ],
        schema=REPORT,
    )


def letter(origin: str | None, kind: str, why: str, data: bytes) -> dict[str, Any]:
    """Make a row of `schema.DEAD_LETTER`."""
    return {"rms.origin": origin, "error.type": kind, "error.message": why, "event.original": data}


def batch_of(letters: Iterator[Mapping[str, Any]] | list[dict[str, Any]]) -> pa.RecordBatch:
    """Make dead letters of rows."""
    return pa.RecordBatch.from_pylist(list(letters), DEAD_LETTER)
