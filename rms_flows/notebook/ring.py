"""The latest events of something that grows, held in a ring and looked at like history."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Final, Self

import pyarrow as pa

from rms_flows.errors import DocumentError
from rms_flows.flow.window import within
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Source, Window
from rms_flows.io.line import Feed, Lined
from rms_flows.io.live import Reading
from rms_flows.io.memory import MemorySource
from rms_flows.notebook.archive import INPUT, Archive
from rms_flows.notebook.draw import DrawArchive
from rms_flows.notebook.events import Events, united
from rms_flows.notebook.period import Moment, period
from rms_flows.replay import HERE

ROWS: Final = 100_000
"""Events that are held, unless told."""

IDLE: Final = 1_000_000
"""Microseconds without an event."""


class Tail:
    """Reads what grows, beside the notebook, and holds the latest events; see `tail`.

    Nothing is committed anywhere, and nobody else's positions are touched. What is held is lost with it.

    Args:
        source: What is read; it has no end.
        rows: Events that are held; more push the earliest out.
        start: Only events from this time on count; None for all that is there already.

    Example:
        >>> times = pa.array([1, 2], pa.timestamp("us", "UTC"))
        >>> with Tail(MemorySource([pa.record_batch({"@timestamp": times})]), rows=1) as two:
        ...     two.wait(2).to_arrow().num_rows, two
        (1, memory:batches: 2 events came, the latest 1 are held)
    """

    def __init__(self, source: Source, rows: int = ROWS, start: datetime | None = None) -> None:
        self.source = source
        self.rows = rows
        self._inside = within(Window.of(start, None))
        self._feed = feed_of(source, start)
        self.seen = 0
        self.dead = 0
        self._held: deque[pa.RecordBatch] = deque()
        self._news = threading.Condition()
        self._error: Exception | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._read, name=f"tail {source.uri}", daemon=True)
        self._thread.start()

    def _read(self) -> None:
        reading = Reading([self._feed])
        try:
            while not self._stopped and (taken := reading.take()) is not None:
                with self._news:
                    for batch in (taken.rows, taken.late):  # what came late is news too
                        self._hold(self._inside(batch))
                    self.dead += 0 if taken.dead is None else taken.dead.num_rows
                    self._news.notify_all()
        except Exception as error:  # noqa: BLE001  it is raised where one looks, not in this thread
            with self._news:
                self._error = error
                self._news.notify_all()
        finally:
            reading.close()

    def _hold(self, batch: pa.RecordBatch) -> None:
        if not batch.num_rows:
            return
        self.seen += batch.num_rows
        self._held.append(batch)
        over = sum(one.num_rows for one in self._held) - self.rows
        while over > 0:
            first = self._held.popleft()
            if first.num_rows > over:
                self._held.appendleft(first.slice(over))
            over -= first.num_rows

    def archive(self) -> Archive:
        """Give what is held now, as history: it stays as it is while more comes.

        Raises:
            SourceError: It could not be read any further.
        """
        with self._news:
            if self._error is not None:
                raise self._error
            return Archive(MemorySource(tuple(self._held), name=self.source.uri))

    def wait(self, rows: int = 1, *, seconds: float = 10.0) -> Archive:
        """Wait until so many events have come since it began, or so long; then as `archive`."""
        until = time.monotonic() + seconds
        with self._news:
            while self.seen < rows and self._error is None and (left := until - time.monotonic()) > 0:
                self._news.wait(left)
        return self.archive()

    def head(self, rows: int = 10) -> Events:
        """Give the latest events, the latest first."""
        table = united([*self.archive().batches()])
        latest = (
            table.sort_by([("@timestamp", "descending"), ("event.id", "ascending")]) if len(table) else table
        )
        return Events(latest.slice(0, rows))

    @property
    def draw(self) -> DrawArchive:
        """Pictures of what is held now."""
        return self.archive().draw

    def stop(self) -> None:
        """Read no further; what is held stays."""
        self._stopped = True
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        with self._news:
            held = sum(one.num_rows for one in self._held)
            dead = f", {self.dead:,} records could not be decoded" if self.dead else ""
            end = "; stopped" if self._stopped else f"; {self._error}" if self._error else ""
            return f"{self.source.uri}: {self.seen:,} events came, the latest {held:,} are held{dead}{end}"


def feed_of(source: Source, start: datetime | None) -> Feed:
    """Say how to read a source that grows, from a time on or from its beginning; nothing is acknowledged."""
    # What is late or idle changes nothing here; a source that may be idle tells when nothing is new.
    feed = Feed(INPUT, source, Request(lateness=0), lateness=0, idle=IDLE)
    if not isinstance(source, Lined):
        return feed
    first = source.first("earliest" if start is None else start)
    return replace(feed, start=first.first, committed=first.committed, settled=first.settled)


def tail(uri: str | Path, *, rows: int = ROWS, start: Moment | None = None) -> Tail:
    """Follow what grows: a file (`follow:auth.log`), an index (`follow:elasticsearch://…`), a topic.

    Args:
        uri: As `rms stream --source ID=URI` takes it; paths begin in the working directory.
        rows: Events that are held; more push the earliest out.
        start: Only events from this time on count, and of a topic no others are read; unless told, all that
            is there already counts too.

    Raises:
        DocumentError: The URI is none, or what it names has an end.
        SourceError: There is nothing to read.
    """
    source = open_source(str(uri), base=HERE, endless=True)
    if not source.endless:
        raise DocumentError(
            "has an end", where=str(uri), remedy="follow a file with follow:FILE, or look at it with rms.open"
        )
    source.fragments(Request(lateness=0))  # so that what isn't there is said here
    return Tail(source, rows, period(start, None)[0])
