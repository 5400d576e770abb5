"""Texts that two memories of verdicts are asked about, searched once for what either looks for."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pyarrow as pa

from rms_flows.sigma.expression import Or, Test
from rms_flows.sigma.verdicts import Verdicts


class Both:
    """What a field is asked and what any text is asked, of the texts of that field: the search is the work.

    Its own verdicts are those of the predicates of both; each stands for one verdict of either memory.

    Args:
        one: A memory of verdicts.
        other: Another.
    """

    def __init__(self, one: Verdicts, other: Verdicts) -> None:
        self._halves = one, other
        every = Or(tuple(Test(None, predicate) for half in self._halves for predicate in half.index))
        self._all = Verdicts([every])
        known = self._all.index
        self._indices = [{known[asked]: i for asked, i in half.index.items()} for half in self._halves]
        self._generations: list[int] = []
        self._numbers: list[list[int]] = []

    def begin(self) -> None:
        """Keep the memory within bounds; called between batches, behind those of either memory."""
        if self._generations[1:] != [half.generation for half in self._halves]:
            self._all.forget()  # or what they forgot for its size would all be back at once
        self._all.begin()

    def of_texts(self, values: pa.Array, which: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the verdicts of many texts by both memories, as each of them numbers them.

        Args:
            values: Arrow array of type string.
            which: Places in `values`, none of them null.

        Returns:
            Two, each of shape (len(which),), intp.
        """
        found = self._all.of_texts(values, which)
        generations = [one.generation for one in (self._all, *self._halves)]
        if generations != self._generations:
            self._generations, self._numbers = generations, [[], []]
        for half, index, numbers in zip(self._halves, self._indices, self._numbers, strict=True):
            new = islice(self._all.known, len(numbers), None)
            numbers.extend(
                half.of_hits(frozenset(index[hit] for hit in hits if hit in index)) for hits in new
            )
        first, second = (np.array(numbers, dtype=np.intp)[found] for numbers in self._numbers)
        return first, second
