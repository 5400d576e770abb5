"""From pySigma's parsed conditions to expressions: here it is decided what Sigma means."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Final, cast

import re2
from sigma.conditions import (
    ConditionAND,
    ConditionFieldEqualsValueExpression,
    ConditionNOT,
    ConditionOR,
    ConditionValueExpression,
)
from sigma.exceptions import SigmaError
from sigma.rule import SigmaRule
from sigma.types import (
    CompareOperators,
    Placeholder,
    SigmaBool,
    SigmaCasedString,
    SigmaCIDRExpression,
    SigmaCompareExpression,
    SigmaExists,
    SigmaExpansion,
    SigmaFieldReference,
    SigmaNull,
    SigmaNumber,
    SigmaRegularExpression,
    SigmaRegularExpressionFlag,
    SigmaString,
    SigmaTimestampPart,
    SpecialChars,
)

from rms_flows.errors import RuleError
from rms_flows.sigma.expression import Expression, Same, Test, conjunction, disjunction, negation
from rms_flows.sigma.fold import fold
from rms_flows.sigma.predicate import (
    How,
    Network,
    Number,
    Order,
    Predicate,
    Present,
    Regex,
    Text,
    TimePart,
    Unit,
    Wildcards,
)
from rms_flows.sigma.regex import compile_pattern

_ORDERS: Final[dict[CompareOperators, Order]] = {
    CompareOperators.LT: "lt",
    CompareOperators.LTE: "lte",
    CompareOperators.GT: "gt",
    CompareOperators.GTE: "gte",
}
_HALF_PAIR: Final = re.compile("[\ud800-\udfff]")
_FLAGS: Final = {
    SigmaRegularExpressionFlag.IGNORECASE: "i",
    SigmaRegularExpressionFlag.MULTILINE: "m",
    SigmaRegularExpressionFlag.DOTALL: "s",
}


BROKEN: Final = (SigmaError, AttributeError, TypeError, KeyError, ValueError, RecursionError)
"""What pySigma raises for a document that isn't what it expects."""


def detection(rule: SigmaRule) -> Expression:
    """Give the meaning of a rule; raises RuleError with the reason where it can't be evaluated."""
    return disjunction(_node(condition.parsed) for condition in rule.detection.parsed_condition)


def _node(node: Any) -> Expression:
    match node:
        case ConditionAND():
            return conjunction(_node(part) for part in node.args)
        case ConditionOR():
            return disjunction(_node(part) for part in node.args)
        case ConditionNOT():
            return negation(_node(node.args[0]))
        case ConditionFieldEqualsValueExpression():
            return value_of(node.field, node.value)
        case ConditionValueExpression():
            return value_of(None, node.value)
    raise RuleError("the condition is empty", remedy="name at least one detection in it")


def value_of(field: str | None, value: Any) -> Expression:  # noqa: PLR0911 - one return a kind of value
    """Give the meaning of one value of a field, None of a keyword; raises RuleError."""
    match value:
        case SigmaExpansion():
            return disjunction(value_of(field, one) for one in value.values)
        case SigmaNull():
            return negation(Test(_named(field, "null"), Present()))
        case SigmaExists():
            there = Test(_named(field, "exists"), Present())
            return there if value.exists else negation(there)
        case SigmaFieldReference():
            return Same(_named(field, "fieldref"), value.field, value.starts_with, value.ends_with)
        case SigmaCompareExpression() if value.op is CompareOperators.NEQ:
            return negation(Test(_named(field, "neq"), _number(value.number, "eq")))
        case SigmaCompareExpression():
            return Test(_named(field, _ORDERS[value.op]), _number(value.number, _ORDERS[value.op]))
    return Test(field, _predicate(value, keyword=field is None))


def _named(field: str | None, what: str) -> str:
    if field is None:
        raise RuleError(f"{what} stands without a field", remedy="write it as `field: value`")
    return field


def _predicate(value: Any, *, keyword: bool) -> Predicate:
    match value:
        case SigmaString():
            return _text(value, keyword=keyword)
        case SigmaNumber() if keyword:
            return Text("contains", str(value.number))
        case SigmaBool():
            return Text("contains" if keyword else "is", "true" if value.boolean else "false")
        case SigmaNumber():
            return _number(value, "eq")
        case SigmaRegularExpression():
            return _regex(value)
        case SigmaCIDRExpression() if not keyword:
            return Network(str(value.network))
    raise RuleError(
        f"a value of the kind {type(value).__name__} can't be evaluated", remedy="write it without it"
    )


def _number(value: SigmaNumber, order: Order) -> Number | TimePart:
    if isinstance(value, SigmaTimestampPart):
        return TimePart(cast("Unit", value.timestamp_part.name.lower()), order, value.number)
    if isinstance(value.number, float) and value.number.is_integer():  # what pySigma makes of 2**53 + 1
        raise RuleError(
            f"an integer near {value.number:.0f} is more than a double holds",
            remedy="write it as text, in quotes",
        )
    return Number(order, value.number)


def _regex(value: SigmaRegularExpression) -> Regex:
    if value.contains_placeholder():
        _unresolved(value.regexp)
    flags = "".join(sorted(_FLAGS[flag] for flag in value.flags))
    pattern = f"(?{flags}){value.regexp}" if flags else str(value.regexp)
    compile_pattern(pattern)
    return Regex(pattern)


def _unresolved(value: SigmaString) -> None:
    names = sorted({part.name for part in value.s if isinstance(part, Placeholder)})
    if names:
        listed = ", ".join(f"%{name}%" for name in names)
        raise RuleError(
            f"the placeholder {listed} is not resolved", remedy="give a pipeline that fills it in"
        )


def _text(value: SigmaString, *, keyword: bool) -> Predicate:
    _unresolved(value)
    cased = isinstance(value, SigmaCasedString)
    many = SpecialChars.WILDCARD_MULTI
    kept = _merged([many, *value.s, many] if keyword else value.s, cased=cased)
    literals = [part for part in kept if isinstance(part, str)]
    if kept == [many]:
        return Present()
    if len(literals) <= 1 and SpecialChars.WILDCARD_SINGLE not in kept:
        return Text(
            _how(open_start=kept[:1] == [many], open_end=kept[-1:] == [many]), "".join(literals), cased
        )
    written = {many: ".*", SpecialChars.WILDCARD_SINGLE: "."}
    pattern = "".join(re2.escape(p) if isinstance(p, str) else written[p] for p in kept)
    return Wildcards(rf"(?s)\A{pattern}\z", max(literals, key=len, default=""), cased)


def _merged(parts: Sequence[Any], *, cased: bool) -> list[str | SpecialChars]:
    """Fold the literals, join neighbors, and make one of `**`."""
    merged: list[str | SpecialChars] = []
    for part in parts:
        before = merged[-1] if merged else None
        if isinstance(part, str):
            if _HALF_PAIR.search(part):
                raise RuleError(
                    f"the value {part!r} holds half a surrogate pair", remedy="write whole characters"
                )
            literal = part if cased else fold(part)
            if isinstance(before, str):
                merged[-1] = before + literal
            else:
                merged.append(literal)
        elif part is not SpecialChars.WILDCARD_MULTI or before is not part:
            merged.append(part)
    return merged


def _how(*, open_start: bool, open_end: bool) -> How:
    if open_start:
        return "contains" if open_end else "ends"
    return "starts" if open_end else "is"
