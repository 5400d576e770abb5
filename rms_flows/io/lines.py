"""Batches as JSON lines: reports as documents, anything else as flat objects that can be read again."""

from __future__ import annotations

from functools import partial

import pyarrow as pa

from rms_flows.errors import DocumentError
from rms_flows.io.ndjson_sink import Write
from rms_flows.objects import json_lines
from rms_flows.report import WRITERS


def reports_as(form: str, where: str) -> Write:
    """Give the function that writes reports in a form; raises DocumentError for an unknown one."""
    if form not in WRITERS:
        raise DocumentError(
            f"reports can't be written as {form!r}", where=where, remedy=f"as= {' or '.join(WRITERS)}"
        )
    return partial(_reports, form)


def is_reports(batch: pa.RecordBatch) -> bool:
    """Tell threat reports from other rows."""
    return {"rms.report_type", "rule.id"} <= {*batch.schema.names}


def _reports(form: str, batch: pa.RecordBatch) -> list[bytes]:
    return WRITERS[form](batch) if is_reports(batch) else json_lines(batch)


def lines(batch: pa.RecordBatch) -> list[bytes]:
    """Write a line a row: reports as ECS documents, other rows as they are."""
    return _reports("ecs", batch)
