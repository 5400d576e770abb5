"""A server that is asked by HTTP, its records decoded as those of files are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from rms_flows.decode.contract import Decoded, Options
from rms_flows.errors import DocumentError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.poll.address import Address, Polled
from rms_flows.io.poll.login import login

_HEADED = ("csv", "zeek")
"""Formats whose records can't be read without the first one."""


@dataclass(frozen=True, slots=True)
class PollSource:
    """The records that a server gives, asked once by a replay, and again and again by a stream.

    Guarantee: a record comes once, however pages fall and however often the server gives it, and with the
    same id whenever it is read: its own `event.id`, else one made of the place on the server and the record's
    bytes. So two records that are equal to the byte are one event; what comes again is counted as a
    duplicate. A record that changed is another event; where it has an `event.id`, a conflict. A question that
    is not answered in full gives a stream nothing and is asked again; an answer that can't be used is a dead
    letter, once, and the place from which to ask stays where it was. What the server forgets before it is
    asked is not seen.

    Args:
        address: What is asked.
        options: How records are read; without a format it is guessed from the first of them.
        polled: How to ask.
        endless: A stream reads.
    """

    address: Address
    options: Options = field(default_factory=Options)
    polled: Polled = field(default_factory=Polled)
    endless: bool = False

    def __post_init__(self) -> None:
        """Refuse formats that can't be read from the middle on."""
        self.check(self.options.format)

    def check(self, name: str | None) -> None:
        """Refuse a format; raises DocumentError."""
        if name in _HEADED:
            raise DocumentError(
                f"{name} needs a first line that tells its columns, and a server tells what comes later",
                where=self.uri,
                remedy="ask it for JSON instead",
            )

    @property
    def uri(self) -> str:
        """The address; it holds no secrets."""
        return self.address.url

    def fragments(self, request: Request) -> list[Fragment]:
        """Give the server, which is not asked yet; raises DocumentError where we can't say who we are."""
        del request
        login(self.polled, self.address.url)
        return [Fragment(self.uri)]

    def columns(self) -> None:
        """Know nothing: what records hold is seen when they are read."""

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Ask; raises SourceError, DecodeError for no format."""
        del fragment
        # Here, as the client takes a moment to load, and nobody needs it who asks no server.
        from rms_flows.io.poll.bounded import bounded  # noqa: PLC0415
        from rms_flows.io.poll.tail import Tail  # noqa: PLC0415

        yield from Tail(self, request).run() if self.endless else bounded(self, request)
