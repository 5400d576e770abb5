"""What is known of a field's values: value → verdict (the predicates true of it) → truth of each question.

A *question* is a part of a rule that looks at one field only. Logs repeat: a value seen before costs one
look-up, and equal verdicts of different values are one number, so that a question's truth for a whole batch
is one gather.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from rms_flows.sigma.codes import count
from rms_flows.sigma.expression import And, Expression, Not, Or, Same, Test, leaves
from rms_flows.sigma.predicate import Predicate
from rms_flows.sigma.searcher import NONE, Searcher
from rms_flows.sigma.tester import Tester

MEMORY: Final = 16 * 1024 * 1024
"""Characters of values remembered a field, twice: in a young and an old generation."""
MAX_VERDICTS: Final = 20_000
"""Number of different verdicts kept; beyond it a field forgets all and begins anew."""

ABSENT: Final = 0
"""The verdict of a field that is absent or null."""

_SAMPLE: Final = 256
_SAMPLED: Final = 4_096
"""Values and characters of each, at most, that show what a field's texts are like."""

_ONE_BY_ONE: Final = 32
"""Values, at most, that are quicker asked for one by one than gathered."""

_OPEN: Final = -1
"""Stands for a verdict that a text's group doesn't decide."""

Value = str | tuple[str, ...]
"""A text, or the texts of a list field: any element counts."""


class _Question(NamedTuple):
    """A question ready to be answered: sets of predicates instead of a leaf each.

    Args:
        every: Whether all has to be true, else anything of it.
        predicates: Indices of predicates.
        parts: What isn't a predicate.
        negated: Whether it is the opposite that is asked.
    """

    every: bool
    predicates: frozenset[int]
    parts: tuple[_Question, ...]
    negated: bool = False

    def holds(self, hits: frozenset[int]) -> bool:
        """Tell whether it is true, given which predicates are."""
        if self.every:
            true = self.predicates <= hits and all(part.holds(hits) for part in self.parts)
        else:
            true = not self.predicates.isdisjoint(hits) or any(part.holds(hits) for part in self.parts)
        return true is not self.negated


def _question(node: Expression, index: dict[Predicate, int]) -> _Question:
    match node:
        case And(parts) | Or(parts):
            tests = frozenset(index[part.predicate] for part in parts if isinstance(part, Test))
            rest = tuple(_question(part, index) for part in parts if not isinstance(part, Test))
            return _Question(isinstance(node, And), tests, rest)
        case Not(part):
            inner = _question(part, index)
            return inner._replace(negated=not inner.negated)
        case Test(_, predicate):
            return _Question(True, frozenset((index[predicate],)), ())
        case Same():
            raise AssertionError("a comparison of two fields is no question about one")


def some_of(values: pa.Array, which: np.ndarray) -> list[str]:
    """Give some values, none of them null."""
    if len(which) <= _ONE_BY_ONE:
        return [values[place].as_py() for place in which.tolist()]
    chosen: list[str] = values.take(pa.array(which)).to_pylist()
    return chosen


class Verdicts:
    """The memory of one field.

    Args:
        questions: What the rules ask of the field, each an expression with tests of this field only.
    """

    def __init__(self, questions: Sequence[Expression]) -> None:
        tests = (leaf for question in questions for leaf in leaves(question))
        distinct = dict.fromkeys(leaf.predicate for leaf in tests if isinstance(leaf, Test))
        self.index = {predicate: i for i, predicate in enumerate(distinct)}
        """The number of each predicate."""
        self._tester = Tester(list(distinct))
        self.questions = len(questions)
        self.predicates = len(distinct)
        self._touched: list[list[int]] = [[] for _ in distinct]  # predicate → questions that ask it
        for number, question in enumerate(questions):
            for leaf in leaves(question):
                if isinstance(leaf, Test):
                    self._touched[self.index[leaf.predicate]].append(number)
        self._questions = [_question(question, self.index) for question in questions]
        self._default = np.array([q.holds(frozenset()) for q in self._questions], dtype=bool)
        self._searcher: Searcher | None = None
        self.generation = -1
        self.forget()

    def forget(self) -> None:
        """Begin anew; numbers of verdicts given before mean nothing afterwards."""
        self.generation += 1
        self._young: dict[Value, int] = {}
        self._old: dict[Value, int] = {}
        self._size = 0
        self._numbers: dict[frozenset[int], int] = {}
        self._of_group = np.array([_OPEN])
        if self._searcher is not None:
            self._searcher.forget()
        self._truth = np.empty((self.questions, 16), dtype=bool)
        self._true = np.empty(
            64, dtype=np.int32
        )  # the questions that are true by each verdict, one after the other
        self._start = np.zeros(17, dtype=np.int64)  # where they begin
        self._number(frozenset())

    def begin(self) -> None:
        """Keep the memory within bounds; called between batches."""
        if max(len(self._numbers), 0 if self._searcher is None else len(self._searcher)) > MAX_VERDICTS:
            self.forget()

    def __len__(self) -> int:
        """Count the verdicts."""
        return len(self._numbers)

    @property
    def known(self) -> Iterable[frozenset[int]]:
        """The predicates that are true by each verdict, in the order of their numbers."""
        return self._numbers.keys()

    @property
    def truth(self) -> np.ndarray:
        """Shape (questions, verdicts), bool."""
        return self._truth[:, : len(self._numbers)]

    def counts(self, verdicts: np.ndarray, rows_of: np.ndarray) -> np.ndarray:
        """Give how many rows each question is true of, shape (questions,), int64.

        Args:
            verdicts: Shape (values,), intp.
            rows_of: Shape (values,), int64: how many rows have each value.
        """
        found = np.zeros(self.questions, dtype=np.int64)
        of_verdict = np.zeros(len(self._numbers), dtype=np.int64)
        count(verdicts, rows_of, of_verdict, self._start, self._true, found)
        return found

    def of(self, values: Sequence[Value | None]) -> np.ndarray:
        """Give the verdict of each value, shape (len(values),), intp."""
        return np.array([ABSENT if value is None else self._one(value) for value in values], dtype=np.intp)

    def of_texts(self, values: pa.Array, which: np.ndarray) -> np.ndarray:
        """Give the verdicts of many texts; `of` is ready sooner.

        Args:
            values: Arrow array of type string.
            which: Places in `values`, none of them null.

        Returns:
            Shape (len(which),), intp.
        """
        if self._searcher is None:
            texts = some_of(values, which[:: -(-len(which) // _SAMPLE)])
            self._searcher = Searcher(self._tester, "".join(text[:_SAMPLED] for text in texts).encode())
        groups = self._searcher.sort(values, which)
        new = self._searcher.groups[len(self._of_group) - 1 :]
        if new:
            numbers = [_OPEN if group.open else self.of_hits(group.hits) for group in new]
            self._of_group = np.array([*self._of_group[:-1], *numbers, _OPEN])  # NONE is the last
        verdicts: np.ndarray = self._of_group[groups]
        left = np.flatnonzero(verdicts == _OPEN)
        if len(left):
            texts = some_of(values, which[left])
            verdicts[left] = self._each(self._searcher, texts, groups[left].tolist())
        return verdicts

    def _each(self, searcher: Searcher, texts: Sequence[str], groups: Sequence[int]) -> list[int]:
        """Give the verdicts of texts whose groups leave something open."""
        found = [self._remembered(text) for text in texts]
        missing = [place for place, verdict in enumerate(found) if verdict is None]
        alone = [place for place in missing if groups[place] == NONE]
        hits = dict(zip(alone, searcher.hits([texts[place] for place in alone]), strict=True))
        for place in missing:
            if place not in hits:
                hits[place] = searcher.rest(groups[place], texts[place])
            found[place] = self._keep(texts[place], hits[place])
        return [ABSENT if verdict is None else verdict for verdict in found]

    def _one(self, value: Value) -> int:
        verdict = self._remembered(value)
        if verdict is not None:
            return verdict
        texts = (value,) if isinstance(value, str) else value
        return self._keep(value, frozenset(chain.from_iterable(map(self._tester.hits, texts))))

    def _remembered(self, value: Value) -> int | None:
        verdict = self._young.get(value)
        if verdict is None and (verdict := self._old.get(value)) is not None:
            self._remember(value, verdict)
        return verdict

    def _keep(self, value: Value, hits: frozenset[int]) -> int:
        verdict = self.of_hits(hits)
        self._remember(value, verdict)
        return verdict

    def _remember(self, value: Value, verdict: int) -> None:
        self._size += sum(map(len, value)) if isinstance(value, tuple) else len(value)
        self._size += 64  # about what an entry costs besides its text, in characters
        if self._size > MEMORY:
            self._old, self._young, self._size = self._young, {}, 0
        self._young[value] = verdict

    def of_hits(self, hits: frozenset[int]) -> int:
        """Give the verdict of what exactly these predicates are true of."""
        number = self._numbers.get(hits)
        return self._number(hits) if number is None else number

    def _number(self, hits: frozenset[int]) -> int:
        """Give a new verdict its number."""
        number = self._numbers[hits] = len(self._numbers)
        if number == self._truth.shape[1]:
            self._truth = np.concatenate([self._truth, np.empty_like(self._truth)], axis=1)
            self._start = np.append(self._start, np.zeros_like(self._start[1:]))
        self._truth[:, number] = self._default
        for question in {q for hit in hits for q in self._touched[hit]}:
            self._truth[question, number] = self._questions[question].holds(hits)
        true = np.flatnonzero(self._truth[:, number])
        begin = self._start[number]
        end = self._start[number + 1] = begin + len(true)
        if end > len(self._true):
            self._true = np.resize(self._true, 2 * end)
        self._true[begin:end] = true
        return number
