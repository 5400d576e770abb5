"""The work of a run in pieces, and the pieces in shares of even weight. Knows no Beam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from rms_flows.io.contract import Fragment

SHARES = 4
"""Shares a worker: more even out what sizes don't tell, fewer cost less (a pipeline takes about 0.1 s)."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A fragment with its place in the whole run, which names the parts that come of it."""

    number: int
    source: str
    fragment: Fragment

    @property
    def weight(self) -> float:
        """Work in it: its bytes, or 1 where they are not known."""
        return float(self.fragment.size or 1)


STATE_SHARDS = 8
"""Parts of the groups that are worked off apart; what is found does not depend on it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One shard of one level of a processor, with its place in the run, which names the parts of it."""

    number: int
    processor: str
    level: int
    shard: int

    @property
    def weight(self) -> float:
        """Work in it: shards are even."""
        return 1.0


_Work = TypeVar("_Work", Piece, Stage)


def shares(pieces: Sequence[_Work], workers: int) -> list[tuple[_Work, ...]]:
    """Deal pieces into shares, the heaviest share first; a share keeps the order of its pieces.

    Args:
        pieces: All work.
        workers: Who asks for one share after the other; 1 gets everything in one.

    Example:
        >>> pieces = [Piece(n, "a", Fragment("f", size=size)) for n, size in enumerate([9, 1, 5, 4])]
        >>> [[piece.number for piece in share] for share in shares(pieces, 2)]
        [[0], [2], [3], [1]]
    """
    count = 1 if workers == 1 else min(len(pieces), workers * SHARES)
    dealt: list[list[_Work]] = [[] for _ in range(count)]
    weights = [0.0] * count
    for piece in sorted(pieces, key=lambda piece: (-piece.weight, piece.number)):
        lightest = weights.index(min(weights))
        dealt[lightest].append(piece)
        weights[lightest] += piece.weight
    order = sorted(range(count), key=lambda share: -weights[share])
    return [tuple(sorted(dealt[share], key=lambda piece: piece.number)) for share in order]
