"""Indices of Elasticsearch, their documents decoded as the records of files are."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from rms_flows.decode import FORMATS, format_named
from rms_flows.decode.contract import Context, Decoded, Format, Options, nothing_new
from rms_flows.decode.driver import Inlet
from rms_flows.decode.framing import Frame
from rms_flows.errors import SourceError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.fields import Fields, read
from rms_flows.io.elasticsearch.hits import Page, hits, page
from rms_flows.io.elasticsearch.index_fields import IndexFields
from rms_flows.io.elasticsearch.pages import BYTES, MOST, WHOLE, Search, pages
from rms_flows.io.elasticsearch.parts import Extent, Part, Period, by_index, by_time, narrowed
from rms_flows.io.elasticsearch.pushdown import GIVEN, Cost, Pushed, Question, pushed
from rms_flows.io.elasticsearch.tail import tail

_SAMPLE: Final = 100
"""Documents by which a format is guessed and the size of all is estimated."""

_Mappings = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ElasticsearchSource:
    """The documents of an index, or of all that a pattern names.

    Guarantee: each document that was there when its fragment was begun comes once, also where the server was
    killed meanwhile, and with the same id whenever it is read: its own `event.id`, else one made of index and
    `_id`. What our sink wrote comes back as it was, envelope included; any other document goes through the
    decoder of its format, as a record of a file does, and what can't be decoded is a dead letter with its
    bytes. Where a date says when an event was, no more than the period that is asked for is read, in parts of
    about 200,000 documents.

    Documents come whole, whichever columns are asked for: a server that leaves fields out takes twice as long
    to answer, and writes numbers anew (`1.50` becomes `1.5`).

    Args:
        address: Where they lie; its index may be a pattern.
        options: How documents are read; without a format it is guessed from some of them.
        endless: Go on with what is written, see `tail`; documents without a date are not found then.
    """

    address: Address
    options: Options = field(default_factory=Options)
    endless: bool = False

    @property
    def uri(self) -> str:
        """The address; it holds no secrets."""
        return f"follow:{self.address.uri}" if self.endless else self.address.uri

    def fragments(self, request: Request) -> list[Fragment]:
        """List spans of time, else indices; none where there is no document.

        Raises:
            SourceError: The cluster can't be read, there is no such index, or the indices contradict each
                other in what a stream or a window needs.
        """
        cluster = self._cluster()
        cluster.check()
        mappings = self._mappings(cluster)
        fields = read(mappings, self.uri)
        sample = self._sample(cluster)
        known = self._format(sample, archived=fields.archived)
        time = self._time(fields, known, ordered=request.ordered)
        search = Search(
            self.address.index,
            order=time if request.ordered else None,
            nanoseconds=time is not None and fields.nanoseconds(time),
        )
        parts = [Part("", 1, search)]
        if not self.endless:
            period = self._period(fields, time, request)
            plan, extent = self._pushed(cluster, mappings, sample, request, period)
            search = search if plan.query is None else narrowed(search, plan.query)
            parts = by_index(cluster, search) if period is None else by_time(cluster, search, period, extent)
        mean = _mean(sample)
        return [self._fragment(part, known, mean, archived=fields.archived) for part in parts if part.rows]

    def explain(self, request: Request) -> Pushed:
        """Tell which documents are asked for, and what that saves; raises SourceError."""
        cluster = self._cluster()
        cluster.check()
        mappings, sample = self._mappings(cluster), self._sample(cluster)
        fields = read(mappings, self.uri)
        time = self._time(fields, self._format(sample, archived=fields.archived), ordered=request.ordered)
        return self._pushed(cluster, mappings, sample, request, self._period(fields, time, request))[0]

    def _period(self, fields: Fields, time: str | None, request: Request) -> Period | None:
        if time is None:
            return None
        return Period(time, request.window, not fields.archived and self.options.timezone is not None)

    def _pushed(
        self,
        cluster: Cluster,
        mappings: _Mappings,
        sample: Sequence[bytes],
        request: Request,
        period: Period | None,
    ) -> tuple[Pushed, Extent]:
        archived = read(mappings, self.uri).archived
        known = self._format(sample, archived=archived)
        given = GIVEN if self.options.dataset or not archived else GIVEN - {"event.dataset"}
        looks = request.looks_for() if request.looks_for is not None and not request.ordered else None
        why = "every event matters to the flow" if looks is None else ""
        if not archived and known.name != "json":
            why = f"the decoder of {known.name} gives fields that documents don't have"
        fields = IndexFields(tuple(one["mappings"] for one in mappings.values()), archived, given)
        mean = _mean(sample)
        question = Question(cluster, self.address.index, period)
        return pushed(question, fields, why or looks or (), Cost(mean, _page(mean)))

    def columns(self) -> frozenset[str] | None:
        """Name the fields that documents of ours have; None for others, or where a mapping does not say."""
        fields = read(self._mappings(self._cluster()), self.uri)
        return frozenset(fields.kinds) if fields.archived and fields.whole else None

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """Read the documents of a fragment, a page a batch; raises SourceError."""
        extra = dict(fragment.extra)
        search, archived = Search(**json.loads(extra["search"])), extra["archived"]
        options = Options(dataset=self.options.dataset) if archived else self.options
        inlet = Inlet(
            Context(search.index, options, request.columns, archived=archived), FORMATS[extra["format"]]
        )
        guessed = None if self.options.format or archived else extra["format"]
        for one, place in self._arriving(search, request):
            if one is None:
                yield nothing_new(place)
                continue
            decoded = inlet.take(Frame(one.records, 0, [], one.records.size(), one.origins))
            yield replace(decoded, guessed=guessed, place=place)
            guessed = None

    def _arriving(self, search: Search, request: Request) -> Iterator[tuple[Page | None, int | None]]:
        """Give pages, and where there is no end also what tells how far nothing was missed."""
        if self.endless:
            yield from tail(self._cluster(), search, request, self.uri)
        else:
            yield from ((one, None) for one in pages(self._cluster(), search, self.uri))

    def _cluster(self) -> Cluster:
        return Cluster(self.address.url, self.uri, SourceError)

    def _mappings(self, cluster: Cluster) -> _Mappings:
        said: _Mappings = cluster.call("GET", f"/{self.address.index}/_mapping").json(dict)
        return said

    def _sample(self, cluster: Cluster) -> Sequence[bytes]:
        body = {"size": _SAMPLE, "sort": ["_doc"], "track_total_hits": False}
        said = cluster.call("POST", f"/{self.address.index}/_search", body, WHOLE)
        return list(page(hits(said.body, self.uri)).records)

    def _format(self, sample: Sequence[bytes], *, archived: bool) -> Format:
        """Tell the format of documents: ours are observations, whatever their records once were."""
        if archived:
            return FORMATS["json"]
        if self.options.format is None:
            head = b"\n".join(sample)
            documents = [one for one in FORMATS.values() if one.framing == "documents"]
            return max(documents, key=lambda one: one.sniff(head))
        known = format_named(self.options.format, self.uri)
        if known.framing != "documents":
            raise SourceError(
                f"its documents are JSON, and {known.name} is a format of lines",
                where=self.uri,
                remedy="name the format that they have, such as ?format=json, or leave it to be guessed",
            )
        return known

    def _time(self, fields: Fields, known: Format, *, ordered: bool) -> str | None:
        """Name the date that says when events were; None where there is none."""
        declared = None if fields.archived else self.options.time_column
        time = fields.time((declared,) if declared else known.times)
        if ordered and time is None:
            raise SourceError(
                "no date in its mapping says when its documents were, and a stream needs their order",
                where=self.uri,
                remedy="map one as date and index them again, or name it with time_column=",
            )
        return time

    def _fragment(self, part: Part, known: Format, mean: int, *, archived: bool) -> Fragment:
        search = json.dumps(asdict(replace(part.search, size=_page(mean))))
        extra = (("format", known.name), ("archived", archived), ("search", search))
        return Fragment(self.uri, part.key, rows=part.rows, size=part.rows * mean, extra=extra)


def _mean(sample: Sequence[bytes]) -> int:
    """Tell how large documents are, about, in bytes."""
    return max(1, sum(map(len, sample)) // max(1, len(sample)))


def _page(mean: int) -> int:
    """Tell how many documents of a size make a page."""
    return min(MOST, max(1, BYTES // mean))
