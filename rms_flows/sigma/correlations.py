"""From drafts to correlations: references looked up over all that is loaded, fields named as in the data."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from graphlib import CycleError, TopologicalSorter
from typing import Any
from uuid import UUID

from msgspec import structs

from rms_flows.correlate.spec import Both, Correlation, Either, Input, Never, Presence, Seen
from rms_flows.errors import RuleError
from rms_flows.sigma.draft import Draft
from rms_flows.sigma.rules import Refused, Rule
from rms_flows.sigma.written import near, shown

Renamed = Callable[[str, Sequence[str]], Sequence[str]]
"""Id of a rule, and fields as people write them → what the rule's events call them; raises RuleError."""


def key_of(reference: str) -> str:
    """Give what a reference is looked up by: an id as all ids are written, a name as it is."""
    try:
        return str(UUID(reference))
    except ValueError:
        return reference


class Resolver:
    """All that a correlation can refer to.

    Args:
        rules: The rules that can be evaluated, by their ids.
        drafts: The correlations, each with an id of its own.
        lost: Documents that are refused, by name and by id.
        renamed: Says what fields of rules are called in the data.
    """

    def __init__(
        self,
        rules: Mapping[str, Rule],
        drafts: Sequence[Draft],
        lost: Mapping[str, Refused],
        renamed: Renamed,
    ) -> None:
        self._rules = rules
        self._drafts = {draft.said.id: draft for draft in drafts}
        self._lost = lost
        self._renamed = renamed
        self._done: dict[str, Correlation] = {}
        self._named: dict[str, list[Rule | Draft]] = defaultdict(list)
        everything: list[Rule | Draft] = [*rules.values(), *drafts]
        for one in everything:
            if one.name:
                self._named[one.name].append(one)

    def resolve(self) -> Iterator[tuple[Draft, Correlation | RuleError]]:
        """Give for each draft its correlation, or why it is refused; what is needed before what needs it."""
        given: dict[str, Correlation | RuleError] = {}
        inputs: dict[str, tuple[str, ...]] = {}
        for name, draft in self._drafts.items():
            try:
                inputs[name] = self._inputs(draft)
            except RuleError as error:
                given[name] = error
        graph = {name: [one for one in of if one in inputs] for name, of in inputs.items()}
        for name in _inner_first(graph):
            try:
                self._done[name] = given[name] = self._complete(self._drafts[name], inputs[name])
            except RuleError as error:
                given[name] = error
        waiting = inputs.keys() - given.keys()
        for name in waiting:
            given[name] = self._circle(name, graph, waiting)
        for name, outcome in given.items():
            yield self._drafts[name], outcome

    def _find(self, where: str, reference: str) -> str:
        """Give the id of what is referred to, by its name, else by its id; raises RuleError."""
        named = self._named.get(reference, ())
        if len(named) > 1:
            places = " and ".join(_place(one) for one in named)
            raise RuleError(
                f"`{where}` names {shown(reference)}, which is the name of {len(named)} rules ({places})",
                remedy="refer to it by its id, or give them names of their own",
            )
        for one in named:
            return one.id if isinstance(one, Rule) else one.said.id
        key = key_of(reference)
        if key in self._rules or key in self._drafts:
            return key
        if key in self._lost:
            raise RuleError(
                f"`{where}` names {shown(reference)}, which is refused ({self._lost[key].where})",
                remedy="mend that one first",
            )
        raise RuleError(
            f"`{where}` names {shown(reference)}, and no rule that is loaded has this name or id"
            f"{near(reference, self._named.keys())}",
            remedy="load the rule's file too, or give the rule this `name`",
        )

    def _inputs(self, draft: Draft) -> tuple[str, ...]:
        found: dict[str, str] = {}
        ids = []
        for one in draft.said.inputs:
            ids.append(self._find("correlation.rules", one.name))
            if ids[-1] in found and draft.said.kind != "temporal_ordered":
                raise RuleError(
                    f"`correlation.rules` names {shown(found[ids[-1]])} twice, and an event counts once",
                    remedy="name it once",
                )
            found[ids[-1]] = one.name
        return tuple(ids)

    def _complete(self, draft: Draft, ids: Sequence[str]) -> Correlation:
        said = draft.said
        aliases = self._aliases(draft, ids)
        inputs, values = [], []
        for one, source in zip(said.inputs, ids, strict=True):
            if source in self._drafts and source not in self._done:
                raise RuleError(
                    f"`correlation.rules` names {shown(one.name)}, which is refused"
                    f" ({_place(self._drafts[source])})",
                    remedy="mend that one first",
                )
            group = self._columns("group-by", source, [aliases.get((f, source), f) for f in said.group_by])
            values.append(self._columns("field", source, [aliases.get((f, source), f) for f in said.fields]))
            inputs.append(Input(self._name(source), source, group))
        for one, value in zip(inputs, values, strict=True):
            if value != values[0]:
                raise RuleError(
                    f"`correlation.field` is {', '.join(values[0])} in events of {shown(inputs[0].name)} and"
                    f" {', '.join(value)} in those of {shown(one.name)}, but a correlation looks at the same"
                    " in all",
                    remedy="write a correlation for each, or a pipeline that names them alike",
                )
        meant = [self._rules[one].meaning if one in self._rules else self._done[one].meaning for one in ids]
        whole = structs.replace(said, inputs=tuple(inputs), fields=tuple(values[0]))
        return structs.replace(whole, meaning=_meaning(whole, meant))

    def _name(self, source: str) -> str:
        return (self._rules[source].name if source in self._rules else self._drafts[source].name) or source

    def _aliases(self, draft: Draft, ids: Sequence[str]) -> dict[tuple[str, str], str]:
        """Give for alias and id of an input the field of its events."""
        found = {}
        for alias, fields in draft.aliases.items():
            for reference, field in fields.items():
                source = self._find(f"correlation.aliases.{alias}", reference)
                if source not in ids:
                    raise RuleError(
                        f"`correlation.aliases.{alias}` names {shown(reference)}, which `correlation.rules`"
                        " doesn't",
                        remedy="add it there or leave it out here",
                    )
                found[alias, source] = field
        return found

    def _columns(self, key: str, source: str, fields: Sequence[str]) -> tuple[str, ...]:
        """Give what an input's events call fields; those of a correlation are its group's."""
        if source in self._rules:
            return tuple(self._renamed(source, fields))
        inner = self._done[source]
        there = {field: field for field in inner.group_by}
        if inner.kind == "new_terms":
            there |= dict(zip(self._drafts[source].said.fields, inner.fields, strict=True))
        for field in fields:
            if field not in there:
                name = shown(self._name(source))
                raise RuleError(
                    f"`correlation.{key}` is {shown(field)}, but what the correlation {name} gives has"
                    f" {', '.join(there) or 'no field, for it has no group-by'}",
                    remedy=f"add it to the group-by of {_place(self._drafts[source])}, or leave it out here",
                )
        return tuple(there[field] for field in fields)

    def _circle(self, name: str, graph: Mapping[str, Sequence[str]], waiting: Collection[str]) -> RuleError:
        """Find the circle that a correlation is in, or leads to: of what it needs something always waits."""
        way = [name]
        while way[-1] not in way[:-1]:
            way.append(next(one for one in graph[way[-1]] if one in waiting))
        circle = way[way.index(way[-1]) :]
        return RuleError(
            f"`correlation.rules` goes in a circle: {' → '.join(map(self._name, circle))}",
            remedy="a correlation can't need what needs it: leave one of these out",
        )


def _inner_first(graph: Mapping[str, Sequence[str]]) -> Iterator[str]:
    """Give what is needed before what needs it; what is in a circle, or needs one, is left out."""
    order = TopologicalSorter(graph)
    with suppress(CycleError):  # all others can be had nevertheless, says the documentation
        order.prepare()
    while ready := order.get_ready():
        yield from ready
        order.done(*ready)


def _place(one: Rule | Draft) -> str:
    return one.where if isinstance(one, Rule) else one.said.where


def _meaning(one: Correlation, meant: Sequence[str]) -> str:
    """Hash what is detected: 32 hexadecimal digits, whatever the names, and the order where it is free."""
    marks = [repr((mark, source.group)) for mark, source in zip(meant, one.inputs, strict=True)]
    parts = (
        one.kind,
        marks if one.kind == "temporal_ordered" else sorted(marks),
        one.group_by,
        one.timespan,
        sorted((bound.order, bound.number) for bound in one.bounds),
        one.fields,
        one.percentile,
        one.presence and _canonical(one.presence, marks),
        _expected(one),
        one.baseline and structs.astuple(one.baseline),
        one.suppress,
    )
    return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _expected(one: Correlation) -> Any:
    if not isinstance(one.keys, tuple):
        return one.keys
    return sorted((key.values, repr(key.valid_from)) for key in one.keys)


def _canonical(node: Presence, marks: Sequence[str]) -> str:
    match node:
        case Seen(number):
            return marks[number]
        case Never(part):
            return f"never({_canonical(part, marks)})"
        case Both(parts) | Either(parts):
            written = ",".join(sorted(_canonical(part, marks) for part in parts))
            return f"{'and' if isinstance(node, Both) else 'or'}({written})"
