"""Reports on their way to whoever asked for them in this session, also those of a run that was stopped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from rms_flows.io.staging import writing


@dataclass(frozen=True, slots=True)
class GatheringSink:
    """Writes each part as an Arrow stream into a folder that its owner made and removes.

    Guarantee: all that was written is found by `batches`, at any time and from any process, but for what a
    process that was killed was writing. Nothing is folded: what is found may be there twice.

    Args:
        folder: An empty folder of its own.
    """

    folder: Path

    @property
    def uri(self) -> str:
        """The folder."""
        return str(self.folder)

    def prepare(self) -> None:
        """See `Sink.prepare`; there is nothing to do."""

    def part(self, name: str) -> GatheringPart:
        """See `Sink.part`."""
        return GatheringPart(self.folder / f"{name}.arrows")

    def commit(self) -> int:
        """Give the number of rows; they have been visible all the time."""
        return sum(batch.num_rows for batch in self.batches())

    def abandon(self) -> None:
        """Keep what was found so far: that is what this sink is for."""

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Give what was written so far, part by part."""
        for path in sorted(self.folder.glob("*.arrows")):
            try:
                with pa.OSFile(str(path)) as file, pa.ipc.open_stream(file) as reader:
                    yield from reader
            except (pa.ArrowInvalid, OSError):
                continue  # the end of what a killed process wrote


class GatheringPart:
    """One part; a file is made when there is something to write.

    Args:
        path: Its file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: pa.OSFile | None = None
        self._stream: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Writer.write`; raises SinkError when the disk is full."""
        if not batch.num_rows:
            return
        with writing(str(self._path)):
            if self._stream is None:
                self._file = pa.OSFile(str(self._path), "wb")  # unbuffered: what is written can be read
                self._stream = pa.ipc.new_stream(self._file, batch.schema)
            self._stream.write_batch(batch)

    def close(self) -> None:
        """See `Writer.close`."""
        if self._stream is not None and self._file is not None:
            with writing(str(self._path)):
                self._stream.close()
                self._file.close()
