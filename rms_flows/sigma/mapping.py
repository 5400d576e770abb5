"""Pipelines that map the fields of rules to those of the data: pySigma's, from a file or ours by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from sigma.conditions import ConditionAND, ConditionOR
from sigma.exceptions import SigmaError
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaDetection, SigmaDetectionItem, SigmaRule
from sigma.types import CompareOperators, SigmaCompareExpression, SigmaExists, SigmaNull, SigmaString

from rms_flows.errors import DocumentError, RuleError
from rms_flows.sigma.files import reason
from rms_flows.sigma.pipelines import ours
from rms_flows.sigma.translate import BROKEN


def read_pipelines(paths: Sequence[Path]) -> ProcessingPipeline | None:
    """Read pipelines into one, applied in their order."""
    joined: ProcessingPipeline | None = None
    for path in paths:
        try:
            one = ProcessingPipeline.from_yaml(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise DocumentError(
                "no such pipeline", where=str(path), remedy=f"name a file, or one of {', '.join(ours())}"
            ) from None
        except (OSError, ValueError, SigmaError, yaml.YAMLError) as error:
            raise DocumentError(
                f"no pySigma pipeline: {reason(error)}",
                where=str(path),
                remedy="see pySigma's documentation",
            ) from None
        joined = one if joined is None else joined + one
    return joined


def apply(pipeline: ProcessingPipeline, rule: SigmaRule) -> None:
    """Map the fields of a rule in place.

    Where a field becomes several, pySigma asks whether any of them is what the rule says. That is right of
    what is there and wrong of what isn't: the field is absent, or unequal, only where all of them are.
    """
    pipeline.apply(rule)
    for detection in rule.detection.detections.values():
        _split(detection)


class Names:
    """What fields that correlations name are called in the events of a rule.

    Args:
        pipeline: What maps the rules; None leaves all as it is.
    """

    def __init__(self, pipeline: ProcessingPipeline | None) -> None:
        self._pipeline = pipeline
        self._rules: dict[str, SigmaRule] = {}

    def keep(self, rule: SigmaRule, rule_id: str) -> None:
        """Remember a rule as it was written; a pipeline changes rules in place."""
        if self._pipeline is not None:
            self._rules[rule_id] = deepcopy(rule)

    def of(self, rule_id: str, fields: Sequence[str]) -> tuple[str, ...]:
        """Map fields as the fields of a rule are mapped; raises RuleError where the pipeline refuses one.

        The pipeline is asked by what it does to a rule that looks at these fields besides its own: that goes
        through all of its conditions, which ask for log sources, other fields, what was done before.
        """
        if self._pipeline is None or not fields:
            return tuple(fields)
        asked = deepcopy(self._rules[rule_id])
        probes = {f"_rms_{number}": field for number, field in enumerate(fields)}
        for name, field in probes.items():
            item = SigmaDetectionItem(field, [], [SigmaString("x")])
            asked.detection.detections[name] = SigmaDetection([item])
        try:
            self._pipeline.apply(asked)
        except BROKEN as error:
            raise RuleError(
                f"a pipeline refuses {', '.join(fields)} in events of {asked.title!r}: {reason(error)}",
                remedy="name fields that the pipeline knows",
            ) from None
        found = asked.detection.detections
        return tuple(_first(found.get(name)) or field for name, field in probes.items())


def _first(part: SigmaDetection | SigmaDetectionItem | None) -> str | None:
    """Give the first field that is looked at: a group has one value, so of several fields one has to do."""
    if isinstance(part, SigmaDetection):
        return next(filter(None, map(_first, part.detection_items)), None)
    return None if part is None else part.field


def _split(detection: SigmaDetection) -> None:
    items = detection.detection_items
    for part in items:
        if isinstance(part, SigmaDetection):
            _split(part)
    # A mapping of a rule joins its items by and, a list has detections: only a pipeline joins items by or.
    plain = [item for item in items if isinstance(item, SigmaDetectionItem)]
    if detection.item_linking is not ConditionOR or len(plain) < len(items):
        return
    lacking = list(_with(plain, lacks=True))
    if lacking:
        there = list(_with(plain, lacks=False))
        detection.detection_items = [SigmaDetection(list(lacking), item_linking=ConditionAND)]
        if there:
            detection.detection_items.append(SigmaDetection(list(there), item_linking=ConditionOR))


def _with(items: Sequence[SigmaDetectionItem], *, lacks: bool) -> Iterator[SigmaDetectionItem]:
    """Give the items with those of their values that are said of what isn't there, or with the others."""
    for item in items:
        values = [value for value in item.value if (item.negated or _lacks(value)) is lacks]
        if values:
            yield replace(item, value=values, auto_modifiers=False)


def _lacks(value: Any) -> bool:
    return (
        isinstance(value, SigmaNull)
        or (isinstance(value, SigmaExists) and not value.exists)
        or (isinstance(value, SigmaCompareExpression) and value.op is CompareOperators.NEQ)
    )
