"""Threat reports: made of matches, written as documents, read back and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from rms_flows.report import ecs, iotac, ocsf, stix
from rms_flows.report.html import write_html
from rms_flows.report.read import read_reports

__all__ = ["WRITERS", "read_reports", "whole", "write_html"]

WRITERS: Final[Mapping[str, Callable[[pa.RecordBatch], list[bytes]]]] = {
    "ecs": ecs.documents,
    "iotac": iotac.documents,
    "iotac-strict": iotac.strict_documents,
    "ocsf": ocsf.documents,
    "stix": stix.documents,
}
"""Form → function that writes each report of a batch (`schema.REPORT`) as one JSON document."""


def whole(table: pa.Table, form: str) -> bytes:
    """Write reports as one file: a document a line, for `stix` one bundle of them all.

    Args:
        table: `schema.REPORT`.
        form: A key of `WRITERS`.

    Raises:
        SinkError: The form needs a library that is not installed.
    """
    if form == "stix":
        return stix.bundle(table.to_batches()) + b"\n"
    return b"".join(line + b"\n" for batch in table.to_batches() for line in WRITERS[form](batch))
