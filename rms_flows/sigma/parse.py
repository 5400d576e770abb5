"""From YAML documents to pySigma's rules and on to ours, each by itself, so that one can fail."""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Final

from sigma.collection import SigmaCollection
from sigma.filters import SigmaFilter
from sigma.policy import SigmaPolicy
from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaRule

from rms_flows.errors import RuleError
from rms_flows.sigma.correlations import key_of
from rms_flows.sigma.draft import Draft, read_draft
from rms_flows.sigma.expression import digest
from rms_flows.sigma.files import Document, documents, reason
from rms_flows.sigma.mapping import apply
from rms_flows.sigma.regex import Engine
from rms_flows.sigma.routes import Routes, logsource, write
from rms_flows.sigma.rules import Refused, Rule
from rms_flows.sigma.translate import BROKEN, detection

_DASHES: Final = re.compile("\\B[\u2013\u2014\u2015]\\b")
_POLICY: Final = SigmaPolicy(regex_engine=Engine())


class Found:
    """What was parsed so far."""

    def __init__(self) -> None:
        self.rules: list[tuple[Document, SigmaRule]] = []
        self.filters: list[tuple[Document, SigmaFilter]] = []
        self.correlations: list[Draft] = []
        self.refused: list[Refused] = []
        self.lost: dict[str, Refused] = {}
        """Refused documents, by their names and ids: who refers to one is told so."""

    def refuse(self, document: Document, why: str | RuleError) -> None:
        """Put a document among the refused."""
        told = f"{why.problem}; {why.remedy}" if isinstance(why, RuleError) else why
        one = Refused(document.title, document.file, document.line, told)
        self.refused.append(one)
        if isinstance(document.content, dict):
            for key in ("name", "id"):
                if isinstance(value := document.content.get(key), str):
                    self.lost.setdefault(key_of(value), one)

    def parse(self, file: str, text: bytes) -> None:
        """Parse the documents of a file; a global part is merged into those after it, as `action` says."""
        common: list[Any] = []
        for document in documents(file, text):
            content = document.content
            if document.problem is not None:
                self.refuse(document, document.problem)
            elif not isinstance(content, dict):
                self.refuse(document, "a rule has to be a mapping of keys to values")
            elif content.get("action") in {"global", "reset"}:
                common = [_prepared(content)] if content["action"] == "global" else []
            elif "action" in content:
                self.refuse(
                    document, f"`action: {content['action']}` is no part of Sigma 2; write each rule out"
                )
            elif "correlation" in content:
                self._add_correlation(document)
            else:
                self._add(document, [*common, _prepared(content)])

    def _add(self, document: Document, contents: list[Any]) -> None:
        try:
            collection = SigmaCollection.from_dicts(deepcopy(contents), collect_filters=True, policy=_POLICY)
        except RuleError as error:
            self.refuse(document, error)
            return
        except BROKEN as error:
            self.refuse(document, reason(error))
            return
        self.filters.extend((document, one) for one in collection.filters)
        self.rules.extend((document, rule) for rule in collection.rules if isinstance(rule, SigmaRule))

    def _add_correlation(self, document: Document) -> None:
        try:
            self.correlations.append(read_draft(document))
        except RuleError as error:
            self.refuse(document, error)
        except BROKEN as error:
            self.refuse(document, reason(error))


def _prepared(content: dict[str, Any]) -> dict[str, Any]:
    """Write what pySigma does not know as what it knows: `utf16le` is `wide`; any dash is written as `-`."""

    def detections(node: Any) -> Any:
        if isinstance(node, list):
            return [detections(one) for one in node]
        if not isinstance(node, dict):
            return node
        return dict(item(key, value) for key, value in node.items())

    def item(key: Any, value: Any) -> tuple[Any, Any]:
        field, *modifiers = str(key).split("|")
        if "utf16le" in modifiers:
            key = "|".join([field, *("wide" if one == "utf16le" else one for one in modifiers)])
        if "windash" in modifiers:
            value = [_DASHES.sub("-", v) if isinstance(v, str) else v for v in _listed(value)]
        return key, detections(value)

    part = "filter" if "filter" in content else "detection"
    if not any(word in repr(content.get(part)) for word in ("utf16le", "windash")):
        return content
    return {**content, part: detections(content[part])}


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def make_rule(
    document: Document,
    parsed: SigmaRule,
    filters: Sequence[SigmaFilter],
    mapping: ProcessingPipeline | None,
    routes: Routes | None,
) -> Rule:
    """Apply filters and mapping, and translate; raises RuleError where the rule can't be evaluated."""
    source = logsource(parsed)
    try:
        for one in filters:
            one.apply_on_rule(parsed)
        if mapping is not None:
            apply(mapping, parsed)
        meaning = detection(parsed)
        route = None if routes is None else routes.find(source)
    except BROKEN as error:
        raise RuleError(reason(error), remedy="see the Sigma specification") from None
    return Rule(
        id=str(parsed.id or document.made_id),
        title=parsed.title or document.title,
        author=parsed.author,
        level=parsed.level.name.lower() if parsed.level else "medium",
        tags=tuple(map(str, parsed.tags)),
        meaning=digest(meaning),
        file=document.file,
        line=document.line,
        detection=meaning,
        logsource=write(source),
        route=route,
        name=parsed.name or "",
    )
