"""The processor `night`: keeps observations of some hours of the day, in UTC."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import DocumentError
from rms_flows.model import Example, Parameter, ProcessorDefinition
from rms_flows.processors import Processor, Step


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Make the step; raises DocumentError for hours that no day has."""
    del folder
    begin, end = parameters["begin"], parameters["end"]
    for name, hour in (("begin", begin), ("end", end)):
        if not 0 <= hour < 24:
            raise DocumentError(
                f"no day has an hour {hour}", where=f"{manifest_id}.{name}", remedy="write one from 0 to 23"
            )

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        hour = pc.hour(batch["@timestamp"])
        after, before = pc.greater_equal(hour, begin), pc.less(hour, end)
        return batch.filter(pc.and_(after, before) if begin < end else pc.or_(after, before))

    return Step(run, "observations", frozenset({"@timestamp"}))


PROCESSOR = Processor(
    ProcessorDefinition(
        id="night",
        name="night",
        description="Keeps what happens in some hours of the day, such as at night.",
        vendor="somebody else",
        version="1.0",
        availability="replay, stream",
        processorType="stateless",
        inputKinds=("observation",),
        outputKinds=("observation",),
        parameters=(
            Parameter(
                name="begin",
                description="First hour, UTC.",
                dataType="integer",
                unit="h",
                defaultValue=22,
            ),
            Parameter(
                name="end",
                description="First hour that is left out, UTC.",
                dataType="integer",
                unit="h",
                defaultValue=6,
            ),
        ),
        examples=(Example(description="From one to four", parameters={"begin": 1, "end": 4}),),
    ),
    make,
)
