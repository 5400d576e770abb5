"""A server that is asked for ever: each poll asks for what came since, and what it gives comes once."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from rms_flows import web
from rms_flows.decode.contract import Asked, Decoded, nothing_new
from rms_flows.errors import DocumentError
from rms_flows.io.contract import Request
from rms_flows.io.poll import cursor as cursors
from rms_flows.io.poll.address import with_parameters
from rms_flows.io.poll.aside import aside
from rms_flows.io.poll.client import Server
from rms_flows.io.poll.inflow import Inflow, in_order
from rms_flows.io.poll.known import Known
from rms_flows.io.poll.pages import Page, pages
from rms_flows.io.poll.trouble import PollError
from rms_flows.model import microseconds

if TYPE_CHECKING:
    from rms_flows.io.poll.source import PollSource

_LOG: Final = logging.getLogger(__name__)

PAUSE: Final = 1.0
"""Seconds until a question that failed is asked again; twice as long after each further failure."""

LONGEST_PAUSE: Final = 60.0
"""Seconds until then at most, unless the server asks for more."""

GATHERED: Final = 64 * 1024 * 1024
"""Bytes of pages that are put in order together; of more, those that came first are told first."""


def pause(failures: int) -> float:
    """Give the seconds until a question is asked again, drawn at random so that not all ask at once.

    Args:
        failures: How often it failed.
    """
    return web.pause(failures, PAUSE, LONGEST_PAUSE)


class Tail:
    """Asks a server again and again, from a thread of its own, and gives what is new in the order of time.

    The answer to a question is put in order as a whole, all its pages, as servers like to give the latest
    first. Of a question that fails nothing is given: the next one asks for it again.

    Args:
        source: Who asks.
        request: Says where to begin and how late events may come.
    """

    def __init__(self, source: PollSource, request: Request) -> None:
        self._source, self._poll = source, source.polled.poll
        self._inflow, self._known = Inflow(source, request), Known()
        self._overlap = 0
        if self._poll.cursor is not None:
            self._overlap = cursors.overlap(self._poll.cursor, request.lateness or 0)
        self._value = request.since or None  # the highest of the cursor
        self._goes_on: int | None = None  # an answer was full: ask from here on at once
        self._validators: tuple[str, Mapping[str, str]] = ("", {})
        self._interval = microseconds(self._poll.interval) / 1e6
        self._due = self._answered_at = 0.0
        self._failures = 0
        self._trouble: str | None = None
        self._told: set[str] = set()  # kinds of answers that were dead letters since the last good one

    def run(self) -> Iterator[Decoded]:
        """Ask for ever; raises SourceError where the first question shows what a person has to mend."""
        while True:
            while time.monotonic() < self._due:
                yield self._nothing(Asked(trouble=self._trouble))
            yield from self._ask()

    def _nothing(self, asked: Asked) -> Decoded:
        return replace(nothing_new(self._place), asked=asked)

    @property
    def _place(self) -> int:
        return self._value or 0

    def _question(self) -> str:
        """Give the URL to ask: from before the highest value on."""
        cursor, url = self._poll.cursor, self._source.address.url
        if cursor is None:
            return url
        if self._goes_on is not None:
            value: int | None = cursors.before(cursor, self._goes_on, 0)
        elif self._value is not None:
            value = cursors.before(cursor, self._value, self._overlap)
        else:
            value = cursors.begin(cursor, None)
        return (
            url if value is None else with_parameters(url, {cursor.parameter: cursors.written(cursor, value)})
        )

    def _ask(self) -> Iterator[Decoded]:
        began, url = time.monotonic(), self._question()
        validators = self._validators[1] if self._validators[0] == url else {}
        self._known.begin()
        found: list[bytes] = []
        count = fresh = size = 0
        answer = None
        try:
            for page in aside(self._pages(url, validators)):
                if page is None:
                    yield self._nothing(Asked(trouble=self._trouble))
                    continue
                new = self._known.fresh(page.records)
                found += new
                answer, count, fresh = page.answer, count + len(page.records), fresh + len(new)
                size += sum(map(len, new))
                if size > GATHERED:
                    yield self._given(found)
                    self._known.keep()
                    found, size = [], 0
            decoded = self._given(found)
        except PollError as error:
            yield from self._failed(error)
            return
        if answer is not None and self._poll.next is None:
            self._validators = (url, answer.validators)
        decoded.counts.duplicates += count - fresh
        yield self._good(decoded, url, began, count)

    def _pages(self, url: str, validators: Mapping[str, str]) -> Generator[Page]:
        try:
            with Server(self._source.polled, url) as server:
                yield from pages(partial(self._inflow.ask, server), url, self._poll, validators)
        except DocumentError as error:  # a file that is being replaced will be there again
            raise PollError(f"{error.where}: {error.problem}", error.remedy or "mend it") from None

    def _given(self, found: Sequence[bytes]) -> Decoded:
        """Decode what is new, and note how far it goes."""
        parts = []
        for given in self._inflow.take(found, time.time_ns() // 1_000):
            parts.append(given.decoded)
            self._known.note(given.records, given.values)
        return replace(in_order(parts), place=self._place)

    def _good(self, decoded: Decoded, url: str, began: float, count: int) -> Decoded:
        """End a question that was answered: say how far all has come, and when to ask again."""
        reached, cursor = self._known.highest, self._poll.cursor
        self._known.keep()
        most = self._poll.limit is not None and count >= self._poll.limit
        full = most
        if reached is not None:  # there is more where it ends before what was there already
            full = full or (self._value is not None and reached < self._value)
            self._value = reached if self._value is None else max(reached, self._value)
        self._goes_on = reached if full and cursor is not None and self._poll.next is None else None
        stuck = self._goes_on is not None and self._question() == url
        self._goes_on = None if stuck else self._goes_on
        silent = began - self._answered_at if self._answered_at else 0.0
        self._answered_at, self._failures, self._told = began, 0, set()
        self._due = 0.0 if self._goes_on is not None else began + self._interval
        self._trouble = _STUCK if stuck and most else None
        asked = Asked(
            1, 0, 0.0 if decoded.rows.num_rows else silent, self._trouble, whole=self._goes_on is None
        )
        return replace(decoded, place=self._place, asked=asked)

    def _failed(self, error: PollError) -> Iterator[Decoded]:
        """End a question that was not answered."""
        if not error.passes and not self._answered_at:
            raise error.error(self._source.uri) from None
        self._failures += 1
        self._trouble = error.problem
        wait = max(error.wait or 0.0, pause(self._failures))
        self._due = time.monotonic() + wait
        _LOG.warning("%s; it is asked again in %.0f s", error.error(self._source.uri), wait)
        asked = Asked(0, 1, 0.0, self._trouble)
        if error.letter is not None and error.letter.kind not in self._told:
            self._told.add(error.letter.kind)
            letter = self._inflow.letter(error.letter, time.time_ns() // 1_000)
            yield replace(letter, place=self._place, asked=asked)
        else:
            yield self._nothing(asked)


_STUCK: Final = (
    "as many records as an answer holds have one value of the cursor: those behind them can't be asked for; "
    "raise limit, or have the server give pages and declare next"
)
