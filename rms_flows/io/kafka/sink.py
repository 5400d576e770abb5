"""Kafka as a sink: each row a message, under a key that keeps in order what belongs together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any, Final, NamedTuple

import pyarrow as pa

from rms_flows.errors import SinkError
from rms_flows.io.kafka.address import Address
from rms_flows.io.kafka.client import Client, Headers, Writer
from rms_flows.io.lines import is_reports, lines
from rms_flows.io.ndjson_sink import Write
from rms_flows.objects import stamps
from rms_flows.schema import DEAD_LETTER

VERSION: Final = b"1"
"""Of what messages hold; in the header `rms.schema`."""

REFUSED: Final = "refused"
"""`error.type` of what a topic doesn't take."""

_OF_REPORTS: Final = ("rule.id", "rms.revision")
_OF_LETTERS: Final = ("event.ingested", "rms.source", "rms.origin", "error.type", "error.message")
"""Columns that are told in headers too."""


class KafkaSink:
    """Appends to a topic: reports under their id, other rows under their source.

    Guarantee: what is acknowledged lies with all replicas in sync. A topic is a log: what is written again,
    by a run that is repeated or goes on after a kill, is there again, under the same id, and of a report the
    highest revision counts. Unlike a file's, messages can be read before the run commits. The value of a dead
    letter is the record's bytes, and headers say what is wrong: a source over the topic reads them again.

    Args:
        address: Where to; a topic that is not there is made, with as many partitions and replicas as the
            brokers give unless told.
        write: Makes the values of all but dead letters.
    """

    def __init__(self, address: Address, write: Write = lines) -> None:
        self.address = address
        self.uri = address.uri
        self._write = write

    @property
    def said(self) -> str:
        """What a person is told at the start; raises SinkError where there is no client."""
        return self._client().said

    def prepare(self) -> None:
        """See that brokers answer and have the topic, or make it; raises SinkError."""
        self._client().writer().close()

    def part(self, name: str) -> Part:
        """See `Sink.part`; parts are not told apart, as ids are."""
        del name
        return Part(self.uri, self._client().writer(), self._write)

    def log(self) -> KafkaLog:
        """Give the same place for a stream."""
        return KafkaLog(self)

    def commit(self) -> int:
        """Give how many messages there are, those of earlier runs too."""
        with closing(self._client().reader()) as reader:
            return sum(one.last - one.first for one in reader.bounds(reader.partitions()).values())

    def abandon(self) -> None:
        """Leave what is there: it is a log."""

    def _client(self) -> Client:
        return Client(self.address, SinkError)


class Message(NamedTuple):
    """What goes to a topic."""

    key: bytes | None
    value: bytes
    headers: Headers

    @property
    def size(self) -> int:
        """Bytes of it."""
        said = sum(len(name) + len(text) for name, text in self.headers)
        return len(self.key or b"") + len(self.value) + said


def messages(batch: pa.RecordBatch, write: Write) -> Iterator[Message]:
    """Make a message of each row.

    Args:
        batch: Reports, observations or dead letters.
        write: Makes the values of the former two.
    """
    letters = batch.schema.names == DEAD_LETTER.names
    reports = is_reports(batch)
    values = batch.column("event.original").to_pylist() if letters else write(batch)
    told = _OF_LETTERS if letters else _OF_REPORTS if reports else ()
    columns = [_texts(batch, name) for name in told]
    keys = _texts(batch, "event.id" if reports else "rms.source")
    for row, (key, value) in enumerate(zip(keys, values, strict=True)):
        said = ((name, column[row]) for name, column in zip(told, columns, strict=True))
        headers = [("rms.schema", VERSION), *((name, text) for name, text in said if text is not None)]
        yield Message(key, value or b"", headers)


def _texts(batch: pa.RecordBatch, name: str) -> list[Any]:
    """Give a column as texts in UTF-8, None for nothing."""
    if name not in batch.schema.names:
        return [None] * batch.num_rows
    column = batch.column(name)
    if pa.types.is_timestamp(column.type):
        column = stamps(column)
    found: list[Any] = column.cast(pa.string()).cast(pa.binary()).to_pylist()
    return found


class Part:
    """Messages of one part."""

    def __init__(self, uri: str, writer: Writer, write: Write) -> None:
        self._uri = uri
        self._writer = writer
        self._write = write

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """See `Writer.write`.

        What is larger than the topic takes is refused here: brokers would refuse it with all beside it.
        """
        refused: list[dict[str, Any]] = []
        for row, message in enumerate(messages(batch, self._write)):
            if message.size > self._writer.largest:
                refused.append(self._letter(batch, row, message))
            else:
                self._writer.send(*message)
        return pa.RecordBatch.from_pylist(refused, DEAD_LETTER)

    def flush(self) -> None:
        """Wait until the brokers have all that was written."""
        self._writer.flush()

    def close(self) -> None:
        """See `contract.Writer.close`."""
        self.flush()
        self.leave()

    def leave(self) -> None:
        """Let go of the brokers."""
        self._writer.close()

    def _letter(self, batch: pa.RecordBatch, row: int, message: Message) -> dict[str, Any]:
        kept = ("event.ingested", "rms.source", "rms.origin")
        return {
            **{name: batch.column(name)[row].as_py() for name in kept if name in batch.schema.names},
            "error.type": REFUSED,
            "error.message": f"a message of {message.size:,} bytes is more than {self._uri} takes, "
            f"{self._writer.largest:,}; raise the topic's max.message.bytes, and write it again",
            "event.original": message.value,
        }


class KafkaLog:
    """The same place as what a stream appends to."""

    def __init__(self, sink: KafkaSink) -> None:
        self._sink = sink
        self._part: Part | None = None

    def open(self) -> None:
        """See `Log.open`."""
        self._sink.prepare()
        self._part = self._sink.part("")

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """See `Log.write`."""
        return self._part.write(batch) if self._part else None

    def flush(self) -> None:
        """See `Log.flush`."""
        if self._part:
            self._part.flush()

    def close(self) -> None:
        """See `Log.close`."""
        if self._part:
            self._part.leave()
            self._part = None
