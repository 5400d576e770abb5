"""All predicates on one field, asked of a value at once: hash sets, one search for all literals, RE2."""

from __future__ import annotations

import ipaddress
import json
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from rms_flows.sigma.fold import fold
from rms_flows.sigma.literals import Literals
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
from rms_flows.sigma.regex import Needed, Patterns

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


class Tester:
    """The predicates of one field; `hits` gives the indices of those that are true of a value."""

    def __init__(self, predicates: Sequence[Predicate]) -> None:
        self.folded, self.cased = Literals(), Literals()
        present: list[int] = []
        self._numbers: list[tuple[int, Number]] = []
        self._times: list[tuple[int, TimePart]] = []
        self._networks: list[tuple[int, Any]] = []
        self._regexes = Patterns()
        for identity, predicate in enumerate(predicates):
            match predicate:
                case Text() | Wildcards():
                    (self.cased if predicate.cased else self.folded).add(identity, predicate)
                case Present():
                    present.append(identity)
                case Number():
                    self._numbers.append((identity, predicate))
                case TimePart():
                    self._times.append((identity, predicate))
                case Network(cidr):
                    self._networks.append((identity, ipaddress.ip_network(cidr)))
                case Regex(pattern):
                    self._regexes.add(identity, pattern)
        self.folded.close()
        self.cased.close()
        self.present = frozenset(present)
        """What is true of any value."""

    def hits(self, text: str) -> frozenset[int]:
        """Give the indices of the predicates that are true of `text`."""
        found = self.others(text)
        if self.folded:
            found.extend(self.folded.hits(fold(text)))
        if self.cased:
            found.extend(self.cased.hits(text))
        return self.present.union(found) if found else self.present

    def others(self, text: str) -> list[int]:
        """Give those that are true of `text` and no matter of literals."""
        found = self._regexes.hits(text)
        if self._numbers and (value := number(text)) is not None:
            found.extend(i for i, asked in self._numbers if ORDERS[asked.order](value, asked.number))
        for identity, asked in self._times:
            part = time_part(text, asked.unit)
            if part is not None and ORDERS[asked.order](part, asked.number):
                found.append(identity)
        if self._networks and _ADDRESS.fullmatch(text):
            found.extend(self._within(text))
        return found

    @property
    def others_begin_with(self) -> bytes | None:
        """First bytes of texts of which `others` may give any, besides those of `others_need`; None: all."""
        if self._regexes.anywhere or self._times:
            return None
        return (b"-0123456789" if self._numbers else b"") + (
            b":0123456789ABCDEFabcdef" if self._networks else b""
        )

    @property
    def others_need(self) -> list[Needed]:
        """Literals of which a text has all of one or another if a regular expression is found in it."""
        return self._regexes.needed

    def _within(self, text: str) -> Iterator[int]:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            return
        for identity, network in self._networks:
            if address in network:
                yield identity
