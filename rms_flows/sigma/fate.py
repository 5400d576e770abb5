"""What becomes of rules and correlations on a source: evaluated, refused, or unreachable for fields."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from operator import itemgetter
from typing import Literal

from msgspec import Struct

from rms_flows.correlate.spec import Both, Correlation, Either, Input, Kind, Presence, Seen
from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.sigma.bounds import fulfills
from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, conjunction, fields
from rms_flows.sigma.rules import Rule, RuleSet


class Fate(Struct, frozen=True):
    """What becomes of one rule or correlation.

    Args:
        rule: Its title.
        id: Its id; None where it is refused.
        where: File and line.
        logsource: Product, category and service, as people write them; empty for a correlation.
        fate: `evaluated`, `unreachable` or `refused`.
        lacks: Fields that it looks at and the source doesn't have; for a correlation, its inputs' too.
        reason: Why it is refused, else None.
        everywhere: Whether it looks at every event, for no table knows its log source.
        correlates: What a correlation measures; None for a rule.
    """

    rule: str
    id: str | None
    where: str
    logsource: str
    fate: Literal["evaluated", "unreachable", "refused"]
    lacks: tuple[str, ...] = ()
    reason: str | None = None
    everywhere: bool = False
    correlates: Kind | None = None


def fates(rules: RuleSet, columns: Collection[str]) -> list[Fate]:
    """Tell the fate of each rule and correlation on a source with these columns (dotted names).

    They come by file and line.
    """
    present = {*columns, *ENVELOPE, *OPTIONAL_ENVELOPE}
    found = [((rule.file, rule.line), _fate(rule, present)) for rule in rules.rules]
    chances = Chances(rules, present)
    found += [((one.file, one.line), _correlated(one, chances)) for one in rules.correlations]
    for one in rules.refused:
        refused = Fate(one.title, None, one.where, "", "refused", reason=one.reason)
        found.append(((one.file, one.line), refused))
    return [fate for _, fate in sorted(found, key=itemgetter(0))]


def _fate(rule: Rule, present: Collection[str]) -> Fate:
    return Fate(
        rule.title,
        rule.id,
        rule.where,
        rule.logsource,
        "evaluated" if reachable(rule, present) else "unreachable",
        lacks=tuple(sorted(fields(rule.detection) - set(present))),
        everywhere=rule.route is None,
    )


def _correlated(one: Correlation, chances: Chances) -> Fate:
    fate: Literal["evaluated", "unreachable"] = "evaluated" if chances.of(one.id) else "unreachable"
    return Fate(one.title, one.id, one.where, "", fate, lacks=chances.lacks(one), correlates=one.kind)


class Chances:
    """Which rules and correlations can be true on a source.

    Args:
        rules: All of them.
        present: Its fields.
    """

    def __init__(self, rules: RuleSet, present: Collection[str]) -> None:
        self._rules = {rule.id: rule for rule in rules.rules}
        self._correlations = {one.id: one for one in rules.correlations}
        self._present = present
        self._known: dict[str, bool] = {}

    def of(self, name: str) -> bool:
        """Tell it of a rule or correlation by its id."""
        if name not in self._known:
            rule = self._rules.get(name)
            self._known[name] = (
                self._can(self._correlations[name]) if rule is None else reachable(rule, self._present)
            )
        return self._known[name]

    def _can(self, one: Correlation) -> bool:
        """Tell whether the inputs that can match are enough."""
        there = [not self._missing(one, source) and self.of(source.id) for source in one.inputs]
        if one.kind == "temporal" and one.bounds:
            return any(fulfills(count, one.bounds) for count in range(1, sum(there) + 1))
        if one.kind.startswith("temporal"):
            return all(there) if one.presence is None else _possible(one.presence, there)
        return any(there)

    def _missing(self, one: Correlation, source: Input) -> set[str]:
        """Give the fields of group and value that the source lacks; a correlation always gives its group."""
        if source.id in self._correlations:
            return set()
        return {*source.group, *one.fields} - set(self._present)

    def lacks(self, one: Correlation) -> tuple[str, ...]:
        """Name the fields that a correlation and the rules under it look at, and the source lacks."""
        found: set[str] = set()
        waiting, seen = [one], {one.id}
        while waiting:
            outer = waiting.pop()
            for source in outer.inputs:
                found |= self._missing(outer, source)
                if source.id in self._rules:
                    found |= fields(self._rules[source.id].detection) - set(self._present)
                elif source.id not in seen:
                    seen.add(source.id)
                    waiting.append(self._correlations[source.id])
        return tuple(sorted(found))


def _possible(node: Presence, there: Sequence[bool]) -> bool:
    match node:
        case Seen(number):
            return there[number]
        case Both(parts):
            return all(_possible(part, there) for part in parts)
        case Either(parts):
            return any(_possible(part, there) for part in parts)
        case _:
            return True  # what can't match is never seen


def reachable(rule: Rule, present: Collection[str]) -> bool:
    """Tell whether a rule can be true of an event that has none but these fields."""
    whole = rule.detection if rule.route is None else conjunction([rule.route, rule.detection])
    return settled(whole, present) is not False


def settled(node: Expression, present: Collection[str]) -> bool | None:
    """Evaluate as far as absent fields decide; None where it depends on what an event holds.

    Example:
        >>> from rms_flows.sigma.predicate import Present
        >>> here, gone = Test("here", Present()), Test("gone", Present())
        >>> [settled(one, {"here"}) for one in (here, gone, Not(gone), And((here, gone)), Or((here, gone)))]
        [None, False, True, False, None]
    """
    match node:
        case Test(field, _):
            return None if field is None or field in present else False
        case Same(field, other):
            return None if field in present and other in present else False
        case Not(part):
            inner = settled(part, present)
            return None if inner is None else not inner
        case And(parts) | Or(parts):
            decisive = isinstance(node, Or)
            found = {settled(part, present) for part in parts}
            return decisive if decisive in found else None if None in found else not decisive
