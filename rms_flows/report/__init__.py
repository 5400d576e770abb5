"""Threat reports: made of matches, written as documents, read back and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from rms_flows.report import ecs, iotac
from rms_flows.report.html import write_html
from rms_flows.report.read import read_reports

__all__ = ["WRITERS", "read_reports", "write_html"]

WRITERS: Final[Mapping[str, Callable[[pa.RecordBatch], list[bytes]]]] = {
    "ecs": ecs.documents,
    "iotac": iotac.documents,
}
"""Form → function that writes each report of a batch (`schema.REPORT`) as one JSON document."""
