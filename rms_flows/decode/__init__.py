"""Bytes → batches of observations: every format that can be read, and how one is guessed from content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Final

from rms_flows.decode import (
    csv,
    driver,
    home_assistant,
    iotac,
    json_lines,
    metricbeat,
    mosquitto,
    probe,
    suricata,
    syslog,
    windows,
    zeek,
)
from rms_flows.decode.contract import Context, Decoded, Format
from rms_flows.decode.framing import Readable
from rms_flows.errors import DecodeError

__all__ = ["FORMATS", "decode", "format_named", "guess"]

FORMATS: Final[Mapping[str, Format]] = {
    known.name: known
    for known in (
        json_lines.FORMAT,
        metricbeat.FORMAT,
        windows.FORMAT,
        suricata.FORMAT,
        zeek.FORMAT,
        zeek.JSON,
        csv.FORMAT,
        iotac.FORMAT,
        syslog.FORMAT,
        mosquitto.FORMAT,
        home_assistant.FORMAT,
        probe.FORMAT,
    )
}
"""Name → format."""


def format_named(name: str, where: str | None = None) -> Format:
    """Give a format by its name; raises DecodeError for an unknown one."""
    if name not in FORMATS:
        raise DecodeError(
            f"no format is called {name!r}",
            where=where,
            remedy=f"the formats are {', '.join(sorted(FORMATS))}",
        )
    return FORMATS[name]


def guess(head: bytes, where: str) -> Format:
    r"""Guess the format of an input from its first bytes.

    Args:
        head: Up to 64 KiB, decompressed.
        where: Its name, for the error.

    Raises:
        DecodeError: No format takes it for its own.

    Example:
        >>> guess(b'{"metricset": {"name": "cpu"}}\n', "cpu.json").name
        'metricbeat'
    """
    best = max(FORMATS.values(), key=lambda known: known.sniff(head))
    if best.sniff(head) == 0:
        raise DecodeError(
            f"the format can't be guessed from content that begins with {head[:32]!r}",
            where=where,
            remedy=f"name it with format=, one of {', '.join(sorted(FORMATS))}",
        )
    return best


def decode(
    stream: Readable, context: Context, *, ingested: datetime | None = None, lines: bool = False
) -> Iterator[tuple[Format | None, Decoded]]:
    """Decode one input, in the format that its options name or its content shows.

    Args:
        stream: Bytes, decompressed; an input without any gives nothing.
        context: What is known of the input.
        ingested: When it reached us, where that is known.
        lines: Each line is a record, whatever the format's framing.

    Yields:
        The format, None where there is nothing to guess it from, and a batch.

    Raises:
        DecodeError: The format is unknown or can't be guessed.
    """
    text = driver.Text(stream)
    if context.options.format is not None:
        known = format_named(context.options.format, context.name)
    elif text.head.strip():
        known = guess(text.head, context.name)
    else:  # nothing but blanks, or an input that breaks at its first byte
        yield from ((None, one) for one in driver.decode(text, context, json_lines.FORMAT, ingested=ingested))
        return
    for decoded in driver.decode(text, context, known, ingested=ingested, lines=lines):
        yield known, decoded
        del decoded  # its memory may be free when the next is decoded
