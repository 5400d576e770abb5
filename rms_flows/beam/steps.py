"""A plain function from batch to batch as a Beam step."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam.parts import part_of, with_part
from rms_flows.processors.contract import Stateful

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


REPORTS, MATCHES = "reports", "matches"
"""What a stage with correlations gives: what is to be said, and what goes to the stages that keep state."""


def split(stage: str, ready: Callable[[], Stateful], keep: Callable[[], Function]) -> beam.ParDo:
    """Judge each batch; see `Split`."""
    tags = {REPORTS: pa.RecordBatch, MATCHES: pa.RecordBatch}
    return beam.ParDo(Split(stage, ready, keep)).with_output_types(pa.RecordBatch, **tags).with_outputs(*tags)


class Split(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Batch → reports of single events (tag `REPORTS`) and matches that are to be correlated (tag `MATCHES`).

    Args:
        stage: Name of the stage in the account; it counts `rows`, `found`, `matches` and `ungrouped`.
        ready: Gives the processor's stateful half.
        keep: Gives the function that keeps the reports of the period that is judged.
    """

    def __init__(self, stage: str, ready: Callable[[], Stateful], keep: Callable[[], Function]) -> None:
        self._ready = ready
        self._make_keep = keep
        self._rows, self._found, self._matches, self._ungrouped = (
            Metrics.counter(stage, word) for word in ("rows", "found", "matches", "ungrouped")
        )

    def setup(self) -> None:
        """Load the rules."""
        self._stateful, self._keep = self._ready(), self._make_keep()

    def process(self, batch: pa.RecordBatch) -> Iterator[TaggedOutput]:
        """Give both, unless they are empty."""
        reports, matches, ungrouped = self._stateful.split(batch)
        reports = self._keep(reports)
        self._rows.inc(batch.num_rows)
        self._found.inc(reports.num_rows)
        self._matches.inc(matches.num_rows)
        self._ungrouped.inc(ungrouped)
        part = part_of(batch)
        if reports.num_rows:
            yield TaggedOutput(REPORTS, with_part(reports, part))
        if matches.num_rows:
            yield TaggedOutput(MATCHES, with_part(matches, part))
