"""A sink of batches as the end of a Beam graph."""

from __future__ import annotations

from collections.abc import Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindow
from apache_beam.utils.timestamp import MIN_TIMESTAMP
from apache_beam.utils.windowed_value import WindowedValue

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam import account
from rms_flows.beam.parts import part_of, with_part, without_part
from rms_flows.errors import SinkError
from rms_flows.io.contract import Sink, Writer


def write(stage: str, sink: Sink, edge: int) -> beam.ParDo:
    """Write each batch; see `WriteTo`."""
    return beam.ParDo(WriteTo(stage, sink, edge)).with_output_types(pa.RecordBatch)


def unwanted(where: str, letters: pa.RecordBatch) -> SinkError:
    """Give the error for dead letters that are refused in their turn."""
    reason = letters.column("error.message")[0].as_py()
    return SinkError(
        f"dead letters are refused: {reason}", where=where, remedy="let them go to a file with --dead-letters"
    )


class WriteTo(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Writes each fragment's batches as one part of the sink; the launcher commits when all is through.

    What the sink refuses goes on as dead letters.

    Args:
        stage: Name of the stage in the account.
        sink: Prepared by the launcher.
        edge: Number of this input of the sink; inputs of one sink write parts of their own.
    """

    def __init__(self, stage: str, sink: Sink, edge: int) -> None:
        self._stage = stage
        self._sink = sink
        self._edge = edge
        self._rows = Metrics.counter(stage, "rows")
        self._refused = Metrics.counter(stage, account.REFUSED)

    def start_bundle(self) -> None:
        """Begin without an open part."""
        self._part = 0
        self._writer: Writer | None = None

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Write a batch; batches of one fragment come one after the other."""
        part = part_of(batch)
        if self._writer is None or part != self._part:
            yield from self._closed()
            self._part, self._writer = part, self._sink.part(f"{part:08d}-{self._edge:03d}")
        yield from self._letters(self._writer.write(without_part(batch)))
        self._rows.inc(batch.num_rows)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Make the last part durable."""
        for letters in self._closed():
            yield WindowedValue(letters, MIN_TIMESTAMP, [GlobalWindow()])

    def _closed(self) -> Iterator[pa.RecordBatch]:
        if self._writer is not None:
            yield from self._letters(self._writer.close())
            self._writer = None

    def _letters(self, refused: pa.RecordBatch | None) -> Iterator[pa.RecordBatch]:
        if refused is not None and refused.num_rows:
            if self._stage == account.DEAD_LETTERS:
                raise unwanted(self._sink.uri, refused)
            self._refused.inc(refused.num_rows)
            for reason in refused.column("error.type").to_pylist():
                Metrics.counter(account.DEAD, reason).inc()
            yield with_part(refused, self._part)
