"""Literals and patterns with wildcards, all searched for at once in one text.

Hyperscan does it, where it is installed and there is enough text for its compiling to pay; Aho-Corasick does
it before, and in its place, an order of magnitude slower. Both only say which literals a text contains; all
that follows from it is worked out here, so that the answers are the same.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import ahocorasick
import re2

from rms_flows.sigma.predicate import Text, Wildcards

hyperscan: Any
try:
    import hyperscan
except ImportError:
    hyperscan = None

ENGINE: Final = "Aho-Corasick" if hyperscan is None else "Hyperscan"
"""What searches large inputs."""

ENOUGH: Final = 256 * 1024
"""Characters from which on Hyperscan's compiling pays: half a second for 20,000 literals."""

Search = Callable[[str], Iterable[int]]
"""Gives the numbers of the literals that a text contains, each once."""


@dataclass(slots=True)
class _Literal:
    """What is asked of a text that contains a literal."""

    text: str
    contains: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    patterns: list[tuple[int, Any]] = field(default_factory=list)  # fit only texts that have it


class Literals:
    """Predicates that look at a text in one and the same case; false where there are none."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._literals: dict[str, _Literal] = {}
        self._listed: list[_Literal] = []
        self._always: list[tuple[int, Any]] = []  # patterns without a literal that could rule them out
        self._search: Search | None = None
        self._left = ENOUGH

    def __bool__(self) -> bool:
        return bool(self._exact or self._literals or self._always)

    def add(self, identity: int, predicate: Text | Wildcards) -> None:
        """Take a predicate up; `close` follows the last."""
        if isinstance(predicate, Text) and predicate.how == "is":
            self._exact[predicate.literal].append(identity)
        elif isinstance(predicate, Text):
            getattr(self._literal(predicate.literal), predicate.how).append(identity)
        elif predicate.literal:
            self._literal(predicate.literal).patterns.append((identity, re2.compile(predicate.pattern)))
        else:
            self._always.append((identity, re2.compile(predicate.pattern)))

    def _literal(self, text: str) -> _Literal:
        found = self._literals.get(text)
        if found is None:
            found = self._literals[text] = _Literal(text)
        return found

    def close(self) -> None:
        """Get ready to search."""
        self._listed = list(self._literals.values())
        if self._listed:
            self._search = _aho_corasick(tuple(self._literals))

    def collect(self, text: str, found: list[int]) -> None:  # noqa: C901  the inner loop of detection
        """Add the indices of the predicates that are true of `text`; one may come twice."""
        if text in self._exact:
            found.extend(self._exact[text])
        if self._search is not None:
            if self._left > 0:
                self._count(len(text))
            for number in self._search(text):
                literal = self._listed[number]
                found.extend(literal.contains)
                if literal.starts and text.startswith(literal.text):
                    found.extend(literal.starts)
                if literal.ends and text.endswith(literal.text):
                    found.extend(literal.ends)
                for identity, pattern in literal.patterns:
                    if pattern.search(text) is not None:
                        found.append(identity)
        for identity, pattern in self._always:
            if pattern.search(text) is not None:
                found.append(identity)

    def _count(self, size: int) -> None:
        """Change the engine when enough text has come."""
        self._left -= size
        if self._left <= 0 and hyperscan is not None:
            self._search = _hyperscan(tuple(self._literals)) or self._search


def _aho_corasick(literals: Sequence[str]) -> Search:
    automaton = ahocorasick.Automaton()
    for number, literal in enumerate(literals):
        automaton.add_word(literal, number)
    automaton.make_automaton()
    return lambda text: {number for _, number in automaton.iter(text)}


def _hyperscan(literals: Sequence[str]) -> Search | None:
    """Compile literals; None where Hyperscan refuses one (too long for it)."""
    database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
    try:
        database.compile(
            expressions=[_escaped(literal) for literal in literals],
            ids=range(len(literals)),
            flags=[hyperscan.HS_FLAG_SINGLEMATCH] * len(literals),
        )
    except hyperscan.HyperscanError:
        return None
    scan = database.scan

    def search(text: str) -> Iterable[int]:
        found: list[int] = []
        scan(text.encode("utf-8", "surrogatepass"), lambda number, *_: found.append(number))
        return found

    return search


def _escaped(literal: str) -> bytes:
    r"""Write each byte as itself, whatever it means in a pattern; a zero byte would end an expression.

    Example:
        >>> _escaped("a.b\0")
        b'a\\x2eb\\x00'
    """
    return b"".join(
        b"%c" % byte if chr(byte).isalnum() and byte < 0x80 else b"\\x%02x" % byte  # noqa: PLR2004  ASCII
        for byte in literal.encode("utf-8", "surrogatepass")
    )
