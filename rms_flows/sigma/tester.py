"""All predicates on one field, asked of a value at once: hash sets, an automaton for literals, RE2."""

from __future__ import annotations

import ipaddress
import json
import operator
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import ahocorasick
import re2

from rms_flows.sigma.fold import fold
from rms_flows.sigma.predicate import (
    How,
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


class _Literals:
    """Literals and patterns that look at a text in one and the same case."""

    def __init__(self) -> None:
        self._exact: dict[str, list[int]] = defaultdict(list)
        self._short: list[tuple[How, str, int]] = []
        self._asked: dict[str, list[tuple[How, int]]] = defaultdict(list)
        self._patterns: dict[int, Any] = {}
        self._always: list[int] = []  # patterns without a literal that could rule them out
        self._automaton: Any = None

    def add(self, identity: int, predicate: Text | Wildcards) -> None:
        if isinstance(predicate, Wildcards):
            self._patterns[identity] = re2.compile(predicate.pattern)
            if predicate.literal:
                self._asked[predicate.literal].append(("is", identity))  # `is` marks a candidate only
            else:
                self._always.append(identity)
        elif predicate.how == "is":
            self._exact[predicate.literal].append(identity)
        else:
            self._asked[predicate.literal].append((predicate.how, identity))

    def close(self) -> None:
        if self._asked:
            self._automaton = ahocorasick.Automaton()
            for literal, asked in self._asked.items():
                self._automaton.add_word(literal, (len(literal), asked))
            self._automaton.make_automaton()

    def hits(self, text: str) -> Iterator[int]:
        yield from self._exact.get(text, ())
        candidates = set(self._always)
        if self._automaton is not None:
            last = len(text) - 1
            for end, (length, asked) in self._automaton.iter(text):
                for how, identity in asked:
                    if (
                        how == "contains"
                        or (how == "starts" and end + 1 == length)
                        or (how == "ends" and end == last)
                    ):
                        yield identity
                    elif how == "is":
                        candidates.add(identity)
        for identity in candidates:
            if self._patterns[identity].search(text) is not None:
                yield identity


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
        found.update(self._folded.hits(fold(text)))
        found.update(self._cased.hits(text))
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
