"""Literals and patterns with wildcards: what follows from the literals that a text has.

There are two searches with the same answers. Aho-Corasick looks at one text at a time and is ready at once;
`scan` looks at columns, an order of magnitude faster, and is made from what is listed here.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import ahocorasick
import re2

from rms_flows.sigma.predicate import Text, Wildcards

Pattern = tuple[int, Any]
"""A predicate and its compiled pattern."""


@dataclass(slots=True)
class Asked:
    """What is asked of a text that contains a literal; there are tens of thousands, so no lists."""

    contains: tuple[int, ...] = ()
    starts: tuple[int, ...] = ()
    ends: tuple[int, ...] = ()
    patterns: tuple[Pattern, ...] = ()  # fit only texts that have it


class Literals:
    """Predicates that look at a text in one and the same case; false where there are none."""

    def __init__(self) -> None:
        self.exact: dict[str, list[int]] = defaultdict(list)
        """Text → predicates that it is this."""
        self.inside: dict[str, Asked] = defaultdict(Asked)
        """Literal → predicates that it is in a text."""
        self.always: list[Pattern] = []
        """Patterns without a literal that could rule them out."""
        self._automaton = ahocorasick.Automaton()

    def __bool__(self) -> bool:
        return bool(self.exact or self.inside or self.always)

    def add(self, identity: int, predicate: Text | Wildcards) -> None:
        """Take a predicate up; `close` follows the last."""
        if isinstance(predicate, Text) and predicate.how == "is":
            self.exact[predicate.literal].append(identity)
        elif isinstance(predicate, Text):
            asked = self.inside[predicate.literal]
            setattr(asked, predicate.how, (*getattr(asked, predicate.how), identity))
        elif predicate.literal:
            self.inside[predicate.literal].patterns += ((identity, re2.compile(predicate.pattern)),)
        else:
            self.always.append((identity, re2.compile(predicate.pattern)))

    def close(self) -> None:
        """Get ready to search."""
        for literal, asked in self.inside.items():
            self._automaton.add_word(literal, (literal, asked))
        self._automaton.make_automaton()

    def hits(self, text: str) -> Iterator[int]:
        """Give the predicates that are true of `text`; one may come twice."""
        yield from self.exact.get(text, ())
        if self.inside:
            found = dict(asked for _, asked in self._automaton.iter(text))
            for literal, asked in found.items():
                yield from asked.contains
                if asked.starts and text.startswith(literal):
                    yield from asked.starts
                if asked.ends and text.endswith(literal):
                    yield from asked.ends
                yield from fitting(asked.patterns, text)
        yield from fitting(self.always, text)


def fitting(patterns: Iterable[Pattern], text: str) -> Iterator[int]:
    """Give the predicates whose pattern is found in `text`."""
    for identity, pattern in patterns:
        if pattern.search(text) is not None:
            yield identity
