"""Documents on their way into a cluster, a few bodies at a time: stored, there already, or refused."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from itertools import chain
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.io.elasticsearch.bodies import LINES, lines
from rms_flows.io.elasticsearch.cluster import LINES as NDJSON
from rms_flows.io.elasticsearch.cluster import Answer, Cluster
from rms_flows.io.elasticsearch.trouble import PASSING, Failure
from rms_flows.objects import portions
from rms_flows.schema import DEAD_LETTER, NO_DEAD_LETTERS

BODY: Final = 4 * 1024 * 1024
"""Bytes of a body, unless one document alone is longer."""

ROWS: Final = 4_096
"""Rows whose lines are made at once."""

WAIT: Final = 2.0
"""Seconds that a row waits for others, at most, when more rows come."""

IN_FLIGHT: Final = 2
"""Bodies under way: one is made and sent while the cluster works on the other."""

REFUSED: Final = "refused"
"""`error.type` of their dead letters."""

_BRIEFLY: Final = {
    "filter_path": "errors",
    "timeout": "10s",  # for a shard that is not there; what waits is tried again here
}
"""Asks whether all went well: to tell it of each document takes a sixth of the time of writing it."""
_EACH: Final = _BRIEFLY | {
    "filter_path": "errors,items.*.status,items.*.error.type,items.*.error.reason,items.*.error.caused_by"
}
_TOO_LARGE: Final = 413
_STORED: Final = frozenset({200, 201, 409})
"""The last says that the document, or a higher revision of it, is there."""

_REFUSED: Final = frozenset({400, _TOO_LARGE, 422})
"""What nothing but another document or another mapping would change."""


class _Item(msgspec.Struct):
    status: int
    error: Failure | None = None


_MAPPING: Final = "timed out while waiting for a dynamic mapping update"
"""Said with 500 where many fields are new at once and the cluster is busy."""


def _passes(item: _Item) -> bool:
    """Tell whether the same document may be stored later."""
    return item.status in PASSING or (item.error is not None and item.error.reason == _MAPPING)


class _Told(msgspec.Struct):
    errors: bool
    items: list[dict[str, _Item]] | None = None


class Bulk:
    """Writes batches; from one thread.

    What is refused comes back as dead letters, of this batch or an earlier one: the document's bytes and the
    server's reason. Memory holds `IN_FLIGHT` bodies and one that is not full.

    Args:
        cluster: Where to.
        index: Name of the index, see `bodies.lines`.
    """

    def __init__(self, cluster: Cluster, index: str) -> None:
        self._cluster = cluster
        self._index = index
        self._waiting: list[pa.RecordBatch] = []
        self._size = 0
        self._since = 0.0
        self._under_way: deque[Future[pa.RecordBatch]] = deque()
        self._ask = _BRIEFLY

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Take a batch; give what was refused meanwhile (`schema.DEAD_LETTER`).

        Raises:
            RmsError: The cluster can't be written.
        """
        refused: list[pa.RecordBatch] = []
        slices = (batch.slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))
        for rows in chain.from_iterable(map(portions, slices)):
            for part in _parts(lines(rows, self._index), BODY):
                if self._size + _bytes(part) > BODY:
                    refused += self._send()
                if not self._waiting:
                    self._since = time.monotonic()
                self._waiting.append(part)
                self._size += _bytes(part)
        if self._waiting and time.monotonic() - self._since > WAIT:
            refused += self._send()
        return _together(refused)

    def flush(self) -> pa.RecordBatch:
        """Wait until all that was written is stored; give what was refused.

        Raises:
            RmsError: The cluster can't be written.
        """
        refused = [*self._send()]
        while self._under_way:
            refused.append(self._under_way.popleft().result())
        return _together(refused)

    def _send(self) -> Iterator[pa.RecordBatch]:
        """Send what waits, once there is room; give what was refused of the body that made it."""
        if not self._waiting:
            return
        body = pa.Table.from_batches(self._waiting).combine_chunks().to_batches()[0]
        self._waiting, self._size = [], 0
        if len(self._under_way) == IN_FLIGHT:
            yield self._under_way.popleft().result()
        self._under_way.append(self._begun(body))

    def _begun(self, body: pa.RecordBatch) -> Future[pa.RecordBatch]:
        """Send in a thread that nobody waits for when the program ends."""
        future: Future[pa.RecordBatch] = Future()

        def run() -> None:
            try:
                future.set_result(_together(self._stored(body)))
            except BaseException as error:  # noqa: BLE001  who waits for the result gets it
                future.set_exception(error)

        threading.Thread(target=run, daemon=True).start()
        return future

    def _stored(self, rows: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Send rows until each is stored or refused; give dead letters."""
        end = time.monotonic() + self._cluster.patience
        pause = 0.1
        while rows.num_rows:
            answer = self._cluster.call(
                "POST", "/_bulk", _body(rows), self._ask, accept=(_TOO_LARGE,), form=NDJSON
            )
            if answer.status == _TOO_LARGE:
                yield from self._too_large(rows, answer)
                return
            told = answer.json(_Told)
            self._ask = _EACH if told.errors else _BRIEFLY  # what is stored twice is so for all, mostly
            if not told.errors:
                return
            if told.items is None:
                continue  # once more, to be told of each
            items = [item for one in told.items for item in one.values()]
            refused = [at for at, item in enumerate(items) if item.status in _REFUSED]
            if refused:
                yield _letters(rows.take(pa.array(refused)), [items[at] for at in refused])
            later = [at for at, item in enumerate(items) if item.status not in _REFUSED | _STORED]
            for at in later:
                if not _passes(items[at]) or time.monotonic() > end:
                    raise self._cluster.trouble(items[at].status, items[at].error or Failure())
            rows = rows.take(pa.array(later, pa.int64()))
            if later:
                time.sleep(pause)
                pause = min(10.0, pause * 2)

    def _too_large(self, rows: pa.RecordBatch, answer: Answer) -> Iterator[pa.RecordBatch]:
        """Send halves; a document that is too large alone is refused."""
        if rows.num_rows == 1:
            yield _letters(rows, [_Item(answer.status, answer.failure)])
            return
        half = rows.num_rows // 2
        yield from self._stored(rows.slice(0, half))
        yield from self._stored(rows.slice(half))


def _bytes(rows: pa.RecordBatch) -> int:
    offsets = _offsets(rows)
    return int(offsets[-1] - offsets[0])


def _offsets(rows: pa.RecordBatch) -> np.ndarray:
    column = rows.column("line")
    return np.frombuffer(column.buffers()[1], np.int32)[column.offset : column.offset + len(column) + 1]


def _body(rows: pa.RecordBatch) -> bytes:
    """Give the lines, which stand one behind the other in memory."""
    offsets = _offsets(rows)
    return bytes(memoryview(rows.column("line").buffers()[2])[offsets[0] : offsets[-1]])


def _parts(rows: pa.RecordBatch, limit: int) -> Iterator[pa.RecordBatch]:
    """Cut rows so that a part is no longer than `limit` bytes, or is one row."""
    offsets, start = _offsets(rows), 0
    while start < rows.num_rows:
        end = int(np.searchsorted(offsets, offsets[start] + limit, "right")) - 1
        end = max(end, start + 1)
        yield rows.slice(start, end - start)
        start = end


def _letters(rows: pa.RecordBatch, items: list[_Item]) -> pa.RecordBatch:
    reasons = [
        f"Elasticsearch refused the document with {item.status} ({item.error or 'no reason'}); "
        "mend it or the index's mapping, and write it again"
        for item in items
    ]
    documents = [line.split(b"\n", 2)[1] for line in rows.column("line").to_pylist()]
    columns = {
        **{name: rows.column(name) for name in LINES.names if name != "line"},
        "error.type": pa.array([REFUSED] * len(items)),
        "error.message": pa.array(reasons),
        "event.original": pa.array(documents, pa.binary()),
    }
    arrays = [columns[one.name].cast(one.type) for one in DEAD_LETTER]
    return pa.RecordBatch.from_arrays(arrays, schema=DEAD_LETTER)


def _together(found: Iterator[pa.RecordBatch] | list[pa.RecordBatch]) -> pa.RecordBatch:
    batches = [*found]
    if not batches:
        return NO_DEAD_LETTERS
    table = pa.Table.from_batches(batches, DEAD_LETTER).unify_dictionaries().combine_chunks()
    return (table.to_batches() or [NO_DEAD_LETTERS])[0]
