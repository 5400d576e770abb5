"""What a flow looks for, as a query that a server can answer; coarser where it could not, never wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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

MOST_CLAUSES: Final = 1_000
"""Of a query; every node takes so many, and those with more memory more."""

MOST_SCANS: Final = 100
"""Clauses for which the server looks at every text of a field: more of them take longer than to read all."""

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
    notes: list[str] = []
    exact: dict[str, bool] = {}
    reasons: dict[str, str] = {}
    for level, make in (("rules", _by_rules), ("log sources", _by_log_sources)):
        narrowing = Narrowing(fields)
        query, judged = make(narrowing, looks)
        if level == "rules":
            exact, reasons = judged, narrowing.reasons
        query = some([query, narrowing.aside]) if query != ALL else ALL
        problem = _problem(query)
        found = None if problem else _count(cluster, index, query)
        if found is None:
            notes.append(f"by {level}: {problem or 'the server refused the query'}")
        elif found > WORTH * total:
            notes.append(f"by {level}: {found:,} of {total:,} documents would be read, so all are")
        else:
            return Pushed(query, level, found, total, exact, reasons, tuple(notes))
    return Pushed(None, "nothing", total, total, exact, reasons, tuple(notes))


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


def _by_log_sources(narrowing: Narrowing, looks: Sequence[Look]) -> tuple[Query, dict[str, bool]]:
    routes = {look.route for look in looks}
    return some(ALL if route is None else narrowing.bounds(route).over for route in routes), {}


def _problem(query: Query) -> str | None:
    """Tell why a query is not worth sending."""
    if query == ALL:
        return "nothing can be left out"
    parts = list(clauses(query))
    scans = sum(kind in {"wildcard", "regexp"} for kind, _ in parts)
    if len(parts) > MOST_CLAUSES:
        return f"{len(parts):,} clauses, and a server takes {MOST_CLAUSES:,}"
    if scans > MOST_SCANS:
        return f"{scans:,} clauses look at every text of a field, and more than {MOST_SCANS} take too long"
    return None


def _count(cluster: Cluster, index: str, query: Query | None) -> int | None:
    """Count what a query finds; None where the server can't answer it."""
    body = None if query is None else {"query": query}
    said = cluster.call("POST", f"/{index}/_count", body, accept=_REFUSED if query else ())
    counted = said.json(dict) if said.status < min(_REFUSED) else {}
    failed = counted.get("_shards", {}).get("failed", 0)
    return None if failed or not counted else int(counted["count"])
