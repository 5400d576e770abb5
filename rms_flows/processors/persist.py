"""The processor `persist`: hands observations on as they are, so that a sink behind it keeps them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from rms_flows.model import Example, Parameter, ProcessorDefinition
from rms_flows.processors.contract import Processor, Step
from rms_flows.schema import ENVELOPE


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Make the step; with `fields` it keeps these and the envelope."""
    del manifest_id, folder
    fields = frozenset(map(str, parameters["fields"]))

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        if not fields:
            return batch
        return batch.select([name for name in batch.schema.names if name in fields or name in ENVELOPE])

    return Step(run=run, gives="observations", columns=fields or None, keeps=fields or None)


PROCESSOR: Final = Processor(
    ProcessorDefinition(
        id="persist",
        name="persist",
        description="Keeps observations: hands them to its sinks as they are.",
        vendor="rms_flows",
        version="1",
        availability="replay, stream",
        processorType="stateless",
        inputKinds=("observation",),
        outputKinds=("observation",),
        parameters=(
            Parameter(
                name="fields",
                description="Fields to keep; all unless told.",
                dataType="list",
                defaultValue=[],
            ),
        ),
        examples=(
            Example(description="All that came", parameters={}),
            Example(
                description="Who logged in from where", parameters={"fields": ["user.name", "source.ip"]}
            ),
        ),
    ),
    make,
)
