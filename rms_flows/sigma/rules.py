"""Rules as the rest of the house sees them: what can be evaluated, and what was refused and why."""

from __future__ import annotations

from msgspec import Struct

from rms_flows.sigma.expression import Expression


class Rule(Struct, frozen=True):
    """A single-event rule that can be evaluated.

    Args:
        id: The rule's id; made from a hash of its content where it has none.
        title: For people.
        author: To be kept with every message based on the rule.
        level: informational, low, medium, high or critical; `medium` where the rule names none.
        tags: Such as `attack.t1059`.
        meaning: Hash of what the rule detects, see `expression.digest`.
        file: Where it was read, for an archive `archive!member`.
        line: Where its document begins in the file, from 1.
        detection: What it detects.
        logsource: Product, category and service, as people write them.
        route: What is true of the events that it looks at; None where nobody knows, or all are to be judged.
    """

    id: str
    title: str
    author: str | None
    level: str
    tags: tuple[str, ...]
    meaning: str
    file: str
    line: int
    detection: Expression
    logsource: str = ""
    route: Expression | None = None

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


class Refused(Struct, frozen=True):
    """A document that can't be evaluated."""

    title: str
    file: str
    line: int
    reason: str

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


class RuleSet(Struct, frozen=True):
    """All that was found: each document is in one of the two, filters in neither (they are part of rules)."""

    rules: tuple[Rule, ...]
    refused: tuple[Refused, ...]
