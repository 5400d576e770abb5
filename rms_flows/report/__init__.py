"""Threat reports: made of matches, written as documents, read back and drawn."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from rms_flows.report import ecs

WRITERS: Final[Mapping[str, Callable[[pa.RecordBatch], list[bytes]]]] = {"ecs": ecs.documents}
"""Form → function that writes a report of a batch (`schema.REPORT`) as one JSON document each."""
