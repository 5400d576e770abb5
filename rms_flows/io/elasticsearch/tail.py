"""Documents as they come, by their time: for those who have nothing that tells the order of arrival."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Final

from rms_flows.io.contract import Request
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.hits import Page
from rms_flows.io.elasticsearch.pages import Search, pages
from rms_flows.io.elasticsearch.parts import between, narrowed

POLL: Final = 1.0
"""Seconds between two questions: as often as indices show what is new, unless they are told otherwise."""

MARGIN: Final = 60_000
"""Milliseconds that a document may be behind the latest, at least; twice the lateness where that is more."""

_SHORT: Final = 5_000
"""Milliseconds that most questions look back; those that look back as far as the margin are four in it."""

_AHEAD: Final = 300_000
"""Milliseconds beyond the clock from which on a time is not believed before it has come."""


def tail(cluster: Cluster, search: Search, request: Request, where: str) -> Iterator[tuple[Page | None, int]]:
    """Give documents in the order of their times, and then those that are added, each once.

    What is written later than its time is found if it is no farther behind the latest than the margin; what
    is farther behind is not seen. The clock bounds what is looked for, so that a document from the future
    does not make all others late; it comes when its time has come.

    Args:
        cluster: Who answers.
        search: Which documents; its `order` is the field of their time.
        request: Says how late they may be and where to begin.
        where: The source, for messages.

    Yields:
        Documents, None where there are none at the moment, and the time, microseconds, from which on a reader
        that begins anew finds all that did not come yet.

    Raises:
        SourceError: As `pages`.
    """
    margin = max(MARGIN, (request.lateness or 0) * 2 // 1_000)
    latest = None if request.since is None else request.since // 1_000 + margin
    known: list[tuple[int, Page]] = []  # what was given, with its last time
    asked = looked_back = float("-inf")
    while True:
        now = time.monotonic()
        if now >= asked + POLL:
            asked, far = now, now >= looked_back + margin / 4_000
            looked_back = now if far else looked_back
            back = margin * 5 // 4 if far else _SHORT
            start = None if latest is None else latest - back
            clause = between(str(search.order), start, _clock() + _AHEAD)
            before = [page.origins for last, page in known if start is not None and last >= start]
            for one in pages(cluster, narrowed(search, clause), where):
                fresh = one.without(before) if before else one
                if fresh.times is None or not len(fresh):
                    continue
                last = int(fresh.times[-1])
                known.append((last, fresh))
                latest = max(min(last, _clock()), latest or last)
                yield fresh, (latest - margin) * 1_000
            known = [(last, page) for last, page in known if latest and last >= latest - margin * 5 // 4]
        yield None, (latest - margin) * 1_000 if latest else 0


def _clock() -> int:
    return int(time.time() * 1_000)
