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
from rms_flows.schema import ENVELOPE
from rms_flows.sigma.expression import Look

GIVEN: Final = frozenset(ENVELOPE) | {"host.geo.name", "host.geo.location"}
"""Columns that may come from elsewhere than the document; without a declared dataset, that is in it."""

SCANS: Final = 300
"""Clauses that look at every text of a field, as many as take about as long as to read all documents."""

WORTH: Final = 0.8
"""Share of the documents from which on it is quicker to take them all."""

_REFUSED: Final = frozenset({400, 413, 500})


@dataclass(frozen=True, slots=True)
class Pushed:
    """What is asked of the server.

    Args:
        query: The query; None asks for all documents.
        level: What it says: `rules`, `log sources`, or `nothing`.
        found: Documents that it finds.
        total: Documents that there are.
        exact: Of each rule by name, whether the query finds no more than the rule does.
        reasons: Field → why what is asked of it could not be said exactly.
        notes: Why it does not say more.
    """

    query: Query | None
    level: str
    found: int
    total: int
    exact: Mapping[str, bool]
    reasons: Mapping[str, str]
    notes: tuple[str, ...]


def pushed(cluster: Cluster, index: str, fields: IndexFields, looks: Sequence[Look] | None) -> Pushed:
    """Find the narrowest query that the server answers, and that saves enough.

    Args:
        cluster: Who answers.
        index: The index pattern.
        fields: How its fields are indexed.
        looks: What is looked for; None: every document matters.
    """
    total = _count(cluster, index, None) or 0
    if looks is None:
        return Pushed(None, "nothing", total, total, {}, {}, ("every event matters to the flow",))
    coarse, fine = Narrowing(fields), Narrowing(fields)
    by_rules, exact = _by_rules(fine, looks)
    levels = {
        "log sources": _whole(coarse, _by_log_sources(coarse, looks)),
        "rules": _whole(fine, by_rules),
    }
    best = Pushed(None, "nothing", total, total, exact, fine.reasons, ())
    notes = []
    for level, query in levels.items():
        try:
            best = replace(best, query=query, level=level, found=_saving(cluster, index, query, best))
        except _NotWorthError as error:
            notes.append(f"by {level}: {error}")
    return replace(best, notes=tuple(notes))


class _NotWorthError(Exception):
    """A query does not save enough; says why."""


def _saving(cluster: Cluster, index: str, query: Query, best: Pushed) -> int:
    """Count what a query finds; raises _NotWorthError where it is not better than the best so far."""
    if query == ALL:
        raise _NotWorthError("nothing can be left out")
    scans = sum(kind in {"wildcard", "regexp"} for kind, _ in clauses(query))
    if scans * best.total > SCANS * best.found:
        raise _NotWorthError(
            f"{scans:,} looks at all texts of a field take longer than to read {best.found:,} documents"
        )
    found = _count(cluster, index, query)
    if found is None:
        raise _NotWorthError("the server refused the query")
    if found > WORTH * best.found:
        raise _NotWorthError(f"{found:,} of {best.found:,} documents can't be left out")
    return found


def _whole(narrowing: Narrowing, query: Query) -> Query:
    """Add what the index can't tell of the fields that the query asks for."""
    return query if query == ALL else some([query, narrowing.aside])


def _by_rules(narrowing: Narrowing, looks: Sequence[Look]) -> tuple[Query, dict[str, bool]]:
    """Ask for what the rules look for, those of one log source together."""
    exact: dict[str, bool] = {}
    found: list[Query] = []
    ordered = sorted(looks, key=lambda look: repr(look.route))
    for route, group in groupby(ordered, key=attrgetter("route")):
        details = []
        for look in group:
            bounds = narrowing.bounds(look.what)
            details.append(bounds.over)
            exact[look.name] = bounds.exact
        where = ALL if route is None else narrowing.bounds(route).over
        found.append(every([where, some(details)]))
    return some(found), exact


def _by_log_sources(narrowing: Narrowing, looks: Sequence[Look]) -> Query:
    routes = {look.route for look in looks}
    return some(ALL if route is None else narrowing.bounds(route).over for route in routes)


def _count(cluster: Cluster, index: str, query: Query | None) -> int | None:
    """Count what a query finds; None where the server can't answer it."""
    body = None if query is None else {"query": query}
    said = cluster.call("POST", f"/{index}/_count", body, accept=_REFUSED if query else ())
    counted = said.json(dict) if said.status < min(_REFUSED) else {}
    failed = counted.get("_shards", {}).get("failed", 0)
    return None if failed or not counted else int(counted["count"])
