"""Threat reports as ECS documents: one flat JSON object a report."""

from __future__ import annotations

import pyarrow as pa

from rms_flows.objects import json_lines


def documents(batch: pa.RecordBatch) -> list[bytes]:
    """Write each report of a batch (`schema.REPORT`) as a line without its line feed; nulls are left out.

    Names are dotted, `event.kind` first, then in the schema's order; the same report gives the same bytes.
    """
    return json_lines(batch, {"event.kind": "alert"})
