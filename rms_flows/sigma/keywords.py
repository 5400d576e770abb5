"""What keywords need: a column whose bytes have none of their literals is none of theirs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.sigma.expression import Expression, Test, leaves
from rms_flows.sigma.predicate import Predicate, Text, Wildcards
from rms_flows.sigma.scan import Scanner
from rms_flows.sigma.windows import Literal

_GROUPS: Final = 64
"""At most: each is a bit."""

_KEPT: Final = 64
"""Sets of groups, at most, whose literals are kept ready."""

_SAMPLE: Final = 65_536
"""Bytes that show what texts are like."""

_SHORT: Final = 8
"""Bytes of a literal that let windows leap over others; shorter ones make the search several times slower."""

_NO_BYTES: Final = np.empty(0, dtype=np.uint8)

_EVERY: Final = np.empty(0, dtype=bool)
"""Stands for all rows, as a mask."""


class Keywords:
    """Tells of many texts at once, by their bytes alone, which rules' keywords may be true of any.

    Rules with keywords look at all text of an event, hundreds of columns, and most columns have nothing of
    what they look for: these need not be taken apart into values. Rules of one log source are a group; it is
    looked for only where there are rows of that source.

    Args:
        rules: What each detects, and the number of its log source; None for all events.
    """

    def __init__(self, rules: Iterable[tuple[Expression, int | None]]) -> None:
        self._routes: list[set[int | None]] = []
        self._literals: dict[Literal, int] = {}
        self.always = 0
        """Bits of the groups of which any text may have a keyword."""
        self.short = 0
        """Bits of the groups that have short literals."""
        self._searchers: dict[int, tuple[Scanner, np.ndarray]] = {}
        groups: dict[int | None, int] = {}
        for detection, route in rules:
            for leaf in leaves(detection):
                if not isinstance(leaf, Test) or leaf.field is not None:
                    continue
                group = groups.setdefault(route, len(groups) % _GROUPS)
                needed = _needed(leaf.predicate)
                if needed is None:
                    self.always |= 1 << group
                else:
                    self._literals[needed] = self._literals.get(needed, 0) | 1 << group
                    if len(needed.text) < _SHORT:
                        self.short |= 1 << group
        for route, group in groups.items():
            if group == len(self._routes):
                self._routes.append(set())
            self._routes[group].add(route)

    def _searcher(self, wanted: int, sample: np.ndarray) -> tuple[Scanner, np.ndarray]:
        """Give what searches for the literals of some groups: the fewer and longer, the faster."""
        found = self._searchers.get(wanted)
        if found is None:
            if len(self._searchers) == _KEPT:
                self._searchers.clear()
            literals = {one: groups for one, groups in self._literals.items() if groups & wanted}
            scanner = Scanner(list(literals), sample=sample[:_SAMPLE].tobytes())
            found = scanner, np.array(list(literals.values()), dtype=np.uint64)
            self._searchers[wanted] = found
        return found

    def rows_of_groups(self, routed: np.ndarray) -> list[np.ndarray]:
        """Give for each group the rows that its rules look at: a mask, or empty for all.

        Args:
            routed: Shape (routes, rows), bool: which rows are of which log source.
        """
        named = [[route for route in routes if route is not None] for routes in self._routes]
        return [
            _EVERY if None in routes else np.asarray(routed[known].any(axis=0))
            for routes, known in zip(self._routes, named, strict=True)
        ]

    def groups_in(self, data: np.ndarray, wanted: int) -> int:
        """Give the groups of which a keyword may be true of a text among these bytes; others have none.

        Args:
            data: uint8, UTF-8 texts, one after the other or with anything between.
            wanted: Bits of the groups that are asked for.
        """
        always = self.always & wanted
        if always == wanted or not len(data):
            return always
        scanner, groups = self._searcher(wanted & ~always, data)
        return always | scanner.groups_in(data, groups, wanted & ~always)

    def groups_in_column(self, column: pa.Array, wanted: int) -> int:
        """Give the groups of which a keyword may be true of a text of a column.

        Args:
            column: Text, dictionaries or lists of text.
            wanted: Bits of the groups that are asked for.
        """
        return self.groups_in(_texts(column), wanted)


def _texts(column: pa.Array) -> np.ndarray:
    """Give the texts of a column, one after the other, shape (bytes,), uint8."""
    while not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)):
        column = column.dictionary if pa.types.is_dictionary(column.type) else column.flatten()
    _, ends, data = column.buffers()
    if not len(column) or data is None:
        return _NO_BYTES
    offsets = np.frombuffer(ends, np.int64 if pa.types.is_large_string(column.type) else np.int32)
    return np.frombuffer(data, np.uint8)[offsets[column.offset] : offsets[column.offset + len(column)]]


def _needed(predicate: Predicate) -> Literal | None:
    """Give what each text has of which a predicate is true; None where there is nothing."""
    if isinstance(predicate, Text | Wildcards) and predicate.literal:
        return Literal(predicate.literal.encode("utf-8", "surrogatepass"), cased=predicate.cased)
    return None
