"""Documents of correlations, each read by itself, before the rules that it names are looked up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, get_args

from msgspec import Struct
from sigma.exceptions import SigmaCorrelationRuleError
from sigma.rule import SigmaRuleBase
from sigma.rule.base import check_alias_expansion

from rms_flows.correlate.spec import (
    MAX_INPUTS,
    MOST,
    NUMERIC,
    Baseline,
    Both,
    Bound,
    Correlation,
    Input,
    Kind,
    Presence,
    Seen,
)
from rms_flows.errors import RuleError
from rms_flows.sigma.bounds import fulfills
from rms_flows.sigma.condition import ORDERS, Expression, bounds
from rms_flows.sigma.extensions import baseline, expected
from rms_flows.sigma.files import Document
from rms_flows.sigma.written import mapping, names, near, number, shown, span, switch, wrong

KINDS: Final[tuple[Kind, ...]] = get_args(Kind)

_ALL: Final = ("type", "rules", "group-by", "timespan", "aliases", "generate", "suppress")
_OWN: Final[dict[str, tuple[str, ...]]] = {
    "flatline": ("keys",),
    "new_terms": ("field",),
    "baseline": ("condition", "field", "baseline"),
    "value_percentile": ("condition", "field", "percentile"),
    "event_count": ("condition",),
    "temporal": ("condition",),
    "temporal_ordered": ("condition",),
}
"""Keys that a kind knows besides those that all do; a kind that isn't here looks at values."""

_VALUES: Final = ("condition", "field")


class Draft(Struct, frozen=True):
    """What a document says.

    Args:
        document: Where it stands.
        name: What others call it; empty where it has none.
        said: The correlation; its inputs are named as they are written and have no ids yet, and it has no
            meaning.
        aliases: Alias → reference to a rule, as it is written → field of the rule's events.
    """

    document: Document
    name: str
    said: Correlation
    aliases: dict[str, dict[str, str]]


def read_draft(document: Document) -> Draft:
    """Read a document that has `correlation`; raises RuleError, of what rules have too pySigma's errors."""
    content = document.content
    check_alias_expansion(content, SigmaCorrelationRuleError)
    common, _ = SigmaRuleBase.from_dict_common_params(content)
    found = content["correlation"]
    if not isinstance(found, dict):
        raise wrong("correlation", found, f"a mapping of {', '.join((*_ALL, *_VALUES))}")
    kind = _kind(found.get("type"))
    mapping("correlation", found, (*_ALL, *_OWN.get(kind, _VALUES)))
    found = {key: value for key, value in found.items() if value is not None}
    condition = _condition(kind, found.get("condition"))
    rules = _rules(found.get("rules"), condition)
    group_by = names("correlation.group-by", found.get("group-by", []), "the name of a field")
    normal = baseline("correlation.baseline", found.get("baseline")) if kind == "baseline" else None
    said = Correlation(
        id=str(common["id"] or document.made_id),
        title=common["title"],
        author=common["author"],
        level=common["level"].name.lower() if common["level"] else "medium",
        tags=tuple(map(str, common["tags"])),
        meaning="",
        file=document.file,
        line=document.line,
        kind=kind,
        inputs=tuple(Input(rule, "") for rule in rules),
        group_by=group_by,
        timespan=span("correlation.timespan", found.get("timespan")),
        bounds=_bounds(kind, condition, len(rules)),
        fields=_fields(kind, found, condition, normal, group_by),
        percentile=_percentile(found, condition) if kind == "value_percentile" else None,
        presence=_presence(condition, rules),
        suppress=span("correlation.suppress", found["suppress"]) if "suppress" in found else None,
        keys=expected("correlation.keys", found["keys"], group_by) if "keys" in found else None,
        baseline=normal,
        generate=switch("correlation.generate", found.get("generate", False)),
    )
    return Draft(document, common["name"] or "", said, _aliases(found.get("aliases", {})))


def _kind(value: Any) -> Kind:
    for kind in KINDS:
        if kind == value:
            return kind
    guess = near(value, KINDS) if isinstance(value, str) else ""
    raise wrong("correlation.type", value, f"one of {', '.join(KINDS)}{guess}")


def _condition(kind: Kind, value: Any) -> Mapping[str, Any] | Expression | None:
    """Give bounds as they are written, a boolean condition parsed, None where there is and may be none."""
    where = "correlation.condition"
    if value is None and ("condition" not in _OWN.get(kind, _VALUES) or kind.startswith("temporal")):
        return None
    if isinstance(value, str):
        if kind == "temporal":
            return Expression(where, value)
        if kind == "temporal_ordered":
            raise RuleError(
                f"`{where}` is {shown(value)}, but what a boolean condition says has no order",
                remedy="leave it out, for all `rules` are asked for in their order; or use temporal",
            )
    if not isinstance(value, dict):
        raise wrong(where, value, f"bounds of the number that {kind} measures, as in {{gte: 10}}")
    known = _OWN.get(kind, _VALUES)
    return mapping(where, value, (*ORDERS, *(key for key in ("field", "percentile") if key in known)))


def _rules(value: Any, condition: Mapping[str, Any] | Expression | None) -> tuple[str, ...]:
    where = "correlation.rules"
    if value is None and isinstance(condition, Expression):
        found = condition.names
    else:
        listed = value if isinstance(value, list) else [value]
        if not listed or not all(isinstance(one, str) and one for one in listed):
            raise wrong(where, value, "names or ids of rules")
        found = tuple(listed)
    if len(found) > MAX_INPUTS:
        raise RuleError(
            f"`{where}` names {len(found)} rules, more than the {MAX_INPUTS} that one correlation can have",
            remedy="correlate parts of them, and then these correlations",
        )
    return found


def _bounds(kind: Kind, condition: Mapping[str, Any] | Expression | None, rules: int) -> tuple[Bound, ...]:
    if condition is None or isinstance(condition, Expression):
        return ()
    found = bounds("correlation.condition", condition)
    beyond = next(filter(_is_beyond, found), None) if kind == "event_count" else None
    if beyond is not None:
        raise RuleError(
            f"`correlation.condition.{beyond.order}` is {beyond.number}, but of the events of a window"
            f" the last {MOST:,} are counted",
            remedy="ask for fewer in a shorter timespan, or group the events by one more field",
        )
    if kind != "temporal_ordered":
        return found
    if [count for count in range(rules + 1) if fulfills(count, found)] != [rules]:
        raise RuleError(
            "`correlation.condition` of temporal_ordered asks for another number of rules than all",
            remedy="leave it out, for all `rules` are asked for in their order",
        )
    return ()  # it says what the kind says anyway


def _is_beyond(bound: Bound) -> bool:
    """Tell whether it asks for a greater count than there is."""
    reached = {"gt": bound.number < MOST, "gte": bound.number <= MOST, "eq": bound.number <= MOST}
    return not reached.get(bound.order, True)


def _presence(condition: Mapping[str, Any] | Expression | None, rules: Sequence[str]) -> Presence | None:
    if not isinstance(condition, Expression):
        return None
    found = condition.presence(rules)
    asks_for_all = isinstance(found, Both | Seen) and _seen(found) == set(range(len(rules)))
    return None if asks_for_all else found


def _seen(node: Presence) -> set[int]:
    parts = node.parts if isinstance(node, Both) else (node,)
    return {part.input for part in parts if isinstance(part, Seen)}


def _either(
    key: str, found: Mapping[str, Any], condition: Mapping[str, Any] | Expression | None
) -> tuple[str, Any]:
    """Give what stands in the condition, as in Sigma, or beside it, and where; not in both."""
    inside = condition.get(key) if isinstance(condition, Mapping) else None
    if inside is not None and found.get(key) is not None:
        raise RuleError(
            f"`{key}` stands in `correlation` and in `correlation.condition`",
            remedy="keep the one in the condition",
        )
    beside = f"correlation.{key}"
    return (beside, found.get(key)) if inside is None else (f"correlation.condition.{key}", inside)


def _fields(
    kind: Kind,
    found: Mapping[str, Any],
    condition: Mapping[str, Any] | Expression | None,
    normal: Baseline | None,
    group_by: Sequence[str],
) -> tuple[str, ...]:
    where, value = _either("field", found, condition)
    if "field" not in _OWN.get(kind, _VALUES):
        return ()
    if normal is not None and normal.method == "regularity":
        if value is not None:
            raise RuleError(
                f"`{where}` is {shown(value)}, but regularity looks at times alone",
                remedy="leave the field out",
            )
        return ()
    fields = names(where, value, f"the field whose values {kind} looks at")
    if not fields or (kind in NUMERIC and len(fields) > 1):
        raise wrong(where, value, "one field" if fields else "at least one field")
    for field in fields:
        if kind == "new_terms" and field in group_by:
            raise RuleError(
                f"`{where}` names {shown(field)}, which is in `correlation.group-by` too and so is never new"
                " to its group",
                remedy="name it in one of them",
            )
    return fields


def _percentile(found: Mapping[str, Any], condition: Mapping[str, Any] | Expression | None) -> float:
    where, value = _either("percentile", found, condition)
    part = None if value is None else number(where, value)
    if part is None or not 0 <= part <= 100:  # noqa: PLR2004 - per cent
        raise wrong(where, value, "a number from 0 to 100")
    return float(part)


def _aliases(value: Any) -> dict[str, dict[str, str]]:
    where = "correlation.aliases"
    if not isinstance(value, dict):
        raise wrong(where, value, "a mapping of aliases, each to a mapping of rules to fields")
    for alias, fields in value.items():
        if not isinstance(alias, str) or not isinstance(fields, dict) or not fields:
            raise wrong(f"{where}.{alias}", fields, "a mapping of rules to fields")
        for rule, field in fields.items():
            if not isinstance(rule, str) or not isinstance(field, str) or not field:
                raise wrong(f"{where}.{alias}.{rule}", field, "the name of a field")
    return value
