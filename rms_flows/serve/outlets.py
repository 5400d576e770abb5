"""Where the intake puts envelopes: a file that flows follow, or a topic."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from rms_flows.durable import append
from rms_flows.errors import BusyError, DocumentError, RmsError, SinkError
from rms_flows.io import uri as uris
from rms_flows.io.kafka.address import address as topic
from rms_flows.io.kafka.client import Client, Writer
from rms_flows.io.log_sink import whole


class Sent(NamedTuple):
    """An envelope.

    Args:
        probe: Who it says it is of.
        line: Its bytes, without a line feed.
    """

    probe: str
    line: bytes


class Outlet(Protocol):
    """Keeps envelopes; used by one thread."""

    def put(self, given: Sequence[Sent]) -> None:
        """Keep envelopes, all of them or none, and return when no loss of power loses them.

        Raises:
            RmsError: They are not kept; the next may be.
        """

    def close(self) -> None:
        """Let go of what it holds."""


def open_outlet(uri: str) -> Outlet:
    """Open what a URI names: a file of JSON lines, or `kafka://HOST/TOPIC`.

    Raises:
        RmsError: Nothing can be put there, or another service does so.
    """
    place = uris.split(uri, Path())
    if place.query:
        raise DocumentError(
            f"envelopes are kept as they come, so {next(iter(place.query))}= can't change that",
            where=uri,
            remedy="leave it out",
        )
    if place.scheme == "kafka":
        return Topic(Client(topic(place), SinkError))
    if place.scheme != "file" or not place.path.endswith((".ndjson", ".jsonl")):
        raise DocumentError(
            "nothing puts envelopes there",
            where=uri,
            remedy="name a file that ends in .ndjson, or kafka://HOST/TOPIC",
        )
    return File(Path(place.path))


class File:
    """Appends lines to a file.

    Guarantee: what was put is on disk. Of what a crash or a full disk tore off nothing is left.

    Args:
        path: The file; its folder is made.

    Raises:
        RmsError: It can't be written, or another service writes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        except OSError as error:
            raise self._error(error) from None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._size = whole(self._handle)
            os.ftruncate(self._handle, self._size)
        except OSError as error:
            os.close(self._handle)
            if isinstance(error, BlockingIOError):
                raise BusyError(
                    "another service or stream writes to it",
                    where=str(path),
                    remedy="stop it, or name another",
                ) from None
            raise self._error(error) from None

    def put(self, given: Sequence[Sent]) -> None:
        """See `Outlet.put`."""
        data = b"".join(one.line + b"\n" for one in given)
        try:
            append(self._handle, self._size, data)
        except OSError as error:
            raise self._error(error) from None
        self._size += len(data)

    def close(self) -> None:
        """See `Outlet.close`."""
        os.close(self._handle)

    def _error(self, error: OSError) -> SinkError:
        return SinkError(
            f"can't be written ({error.strerror})",
            where=str(self._path),
            remedy="check path, rights and room",
        )


class Topic:
    """Sends each line as a message, keyed by the probe.

    Guarantee: what was put lies with all replicas in sync, a probe's in its order. What fails may be there in
    part, and comes again: a flow knows a repeated envelope by its id.

    Args:
        client: Of the topic; brokers are asked at once.

    Raises:
        RmsError: No broker answers.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._writer: Writer | None = client.writer()

    def put(self, given: Sequence[Sent]) -> None:
        """See `Outlet.put`."""
        writer = self._writer = self._writer or self._client.writer()
        try:
            for probe, line in given:
                writer.send(probe.encode(), line, ())
            writer.flush()
        except RmsError:  # what it holds back would come later, after what is put again
            self.close()
            raise

    def close(self) -> None:
        """See `Outlet.close`."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
