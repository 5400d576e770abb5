"""Where the events of a rule are: its log source, looked up in a table, becomes an expression on the data."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Final

from sigma.processing.pipeline import ProcessingPipeline
from sigma.rule import SigmaLogSource, SigmaRule

from rms_flows.errors import DocumentError, RuleError
from rms_flows.model import Route, RouteTable, load
from rms_flows.sigma.expression import Expression, Test, disjunction, negation
from rms_flows.sigma.files import reason
from rms_flows.sigma.mapping import apply
from rms_flows.sigma.predicate import Present
from rms_flows.sigma.translate import BROKEN, detection

TABLE: Final = Path(__file__).with_name("routes.yml")
"""The table that every set of rules begins with."""

LogSource = tuple[str | None, str | None, str | None]
"""Product, category and service."""

UNKNOWN: Final = negation(Test("event.dataset", Present()))
"""True of an event that does not say what log it is from: it may be any."""


class Routes:
    """The table, with what was added to it.

    Of the entries that fit a rule, one that names more replaces those that name a part of it; the others must
    all be true.

    Args:
        files: Tables that come after ours; their entries replace those for the same log source.
        mapping: Renames the fields of the table as it does those of rules.

    Raises:
        DocumentError: A file is no table, or an entry's `when` is no detection.
    """

    def __init__(self, files: Sequence[Path], mapping: ProcessingPipeline | None) -> None:
        self._known: dict[LogSource, Expression | None] = {}
        self._entries: dict[LogSource, tuple[Path, Route]] = {}
        for path in (TABLE, *files):
            for route in load(path, RouteTable).routes:
                self._entries[route.logsource] = path, route
        self._mapping: ProcessingPipeline | None = None
        for source, (path, _) in self._entries.items():
            if path != TABLE:
                self._check(source, path)
        self._mapping = mapping

    def _check(self, source: LogSource, path: Path) -> None:
        """Refuse here what is no detection, be there a rule of that log source or not."""
        try:
            self._expression(source, [source])
        except (*BROKEN, RuleError) as error:
            raise DocumentError(
                f"the route of {write(source)} is no Sigma detection: {reason(error)}",
                where=str(path),
                remedy="write `when` as a selection of a rule",
            ) from None

    def find(self, source: LogSource) -> Expression | None:
        """Give what is true of the events of a log source; None where nobody knows.

        Raises:
            SigmaError: The pipeline does not know the log source, and would not map its rules either.
        """
        if source not in self._known:
            fitting = [known for known in self._entries if _part_of(known, source)]
            chosen = [
                one for one in fitting if not any(one != other and _part_of(one, other) for other in fitting)
            ]
            covered = {i for known in chosen for i, name in enumerate(known) if name is not None}
            open_parts = [i for i, name in enumerate(source) if name is not None and i not in covered]
            self._known[source] = None if open_parts or not chosen else self._expression(source, chosen)
        return self._known[source]

    def _expression(self, source: LogSource, entries: Sequence[LogSource]) -> Expression:
        """Translate the entries as a rule is translated, so that they mean what they would mean there."""
        chosen = {f"route{number}": self._entries[one][1].when for number, one in enumerate(entries)}
        content = {
            "title": "route",
            "logsource": {key: name for key, name in zip(_KEYS, source, strict=True) if name is not None},
            "detection": {
                **deepcopy(chosen),
                "condition": " and ".join(chosen),
            },
        }
        rule = SigmaRule.from_dict(content)
        if self._mapping is not None:
            apply(self._mapping, rule)
        return disjunction([UNKNOWN, detection(rule)])


_KEYS: Final = ("product", "category", "service")


def logsource(rule: SigmaRule) -> LogSource:
    """Give a rule's log source."""
    source: SigmaLogSource = rule.logsource
    return source.product, source.category, source.service


def write(source: LogSource) -> str:
    """Write a log source for people.

    Example:
        >>> write(("linux", None, "sshd"))
        'product: linux, service: sshd'
    """
    return ", ".join(f"{key}: {name}" for key, name in zip(_KEYS, source, strict=True) if name is not None)


def _part_of(one: LogSource, other: LogSource) -> bool:
    return all(name is None or name == theirs for name, theirs in zip(one, other, strict=True))
