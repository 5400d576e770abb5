"""Conditions of correlations: bounds of a number, or which rules matched and which did not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from sigma.correlations import (
    CorrelationConditionAND,
    CorrelationConditionNOT,
    SigmaExtendedCorrelationCondition,
    SigmaRuleReference,
)
from sigma.exceptions import SigmaError

from rms_flows.correlate.spec import Both, Bound, Either, Never, Order, Presence, Seen
from rms_flows.errors import RuleError
from rms_flows.sigma.files import reason
from rms_flows.sigma.written import near, number, shown

ORDERS: Final[tuple[Order, ...]] = get_args(Order)


def bounds(where: str, condition: Mapping[str, Any]) -> tuple[Bound, ...]:
    """Give the bounds of a condition in the order in which they are written; raises RuleError.

    Args:
        where: Its place in the document.
        condition: Keys may be others than orders too; these are left alone.
    """
    found = tuple(
        Bound(order, number(f"{where}.{order}", value))
        for order, value in condition.items()
        if order in ORDERS
    )
    if not found:
        raise RuleError(f"`{where}` has no bound", remedy=f"give at least one of {', '.join(ORDERS)}")
    return found


class Expression:
    """A boolean condition on rules (`a and not b`), parsed; raises RuleError."""

    def __init__(self, where: str, text: str) -> None:
        self._where = where
        self._text = text
        try:
            parsed = SigmaExtendedCorrelationCondition(text)
            self.names: tuple[str, ...] = tuple(parsed.get_referenced_rules())
        except (SigmaError, RecursionError) as error:
            raise RuleError(
                f"`{where}` is {shown(text)}, which can't be read: {reason(error)}",
                remedy="join names of letters, digits and _ by `and`, `or`, `not` and parentheses",
            ) from None
        self._parsed = parsed.parsed

    def presence(self, rules: Sequence[str]) -> Presence:
        """Give the condition with negations moved to the rules, each rule a number; raises RuleError."""
        for name in self.names:
            if name not in rules:
                raise RuleError(
                    f"`{self._where}` names {shown(name)}, which `correlation.rules` doesn't"
                    f"{near(name, rules)}",
                    remedy="write it there as it is written here",
                )
        for name in rules:
            if name not in self.names:
                raise RuleError(
                    f"`{self._where}` doesn't name the rule {shown(name)}",
                    remedy="use it there or leave it out of `correlation.rules`",
                )
        found = _moved(self._parsed, rules, asked=True)
        asked, excluded = _inputs(found)
        if _without(found):
            raise RuleError(
                f"`{self._where}` is {shown(self._text)}, which is true where no rule matches: there is no"
                " event at which to report",
                remedy="join what must not match to what must by `and`, or use the type flatline, which"
                " reports absence",
            )
        for one in sorted(asked & excluded):
            raise RuleError(
                f"`{self._where}` asks for {shown(rules[one])} and excludes it too, and only what isn't"
                " excluded can be the event at which to report",
                remedy="write one correlation for each case",
            )
        return found


def _moved(node: Any, rules: Sequence[str], *, asked: bool) -> Presence:
    """Move negations inwards (De Morgan): `not (a or b)` is `not a and not b`."""
    if isinstance(node, SigmaRuleReference):
        seen = Seen(rules.index(node.reference))
        return seen if asked else Never(seen)
    if isinstance(node, CorrelationConditionNOT):
        return _moved(node.args[0], rules, asked=not asked)
    kind = Both if isinstance(node, CorrelationConditionAND) is asked else Either
    flat: dict[Presence, None] = {}
    for arg in node.args:
        part = _moved(arg, rules, asked=asked)
        flat.update(dict.fromkeys(part.parts if isinstance(part, kind) else (part,)))
    return next(iter(flat)) if len(flat) == 1 else kind(tuple(flat))


def _without(node: Presence) -> bool:
    """Tell whether it is true where nothing was seen."""
    match node:
        case Both(parts):
            return all(map(_without, parts))
        case Either(parts):
            return any(map(_without, parts))
        case _:
            return isinstance(node, Never)


def _inputs(node: Presence) -> tuple[set[int], set[int]]:
    """Give the inputs that are asked for, and those that are excluded."""
    match node:
        case Seen(one):
            return {one}, set()
        case Never(part):
            return set(), _inputs(part)[0]
        case Both(parts) | Either(parts):
            found = [_inputs(part) for part in parts]
            return set().union(*(one for one, _ in found)), set().union(*(other for _, other in found))
