"""All predicates on one field, asked of a value at once: hash sets, an automaton for literals, RE2."""

from __future__ import annotations

import ipaddress
import json
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import ahocorasick
import re2

from rms_flows.sigma.fold import fold
from rms_flows.sigma.predicate import (
    Network,
    Number,
    Order,
    Predicate,
    Present,
    Regex,
    Text,
    TimePart,
    Unit,
    Wildcards,
)

ORDERS: Final[dict[Order, Callable[[Any, Any], bool]]] = {
    "eq": operator.eq,
    "lt": operator.lt,
    "lte": operator.le,
    "gt": operator.gt,
    "gte": operator.ge,
}
_NUMBER: Final = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
_ADDRESS: Final = re.compile(r"[0-9A-Fa-f:.]{2,45}")


def number(text: str) -> int | float | None:
    """Read a text as a JSON number; None where it is none.

    Example:
        >>> number("5"), number("5.0") == 5, number("0x05"), number("05")
        (5, True, None, None)
    """
    if not _NUMBER.fullmatch(text) or len(text) > 400:  # noqa: PLR2004 - no number that means anything is longer
        return None
    value: int | float = json.loads(text)
    return value


def time_part(text: str, unit: Unit) -> int | None:
    """Read a part of an ISO 8601 time, UTC unless it names a zone; None where it is no time.

    Example:
        >>> time_part("2021-01-03T23:30:00-01:00", "hour"), time_part("2021-01-03", "week")
        (0, 53)
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    if unit == "week":
        return time.isocalendar().week
    part: int = getattr(time, unit)
    return part


@dataclass(slots=True)
class _Literal:
    """What is asked of a text that contains a literal."""

    text: str
    contains: list[int] = field(default_factory=list)
    starts: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    patterns: list[tuple[int, Any]] = field(default_factory=list)  # fit only texts that have it


class _Literals:
    """Literals and patterns that look at a text in one and the same case."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._literals: dict[str, _Literal] = {}
        self._listed: list[_Literal] = []
        self._always: list[tuple[int, Any]] = []  # patterns without a literal that could rule them out
        self._automaton: Any = None

    def add(self, identity: int, predicate: Text | Wildcards) -> None:
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
        if self._literals:
            self._automaton = ahocorasick.Automaton()
            for number, literal in enumerate(self._literals):
                self._automaton.add_word(literal, number)
            self._automaton.make_automaton()
        self._listed = list(self._literals.values())

    def collect(self, text: str, found: set[int]) -> None:
        """Add the indices of those that are true of `text`."""
        if text in self._exact:
            found.update(self._exact[text])
        if self._automaton is not None:
            # A literal may stand in a text many times: what follows from it is worked out once.
            for number in {number for _, number in self._automaton.iter(text)}:
                literal = self._listed[number]
                found.update(literal.contains)
                if literal.starts and text.startswith(literal.text):
                    found.update(literal.starts)
                if literal.ends and text.endswith(literal.text):
                    found.update(literal.ends)
                found.update(i for i, pattern in literal.patterns if pattern.search(text) is not None)
        found.update(i for i, pattern in self._always if pattern.search(text) is not None)


class Tester:
    """The predicates of one field; `hits` gives the indices of those that are true of a value."""

    def __init__(self, predicates: Sequence[Predicate]) -> None:
        self._folded, self._cased = _Literals(), _Literals()
        self._present: list[int] = []
        self._numbers: list[tuple[int, Number]] = []
        self._times: list[tuple[int, TimePart]] = []
        self._networks: list[tuple[int, Any]] = []
        self._regexes: list[tuple[int, Any]] = []
        for identity, predicate in enumerate(predicates):
            match predicate:
                case Text() | Wildcards():
                    (self._cased if predicate.cased else self._folded).add(identity, predicate)
                case Present():
                    self._present.append(identity)
                case Number():
                    self._numbers.append((identity, predicate))
                case TimePart():
                    self._times.append((identity, predicate))
                case Network(cidr):
                    self._networks.append((identity, ipaddress.ip_network(cidr)))
                case Regex(pattern):
                    self._regexes.append((identity, re2.compile(pattern)))
        self._folded.close()
        self._cased.close()

    def hits(self, text: str) -> frozenset[int]:
        """Give the indices of the predicates that are true of `text`."""
        found = set(self._present)
        self._folded.collect(fold(text), found)
        self._cased.collect(text, found)
        found.update(identity for identity, regex in self._regexes if regex.search(text) is not None)
        if self._numbers and (value := number(text)) is not None:
            found.update(i for i, asked in self._numbers if ORDERS[asked.order](value, asked.number))
        for identity, asked in self._times:
            part = time_part(text, asked.unit)
            if part is not None and ORDERS[asked.order](part, asked.number):
                found.add(identity)
        if self._networks and _ADDRESS.fullmatch(text):
            found.update(self._within(text))
        return frozenset(found)

    def _within(self, text: str) -> Iterator[int]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return
        for identity, network in self._networks:
            if address in network:
                yield identity
