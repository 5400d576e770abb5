"""Remarks on correlations, see `lint`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any, Final

from rms_flows.correlate.spec import Correlation
from rms_flows.sigma.bounds import fulfills
from rms_flows.sigma.draft import Draft

_COUNTS: Final = frozenset({"event_count", "value_count", "temporal"})
"""Kinds that measure a whole number from 1 on: an event is there, or nothing is judged."""

_GROUPED: Final = _COUNTS | {"temporal_ordered"}


def missing(content: dict[str, Any]) -> Iterator[str]:
    """Tell what a document doesn't say of itself."""
    if not content.get("author"):
        yield "no author: reports name whoever wrote the rule"
    if content.get("level") is None:
        yield "no level: reports will say medium"
    if content.get("id") is None:
        yield "no id: each change of the rule will give its reports other ids"


def of_correlation(draft: Draft) -> Iterator[tuple[str, str]]:
    """Give check and message of what an author should look at."""
    said = draft.said
    for message in missing(draft.document.content):
        yield "missing", message
    if said.kind in _GROUPED and not said.group_by:
        yield (
            "ungrouped",
            "no group-by: events of all hosts and users count together; name the field they have in common",
        )
    if told := _threshold(said):
        yield "threshold", told
    for alias in draft.aliases.keys() - {*said.group_by, *said.fields}:
        yield "unused", f"neither group-by nor field names the alias `{alias}`; use it or delete it"


def _threshold(said: Correlation) -> str | None:
    if said.kind == "temporal" and len(said.inputs) == 1:
        return "one rule is always together with itself: each match is reported; ask for several rules"
    if not said.bounds:
        return None
    found = {fulfills(one, said.bounds) for one in _points(said)}
    if found == {False}:
        return "no number fulfills the condition: nothing will be reported"
    if found == {True} and said.kind in _COUNTS:
        return "each match fulfills the condition, for it counts itself: ask for more, or use no correlation"
    return None


def _points(said: Correlation) -> Iterator[float]:
    """Give numbers on all sides of the bounds, of those that can be measured."""
    edges = sorted({bound.number for bound in said.bounds})
    if said.kind in _COUNTS:
        most = len(said.inputs) if said.kind == "temporal" else math.inf
        near = {math.floor(edge) + step for edge in edges for step in (-1, 0, 1, 2)}
        yield from (one for one in {1, *near} if 1 <= one <= most)
        return
    yield from (edges[0] - 1, *edges, edges[-1] + 1)
    yield from ((low + high) / 2 for low, high in pairwise(edges))
