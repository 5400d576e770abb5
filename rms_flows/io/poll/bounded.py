"""A server that is asked once for all that it has: for a replay."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

from rms_flows.decode.contract import Counts, Decoded, nothing_new
from rms_flows.io.contract import Request, Window
from rms_flows.io.poll import cursor as cursors
from rms_flows.io.poll.address import with_parameters
from rms_flows.io.poll.client import Server
from rms_flows.io.poll.inflow import Inflow
from rms_flows.io.poll.known import Known
from rms_flows.io.poll.pages import Ask, Page, pages
from rms_flows.io.poll.tail import pause
from rms_flows.io.poll.trouble import PollError
from rms_flows.model import Poll

if TYPE_CHECKING:
    from rms_flows.io.poll.source import PollSource

PATIENCE: Final = 120.0
"""Seconds for which a question is asked again: a server that was restarted is back by then."""

TRIES: Final = 3
"""Answers that can't be used until it is plain that others won't come."""


def bounded(source: PollSource, request: Request) -> Iterator[Decoded]:
    """Give what a server has, a batch a page.

    Where an answer has no pages but the server can be asked for what comes after something, it is asked until
    nothing new comes, or what it gives is later than the beginning of this, or than the window.

    Raises:
        SourceError: It does not answer, or what it answers can't be used.
    """
    poll, inflow, known = source.polled.poll, Inflow(source, request), Known()
    url: str | None = _first(source, request.window)
    last = min(request.window.end or _NEVER, time.time_ns() // 1_000)
    with Server(source.polled, source.address.url) as server:
        ask = _patient(partial(inflow.ask, server), source.uri)
        while url is not None:
            count = fresh = 0
            known.begin()
            try:
                for page in pages(ask, url, poll):
                    new = known.fresh(page.records)
                    count, fresh = count + len(page.records), fresh + len(new)
                    yield _repeated(len(page.records) - len(new))
                    for given in inflow.take(new, None):
                        known.note(given.records, given.values)
                        yield given.decoded
                    known.keep()
            except PollError as error:
                raise error.error(source.uri) from None
            url = _next(source, url, known.highest if fresh else None, last, full=_full(poll, count))


_NEVER: Final = 1 << 62


def _first(source: PollSource, window: Window) -> str:
    """Give the first question: from the beginning of the window on, less what events may be ahead."""
    url, cursor = source.address.url, source.polled.poll.cursor
    if cursor is None:
        return url
    line = None if window.start is None else window.start - source.options.max_ahead
    start = cursors.begin(cursor, line)
    parameters = {} if start is None else {cursor.parameter: cursors.written(cursor, start)}
    if cursor.until is not None and window.end is not None:
        parameters[cursor.until] = cursors.written(cursor, window.end + cursors.unit(cursor))
    return with_parameters(url, parameters)


def _full(poll: Poll, count: int) -> bool:
    """Tell whether there may be more than an answer held."""
    return poll.limit is None or count >= poll.limit


def _next(source: PollSource, url: str, reached: int | None, last: int, *, full: bool) -> str | None:
    """Give the question for what comes after an answer; None where nothing does."""
    cursor = source.polled.poll.cursor
    if cursor is None or source.polled.poll.next is not None or reached is None or not full:
        return None
    if cursor.written != "number" and reached >= last:
        return None
    value = cursors.before(cursor, reached, 0)
    following = with_parameters(url, {cursor.parameter: cursors.written(cursor, value)})
    return None if following == url else following


def _repeated(count: int) -> Decoded:
    """Count records that came before."""
    return replace(nothing_new(), counts=Counts(framed=count, duplicates=count))


def _patient(ask: Ask, where: str) -> Ask:
    """Ask again while that can help; raises SourceError where it doesn't."""

    def asked(url: str, validators: Mapping[str, str] | None) -> Page:
        failures, end = 0, time.monotonic() + PATIENCE
        while True:
            try:
                return ask(url, validators)
            except PollError as error:
                failures += 1
                wait = max(error.wait or 0.0, pause(failures))
                hopeless = error.letter is not None and failures >= TRIES
                if not error.passes or hopeless or time.monotonic() + wait > end:
                    raise error.error(where) from None
            time.sleep(wait)

    return asked
