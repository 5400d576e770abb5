"""What is known of a field's values: value → verdict (the predicates true of it) → truth of each question.

A *question* is a part of a rule that looks at one field only. Logs repeat: a value seen before costs one
look-up, and equal verdicts of different values are one number, so that a question's truth for a whole batch
is one gather.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Final

import numpy as np

from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, leaves
from rms_flows.sigma.predicate import Predicate
from rms_flows.sigma.tester import Tester

MEMORY: Final = 16 * 1024 * 1024
"""Characters of values remembered a field, twice: in a young and an old generation."""
MAX_VERDICTS: Final = 20_000
"""Number of different verdicts kept; beyond it a field forgets all and begins anew."""

ABSENT: Final = 0
"""The verdict of a field that is absent or null."""

Value = str | tuple[str, ...]
"""A text, or the texts of a list field: any element counts."""


def holds(node: Expression, hits: frozenset[int], index: dict[Predicate, int]) -> bool:
    """Evaluate a question, given which predicates are true."""
    match node:
        case And(parts):
            return all(holds(part, hits, index) for part in parts)
        case Or(parts):
            return any(holds(part, hits, index) for part in parts)
        case Not(part):
            return not holds(part, hits, index)
        case Test(_, predicate):
            return index[predicate] in hits
        case Same():
            raise AssertionError("a comparison of two fields is no question about one")


class Verdicts:
    """The memory of one field.

    Args:
        questions: What the rules ask of the field, each an expression with tests of this field only.
    """

    def __init__(self, questions: Sequence[Expression]) -> None:
        tests = (leaf for question in questions for leaf in leaves(question))
        distinct = dict.fromkeys(leaf.predicate for leaf in tests if isinstance(leaf, Test))
        self._index = {predicate: i for i, predicate in enumerate(distinct)}
        self._tester = Tester(list(distinct))
        self._questions = questions
        self._touched: list[list[int]] = [[] for _ in distinct]  # predicate → questions that ask it
        for number, question in enumerate(questions):
            for leaf in leaves(question):
                if isinstance(leaf, Test):
                    self._touched[self._index[leaf.predicate]].append(number)
        self._default = np.array([holds(q, frozenset(), self._index) for q in questions], dtype=bool)
        self.generation = -1
        self.forget()

    def forget(self) -> None:
        """Begin anew; numbers of verdicts given before mean nothing afterwards."""
        self.generation += 1
        self._young: dict[Value, int] = {}
        self._old: dict[Value, int] = {}
        self._size = 0
        self._numbers: dict[frozenset[int], int] = {}
        self._truth = np.empty((len(self._questions), 16), dtype=bool)
        self._number(frozenset())

    def begin(self) -> None:
        """Keep the memory within bounds; called between batches."""
        if len(self._numbers) > MAX_VERDICTS:
            self.forget()

    @property
    def truth(self) -> np.ndarray:
        """Shape (questions, verdicts), bool."""
        return self._truth[:, : len(self._numbers)]

    def of(self, values: Sequence[Value | None]) -> np.ndarray:
        """Give the verdict of each value, shape (len(values),), intp."""
        known = self._young.get
        found = [ABSENT if value is None else known(value, -1) for value in values]
        for place, (value, verdict) in enumerate(zip(values, found, strict=True)):
            if verdict < 0 and value is not None:
                found[place] = self._recall(value)
        return np.array(found, dtype=np.intp)

    def _recall(self, value: Value) -> int:
        verdict = self._old.get(value)
        if verdict is None:
            if isinstance(value, str):
                hits = self._tester.hits(value)
            else:
                hits = frozenset(chain.from_iterable(map(self._tester.hits, value)))
            verdict = self._numbers.get(hits)
            if verdict is None:
                verdict = self._number(hits)
        self._size += sum(map(len, value)) if isinstance(value, tuple) else len(value)
        self._size += 64  # about what an entry costs besides its text, in characters
        if self._size > MEMORY:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[value] = verdict
        return verdict

    def _number(self, hits: frozenset[int]) -> int:
        """Give a new verdict its number."""
        number = self._numbers[hits] = len(self._numbers)
        if number == self._truth.shape[1]:
            self._truth = np.concatenate([self._truth, np.empty_like(self._truth)], axis=1)
        self._truth[:, number] = self._default
        for question in {q for hit in hits for q in self._touched[hit]}:
            self._truth[question, number] = holds(self._questions[question], hits, self._index)
        return number
