"""A file of JSON lines, the same bytes however the work was divided."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

import pyarrow as pa
import pyarrow.compute as pc
import zstandard

from rms_flows.errors import SinkError
from rms_flows.io.merge import Runs
from rms_flows.io.ndjson_written import EARLIEST, KEYED, written
from rms_flows.io.staging import Staging, publish, writing
from rms_flows.objects import json_lines

Write = Callable[[pa.RecordBatch], list[bytes]]
"""One line a row, without its line feed."""


class NdjsonSink:
    """Writes one line a row to a file, sorted by time and id, and replaces what the file held.

    Guarantee: what is in the file depends on the rows alone, byte for byte, not on how they came in parts or
    in which order. Rows of one `event.id` are folded to the highest `rms.revision`, of equal ones to the
    smallest line; rows without an id are all kept. The file is replaced at once when the run commits, with
    an empty one when nothing came; until then, and after a `kill -9`, it is what it was. Memory does not
    grow with the number of rows.

    One that adds keeps what the file holds and folds it with the new rows alike: several runs, each of
    another period, leave byte for byte what one run over all of it leaves, and a run that is repeated changes
    nothing. Of equal lines without an id, such as dead letters, it keeps one. The whole file is read and
    written at each run; moved away, it begins anew.

    Args:
        path: The file; `.gz` and `.zst` are compressed, always to the same bytes.
        write: Makes the lines.
        empty: Leave an empty file where nothing came; else none, also none of an earlier run.
        adding: Keep what the file holds.
    """

    def __init__(
        self, path: str | Path, *, write: Write = json_lines, empty: bool = True, adding: bool = False
    ) -> None:
        self.uri = str(path)
        self.form = write
        self._empty = empty
        self._adding = adding
        self.path = Path(path).resolve()  # a link stays a link, and workers may stand elsewhere
        self._staging = Staging(self.path.with_name(f".{self.path.name}.staging"), self.uri)

    def prepare(self) -> None:
        """See `Sink.prepare`."""
        with writing(self.uri):
            in_the_way = self.path.exists() and not self.path.is_file()
        if in_the_way:
            raise SinkError("is not a regular file", where=self.uri, remedy="name a file to be written")
        self._staging.take()
        self._staging.clear()

    def part(self, name: str) -> Part:
        """See `Sink.part`."""
        return Part(self._staging.parts / name, self.form, self.uri)

    def commit(self) -> int:
        """Merge all parts into the file; give the number of lines."""
        with writing(self.uri):
            made = self._staging.parts / "made"
            kept = 0
            with _compressed(made, self.path.suffix) as out:
                for line in _merged(self._staging.parts, self._earlier()):
                    out.write(line + b"\n")
                    kept += 1
            if kept or self._empty:
                publish(made, self.path)
            else:
                self.path.unlink(missing_ok=True)
        self._staging.release()
        return kept

    def abandon(self) -> None:
        """See `Sink.abandon`."""
        self._staging.release()

    def _earlier(self) -> Iterator[pa.RecordBatch] | None:
        return written(self.path) if self._adding else None


class Part:
    """Lines of one part with what they are sorted and folded by; stays apart until it is closed."""

    def __init__(self, path: Path, write: Write, target: str) -> None:
        self._path = path
        self._open = path.with_name(f"{path.name}.open")
        self._write = write
        self._target = target
        with writing(target):
            self._file = pa.OSFile(str(self._open), "wb")
            self._stream = pa.ipc.new_stream(self._file, KEYED)

    def write(self, batch: pa.RecordBatch) -> None:
        """See `Writer.write`."""
        lines = pa.array(self._write(batch), pa.binary())
        time = _column(batch, "@timestamp", pa.timestamp("us", tz="UTC")).cast(pa.int64())
        revision = pc.fill_null(_column(batch, "rms.revision", pa.int64()), 0)
        keyed = [
            pc.fill_null(_column(batch, "event.id", pa.string()), ""),
            pc.negate(revision),
            lines,
            pc.fill_null(time, EARLIEST),
        ]
        with writing(self._target):
            self._stream.write_batch(pa.record_batch(keyed, schema=KEYED))

    def close(self) -> None:
        """See `Writer.close`."""
        with writing(self._target):
            self._stream.close()
            self._file.close()
            self._open.replace(self._path.with_name(f"{self._path.name}.part"))


_ORDERED = pa.schema([("time", pa.int64()), ("id", pa.string()), ("line", pa.binary())])
"""Sorted by these columns, rows stand as they are written."""


def _column(batch: pa.RecordBatch, name: str, kind: pa.DataType) -> pa.Array:
    if name not in batch.schema.names:
        return pa.nulls(batch.num_rows, kind)
    return batch.column(name).cast(kind)


def _merged(parts: Path, earlier: Iterator[pa.RecordBatch] | None) -> Iterator[bytes]:
    """Give the lines of all parts, and of an earlier file: one an id, in their order."""
    with ExitStack() as stack:
        keyed = stack.enter_context(Runs(parts / "keyed", KEYED))
        for part in sorted(parts.glob("*.part")):
            with pa.OSFile(str(part)) as file:
                for batch in pa.ipc.open_stream(file):
                    keyed.add(batch)
        for batch in earlier or ():
            keyed.add(batch)
        ordered = stack.enter_context(Runs(parts / "ordered", _ORDERED))
        last = (b"", "")
        for name, _, line, time in keyed.merged():
            # Lines without an id come one after the other, equal ones together.
            same = (b"", name) if name else (line, name)
            if same != last or (not name and earlier is None):
                ordered.put((time, name, line))
            last = same
        for _, _, line in ordered.merged():
            yield line


@contextmanager
def _compressed(path: Path, suffix: str) -> Iterator[IO[bytes]]:
    with path.open("wb") as raw:
        if suffix == ".gz":
            with gzip.GzipFile("", "wb", 6, raw, mtime=0) as packed:
                yield cast("IO[bytes]", packed)
        elif suffix == ".zst":
            with zstandard.ZstdCompressor(3).stream_writer(raw, closefd=False) as stream:
                yield cast("IO[bytes]", stream)
        else:
            yield raw
