"""Remarks on rules that can be evaluated and yet don't mean what their authors think, or mean it clumsily."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from msgspec import Struct
from sigma.conditions import ConditionIdentifier, ConditionNOT, ConditionSelector
from sigma.filters import SigmaFilter
from sigma.modifiers import reverse_modifier_mapping
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaDetections, SigmaRule
from sigma.types import SigmaRegularExpression, SigmaRegularExpressionFlag, SigmaString, SpecialChars
from sigma.validators.core.condition import DanglingDetectionValidator

from rms_flows.errors import RuleError
from rms_flows.sigma.expression import digest
from rms_flows.sigma.files import Document
from rms_flows.sigma.fold import fold
from rms_flows.sigma.lint_correlations import missing, of_correlation
from rms_flows.sigma.load import gather
from rms_flows.sigma.translate import BROKEN, detection
from rms_flows.sigma.tree import label

CHECKS: Final = {
    "missing": "has no author, level or id",
    "twin": "detects exactly what another rule does",
    "unused": "has a detection or an alias that nothing names",
    "positive-filter": "a filter that lets through what it names instead of leaving it out",
    "field-case": "a field's name in another case than nearly all rules write it",
    "idle-wildcard": "a wildcard that changes nothing",
    "plain-regex": "a regular expression that could be a literal",
    "repeated-value": "a value that stands there twice, case apart",
    "case": "a value that can't match because of its case",
    "escape": "a value that can't match because of how it is escaped",
    "ungrouped": "a correlation that takes the events of all hosts and users together",
    "threshold": "a correlation whose condition all matches fulfill, or none",
}
"""What is looked for, by the name that `--ignore` takes."""

RARE: Final = 20
"""A spelling of a field is remarked where another of the same product is this many times more frequent."""

_LOWER: Final = frozenset(
    [
        "event.kind",
        "event.category",
        "event.type",
        "event.outcome",
        "event.dataset",
        "network.transport",
        "network.type",
        "network.protocol",
        "network.application",
        "network.direction",
        "url.scheme",
        "host.os.type",
        "os.type",
    ]
)
"""Fields that ECS 8 keeps in lower case ("normalized to lowercase", or a fixed list of values)."""

_PATHS: Final = frozenset(
    [
        "Image",
        "ParentImage",
        "SourceImage",
        "TargetImage",
        "ImageLoaded",
        "TargetFilename",
        "CurrentDirectory",
        "NewProcessName",
        "ParentProcessName",
        "ProcessName",
        "process.executable",
        "process.parent.executable",
        "file.path",
        "dll.path",
    ]
)
"""Fields that hold a path of Windows, in which neither `*` nor `?` can stand (Microsoft, naming files)."""

_PLAIN: Final = re.compile(r"(\^|(?:\.\*)?)((?:[^\\.^$|?*+()\[\]{}]|\\[^A-Za-z0-9])+)(\$|(?:\.\*)?)")
_ESCAPED: Final = re.compile(r"\\(.)", re.DOTALL)
_DOUBLED: Final = re.compile(r"(?<=.)\\\\")
_WILD: Final = SpecialChars.WILDCARD_MULTI


class Remark(Struct, frozen=True):
    """Something that an author should look at.

    Args:
        check: One of `CHECKS`.
        rule: Title of the rule.
        file: Where it was read.
        line: Where its document begins.
        message: What is odd, and how to write it.
    """

    check: str
    rule: str
    file: str
    line: int
    message: str

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


def lint(paths: Sequence[Path]) -> list[Remark]:
    """Look through all rules, correlations and filters under `paths`; what is refused is left to `load`.

    Raises:
        DocumentError: A path can't be read or holds no rules.
    """
    found = gather(paths)
    remarks: list[Remark] = []

    def remark(document: Document, check: str, message: str) -> None:
        remarks.append(Remark(check, document.title, document.file, document.line, message))

    spelled = _spellings(rule for _, rule in found.rules)
    twins: dict[str, Document] = {}
    for document, rule in found.rules:
        for check, message in _of_rule(rule, spelled):
            remark(document, check, message)
        if (meaning := _meaning(rule)) is not None:
            first = twins.setdefault(meaning, document)
            if first is not document:
                remark(document, "twin", f"detects exactly what {first.file}:{first.line} does; keep one")
    for document, one in found.filters:
        for check, message in _of_filter(one):
            remark(document, check, message)
    for draft in found.correlations:
        for check, message in of_correlation(draft):
            remark(draft.document, check, message)
    return sorted(remarks, key=lambda one: (one.file, one.line))


Found = Iterator[tuple[str, str]]


def _of_rule(rule: SigmaRule, spelled: dict[str | None, dict[str, str]]) -> Found:
    for message in missing({"author": rule.author, "level": rule.level, "id": rule.id}):
        yield "missing", message
    try:
        for issue in DanglingDetectionValidator().validate(rule):
            name = getattr(issue, "detection_name", "a detection")
            yield "unused", f"the condition doesn't name `{name}`; use it or delete it"
        yield from _positive(rule.detection)
    except BROKEN:
        return  # refused, with the reason
    for item in _items(rule.detection):
        if item.field is not None and (other := spelled[rule.logsource.product].get(item.field)):
            yield "field-case", f"`{item.field}`: nearly all rules write `{other}`, and case counts"
        yield from _of_item(item)


def _of_filter(one: SigmaFilter) -> Found:
    conditions = [condition.parse(postprocess=False) for condition in one.filter.parsed_condition]
    if not any(_negates(condition) for condition in conditions):
        yield (
            "positive-filter",
            "the rules it is for will fire only on what it names; write `not` before that to leave it out",
        )
    for item in _items(one.filter):
        yield from _of_item(item)


def _negates(node: Any) -> bool:
    return isinstance(node, ConditionNOT) or any(
        _negates(part) for part in getattr(node, "args", ()) if not isinstance(part, str)
    )


def _positive(detections: SigmaDetections) -> Found:
    """Find selections that are called filters and are asked for, not left out."""
    for condition in detections.parsed_condition:
        for name in _asked_for(condition.parse(postprocess=False), positive=True):
            if name.startswith("filter"):
                yield "positive-filter", f"`{name}` has to be true of an event; was `not {name}` meant?"


def _asked_for(node: Any, *, positive: bool) -> Iterator[str]:
    if isinstance(node, ConditionIdentifier | ConditionSelector):
        if positive:
            yield node.identifier if isinstance(node, ConditionIdentifier) else node.pattern
        return
    for part in node.args:
        yield from _asked_for(part, positive=positive is not isinstance(node, ConditionNOT))


def _items(detections: SigmaDetections) -> Iterator[SigmaDetectionItem]:
    waiting: list[SigmaDetection | SigmaDetectionItem] = list(detections.detections.values())
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, SigmaDetectionItem):
            yield one
        else:
            waiting = [*one.detection_items, *waiting]


def _of_item(item: SigmaDetectionItem) -> Found:
    names = {reverse_modifier_mapping[modifier.__name__] for modifier in item.modifiers}
    written = item.original_value or []
    if "re" in names:
        for value in item.value:
            if isinstance(value, SigmaRegularExpression):
                yield from _of_regex(item, value)
        return
    seen: dict[str, str] = {}
    for value in written:
        if not isinstance(value, SigmaString):
            continue
        text = value.to_plain()
        named = f"`{label(item)}: '{text}'`"
        key = text if "cased" in names else fold(text)
        if key in seen and not names & {"base64", "base64offset"}:
            yield "repeated-value", f"{named} says what '{seen[key]}' says; leave one out"
        seen.setdefault(key, text)
        if idle := _idle(value, names, keyword=item.field is None):
            yield "idle-wildcard", f"{named}: {idle}"
        if "cased" in names and item.field in _LOWER and text != text.lower():
            yield "case", f"{named}: ECS keeps {item.field} in lower case, and `cased` never matches another"
        yield from _escapes(value, item.field, named)


def _idle(value: SigmaString, names: set[str], *, keyword: bool) -> str | None:
    parts = list(value.s)
    if any(a is b is _WILD for a, b in pairwise(parts)):
        return "two `*` in a row are one"
    if len(parts) > 1 and parts[0] is _WILD and (keyword or names & {"contains", "endswith"}):
        return "the `*` at the beginning changes nothing; leave it out"
    if len(parts) > 1 and parts[-1] is _WILD and (keyword or names & {"contains", "startswith"}):
        return "the `*` at the end changes nothing; leave it out"
    return None


def _of_regex(item: SigmaDetectionItem, value: SigmaRegularExpression) -> Found:
    pattern = str(value.regexp)
    named = f"`{label(item)}: '{pattern}'`"
    ignores = SigmaRegularExpressionFlag.IGNORECASE in value.flags or pattern.startswith("(?i)")
    if item.field in _LOWER and not ignores and re.search(r"(?<!\\)[A-Z](?![^\[]*\])", pattern):
        yield "case", f"{named}: ECS keeps {item.field} in lower case"
    plain = _PLAIN.fullmatch(pattern.removeprefix("(?i)"))
    if plain:
        begin, literal, end = plain.groups()
        how = {(True, True): "", (True, False): "|startswith", (False, True): "|endswith"}.get(
            (begin == "^", end == "$"), "|contains"
        )
        cased = "" if ignores or literal.lower() == literal.upper() else "|cased"
        text = _ESCAPED.sub(r"\1", literal)
        yield "plain-regex", f"{named} is `{item.field or ''}{how}{cased}: '{text}'`, which is faster"


def _escapes(value: SigmaString, field: str | None, named: str) -> Found:
    literals = [part for part in value.s if isinstance(part, str)]
    whole = "".join(literals)
    if codes := ", ".join(sorted({repr(char)[1:-1] for char in whole if char < " "})):
        shown = named.encode("unicode_escape").decode()
        yield "escape", f"{shown} holds {codes}: YAML reads `\\` in double quotes; write it in single ones"
    if field not in _PATHS:
        return
    if any(char in whole for char in "*?"):
        yield "escape", f"{named}: the wildcard is escaped, and no path holds one; was `\\\\*` meant?"
    if any(_DOUBLED.search(literal) for literal in literals):
        yield "escape", f"{named} asks for two backslashes in a row, which stand only where a path begins"


def _meaning(rule: SigmaRule) -> str | None:
    """Hash what a rule detects and where; None for one that is refused."""
    source = rule.logsource
    try:
        return f"{source.product} {source.category} {source.service} {digest(detection(rule))}"
    except (*BROKEN, RuleError):
        return None


def _spellings(rules: Iterable[SigmaRule]) -> dict[str | None, dict[str, str]]:
    """Give for each product the rare spellings of fields, with the one that nearly all rules have."""
    counts: dict[str | None, Counter[str]] = defaultdict(Counter)
    for rule in rules:
        counts[rule.logsource.product].update({item.field for item in _items(rule.detection) if item.field})
    rare: dict[str | None, dict[str, str]] = defaultdict(dict)
    for product, names in counts.items():
        usual: dict[str, str] = {}
        for name, _ in names.most_common():
            other = usual.setdefault(name.lower(), name)
            if names[other] >= RARE * names[name]:
                rare[product][name] = other
    return rare
