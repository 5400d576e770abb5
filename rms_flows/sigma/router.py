"""Which log sources events are of, worked out once for all that look the same to the table of sources."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from rms_flows.sigma.expression import Expression, Same, fields, has_keywords, leaves
from rms_flows.sigma.node import Node
from rms_flows.sigma.scope import Memory, Scope
from rms_flows.sigma.verdicts import ABSENT

_KEPT: Final = 4_096
"""Kinds of events, at most, that are remembered."""

_MOST: Final = 2**62


class Router:
    """Tells which log sources events are of.

    A log names few channels, programs and numbers of events: what is true of their verdicts is remembered.

    Args:
        routes: What the events of each log source have.
        nodes: The same, ready to be evaluated.
        size: How many nodes there are over the plan.
        memory: What is known of values.
    """

    def __init__(
        self, routes: Sequence[Expression], nodes: Sequence[Node], size: int, memory: Memory
    ) -> None:
        self._nodes = nodes
        self._size = size
        names = sorted(frozenset[str]().union(*map(fields, routes)))
        compare = any(isinstance(leaf, Same) for route in routes for leaf in leaves(route))
        self._decided = not compare and not any(map(has_keywords, routes))  # by verdicts of fields alone
        self._verdicts = {name: memory.verdicts[name] for name in names} if self._decided else {}
        self._generations: list[int] = []
        self._known: dict[tuple[int, ...], np.ndarray] = {}

    def routed(self, scope: Scope) -> np.ndarray:
        """Tell which rows are of which log source, shape (routes, rows), bool."""
        if not self._decided:
            return self._selected(scope, scope.all_rows)
        generations = [one.generation for one in self._verdicts.values()]
        if generations != self._generations or len(self._known) > _KEPT:
            self._generations = generations
            self._known.clear()
        scope.judge(self._verdicts)
        rows, kind_of = scope.batch.num_rows, np.zeros(scope.batch.num_rows, dtype=np.int64)
        verdicts: list[np.ndarray | None] = []
        kinds = 1
        for name, known in self._verdicts.items():
            found = scope.judged(name)  # one, or none where the field is absent
            verdicts.append(found[0].verdicts[found[0].codes] if found else None)
            if found:
                if kinds > _MOST // len(known):
                    _, kind_of = np.unique(kind_of, return_inverse=True)
                    kinds = rows
                kind_of = kind_of * len(known) + verdicts[-1]
                kinds *= len(known)
        _, first, kind_of = np.unique(kind_of, return_index=True, return_inverse=True)
        absent = [ABSENT] * len(first)
        told = [absent if one is None else one[first].tolist() for one in verdicts]
        looks = list(zip(*told, strict=True)) if told else [()] * len(first)
        new = [
            (row, look) for row, look in zip(first.tolist(), looks, strict=True) if look not in self._known
        ]
        if new:
            new.sort()
            chosen = self._selected(scope, np.array([row for row, _ in new]))
            self._known.update((look, chosen[:, place]) for place, (_, look) in enumerate(new))
        table = np.array([self._known[look] for look in looks], dtype=bool).reshape(
            len(looks), len(self._nodes)
        )
        return np.take(table.T, kind_of, axis=1)

    def _selected(self, scope: Scope, rows: np.ndarray) -> np.ndarray:
        """Ask the nodes about some rows, in their order."""
        routed = np.zeros((len(self._nodes), len(rows)), dtype=bool)
        anything = [scope.batch.num_rows] * self._size
        for number, node in enumerate(self._nodes):
            routed[number, np.searchsorted(rows, node.select(scope, anything, rows))] = True
        return routed
