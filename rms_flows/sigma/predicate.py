"""What a rule asks of one value: a small value of its own, so that equal ones are asked once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

How = Literal["is", "contains", "starts", "ends"]
Order = Literal["eq", "lt", "lte", "gt", "gte"]
Unit = Literal["minute", "hour", "day", "week", "month", "year"]


@dataclass(frozen=True, slots=True)
class Text:
    """The value is, contains, starts or ends with a literal, which is folded unless `cased`."""

    how: How
    literal: str
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Wildcards:
    """The value fits a pattern with wildcards.

    Args:
        pattern: RE2 pattern; matched against the folded value unless `cased`.
        literal: The longest text that every fitting value contains, maybe empty.
        cased: Whether case counts.
    """

    pattern: str
    literal: str
    cased: bool = False


@dataclass(frozen=True, slots=True)
class Regex:
    """An RE2 pattern, flags included, is found somewhere in the value."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Number:
    """The value, read as a number, stands in an order to another; what isn't a number does not."""

    order: Order
    number: int | float


@dataclass(frozen=True, slots=True)
class TimePart:
    """A part of the value, read as a time in UTC, stands in an order to a number; weeks are ISO weeks."""

    unit: Unit
    order: Order
    number: int | float


@dataclass(frozen=True, slots=True)
class Network:
    """The value is an address in a network."""

    cidr: str


@dataclass(frozen=True, slots=True)
class Present:
    """The field has a value, be it the empty text."""


Predicate = Text | Wildcards | Regex | Number | TimePart | Network | Present
"""Every predicate is false where the field is absent or null; the rest is said with `Not`."""
