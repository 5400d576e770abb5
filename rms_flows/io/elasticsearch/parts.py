"""What a search finds in parts that can be read apart: the same documents in each, whoever looks and when."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from rms_flows.io.contract import Window
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.pages import WHOLE, Search

ROWS: Final = 200_000
"""Documents of a part, about: enough for its start not to tell, few enough to be a share of the work."""

_BUCKETS: Final = 1_000
_INDICES: Final = 10_000
_DAY: Final = 86_400_000


@dataclass(frozen=True, slots=True)
class Part:
    """Some documents.

    Args:
        key: Names them within the source.
        rows: How many there are.
        search: How they are found.
    """

    key: str
    rows: int
    search: Search


@dataclass(frozen=True, slots=True)
class Span:
    """Documents whose time lies in [start, end), milliseconds since 1970."""

    start: int
    end: int
    rows: int


@dataclass(frozen=True, slots=True)
class Period:
    """What is wanted of documents by their time.

    Args:
        time: Field of the time, a date in all indices.
        window: What is wanted; what has no time for the server may have one for a decoder.
        local: Stamps without a zone may not be UTC, which the server takes them for.
    """

    time: str
    window: Window
    local: bool

    @property
    def inside(self) -> dict[str, Any]:
        """The clause that is true of documents in the window."""
        return between(self.time, *bounds(self.window, local=self.local))

    @property
    def lacking(self) -> dict[str, Any]:
        """The clause that is true of documents that the server knows no time of."""
        return {"bool": {"must_not": {"exists": {"field": self.time}}}}


@dataclass(frozen=True, slots=True)
class Extent:
    """How many documents a search finds.

    Args:
        inside: Those of the window.
        apart: Those that the server knows no time of.
        first: The first time of the window, in milliseconds since 1970; None where there is none.
        last: The last one.
    """

    inside: int
    apart: int = 0
    first: int | None = None
    last: int | None = None

    @property
    def rows(self) -> int:
        """All that would be read."""
        return self.inside + self.apart


def measured(
    cluster: Cluster, search: Search, period: Period | None, patience: float | None = None
) -> Extent:
    """Count what a search finds in a period, and tell from when to when, by one question.

    A question of many scans takes the server long, so it is not asked twice, to count and then to divide.

    Raises:
        RmsError: The cluster can't answer, or not within its patience (seconds).
    """
    if period is None:
        said = cluster.call("POST", f"/{search.index}/_count", {"query": search.query}, patience=patience)
        return Extent(int(said.json(dict)["count"]))
    ends = {word: {word: {"field": period.time}} for word in ("min", "max")}
    asked = {"inside": {"filter": period.inside, "aggs": ends}, "lacking": {"filter": period.lacking}}
    known = _aggregated(cluster, search, asked, patience)
    inside, apart = known["inside"], known["lacking"]["doc_count"]
    first, last = (inside[word]["value"] for word in ("min", "max"))
    if first is None:
        return Extent(inside["doc_count"], apart)
    return Extent(inside["doc_count"], apart, int(first), int(last))


def by_time(cluster: Cluster, search: Search, period: Period, known: Extent) -> list[Part]:
    """Divide a period into spans of time, for a stream one, and set apart what has no time.

    Args:
        cluster: Who answers.
        search: What to divide.
        period: Of what time.
        known: How much of it there is.
    """
    wanted, lacking = narrowed(search, period.inside), narrowed(search, period.lacking)
    apart = Part(f"no {period.time}", known.apart, replace(lacking, order=None))
    if search.order:  # positions count documents, and where spans end depends on all of them
        return [Part("", known.inside, wanted), apart]
    whole = Span(0, 0, 0)
    if known.first is not None and known.last is not None:
        whole = Span(known.first, known.last + 1, known.inside)
    found = [
        Part(f"{one.start}-{one.end}", one.rows, narrowed(search, between(period.time, one.start, one.end)))
        for one in _joined(_divided(cluster, wanted, period.time, whole))
    ]
    return [*found, apart]


def by_index(cluster: Cluster, search: Search) -> list[Part]:
    """Take each index for a part."""
    counts = {"indices": {"terms": {"field": "_index", "size": _INDICES}}}
    found = _aggregated(cluster, search, counts)["indices"]["buckets"]
    rows = {one["key"]: one["doc_count"] for one in found}
    return [Part(index, rows[index], replace(search, index=index)) for index in sorted(rows)]


def bounds(window: Window, *, local: bool) -> tuple[int | None, int | None]:
    """Give a window in whole milliseconds, none of it left out.

    Example:
        >>> bounds(Window(1_500, 2_500), local=False), bounds(Window(end=0), local=True)
        ((1, 3), (None, 86400000))
    """
    spare = _DAY if local else 0
    start = None if window.start is None else window.start // 1_000 - spare
    end = None if window.end is None else -(-window.end // 1_000) + spare
    return start, end


def narrowed(search: Search, clause: Mapping[str, Any]) -> Search:
    """Ask for what a clause is true of, too."""
    return replace(search, filters=[*search.filters, clause])


def between(time: str, start: int | None, end: int | None) -> dict[str, Any]:
    """Write a clause that is true of times of [start, end), milliseconds since 1970."""
    ends = {word: bound for word, bound in (("gte", start), ("lt", end)) if bound is not None}
    return {"range": {time: {**ends, "format": "epoch_millis"}}}


def _aggregated(
    cluster: Cluster, search: Search, aggregations: Mapping[str, Any], patience: float | None = None
) -> dict[str, Any]:
    body = {"size": 0, "track_total_hits": False, "query": search.query, "aggs": aggregations}
    said = cluster.call("POST", f"/{search.index}/_search", body, WHOLE, patience=patience)
    found: dict[str, Any] = said.json(dict)["aggregations"]
    return found


def _divided(cluster: Cluster, search: Search, time: str, whole: Span) -> Iterator[Span]:
    """Divide a span of what a search finds into shorter ones where it has more than `ROWS` documents."""
    if whole.rows <= ROWS or whole.end - whole.start == 1:
        yield from [whole] * (whole.rows > 0)
        return
    step = -(-(whole.end - whole.start) // _BUCKETS)
    histogram = {
        "field": time,
        "fixed_interval": f"{step}ms",
        "offset": f"{whole.start % step}ms",
        "min_doc_count": 1,
    }
    inside = narrowed(search, between(time, whole.start, whole.end))
    for bucket in _aggregated(cluster, inside, {"spans": {"date_histogram": histogram}})["spans"]["buckets"]:
        first = int(bucket["key"])
        yield from _divided(cluster, search, time, Span(first, first + step, bucket["doc_count"]))


def _joined(short: Iterator[Span]) -> Iterator[Span]:
    """Join spans, with what lies between, as long as they are not too many documents."""
    held: Span | None = None
    for span in short:
        if held is not None and held.rows + span.rows > ROWS:
            yield Span(held.start, span.start, held.rows)
            held = None
        held = span if held is None else Span(held.start, span.end, held.rows + span.rows)
    if held is not None:
        yield held
