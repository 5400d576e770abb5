"""The processor `transform`: renames, drops, converts, derives, enriches and masks fields, in steps."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import xxhash

from rms_flows.errors import DocumentError
from rms_flows.model import Example, Parameter, ProcessorDefinition
from rms_flows.processors.contract import Processor, Step
from rms_flows.processors.transform.steps import make_step

__all__ = ["PROCESSOR", "make"]

MOST: Final = 100
"""Steps of one processor."""


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Make the step; raises DocumentError where one of its own can't be made."""
    entries = parameters["steps"]
    if not 0 < len(entries) <= MOST:
        raise DocumentError(
            f"expected 1 to {MOST} steps, not {len(entries)}",
            where=f"{manifest_id}.steps",
            remedy="see docs/transform.md",
        )
    made = [make_step(entry, folder, f"{manifest_id}.steps[{at}]") for at, entry in enumerate(entries)]

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        for one in made:
            batch = one.run(batch)
        return batch

    meant = json.dumps([entries, [one.key for one in made]], default=str)
    return Step(
        run=run,
        gives="observations",
        columns=frozenset[str]().union(*(one.reads for one in made)),
        adds=frozenset[str]().union(*(one.adds for one in made)),
        made_of=tuple(one.file for one in made if one.file is not None),
        meaning=xxhash.xxh3_128_hexdigest(meant.encode()),
    )


PROCESSOR: Final = Processor(
    ProcessorDefinition(
        id="transform",
        name="transform",
        description="Changes fields in steps: renames, drops, converts, derives, enriches and masks.",
        vendor="rms_flows",
        version="1",
        availability="replay, stream",
        processorType="stateless",
        inputKinds=("observation",),
        outputKinds=("observation",),
        parameters=(
            Parameter(
                name="steps",
                description="One after the other, each an object with one key: "
                "rename {old: new}; drop [names or patterns]; convert {field, from, to, into}; "
                "derive {field, expression}; enrich {field, table, key, fields, match: exact or cidr}; "
                "mask {fields, key_file}.",
                dataType="list",
                required=True,
            ),
        ),
        examples=(
            Example(
                description="Kelvin become degrees Celsius, and users are left out",
                parameters={
                    "steps": [
                        {"convert": {"field": "room.temperature", "from": "K", "to": "°C"}},
                        {"drop": ["user.*"]},
                    ]
                },
            ),
        ),
    ),
    make,
)
