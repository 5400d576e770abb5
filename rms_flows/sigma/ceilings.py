"""How many rows each node of a plan can be true of, at most, worked out for all nodes at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from rms_flows.sigma.node import AllOf, Node, OneOf, Opposite


class _Level(NamedTuple):
    """Nodes of one kind whose parts are all worked out before.

    Args:
        join: `minimum` where all parts are true, `add` where one is.
        nodes: Numbers of the nodes.
        parts: Numbers of their parts, one node's after the other's.
        begins: Where each node's parts begin.
    """

    join: np.ufunc
    nodes: np.ndarray
    parts: np.ndarray
    begins: np.ndarray


class Ceilings:
    """Works out the ceilings of rules from those of their questions and log sources.

    Args:
        roots: The nodes of the rules.
    """

    def __init__(self, roots: Sequence[Node]) -> None:
        self._roots = np.array([root.number for root in roots], dtype=np.intp)
        depths: dict[int, int] = {}
        grouped: dict[tuple[int, bool], dict[int, Sequence[Node]]] = {}
        for node in _parts_first(roots):
            if isinstance(node, AllOf | OneOf) and node.parts:  # without any it is always true, or never
                depth = 1 + max(depths.get(part.number, 0) for part in node.parts)
                depths[node.number] = depth
                grouped.setdefault((depth, isinstance(node, AllOf)), {})[node.number] = node.parts
        self._levels = [
            _level(np.minimum if every else np.add, grouped[depth, every]) for depth, every in sorted(grouped)
        ]

    def raise_up(self, ceilings: np.ndarray, rows: int) -> None:
        """Work out the ceilings of what is true if all parts are, or one is.

        Args:
            ceilings: int64, shape (nodes,): how many rows each is true of, at most. Of `AllOf` and `OneOf`
                that have parts it may be any number; of `Opposite` and `Alike` it is all rows.
            rows: Of the batch.
        """
        np.minimum(ceilings, rows, out=ceilings)
        for join, nodes, parts, begins in self._levels:
            ceilings[nodes] = np.minimum(join.reduceat(ceilings[parts], begins), rows)

    def alive(self, ceilings: np.ndarray) -> list[int]:
        """Give the rules that may be true of a row."""
        alive: list[int] = np.flatnonzero(ceilings[self._roots]).tolist()
        return alive


def _level(join: np.ufunc, nodes: dict[int, Sequence[Node]]) -> _Level:
    sizes = np.array([len(parts) for parts in nodes.values()])
    return _Level(
        join,
        np.array(list(nodes), dtype=np.intp),
        np.array([part.number for parts in nodes.values() for part in parts], dtype=np.intp),
        np.cumsum(sizes) - sizes,
    )


def _parts_first(nodes: Iterable[Node]) -> Iterable[Node]:
    for node in nodes:
        if isinstance(node, AllOf | OneOf):
            yield from _parts_first(node.parts)
        elif isinstance(node, Opposite):
            yield from _parts_first((node.part,))
        yield node
