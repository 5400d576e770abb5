"""A file that a stream appends to: JSON lines, of which readers keep the highest revision of an id."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pyarrow as pa

from rms_flows.errors import SinkError
from rms_flows.io.lines import lines
from rms_flows.io.ndjson_sink import Write
from rms_flows.io.staging import writing

_TAIL = 1 << 16


class LogSink:
    """Appends lines to a file; see `contract.Log`.

    Guarantee: what was flushed is on disk and is never written over; a line that a kill tore is cut off at
    the next start. A report that is found again after a restart is appended again, under the same id.

    Args:
        path: The file, not compressed.
        write: Makes the lines.
    """

    def __init__(self, path: str | Path, write: Write = lines) -> None:
        self.uri = str(path)
        self._path = Path(path).resolve()
        self._write = write
        self._handle: int | None = None
        self._written = False

    def open(self) -> None:
        """Open the file and cut off what a kill tore; raises SinkError."""
        with writing(self.uri):
            if self._path.exists() and not self._path.is_file():
                raise SinkError("is not a regular file", where=self.uri, remedy="name a file to be written")
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            self._lock()
            os.ftruncate(self._handle, whole(self._handle))
            os.lseek(self._handle, 0, os.SEEK_END)

    def _lock(self) -> None:
        """Take the file for this process; the lock goes with the handle."""
        assert self._handle is not None  # noqa: S101  it was opened
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise SinkError(
                "another stream writes to it", where=self.uri, remedy="wait for its end"
            ) from None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a line a row; raises SinkError."""
        assert self._handle is not None  # noqa: S101  it was opened
        data = b"".join(line + b"\n" for line in self._write(batch))
        with writing(self.uri):
            view = memoryview(data)
            while view:
                view = view[os.write(self._handle, view) :]
        self._written = True

    def flush(self) -> None:
        """Make what was written survive a loss of power."""
        if self._handle is not None and self._written:
            with writing(self.uri):
                os.fsync(self._handle)
            self._written = False

    def close(self) -> None:
        """Close the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def whole(handle: int) -> int:
    """Give the size up to the last line feed."""
    end = os.fstat(handle).st_size
    while end > 0:
        begin = max(0, end - _TAIL)
        at = os.pread(handle, end - begin, begin).rfind(b"\n")
        if at >= 0:
            return begin + at + 1
        end = begin
    return 0
