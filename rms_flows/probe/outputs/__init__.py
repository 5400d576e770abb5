"""Where a probe sends envelopes: one file a kind of place, chosen by the URI's scheme."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rms_flows.errors import DocumentError
from rms_flows.probe.outputs.file import File
from rms_flows.probe.outputs.kafka import Kafka

__all__ = ["Output", "open_output"]


class Output(Protocol):
    """Takes envelopes in their order, each at least once; used by one thread."""

    def send(self, lines: list[bytes], last: int) -> None:
        """Send envelopes, and return when they are safe.

        Args:
            lines: Without line feeds.
            last: Number of the last; the others come right before it.

        Raises:
            SinkError: They are not; they will be sent again.
        """

    def close(self) -> None:
        """Let go of what it holds."""


def open_output(uri: str, base: Path, probe: str) -> Output:
    """Make an output; nothing is asked for yet, since what is not there may come.

    Args:
        uri: `[file:]PATH`, `kafka://HOST[:PORT][,HOST…]/TOPIC` or `http[s]://HOST[:PORT]/PATH`.
        base: Where relative paths begin.
        probe: Id of the probe.

    Raises:
        DocumentError: Nothing can be sent there.
    """
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme == "file":
        return File(base / (rest if colon else uri))
    if scheme == "kafka":
        return Kafka(uri, probe)
    if scheme in {"http", "https"}:
        from rms_flows.probe.outputs.http import Http  # noqa: PLC0415  takes memory

        return Http(uri)
    raise DocumentError(
        f"a probe can't send to {scheme!r}",
        where=uri,
        remedy="there are file:, kafka://, http:// and https://",
    )
