"""Matches on their way to the stages that keep state: sorted runs on disk, by processor, level and shard."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from rms_flows.io.staging import Staging, writing

LIMIT = 64 * 1024 * 1024
"""Bytes that are sorted at once."""

_ROWS = 32_768
"""Rows of a run that are looked at at once."""

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]")

Places = Callable[[pa.RecordBatch], tuple[np.ndarray, np.ndarray]]
"""Batch → level and shard of each row."""


class Spill:
    """Takes batches with a column `time` and gives them back by place, sorted by time.

    Guarantee: what a killed run left is removed by the next run over the same place, and at its end nothing
    is left. A part that is written again replaces what the first attempt wrote.

    Args:
        beside: A file on whose disk the runs lie; None takes the system's folder for temporary files.
        name: Tells it from others of the same run.
    """

    def __init__(self, beside: Path | None, name: str) -> None:
        folder = (
            Path(tempfile.gettempdir()) / f"rms-{name}"
            if beside is None
            else beside.with_name(f".{beside.name}.{_UNSAFE.sub('-', name)}.staging")
        )
        self.uri = str(folder)
        self._staging = Staging(folder, self.uri)

    def prepare(self) -> None:
        """See `Sink.prepare`."""
        self._staging.take()
        self._staging.clear()

    def abandon(self) -> None:
        """Remove everything."""
        self._staging.release()

    def part(self, name: str, places: Places) -> Part:
        """Open a part."""
        return Part(self._staging.parts, name, places)

    def runs(self, level: int, shard: int) -> list[Path]:
        """List the runs of a place, in the order of their names."""
        return sorted(self._staging.parts.glob(f"{level}-{shard}-*.run"))

    def shards(self, level: int) -> list[int]:
        """List the shards of a level that got something."""
        return sorted({int(path.name.split("-")[1]) for path in self._staging.parts.glob(f"{level}-*.run")})

    def note(self, name: str, time: int) -> None:
        """Keep the time of the last event that a part saw."""
        with writing(self.uri):
            (self._staging.parts / f"{name}.until").write_text(str(time))

    def until(self) -> int | None:
        """Give the time of the last event; None where there was none."""
        return max((int(path.read_text()) for path in self._staging.parts.glob("*.until")), default=None)


class Part:
    """Sorted runs of one part; closed, they are found."""

    def __init__(self, folder: Path, name: str, places: Places) -> None:
        self._folder = folder
        self._name = name
        self._places = places
        self._held: list[pa.RecordBatch] = []
        self._bytes = 0
        self._number = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Take a batch."""
        if batch.num_rows:
            self._held.append(batch)
            self._bytes += batch.nbytes
            if self._bytes > LIMIT:
                self._flush()

    def close(self) -> None:
        """Write what is left."""
        self._flush()

    def _flush(self) -> None:
        if not self._held:
            return
        batch = pa.concat_batches(self._held)
        self._held, self._bytes = [], 0
        level, shard = self._places(batch)
        order = np.lexsort((batch.column("time").to_numpy(), shard, level))
        batch, level, shard = batch.take(pa.array(order)), level[order], shard[order]
        ends = np.flatnonzero((np.diff(level) != 0) | (np.diff(shard) != 0)) + 1
        for first, last in zip([0, *ends.tolist()], [*ends.tolist(), len(level)], strict=True):
            run = self._folder / f"{level[first]}-{shard[first]}-{self._name}-{self._number:04d}.run"
            with writing(str(run)):
                _write(run, batch.slice(first, last - first))
        self._number += 1


def _write(path: Path, batch: pa.RecordBatch) -> None:
    aside = path.with_suffix(".open")
    with pa.OSFile(str(aside), "wb") as file, pa.ipc.new_file(file, batch.schema) as writer:
        writer.write_table(pa.Table.from_batches([batch]), max_chunksize=_ROWS)
    aside.replace(path)


class _Head:
    """The next rows of a run; the file is mapped, so that only what is looked at is in memory."""

    def __init__(self, path: Path) -> None:
        self._reader = pa.ipc.open_file(pa.memory_map(str(path)))
        self._next = 0
        self._advance()

    def _advance(self) -> None:
        self.batch: pa.RecordBatch | None = None
        if self._next < self._reader.num_record_batches:
            self.batch = self._reader.get_batch(self._next)
            self._next += 1
            time = self.batch.column("time")
            self.first, self.last = time[0].as_py(), time[-1].as_py()

    def until(self, cut: int) -> Iterator[pa.RecordBatch]:
        """Give the rows up to a time, that time included."""
        while self.batch is not None and self.first <= cut:
            here = int(np.searchsorted(self.batch.column("time").to_numpy(), cut, "right"))
            yield self.batch.slice(0, here)
            if here == self.batch.num_rows:
                self._advance()
            else:
                self.batch = self.batch.slice(here)
                self.first = self.batch.column("time")[0].as_py()


def merged(paths: Sequence[Path]) -> Iterator[tuple[list[pa.RecordBatch], int]]:
    """Give the rows of runs in the order of time: batches, and the time before which nothing comes any more.

    Of each run as much is in memory as one batch of it, and only its first row while it lies ahead.
    """
    heads = [_Head(path) for path in paths]
    while heads:
        cut = min(head.last for head in heads)
        found = [batch for head in heads for batch in head.until(cut)]
        heads = [head for head in heads if head.batch is not None]
        yield found, cut + 1
