"""A rule ready to be evaluated: nodes that shrink a set of rows, the rarest question first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, conjunction, disjunction, leaves
from rms_flows.sigma.fold import fold
from rms_flows.sigma.scope import KEYWORDS, Scope
from rms_flows.sigma.tester import number
from rms_flows.sigma.verdicts import Value

Ceilings = Sequence[int]
"""Rows that each node of the plan, by its number, can be true of, at most."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question about one field, answered by its verdicts; KEYWORDS asks any text of the event."""

    asked: str
    question: int
    number: int

    def select(self, scope: Scope, _ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` (None: all) of which it is true, in their order."""
        return scope.choose(self.asked, self.question, rows)


@dataclass(frozen=True, slots=True)
class Alike:
    """A comparison of two fields."""

    same: Same
    number: int

    def select(self, scope: Scope, _ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        chosen = scope.all_rows if rows is None else rows
        pairs, both, which = scope.pairs(self.same.field, self.same.other, chosen)
        hit = np.fromiter((alike(self.same, *pair) for pair in pairs), dtype=bool, count=len(pairs))
        return np.asarray(both[hit[which]])


@dataclass(frozen=True, slots=True)
class Routed:
    """The event is of a log source; worked out once a batch for all rules of that source."""

    route: int
    number: int

    def select(self, scope: Scope, _ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        mask = scope.routed[self.route]
        return np.flatnonzero(mask) if rows is None else np.asarray(rows[mask[rows]])


@dataclass(frozen=True, slots=True)
class AllOf:
    """All parts are true; what the rarest leaves is asked the next."""

    parts: tuple[Node, ...]
    number: int

    def select(self, scope: Scope, ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        for part in sorted(self.parts, key=lambda part: (ceilings[part.number], isinstance(part, Alike))):
            rows = part.select(scope, ceilings, rows)
            if not len(rows):
                break
        return scope.all_rows if rows is None else rows


@dataclass(frozen=True, slots=True)
class OneOf:
    """At least one part is true; those that compare fields are asked only about what is left."""

    parts: tuple[Node, ...]
    number: int
    plain: int
    """Parts that don't compare fields; they come first."""

    def select(self, scope: Scope, ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        plain, others = self.parts[: self.plain], self.parts[self.plain :]
        found = scope.union([part.select(scope, ceilings, rows) for part in plain if ceilings[part.number]])
        for part in others:
            if not ceilings[part.number]:
                continue
            left = scope.without(scope.all_rows if rows is None else rows, found)
            found = scope.union([found, part.select(scope, ceilings, left)])
        return found


@dataclass(frozen=True, slots=True)
class Opposite:
    """The part is false."""

    part: Node
    number: int

    def select(self, scope: Scope, ceilings: Ceilings, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` of which it is true."""
        chosen = scope.all_rows if rows is None else rows
        return scope.without(chosen, self.part.select(scope, ceilings, rows))


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
    """Turns expressions into nodes, numbered over the plan, and collects the questions, equal ones once."""

    def __init__(self) -> None:
        self.questions: dict[str, dict[Expression, int]] = {}
        self.size = 0
        """How many nodes there are."""
        self._asks: dict[tuple[str, int], Ask] = {}
        self._routed: dict[int, Routed] = {}

    @property
    def asks(self) -> list[Ask]:
        """All questions, in the order of their numbers."""
        return list(self._asks.values())

    @property
    def routed(self) -> list[Routed]:
        """All log sources that rules are bound to."""
        return list(self._routed.values())

    def bind(self, node: Expression) -> Node:
        """Make the node; the parts that look at one field only become one question."""
        asked = _only_field(node)
        if asked is not None:
            return self._ask(asked, node)
        match node:
            case And(parts):
                return AllOf(tuple(self.bind(part) for part in _grouped(parts, conjunction)), self._next())
            case Or(parts):
                plain: list[Expression] = []
                comparing: list[Expression] = []
                for part in _grouped(parts, disjunction):
                    (comparing if _compares(part) else plain).append(part)
                bound = tuple(self.bind(part) for part in (*plain, *comparing))
                return OneOf(bound, self._next(), len(plain))
            case Not(part):
                return Opposite(self.bind(part), self._next())
            case Same():
                return Alike(node, self._next())
            case Test():
                raise AssertionError("a test looks at one field")

    def bind_routed(self, node: Expression, route: int) -> Node:
        """Make the node of a rule whose events have to be of a log source."""
        bound = self.bind(node)
        if route not in self._routed:
            self._routed[route] = Routed(route, self._next())
        parts = bound.parts if isinstance(bound, AllOf) else (bound,)
        return AllOf((*parts, self._routed[route]), self._next())

    def _ask(self, asked: str, question: Expression) -> Ask:
        known = self.questions.setdefault(asked, {})
        place = (asked, known.setdefault(question, len(known)))
        if place not in self._asks:
            self._asks[place] = Ask(*place, self._next())
        return self._asks[place]

    def _next(self) -> int:
        self.size += 1
        return self.size - 1


def _compares(node: Expression) -> bool:
    """Tell whether fields are compared, which takes a loop over pairs of values."""
    return any(isinstance(leaf, Same) for leaf in leaves(node))


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
