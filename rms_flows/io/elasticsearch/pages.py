"""Documents of an index as of one moment, page by page, each once, whatever happens in between."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.errors import SourceError
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.hits import Hit, Page, hits, next_page, page, whole_page

KEEP_ALIVE: Final = "5m"
"""How long the server keeps a point in time from one page to the next."""

MOST: Final = 10_000
"""Most documents of a page that a server gives, unless it is told otherwise."""

BYTES: Final = 8 * 1024 * 1024
"""Bytes that a page should have: of smaller ones the questions tell, larger ones fall out of the caches."""

WHOLE: Final = {"allow_partial_search_results": "false"}
"""What a search says that wants all or an error."""

_SORTED: Final = b'"sort":['
"""Stands once in an answer for each document, and where documents say so themselves."""

_NOT_FOUND: Final = 404

_TRIES: Final = 5
"""Points in time that may be lost one after the other before one gave a page."""


class ContextLostError(Exception):
    """The server does not know a point in time any more."""


@dataclass(frozen=True, slots=True)
class Search:
    """Which documents.

    Args:
        index: Names or a pattern.
        filters: Clauses of the query that all have to be true.
        size: Documents of a page.
        order: A date field to sort by; without it documents come as they lie, more than twice as fast.
        nanoseconds: The field is kept in nanoseconds in some of the indices.
    """

    index: str
    filters: Sequence[Mapping[str, Any]] = ()
    size: int = MOST
    order: str | None = None
    nanoseconds: bool = False

    @property
    def query(self) -> dict[str, Any]:
        """The filters as one query."""
        return {"bool": {"filter": list(self.filters)}} if self.filters else {"match_all": {}}

    @property
    def sort(self) -> list[Any]:
        """What the server sorts by, in whole milliseconds where that is the time."""
        if self.order is None:
            return ["_shard_doc"]
        unit = {"numeric_type": "date"} if self.nanoseconds else {}
        return [{self.order: {"order": "asc", "unmapped_type": "date", **unit}}]


def pages(cluster: Cluster, search: Search, where: str) -> Iterator[Page]:
    """Give all documents, each once, in the order of time and name where the search has an order.

    Where the server has forgotten the point in time, another one takes its place. Documents don't lie in the
    same order there, so those that were given are known by their names and left out.

    Raises:
        SourceError: The server can't answer, or forgets before a page is read.
    """
    give = _ordered if search.order else _as_they_lie
    given: list[pa.StringArray] = []
    lost = 0
    while lost < _TRIES:
        before = len(given)
        try:
            for one in give(cluster, search, where, list(given)):
                given.append(one.origins)
                if len(one):
                    yield one
        except ContextLostError:
            lost = lost + 1 if len(given) == before else 1
            continue
        return
    raise SourceError(
        f"the server forgot {_TRIES} points in time before it gave a page",
        where=where,
        remedy=f"a page takes it longer than {KEEP_ALIVE}, or something closes its contexts: see its log",
    )


def _as_they_lie(
    cluster: Cluster, search: Search, where: str, given: Sequence[pa.StringArray]
) -> Iterator[Page]:
    for answer in answers(cluster, search):
        one = whole_page(answer, search.size, where)
        yield one.without(given) if given else one


def _ordered(cluster: Cluster, search: Search, where: str, given: Sequence[pa.StringArray]) -> Iterator[Page]:
    """Order documents of one time by their names: what the server gives them in differs from time to time."""
    for ready in _whole_times(hits(answer, where) for answer in answers(cluster, search)):
        ready.sort(key=lambda hit: (hit.time, hit.index, hit.id))
        one = page(ready, np.array([hit.time for hit in ready]))
        yield one.without(given) if given else one


def _whole_times(found: Iterable[list[Hit]]) -> Iterator[list[Hit]]:
    """Hold back documents of a page's last time until all of that time are there."""
    held: list[Hit] = []
    for some in found:
        latest = some[-1].time if some else None
        ready = [hit for hit in [*held, *some] if hit.time != latest]
        held = [hit for hit in [*held, *some] if hit.time == latest]
        if ready:
            yield ready
    if held:
        yield held


def answers(cluster: Cluster, search: Search) -> Iterator[bytes]:
    """Ask for all documents as of now; the next page is under way while one is worked on."""
    body: dict[str, Any] = {"index_filter": search.query} if search.filters else {}
    opened = cluster.call("POST", f"/{search.index}/_pit", body, {"keep_alive": KEEP_ALIVE, **WHOLE})
    point = opened.json(_Point).id
    body = {
        "size": search.size,
        "query": search.query,
        "sort": search.sort,
        "track_total_hits": False,
        "pit": {"id": point, "keep_alive": KEEP_ALIVE},
    }

    def ask(after: list[Any] | None) -> bytes:
        more = {} if after is None else {"search_after": after}
        said = cluster.call("POST", "/_search", body | more, WHOLE, accept={_NOT_FOUND})
        if said.status == _NOT_FOUND:
            raise ContextLostError
        return said.body

    with ThreadPoolExecutor(1, "rms-elasticsearch") as ahead:
        under_way = ahead.submit(ask, None)
        try:
            while True:
                answer = under_way.result()
                renewed, after = next_page(answer)
                if renewed is not None:
                    body["pit"]["id"] = point = renewed
                if answer.count(_SORTED) < search.size:
                    after = None
                if after is not None:
                    under_way = ahead.submit(ask, after)
                yield answer
                if after is None:
                    return
        finally:
            under_way.cancel()
            if not sys.is_finalizing():
                with suppress(SourceError):  # it ends by itself
                    cluster.call("DELETE", "/_pit", {"id": point}, accept={_NOT_FOUND}, patience=0)


class _Point(msgspec.Struct):
    id: str
