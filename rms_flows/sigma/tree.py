"""A rule as its author wrote it: condition, selections, items and values, each with its meaning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Literal

from msgspec import Struct
from sigma.conditions import ConditionAND, ConditionIdentifier, ConditionNOT, ConditionOR, ConditionSelector
from sigma.modifiers import reverse_modifier_mapping
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaDetections, SigmaRule
from sigma.types import SigmaNull, SigmaRegularExpression, SigmaString

from rms_flows.sigma.expression import (
    And,
    Expression,
    Not,
    Or,
    Same,
    Test,
    conjunction,
    disjunction,
    negation,
)
from rms_flows.sigma.predicate import (
    Network,
    Number,
    Predicate,
    Present,
    Regex,
    Text,
    TimePart,
    Wildcards,
)
from rms_flows.sigma.translate import value_of

Join = Literal["all", "any", "not"]


class Branch(Struct, frozen=True):
    """A part of a rule.

    Args:
        label: As the author wrote it: `1 of sel*`, `selection`, `CommandLine|contains`, `' -enc '`.
        join: How the parts decide; None of a leaf.
        parts: What it is made of.
        leaf: The meaning of a leaf, else None.
        values: Whether the parts are values of one item, of which a reader wants to see few.
    """

    label: str
    join: Join | None = None
    parts: tuple[Branch, ...] = ()
    leaf: Expression | None = None
    values: bool = False

    @property
    def meaning(self) -> Expression:
        """What it detects."""
        if self.leaf is not None:
            return self.leaf
        inner = [part.meaning for part in self.parts]
        if self.join == "not":
            return negation(inner[0])
        return (conjunction if self.join == "all" else disjunction)(inner)


def tree(rule: SigmaRule) -> Branch:
    """Give the condition of a rule; the rule is one that `translate.detection` understands."""
    found = []
    for condition in rule.detection.parsed_condition:
        node = _condition(condition.parse(postprocess=False), rule.detection)
        if node is not None:
            whole = node.label in {"and", "or", "not", condition.condition} and not node.values
            join, parts = (node.join, node.parts) if whole else ("all", (node,))
            found.append(Branch(f"condition: {condition.condition}", join, parts))
    return found[0] if len(found) == 1 else Branch("any of the conditions", "any", tuple(found))


def _condition(node: Any, detections: SigmaDetections) -> Branch | None:
    match node:
        case ConditionIdentifier():
            return _detection(detections.detections[node.identifier], node.identifier)
        case ConditionSelector():
            parts = [_condition(one, detections) for one in node.resolve_referenced_detections(detections)]
            join: Join = "all" if node.cond_class is ConditionAND else "any"
            return _joined(f"{node.args[0]} of {node.pattern}", join, parts)
        case ConditionNOT():
            return _joined("not", "not", [_condition(part, detections) for part in node.args])
        case ConditionAND():
            return _joined("and", "all", [_condition(part, detections) for part in node.args])
        case ConditionOR():
            return _joined("or", "any", [_condition(part, detections) for part in node.args])
    raise AssertionError(f"no part of a condition: {node!r}")


def _joined(label: str, join: Join, parts: Sequence[Branch | None]) -> Branch | None:
    """Join what a pipeline left; None where it dropped all."""
    left = tuple(part for part in parts if part is not None)
    return Branch(label, join, left) if left else None


def _detection(detection: SigmaDetection, label: str) -> Branch | None:
    parts = []
    for number, item in enumerate(detection.detection_items, 1):
        if isinstance(item, SigmaDetection):
            parts.append(_detection(item, f"{number}."))
        else:
            parts.append(_item(item))
    return _joined(label, "all" if detection.item_linking is ConditionAND else "any", parts)


def _item(item: SigmaDetectionItem) -> Branch:
    name = label(item)
    values = item.value or [SigmaNull()]
    written = _written(item)
    parts = [
        Branch(text, leaf=value_of(item.field, value)) for text, value in zip(written, values, strict=True)
    ]
    if len(parts) == 1:
        found = Branch(f"{name}: {parts[0].label}", leaf=parts[0].leaf)
    else:
        every = item.value_linking is ConditionAND
        found = Branch(name, "all" if every else "any", tuple(parts), values=True)
    return Branch(f"{name}, negated", "not", (found,)) if item.negated else found


def label(item: SigmaDetectionItem) -> str:
    """Write field and modifiers as they stand in the rule: `CommandLine|contains|all`, or `keyword`."""
    names = [reverse_modifier_mapping[modifier.__name__] for modifier in item.modifiers]
    return "|".join([item.field or "", *names]) or "keyword"


def _written(item: SigmaDetectionItem) -> list[str]:
    """Write the values as they stand in the rule; where a pipeline changed them, as they are now."""
    values = item.value or [SigmaNull()]
    written = item.original_value if len(item.original_value or ()) == len(item.value) else None
    return [_value(value) for value in written or values]


def _value(value: Any) -> str:
    if isinstance(value, SigmaNull):
        return "null"
    if isinstance(value, SigmaRegularExpression):
        return f"'{value.regexp}'"
    if isinstance(value, SigmaString):
        return f"'{value.to_plain()}'"
    return str(value)


def written(node: Expression) -> Branch:
    """Write an expression that nobody wrote as a rule, such as a route."""
    match node:
        case And(parts) | Or(parts):
            every = isinstance(node, And)
            return Branch("and" if every else "or", "all" if every else "any", tuple(map(written, parts)))
        case Not(Test(field, Present())):
            return Branch(f"{field}: null", leaf=node)
        case Not(part):
            return Branch("not", "not", (written(part),))
        case Same(field, other, starts, ends):
            how = ("|contains" if ends else "|startswith") if starts else "|endswith" if ends else ""
            return Branch(f"{field}|fieldref{how}: {other}", leaf=node)
        case Test(field, predicate):
            modifier, value = _predicate(predicate)
            return Branch(f"{field or ''}{modifier}: {value}".lstrip("|"), leaf=node)


_HOW = {"is": "", "contains": "|contains", "starts": "|startswith", "ends": "|endswith"}


def _predicate(predicate: Predicate) -> tuple[str, str]:
    match predicate:
        case Text(how, literal, cased):
            return _HOW[how] + ("|cased" if cased else ""), f"'{literal}'"
        case Wildcards(pattern) | Regex(pattern):
            return "|re", f"'{pattern}'"
        case Number(order, number):
            return "" if order == "eq" else f"|{order}", str(number)
        case TimePart(unit, order, number):
            return f"|{unit}" + ("" if order == "eq" else f"|{order}"), str(number)
        case Network(cidr):
            return "|cidr", cidr
        case Present():
            return "|exists", "true"


def leaves(branch: Branch) -> Iterator[Branch]:
    """Give the leaves, in the order in which they stand."""
    if branch.leaf is not None:
        yield branch
    for part in branch.parts:
        yield from leaves(part)
