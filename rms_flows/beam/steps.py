"""A plain function from batch to batch as a Beam step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam.parts import part_of, with_part

Function = Callable[[pa.RecordBatch], pa.RecordBatch]


def step(stage: str, make: Callable[[], Function]) -> beam.ParDo:
    """Run a function on each batch; see `Apply`."""
    return beam.ParDo(Apply(stage, make)).with_output_types(pa.RecordBatch)


class Apply(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Runs a function on each batch and counts the rows that come in (`rows`) and out (`found`).

    Args:
        stage: Name of the stage in the account.
        make: Gives the function; called once in each worker, so that what it gives need not be picklable.
    """

    def __init__(self, stage: str, make: Callable[[], Function]) -> None:
        self._make = make
        self._rows = Metrics.counter(stage, "rows")
        self._found = Metrics.counter(stage, "found")

    def setup(self) -> None:
        """Make the function."""
        self._run = self._make()

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Give the function's batch, unless it is empty."""
        self._rows.inc(batch.num_rows)
        found = self._run(batch)
        self._found.inc(found.num_rows)
        if found.num_rows:
            yield with_part(found, part_of(batch))
