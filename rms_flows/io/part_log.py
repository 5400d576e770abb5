"""A part of a sink that commits at its end, as a stream appends to it."""

from __future__ import annotations

import pyarrow as pa

from rms_flows.io.contract import Writer


class PartLog:
    """See `contract.Log`; what was flushed is seen, and made to last, when the sink commits.

    Args:
        writer: Takes the rows, over any number of streams.
    """

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def open(self) -> None:
        """Do nothing: it is open."""

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """Take one batch; raises SinkError."""
        return self._writer.write(batch)

    def flush(self) -> None:
        """Do nothing: who closes the part waits for it."""

    def close(self) -> None:
        """Do nothing: another stream may follow."""
