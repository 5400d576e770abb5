"""Stages that keep state, in a replay: the matches of each shard in the order of time, from runs on disk."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import apache_beam as beam
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam.parts import part_of, with_part, without_part
from rms_flows.beam.pieces import STATE_SHARDS, Stage
from rms_flows.beam.steps import MATCHES, REPORTS, Function
from rms_flows.correlate.match import concatenated, shard_of
from rms_flows.io.spill import Part, Spill, merged
from rms_flows.processors.contract import Given, Stateful


def spill(stage: Spill, ready: Callable[[], Stateful], edge: int) -> beam.ParDo:
    """Write matches to runs; see `SpillTo`."""
    return beam.ParDo(SpillTo(stage, ready, edge)).with_output_types(type(None))


class SpillTo(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Writes the matches of each fragment as sorted runs."""

    def __init__(self, runs: Spill, ready: Callable[[], Stateful], edge: int) -> None:
        self._spill = runs
        self._ready = ready
        self._edge = edge

    def setup(self) -> None:
        """Learn which correlation is of which level."""
        levels = np.array(self._ready().level_of)
        self._places = lambda batch: (
            levels[batch.column("correlation").to_numpy()],
            shard_of(batch.column("group").to_numpy(), STATE_SHARDS),
        )

    def start_bundle(self) -> None:
        """Begin without an open part."""
        self._number: int | None = None
        self._part: Part | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        """Write a batch; batches of one fragment come one after the other."""
        number = part_of(batch)
        if self._part is None or number != self._number:
            self.finish_bundle()
            self._number = number
            self._part = self._spill.part(f"{number:08d}-{self._edge:03d}", self._places)
        self._part.write(without_part(batch).replace_schema_metadata(None))

    def finish_bundle(self) -> None:
        """Write what is left of the last part."""
        if self._part is not None:
            self._part.close()
            self._part = None


def note(stage: Spill) -> beam.ParDo:
    """Keep the time of the last event; see `NoteLast`."""
    return beam.ParDo(NoteLast(stage)).with_output_types(type(None))


class NoteLast(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Keeps beside the runs when the last event of each fragment happened, whatever becomes of it."""

    def __init__(self, runs: Spill) -> None:
        self._spill = runs

    def start_bundle(self) -> None:
        """Begin without an event."""
        self._last: dict[int, int] = {}

    def process(self, batch: pa.RecordBatch) -> None:
        """Look at the times of a batch."""
        if batch.num_rows:
            number, time = part_of(batch), pc.max(batch.column("@timestamp").cast(pa.int64())).as_py()
            self._last[number] = max(time, self._last.get(number, time))

    def finish_bundle(self) -> None:
        """Write the times down."""
        for number, time in self._last.items():
            self._spill.note(f"{number:08d}", time)


def correlate(
    pipeline: beam.Pipeline,
    stages: Sequence[Stage],
    runs: Spill,
    ready: Callable[[], Stateful],
    *,
    account: str,
    until: int | None,
    keep: Callable[[], Function],
) -> beam.pvalue.DoOutputsTuple:
    """Work off shards of one level; see `Correlate`."""
    tags = {REPORTS: pa.RecordBatch, MATCHES: pa.RecordBatch}
    return (
        pipeline
        | "Shards" >> beam.Create(stages, reshuffle=False)
        | "Correlate"
        >> beam.ParDo(Correlate(runs, ready, account, until, keep))
        .with_output_types(pa.RecordBatch, **tags)
        .with_outputs(*tags)
    )


class Correlate(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Stage → reports (tag `REPORTS`) and matches for the stages above (tag `MATCHES`).

    Args:
        runs: Where the matches lie.
        ready: Gives the processor's stateful half.
        account: Name of the stage in the account.
        until: Microseconds up to which silence is judged.
        keep: Gives the function that keeps the reports of the period that is judged.
    """

    def __init__(
        self,
        runs: Spill,
        ready: Callable[[], Stateful],
        account: str,
        until: int | None,
        keep: Callable[[], Function],
    ) -> None:
        self._spill = runs
        self._ready = ready
        self._account = account
        self._until = until
        self._make_keep = keep

    def setup(self) -> None:
        """Load the rules."""
        self._stateful, self._keep = self._ready(), self._make_keep()

    def process(self, stage: Stage) -> Iterator[TaggedOutput]:
        """Go through the shard's matches in the order of time, to the end."""
        states = self._stateful.start(stage.level, stage.shard, STATE_SHARDS)
        for batches, settled in merged(self._spill.runs(stage.level, stage.shard)):
            matches = concatenated(batches)
            self._count("rows", matches.num_rows)
            states, given = self._stateful.step(states, matches, settled)
            yield from self._given(given, stage)
        _, given = self._stateful.end(states, self._until)
        yield from self._given(given, stage)

    def _given(self, given: Given, stage: Stage) -> Iterator[TaggedOutput]:
        for word, count in given.counts.items():
            self._count(word, count)
        for reports in map(self._keep, given.reports):
            self._count("found", reports.num_rows)
            if reports.num_rows:
                yield TaggedOutput(REPORTS, with_part(reports, stage.number))
        for matches in given.matches:
            self._count("matches", matches.num_rows)
            if matches.num_rows:
                yield TaggedOutput(MATCHES, with_part(matches, stage.number))

    def _count(self, word: str, count: int) -> None:
        Metrics.counter(self._account, word).inc(count)
