"""Rules as the rest of the house sees them: what can be evaluated, and what was refused and why."""

from __future__ import annotations

from msgspec import Struct

from rms_flows.correlate.spec import Correlation
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
        name: What correlations call it; empty where it has none.
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
    name: str = ""

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
    """All that was found: each document is in one of the three, filters in none (they are part of rules).

    Args:
        rules: In the order of files and lines.
        refused: The same.
        correlations: Those that others look at before these.
    """

    rules: tuple[Rule, ...]
    refused: tuple[Refused, ...]
    correlations: tuple[Correlation, ...] = ()

    @property
    def silent(self) -> frozenset[str]:
        """Ids of rules and correlations that don't report: others look at them, and none says `generate`."""
        needed = {one.id for outer in self.correlations for one in outer.inputs}
        generated = {one.id for outer in self.correlations if outer.generate for one in outer.inputs}
        return frozenset(needed - generated)
