"""The predicates of one field, asked of columns: literals by `scan`, the rest only where it can be true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.sigma import scan
from rms_flows.sigma.fold import fold
from rms_flows.sigma.literals import Literals, Pattern, fitting
from rms_flows.sigma.tester import Tester
from rms_flows.sigma.windows import Literal

NONE: Final = scan.NONE


@dataclass(slots=True)
class _Follows:
    """What follows when a text has a literal.

    Args:
        hits: Predicates that are true.
        patterns: Those that may be.
        opens: Whether regular expressions may be, too.
    """

    hits: tuple[int, ...] = ()
    patterns: tuple[Pattern, ...] = ()
    opens: bool = False


@dataclass(frozen=True, slots=True)
class Group:
    """What texts have in common that have the same literals.

    Args:
        hits: Predicates that are true of them.
        folded: Patterns that may fit the folded text.
        cased: Patterns that may fit the text as it is.
        open: Whether there is more to be asked of each text.
    """

    hits: frozenset[int]
    folded: tuple[Pattern, ...]
    cased: tuple[Pattern, ...]
    open: bool


class Searcher:
    """Sorts texts into groups; only what a group leaves open is asked of each text.

    Args:
        tester: The predicates.
        sample: Some text of the field.
    """

    def __init__(self, tester: Tester, sample: bytes = b"") -> None:
        self._tester = tester
        self._literals: list[Literal] = []
        self._follows: list[_Follows] = []
        for literals, cased in ((tester.folded, False), (tester.cased, True)):
            self._list(literals, cased=cased)
        looks = tester.others_begin_with
        self._all_open = looks is None or bool(tester.folded.always or tester.cased.always)
        if not self._all_open:
            self._list_needed(sample)
        self._scanner = scan.Scanner(self._literals, looks or b"", sample)
        self.groups: list[Group] = []

    def _list(self, literals: Literals, *, cased: bool) -> None:
        def add(text: str, follows: _Follows, *, starts: bool = False, ends: bool = False) -> None:
            if follows.hits or follows.patterns:
                self._literals.append(Literal(text.encode(), starts, ends, cased))
                self._follows.append(follows)

        for text, hits in literals.exact.items():
            if text:  # the empty text is in no group
                add(text, _Follows(tuple(hits)), starts=True, ends=True)
        for text, asked in literals.inside.items():
            add(text, _Follows(asked.contains, asked.patterns))
            add(text, _Follows(asked.starts), starts=True)
            add(text, _Follows(asked.ends), ends=True)

    def _list_needed(self, sample: bytes) -> None:
        """Look for one literal of each regular expression, the one that the sample has least often."""
        seen = {True: sample, False: sample.lower()}
        for literals, cased in self._tester.others_need:
            texts = [text.encode() for text in literals]
            rarest = min(texts, key=lambda text: (seen[cased].count(text), -len(text)))
            self._literals.append(Literal(rarest, cased=cased))
            self._follows.append(_Follows(opens=True))

    def __len__(self) -> int:
        """Count the groups."""
        return len(self.groups)

    def forget(self) -> None:
        """Begin anew; numbers of groups given before mean nothing afterwards."""
        self._scanner.forget()
        self.groups.clear()

    def sort(self, values: pa.Array, which: np.ndarray) -> np.ndarray:
        """Give each text the number of its group; NONE: ask `hits`.

        Args:
            values: Arrow array of type string.
            which: Places in `values`, int64, none of them null.

        Returns:
            Shape (len(which),), int64.
        """
        found = self._scanner.scan(values, which)
        self._name()
        return found

    def _name(self) -> None:
        for number in range(len(self.groups), len(self._scanner)):
            hits: set[int] = set(self._tester.present)
            patterns: tuple[list[Pattern], list[Pattern]] = ([], [])
            more = self._all_open
            for literal in self._scanner.members(number):
                if literal == len(self._literals):
                    more = True
                    continue
                follows = self._follows[literal]
                hits.update(follows.hits)
                more = more or follows.opens
                patterns[self._literals[literal].cased].extend(follows.patterns)
            group = Group(frozenset(hits), tuple(patterns[0]), tuple(patterns[1]), more or any(patterns))
            self.groups.append(group)

    def rest(self, group: int, text: str) -> frozenset[int]:
        """Give the predicates that are true of a text of a group that leaves something open."""
        return self._together(text, fold(text), [self.groups[group]])

    def hits(self, texts: Sequence[str]) -> list[frozenset[int]]:
        """Give the predicates that are true of each of some texts without a group."""
        if not texts:
            return []
        folded = [fold(text) for text in texts]
        kinds = [self._groups(folded, scan.FOLDED)]
        if self._tester.cased:
            kinds.append(self._groups(texts, scan.CASED))
        return [
            self._together(text, low, [self.groups[number] for number in numbers])
            if text
            else self._tester.hits(text)
            for text, low, *numbers in zip(texts, folded, *kinds, strict=True)
        ]

    def _groups(self, texts: Sequence[str], kind: int) -> list[int]:
        array = pa.array(texts, pa.string())
        numbers: list[int] = self._scanner.scan(array, np.arange(len(texts)), kind).tolist()
        self._name()
        return numbers

    def _together(self, text: str, folded: str, groups: Sequence[Group]) -> frozenset[int]:
        found = self._tester.others(text)
        for group in groups:
            found.extend(fitting(group.folded, folded))
            found.extend(fitting(group.cased, text))
        found.extend(fitting(self._tester.folded.always, folded))
        found.extend(fitting(self._tester.cased.always, text))
        return frozenset(found).union(*(group.hits for group in groups))
