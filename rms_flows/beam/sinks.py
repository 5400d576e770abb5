"""A sink of batches as the end of a Beam graph."""

from __future__ import annotations

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics

from rms_flows.beam.parts import part_of, without_part
from rms_flows.io.contract import Sink, Writer


def write(stage: str, sink: Sink, edge: int) -> beam.ParDo:
    """Write each batch; see `WriteTo`."""
    return beam.ParDo(WriteTo(stage, sink, edge)).with_output_types(type(None))


class WriteTo(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Writes each fragment's batches as one part of the sink; the launcher commits when all is through.

    Args:
        stage: Name of the stage in the account.
        sink: Prepared by the launcher.
        edge: Number of this input of the sink; inputs of one sink write parts of their own.
    """

    def __init__(self, stage: str, sink: Sink, edge: int) -> None:
        self._sink = sink
        self._edge = edge
        self._rows = Metrics.counter(stage, "rows")

    def start_bundle(self) -> None:
        """Begin without an open part."""
        self._part: int | None = None
        self._writer: Writer | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        """Write a batch; batches of one fragment come one after the other."""
        part = part_of(batch)
        if self._writer is None or part != self._part:
            self.finish_bundle()
            self._part, self._writer = part, self._sink.part(f"{part:08d}-{self._edge:03d}")
        self._writer.write(without_part(batch))
        self._rows.inc(batch.num_rows)

    def finish_bundle(self) -> None:
        """Make the last part durable."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
