"""All rules in one plan, evaluated on distinct values, and on rows only where a rule can be true."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rms_flows.schema import MISFIT
from rms_flows.sigma.expression import fields, has_keywords
from rms_flows.sigma.node import AllOf, Ask, Binder, Node
from rms_flows.sigma.rules import Rule, RuleSet
from rms_flows.sigma.scope import Memory, Scope
from rms_flows.sigma.verdicts import ABSENT, Verdicts


@dataclass(frozen=True, slots=True)
class Matches:
    """Which rules are true of which rows, sorted by row, then rule.

    Args:
        rule: Shape (matches,), int32: index into `Plan.rules`.
        row: Shape (matches,), int64: row of the batch.
    """

    rule: np.ndarray
    row: np.ndarray

    def __len__(self) -> int:
        return len(self.rule)


class Plan:
    """Rules compiled together. Holds a memory of values, so a plan belongs to one thread.

    Args:
        rules: What to evaluate.
    """

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules
        names = frozenset[str]().union(*(fields(rule.detection) for rule in rules))
        self._fields = tuple(fields(rule.detection) for rule in rules)
        self._keywords = tuple(has_keywords(rule.detection) for rule in rules)
        self.columns: frozenset[str] | None = None if any(self._keywords) else _with_parents(names)
        """Columns that the rules look at; None where keywords may look at any text."""
        binder = Binder()
        self._nodes = tuple(binder.bind(rule.detection) for rule in rules)
        self._memory = Memory({asked: Verdicts(list(known)) for asked, known in binder.questions.items()})
        self._places = binder.places
        self._numbers = _numbers(self._places)
        self._absent = np.array(
            [self._memory.verdicts[a].truth[q, ABSENT] for a, q in self._places], dtype=bool
        )
        self._needed, self._starts = _needed(self._nodes, len(self._places))

    def match(self, batch: pa.RecordBatch) -> Matches:
        """Evaluate all rules on a batch; columns that it lacks are absent fields."""
        if not self.rules or not batch.num_rows:
            return Matches(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
        for verdicts in self._memory.verdicts.values():
            verdicts.begin()
        scope = Scope(batch, self._memory)
        counts = self._counts(scope)
        alive = np.minimum.reduceat(counts[self._needed], self._starts) > 0
        rules: list[np.ndarray] = []
        rows: list[np.ndarray] = []
        for number in np.flatnonzero(alive).tolist():
            found = self._nodes[number].select(scope, counts, None)
            if len(found):
                rules.append(np.full(len(found), number, dtype=np.int32))
                rows.append(found)
        if not rules:
            return Matches(np.empty(0, dtype=np.int32), np.empty(0, dtype=np.int64))
        rule, row = np.concatenate(rules), np.concatenate(rows).astype(np.int64, copy=False)
        order = np.lexsort((rule, row))
        return Matches(rule[order], row[order])

    def unreachable(self, columns: Collection[str]) -> list[int]:
        """Name the rules that look at fields none of which is among `columns`."""
        present = frozenset(columns) - {MISFIT}  # what did not fit a column has that column, with null
        return [
            i
            for i, (names, anywhere) in enumerate(zip(self._fields, self._keywords, strict=True))
            if not anywhere and not (_with_parents(names) & present)
        ]

    def _counts(self, scope: Scope) -> np.ndarray:
        """Rows that each question is true of, shape (questions + 1,); the last is 1: rules may need none."""
        counts = np.append(self._absent * scope.batch.num_rows, 1)
        for asked, numbers in self._numbers.items():
            found = scope.counts(asked)
            if found is not None:
                counts[numbers] = found
        return counts


def compile(ruleset: RuleSet) -> Plan:  # noqa: A001 - the word of the field, as in re.compile
    """Compile the rules of a set into one plan."""
    return Plan(ruleset.rules)


def _with_parents(names: frozenset[str]) -> frozenset[str]:
    """Add what may hold the fields: a structure on their path, or the row's misfits."""
    parents = {name[:at] for name in names for at, char in enumerate(name) if char == "." and at}
    return names | parents | {MISFIT} if names else names


def _numbers(places: list[tuple[str, int]]) -> dict[str, np.ndarray]:
    """Numbers over the plan of each field's questions, in their order in the field."""
    grouped: dict[str, list[tuple[int, int]]] = {}
    for number, (asked, question) in enumerate(places):
        grouped.setdefault(asked, []).append((question, number))
    return {asked: np.array([number for _, number in sorted(pairs)]) for asked, pairs in grouped.items()}


def _needed(nodes: tuple[Node, ...], none: int) -> tuple[np.ndarray, np.ndarray]:
    """Questions without which a rule can't be true, all in one array, and where each rule's begin."""
    needed: list[int] = []
    starts: list[int] = []
    for node in nodes:
        starts.append(len(needed))
        parts = node.parts if isinstance(node, AllOf) else (node,)
        needed.extend([part.number for part in parts if isinstance(part, Ask)] or [none])
    return np.array(needed, dtype=np.intp), np.array(starts, dtype=np.intp)
