"""Why a rule is true of an event, or isn't: the rule as it was written, each part with what decided it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache

import numpy as np
import pyarrow as pa
import re2
from msgspec import Struct
from sigma.rule import SigmaRule

from rms_flows.sigma import columns
from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test
from rms_flows.sigma.fold import fold
from rms_flows.sigma.keywords import Keywords
from rms_flows.sigma.node import alike
from rms_flows.sigma.predicate import Predicate, Regex, Text
from rms_flows.sigma.rules import Rule
from rms_flows.sigma.scope import Memory, Scope
from rms_flows.sigma.tester import Tester
from rms_flows.sigma.tree import Branch, Join, tree, written
from rms_flows.sigma.verdicts import Value

FEW = 3
"""Reasons that a summary names."""


class Evidence(Struct, frozen=True, omit_defaults=True):
    """The part of the event that decided.

    Args:
        field: Where it was looked for; of a keyword the field that it was found in, else empty.
        value: What is there, as text; None where the field is absent.
        start: Where in `value` the text that was asked for begins, in characters; None where it isn't there.
        end: Where it ends.
        note: What else a reader should know.
    """

    field: str
    value: str | None = None
    start: int | None = None
    end: int | None = None
    note: str | None = None


class Judged(Struct, frozen=True, omit_defaults=True):
    """A part of a rule and what became of it.

    Args:
        label: As the author wrote it.
        true: Whether it is true of the event.
        join: How the parts decide; None of a leaf.
        parts: What it is made of.
        evidence: Of a leaf, what decided.
        values: Whether the parts are values of one item.
    """

    label: str
    true: bool
    join: Join | None = None
    parts: tuple[Judged, ...] = ()
    evidence: Evidence | None = None
    values: bool = False


class Explanation(Struct, frozen=True):
    """Why a rule is true of an event, or isn't.

    Args:
        rule: Title of the rule.
        id: Its id.
        where: Its file and line.
        match: Whether a run would report the event.
        summary: One line for people.
        logsource: Product, category and service, as people write them.
        route: What is asked of the events of that log source; None where the rule looks at all.
        condition: What the rule detects.
    """

    rule: str
    id: str
    where: str
    match: bool
    summary: str
    logsource: str
    route: Judged | None
    condition: Judged


def explain(rule: Rule, parsed: SigmaRule, batch: pa.RecordBatch, row: int = 0) -> Explanation:
    """Judge one event by one rule, part by part.

    Args:
        rule: The rule.
        parsed: What pySigma made of it, see `load.read`.
        batch: Holds the event.
        row: Which one it is.
    """
    event = _Event(batch, row)
    condition = _judge(tree(parsed), event)
    route = None if rule.route is None else _judge(written(rule.route), event)
    match = condition.true and (route is None or route.true)
    return Explanation(
        rule.title,
        rule.id,
        rule.where,
        match,
        _summary(route, condition, rule.logsource),
        rule.logsource,
        route,
        condition,
    )


class _Event:
    """One row, as the engine sees it."""

    def __init__(self, batch: pa.RecordBatch, row: int) -> None:
        one = batch.slice(row, 1)
        plain = [c.dictionary_decode() if pa.types.is_dictionary(c.type) else c for c in one.columns]
        self.batch = pa.RecordBatch.from_arrays(plain, names=one.schema.names)
        self._scope = Scope(self.batch, Memory({}, Keywords(())))

    def of(self, field: str) -> tuple[str, ...]:
        """Give the values of a field; none where it is absent."""
        (value,) = self._scope.values(field, np.zeros(1, dtype=np.intp))
        return _single(value)

    def texts(self) -> Iterator[tuple[str, str]]:
        """Give all that keywords look at, with the field that it stands in."""
        for name, column in columns.text_columns(columns.by_name(self.batch)):
            shown = name.rstrip(columns.HIDDEN)
            yield from ((shown, text) for text in _single(columns.texts(column)[0]))
        for _, value in columns.Misfits(self.batch).texts:
            yield from (("", text) for text in _single(value))

    def absent(self, field: str) -> Evidence:
        """Say that a field isn't there, and which one may have been meant."""
        there = [name for name in self.batch.schema.names if name.lower() == field.lower() and name != field]
        note = f"the event has {there[0]}: the case of names counts" if there else None
        return Evidence(field, note=note)


def _single(value: Value | None) -> tuple[str, ...]:
    """Give the texts of a value; none where it is absent."""
    return () if value is None else (value,) if isinstance(value, str) else value


def _judge(branch: Branch, event: _Event) -> Judged:
    if branch.leaf is not None:
        true, evidence = _decide(branch.leaf, event)
        return Judged(branch.label, true, evidence=evidence)
    parts = tuple(_judge(part, event) for part in branch.parts)
    found = [part.true for part in parts]
    true = not found[0] if branch.join == "not" else all(found) if branch.join == "all" else any(found)
    return Judged(branch.label, true, branch.join, parts, values=branch.values)


def _decide(node: Expression, event: _Event) -> tuple[bool, Evidence]:
    match node:
        case Not(part):
            true, evidence = _decide(part, event)
            return not true, evidence
        case And(parts) | Or(parts):
            decisive = isinstance(node, Or)
            found = [_decide(part, event) for part in parts]
            return next((one for one in found if one[0] is decisive), found[0])
        case Same(field, other):
            return _compare(node, field, event.of(field), other, event.of(other))
        case Test(field, predicate):
            texts = list(event.texts() if field is None else ((field, text) for text in event.of(field)))
            for name, text in texts:
                if _tester(predicate).hits(text):
                    return True, _found(name, text, predicate)
            if field is None:
                return False, Evidence("", note="in no text of the event")
            return False, _listed(field, texts) if texts else event.absent(field)


def _compare(
    same: Same, field: str, values: Sequence[str], other: str, others: Sequence[str]
) -> tuple[bool, Evidence]:
    note = f"{other} is {others[0]!r}" if others else f"{other} is absent"
    true = alike(same, tuple(values) or None, tuple(others) or None)
    return true, Evidence(field, values[0] if values else None, note=note)


def _listed(field: str, texts: Sequence[tuple[str, str]]) -> Evidence:
    note = f"and {len(texts) - 1} more in the list" if len(texts) > 1 else None
    return Evidence(field, texts[0][1], note=note)


@lru_cache(maxsize=4096)
def _tester(predicate: Predicate) -> Tester:
    return Tester([predicate])


def _found(field: str, text: str, predicate: Predicate) -> Evidence:
    start, end = 0, len(text)
    if isinstance(predicate, Text):
        whole = text if predicate.cased else fold(text)
        size = len(predicate.literal)
        if predicate.how != "is":
            start = len(text) - size if predicate.how == "ends" else whole.find(predicate.literal)
            end = start + size
    elif isinstance(predicate, Regex):
        found = re2.search(predicate.pattern, text)
        start, end = found.span()
    return Evidence(field, text, start, end)


def _summary(route: Judged | None, condition: Judged, logsource: str) -> str:
    """Say in one line what came of it and why.

    Example:
        >>> one = Judged("selection", True, "all", (Judged("a: '1'", True),))
        >>> two = Judged("filter", False, "all", (Judged("b|contains: ' -enc '", False),))
        >>> _summary(None, Judged("condition: selection and filter", False, "all", (one, two)), "")
        "no match: 1 of 2 selections true; `b|contains: ' -enc '` failed"
    """
    if route is not None and not route.true:
        return f"no match: the event is not of its log source ({logsource})"
    parts = condition.parts if condition.join == "all" else (condition,)
    count = f"{sum(part.true for part in parts)} of {len(parts)} selection{'s' * (len(parts) > 1)} true"
    if condition.true:
        return f"match: {count}"
    reasons = list(dict.fromkeys(_reasons(part for part in parts if not part.true)))
    more = [f"{len(reasons) - FEW} more"] if len(reasons) > FEW else []
    return f"no match: {count}; {', '.join(reasons[:FEW] + more)}"


def _reasons(parts: Iterable[Judged]) -> Iterator[str]:
    """Say which leaves decided."""
    for part in parts:
        if part.evidence is not None or not part.parts:
            yield f"`{part.label}` {'is true' if part.true else 'failed'}"
        elif part.join == "not":
            yield from _reasons(part.parts)
        elif part.values and part.join == "any" and not part.true:
            yield f"`{part.label}` failed for each of its {len(part.parts)} values"
        else:
            deciding = [one for one in part.parts if one.true is part.true]
            for one in deciding:
                named = Judged(f"{part.label}: {one.label}", one.true) if part.values else one
                yield from _reasons([named])
