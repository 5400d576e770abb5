"""A processor: a definition (a document) and a function from batch to batch made of its parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import pyarrow as pa

from rms_flows.model import ProcessorDefinition


@dataclass(frozen=True, slots=True)
class Step:
    """A processor made ready for one manifest: `run` is pure and takes and gives batches.

    Args:
        run: Batch of observations → batch of observations or of reports (`schema.REPORT`), see `gives`.
        gives: What comes out.
        columns: Columns that `run` looks at, None where it needs all of them.
        keeps: Columns that what comes out has at most, beside the envelope; None where that depends on what
            came in.
        notes: What a person should know before the run (`rule X refused: …`), shown and counted.
        counts: Fates to put in the run's summary, such as rules evaluated and refused.
        unreachable: Columns of what comes in → number of rules, of those evaluated, that they can't make
            true; None for a processor without rules.
    """

    run: Callable[[pa.RecordBatch], pa.RecordBatch]
    gives: Literal["observations", "reports"]
    columns: frozenset[str] | None
    keeps: frozenset[str] | None = None
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] | None = None
    unreachable: Callable[[frozenset[str]], int] | None = None


class Make(Protocol):
    """Makes the step; called once in each worker, so what it gives need not be picklable."""

    def __call__(self, manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
        """Build of checked parameters, paths relative to `folder`; raises DocumentError or FlowError."""


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor that can be discovered, checked and run."""

    definition: ProcessorDefinition
    make: Make
