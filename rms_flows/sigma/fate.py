"""What becomes of each rule on a source: evaluated, refused, or unreachable for want of fields."""

from __future__ import annotations

from collections.abc import Collection
from operator import itemgetter
from typing import Literal

from msgspec import Struct

from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, conjunction, fields
from rms_flows.sigma.rules import Rule, RuleSet


class Fate(Struct, frozen=True):
    """What becomes of one rule.

    Args:
        rule: Its title.
        id: Its id; None where it is refused.
        where: File and line.
        logsource: Product, category and service, as people write them.
        fate: `evaluated`, `unreachable` or `refused`.
        lacks: Fields that it looks at and the source doesn't have.
        reason: Why it is refused, else None.
        everywhere: Whether it looks at every event, for no table knows its log source.
    """

    rule: str
    id: str | None
    where: str
    logsource: str
    fate: Literal["evaluated", "unreachable", "refused"]
    lacks: tuple[str, ...] = ()
    reason: str | None = None
    everywhere: bool = False


def fates(rules: RuleSet, columns: Collection[str]) -> list[Fate]:
    """Tell the fate of each rule on a source with these columns (dotted names), by file and line."""
    present = {*columns, *ENVELOPE, *OPTIONAL_ENVELOPE}
    found = [((rule.file, rule.line), _fate(rule, present)) for rule in rules.rules]
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
