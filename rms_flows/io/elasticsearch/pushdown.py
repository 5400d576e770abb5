"""What a flow looks for, as a query that a server can answer; coarser where it could not, never wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from operator import attrgetter
from typing import Final

from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.index_fields import IndexFields
from rms_flows.io.elasticsearch.narrow import ALL, Narrowing, Query, clauses, every, some
from rms_flows.io.elasticsearch.pages import Search
from rms_flows.io.elasticsearch.parts import Extent, Period, measured
from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.sigma.expression import Look

GIVEN: Final = frozenset(ENVELOPE) | frozenset(OPTIONAL_ENVELOPE) | {"host.geo.name", "host.geo.location"}
"""Columns that may come from elsewhere than the document; without a declared dataset, that is in it."""

WORTH: Final = 0.8
"""Share of the time from which on what was estimated may as well be slower."""

_SPARE: Final = {"bool": {"must_not": [{"ids": {"values": [f"spare {n}"]}} for n in range(16)]}}
"""Clauses in the place of those that a read adds, of a period and its parts: there is a limit for all."""


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is asked of the server.

    Args:
        query: The query; None asks for all documents.
        level: What it says: `rules`, `log sources`, or `nothing`.
        found: Documents of the period that it finds.
        total: Documents of the period.
        rules: How many rules there are.
        loose: Those for which the query may find more than they do, by name.
        reasons: Field → why what is asked of it could not be said exactly.
        notes: Why it does not say more.
    """

    query: Query | None
    level: str
    found: int
    total: int
    rules: int
    loose: tuple[str, ...]
    reasons: Mapping[str, str]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Question:
    """How much there is, of all or of what a query finds.

    Args:
        cluster: Who answers.
        index: The index pattern.
        period: Of what time; None for all, where no date says when documents were.
    """

    cluster: Cluster
    index: str
    period: Period | None

    def all(self) -> Extent:
        """Count all; raises SourceError."""
        return measured(self.cluster, Search(self.index), self.period)

    def of(self, query: Query) -> Extent | None:
        """Count what a query finds; None where the server can't answer it, or not now.

        A question that is to save work is not asked again, and what else is wrong the read will tell.
        """
        try:
            return measured(self.cluster, Search(self.index, [query, _SPARE]), self.period, patience=0)
        except self.cluster.error:
            return None


def pushed(
    question: Question, fields: IndexFields, looks: Sequence[Look] | str, cost: Cost
) -> tuple[Pushed, Extent]:
    """Find the narrowest query that the server answers, and that saves enough; and how much that finds.

    Args:
        question: Asks the server.
        fields: How the index's fields are indexed.
        looks: What is looked for, or why every document matters.
        cost: What reading takes.

    Raises:
        SourceError: The cluster does not even tell how many documents there are.
    """
    whole = question.all()
    total = whole.rows
    if isinstance(looks, str):
        return Pushed(None, "nothing", total, total, 0, (), {}, (looks,)), whole
    coarse, fine = Narrowing(fields), Narrowing(fields)
    by_rules, loose = _by_rules(fine, looks)
    levels = {
        "log sources": _whole(coarse, _by_log_sources(coarse, looks)),
        "rules": _whole(fine, by_rules),
    }
    best = Pushed(None, "nothing", total, total, len(looks), loose, fine.reasons, ())
    notes = []
    extent = whole
    least = cost.all(total)
    for level, query in levels.items():
        try:
            extent, least = _saving(question, query, total, cost, least)
            best = replace(best, query=query, level=level, found=extent.rows)
        except _NotWorthError as error:
            notes.append(f"by {level}: {error}")
    return replace(best, notes=tuple(notes)), extent


@dataclass(frozen=True, slots=True)
class Cost:
    """What reading takes, about, in microseconds: as measured on one core, documents in the server's memory.

    Args:
        size: Bytes of a document, about.
        page: Documents of a page.
    """

    size: int
    page: int

    @property
    def _one(self) -> float:
        return 3 + self.size / 200

    def all(self, documents: int) -> float:
        """Read documents one after the other, as they lie."""
        return documents * self._one

    def ask(self, scans: int, total: int) -> float:
        """Answer a query once: a scan looks at the text of every document, all else in an index."""
        return 0.15 * scans * total

    def some(self, found: int, scans: int, total: int) -> float:
        """Read what a query finds; each page asks again."""
        return found * (3 + self._one) + self.ask(scans, total) * (1 + found // self.page)


class _NotWorthError(Exception):
    """A query does not save enough; says why."""


def _saving(question: Question, query: Query, total: int, cost: Cost, least: float) -> tuple[Extent, float]:
    """Count what a query finds and tell what reading that takes.

    Raises:
        _NotWorthError: It is not clearly less than the least so far.
    """
    if query == ALL:
        raise _NotWorthError("nothing can be left out")
    scans = sum(kind in {"wildcard", "regexp"} for kind, _ in clauses(query))
    if cost.ask(scans, total) > least:
        raise _NotWorthError(f"to look {scans:,} times at all texts of a field takes longer than to read")
    found = question.of(query)
    if found is None:
        raise _NotWorthError("the server did not answer the query")
    takes = cost.some(found.rows, scans, total)
    if takes > WORTH * least:
        raise _NotWorthError(f"to find {found.rows:,} of {total:,} documents takes as long as to read all")
    return found, takes


def _whole(narrowing: Narrowing, query: Query) -> Query:
    """Add what the index can't tell of the fields that the query asks for."""
    return query if query == ALL else some([query, narrowing.aside])


def _by_rules(narrowing: Narrowing, looks: Sequence[Look]) -> tuple[Query, tuple[str, ...]]:
    """Ask for what the rules look for, those of one log source together."""
    loose: list[str] = []
    found: list[Query] = []
    ordered = sorted(looks, key=lambda look: repr(look.route))
    for route, group in groupby(ordered, key=attrgetter("route")):
        details = []
        for look in group:
            bounds = narrowing.bounds(look.what)
            details.append(bounds.over)
            loose += [look.name] * (not bounds.exact)
        where = ALL if route is None else narrowing.bounds(route).over
        found.append(every([where, some(details)]))
    return some(found), tuple(sorted(loose))


def _by_log_sources(narrowing: Narrowing, looks: Sequence[Look]) -> Query:
    routes = {look.route for look in looks}
    return some(ALL if route is None else narrowing.bounds(route).over for route in routes)
