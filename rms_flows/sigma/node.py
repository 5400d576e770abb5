"""A rule ready to be evaluated: nodes that shrink a set of rows, the cheapest and rarest question first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, conjunction, disjunction
from rms_flows.sigma.fold import fold
from rms_flows.sigma.scope import KEYWORDS, Scope
from rms_flows.sigma.tester import number
from rms_flows.sigma.verdicts import Value

Counts = Sequence[int]
"""Rows that each question of the plan, then each route, is true of, at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question about one field, answered by its verdicts; KEYWORDS asks any text of the event."""

    asked: str
    question: int
    number: int  # of all questions of the plan

    def bound(self, counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return min(counts[self.number], rows)

    def select(self, scope: Scope, _counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` (None: all) of which it is true, in their order."""
        return scope.choose(self.asked, self.question, rows)


@dataclass(frozen=True, slots=True)
class Alike:
    """A comparison of two fields."""

    same: Same

    def bound(self, _counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return rows

    def select(self, scope: Scope, _counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        chosen = scope.all_rows if rows is None else rows
        pairs, both, which = scope.pairs(self.same.field, self.same.other, chosen)
        hit = np.fromiter((alike(self.same, *pair) for pair in pairs), dtype=bool, count=len(pairs))
        return np.asarray(both[hit[which]])


@dataclass(frozen=True, slots=True)
class Routed:
    """The event is of a log source; worked out once a batch for all rules of that source."""

    route: int
    number: int  # after those of all questions of the plan

    def bound(self, counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return min(counts[self.number], rows)

    def select(self, scope: Scope, _counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        mask = scope.routed[self.route]
        return np.flatnonzero(mask) if rows is None else np.asarray(rows[mask[rows]])


@dataclass(frozen=True, slots=True)
class AllOf:
    """All parts are true; what the rarest leaves is asked the next."""

    parts: tuple[Node, ...]

    def bound(self, counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return min(part.bound(counts, rows) for part in self.parts)

    def select(self, scope: Scope, counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        total = scope.batch.num_rows
        for part in sorted(self.parts, key=lambda part: (part.bound(counts, total), isinstance(part, Alike))):
            rows = part.select(scope, counts, rows)
            if not len(rows):
                break
        return scope.all_rows if rows is None else rows


@dataclass(frozen=True, slots=True)
class OneOf:
    """At least one part is true; later parts are asked only about what is left."""

    parts: tuple[Node, ...]

    def bound(self, counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return min(rows, sum(part.bound(counts, rows) for part in self.parts))

    def select(self, scope: Scope, counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        left = rows
        found = []
        for part in self.parts:
            if not part.bound(counts, scope.batch.num_rows):
                continue
            hit = part.select(scope, counts, left)
            if len(hit):
                found.append(hit)
                left = scope.without(scope.all_rows if left is None else left, hit)
        return np.sort(np.concatenate(found)) if found else scope.all_rows[:0]


@dataclass(frozen=True, slots=True)
class Opposite:
    """The part is false."""

    part: Node

    def bound(self, _counts: Counts, rows: int) -> int:
        """Rows of which it can be true, at most."""
        return rows

    def select(self, scope: Scope, counts: Counts, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        chosen = scope.all_rows if rows is None else rows
        return scope.without(chosen, self.part.select(scope, counts, rows))


Node = Ask | Alike | Routed | AllOf | OneOf | Opposite


@lru_cache(maxsize=65_536)
def alike(same: Same, a: Value | None, b: Value | None) -> bool:
    """Compare the values of two fields; None is an absent one."""
    if a is None or b is None:
        return False
    return any(
        _one_alike(same, left, right)
        for left in ((a,) if isinstance(a, str) else a)
        for right in ((b,) if isinstance(b, str) else b)
    )


def _one_alike(same: Same, left: str, right: str) -> bool:
    left, right = fold(left), fold(right)
    if same.starts and same.ends:
        return right in left
    if same.starts:
        return left.startswith(right)
    if same.ends:
        return left.endswith(right)
    return left == right or (number(left) is not None and number(left) == number(right))


class Binder:
    """Turns expressions into nodes and collects the questions, equal ones once."""

    def __init__(self) -> None:
        self.questions: dict[str, dict[Expression, int]] = {}
        self._numbers: dict[tuple[str, int], int] = {}

    @property
    def places(self) -> list[tuple[str, int]]:
        """Field and index of each question, in the order of their numbers over the plan."""
        return list(self._numbers)

    def bind(self, node: Expression) -> Node:
        """Make the node; the parts that look at one field only become one question."""
        asked = _only_field(node)
        if asked is not None:
            return self._ask(asked, node)
        match node:
            case And(parts):
                return AllOf(tuple(self.bind(part) for part in _grouped(parts, conjunction)))
            case Or(parts):
                return OneOf(tuple(self.bind(part) for part in _grouped(parts, disjunction)))
            case Not(part):
                return Opposite(self.bind(part))
            case Same():
                return Alike(node)
            case Test():
                raise AssertionError("a test looks at one field")

    def _ask(self, asked: str, question: Expression) -> Ask:
        known = self.questions.setdefault(asked, {})
        place = (asked, known.setdefault(question, len(known)))
        return Ask(*place, self._numbers.setdefault(place, len(self._numbers)))


def _only_field(node: Expression) -> str | None:
    """Name the one field that is looked at; keywords join by or only: each may stand in another text."""
    match node:
        case Test(field, _):
            return KEYWORDS if field is None else field
        case Same():
            return None
        case Not(part):
            only = _only_field(part)
            return None if only == KEYWORDS else only
        case And(parts) | Or(parts):
            names = {_only_field(part) for part in parts}
            only = names.pop() if len(names) == 1 else None
            return None if only == KEYWORDS and isinstance(node, And) else only


def _grouped(parts: tuple[Expression, ...], join: type[And | Or] | object) -> list[Expression]:
    groups: dict[object, list[Expression]] = {}
    for part in parts:
        only = _only_field(part)
        alone = only is None or (only == KEYWORDS and join is conjunction)
        groups.setdefault(part if alone else only, []).append(part)
    return [(conjunction if join is conjunction else disjunction)(group) for group in groups.values()]
