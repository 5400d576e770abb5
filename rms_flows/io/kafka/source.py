"""Topics of Kafka, their messages decoded as the records of files are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from rms_flows.decode import FORMATS, format_named, guess
from rms_flows.decode.contract import Context, Decoded, Format, Options
from rms_flows.decode.driver import Inlet
from rms_flows.errors import DocumentError, SourceError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.kafka.address import Address
from rms_flows.io.kafka.begin import first
from rms_flows.io.kafka.client import Bounds, Client, Messages, Reader, Spot
from rms_flows.io.kafka.frames import framed
from rms_flows.io.line import Feed, Line, Start
from rms_flows.io.position import Offsets

ROWS: Final = 10_000
"""Messages of a batch at most."""

SPAN: Final = 250_000
"""Offsets of a fragment at most: so workers share a partition."""

PATIENCE: Final = 120.0
"""Seconds without a message for which the end of a fragment is waited for."""

_POLL: Final = 0.1
_SAMPLE: Final = 100
_HEADED: Final = ("csv", "zeek")
"""Formats whose records can't be read without the first one."""


@dataclass(frozen=True, slots=True)
class KafkaSource:
    """The messages of topics, each a record.

    Guarantee: each message comes once a reading, with the same id whenever it is read: the document's own
    `event.id`, else one of topic, partition, offset and Kafka's time, which is also its `event.ingested`.
    A replay reads what is there when it begins. A message without a value, one that can't be decoded, and one
    whose event is further ahead of Kafka's time than `max_ahead`, is a dead letter. Messages of transactions
    that were aborted don't come. Partitions are assigned by us: members of one group share nothing, and two
    streams over one topic each read all of it.

    Args:
        address: The topics.
        options: How to read messages; without a format it is guessed from the first of them.
        group: Under which a stream commits its offsets.
        endless: A stream reads.
    """

    address: Address
    options: Options = field(default_factory=Options)
    group: str = "rms"
    endless: bool = False

    def __post_init__(self) -> None:
        """Refuse formats that can't be read from the middle on."""
        if self.options.format in _HEADED:
            raise DocumentError(
                f"{self.options.format} needs a first line that tells its columns, and a topic has none",
                where=self.address.uri,
                remedy="send JSON documents instead",
            )

    @property
    def uri(self) -> str:
        """The address; it holds no secrets."""
        return self.address.uri

    @property
    def said(self) -> str:
        """What a person is told at the start; raises SourceError where there is no client."""
        return Client(self.address, SourceError).said

    def columns(self) -> None:
        """Know nothing: what messages hold is seen when they are read."""

    def connect(self) -> Reader:
        """Make a reader; raises SourceError."""
        return Client(self.address, SourceError).reader(self.group)

    @property
    def begins(self) -> Offsets:
        """See `line.Lined`."""
        return Offsets()

    def line(self, feed: Feed, rows: int) -> Line:
        """See `line.Lined`."""
        from rms_flows.io.kafka.line import KafkaLine  # noqa: PLC0415  it reads this module

        return KafkaLine(self, feed, rows)

    def first(self, begin: str | datetime) -> Start:
        """See `line.Lined`; raises SourceError."""
        with closing(self.connect()) as reader:
            return first(reader, begin)

    def fragments(self, request: Request) -> list[Fragment]:
        """List ranges of offsets up to what is there now; raises SourceError.

        What was received so long before the window begins that no event in it can be from within is left out.
        """
        with closing(self.connect()) as reader:
            spots = reader.partitions()
            bounds = reader.bounds(spots)
            if request.window.start is not None:
                line = (request.window.start - self.options.max_ahead) // 1_000
                since = reader.since(spots, line)
                bounds = {spot: Bounds(max(one.first, since[spot]), one.last) for spot, one in bounds.items()}
            sample = sampled(reader, bounds)
        if not sample:
            return []
        known = self.format(sample)
        mean = sum(map(len, sample)) // len(sample)
        return [
            _fragment(self.address, spot, Bounds(at, min(at + SPAN, one.last)), (known.name, mean))
            for spot, one in bounds.items()
            for at in range(one.first, one.last, SPAN)
        ]

    def format(self, sample: list[bytes]) -> Format:
        """Tell the format of messages; raises DecodeError where none fits."""
        if self.options.format is not None:
            return format_named(self.options.format, self.uri)
        known = guess(b"\n".join(sample), self.uri)
        replace(self, options=replace(self.options, format=known.name))  # refuses what can't be read so
        return known

    def inlet(self, known: Format, request: Request) -> Inlet:
        """Make a decoder of messages."""
        return Inlet(Context(",".join(self.address.topics), self.options, request.columns), known)

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Read a range of offsets; raises SourceError, also where the brokers stop answering."""
        extra = dict(fragment.extra)
        spot, end = Spot(extra["topic"], extra["partition"]), extra["end"]
        known = FORMATS[extra["format"]]
        inlet = self.inlet(known, request)
        guessed = None if self.options.format else known.name
        with closing(self.connect()) as reader:
            reader.assign({spot: extra["start"]})
            for polled in _until(reader, {spot: end}, self.uri):
                if polled:
                    frame = framed(polled, self.options.max_record, lines=known.framing == "lines").frame
                    yield replace(inlet.take(frame), guessed=guessed)
                    guessed = None


def before(polled: Mapping[Spot, Messages], ends: Mapping[Spot, int]) -> dict[Spot, Messages]:
    """Leave out messages from given offsets on."""
    found = {}
    for spot, messages in polled.items():
        end = ends.get(spot)
        if end is not None and messages.offsets[-1] >= end:
            kept = sum(offset < end for offset in messages.offsets)
            messages = Messages(messages.values[:kept], messages.offsets[:kept], messages.stamps[:kept])  # noqa: PLW2901
        if messages.offsets:
            found[spot] = messages
    return found


def _until(reader: Reader, ends: Mapping[Spot, int], where: str) -> Iterator[dict[Spot, Messages]]:
    heard = time.monotonic()
    while any(reader.reached()[spot] < end for spot, end in ends.items()):
        polled = before(reader.poll(_POLL, ROWS), ends)
        now = time.monotonic()
        heard = now if polled else heard
        if now - heard > PATIENCE:
            raise SourceError(
                f"gave nothing for {PATIENCE:.0f} s before the end that it had",
                where=where,
                remedy="see whether the brokers run, and run this again",
            )
        yield polled


def sampled(reader: Reader, bounds: Mapping[Spot, Bounds]) -> list[bytes]:
    """Give some of the first messages; none where there are none."""
    found: list[bytes] = []
    starts = {spot: one.first for spot, one in bounds.items() if one.first < one.last}
    for spot, start in sorted(starts.items()):
        reader.assign({spot: start})
        for polled in _until(reader, {spot: min(start + _SAMPLE, bounds[spot].last)}, str(spot)):
            found += [value for one in polled.values() for value in one.values if value is not None]
        if found:
            return found[:_SAMPLE]
    return found


def _fragment(address: Address, spot: Spot, span: Bounds, known: tuple[str, int]) -> Fragment:
    form, mean = known
    return Fragment(
        replace(address, topics=(spot.topic,)).uri,
        f"{spot.partition}@{span.first}-{span.last}",
        size=(span.last - span.first) * mean,
        extra=(
            ("topic", spot.topic),
            ("partition", spot.partition),
            ("start", span.first),
            ("end", span.last),
            ("format", form),
        ),
    )
