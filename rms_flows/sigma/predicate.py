"""What a rule asks of one value: a small value of its own, so that equal ones are asked once.

These, as all of a rule, are msgspec's structures, so that a pack of rules can be kept as data (`pack`).
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

How = Literal["is", "contains", "starts", "ends"]
Order = Literal["eq", "lt", "lte", "gt", "gte"]
Unit = Literal["minute", "hour", "day", "week", "month", "year"]


class Text(Struct, frozen=True, tag=True, gc=False):
    """The value is, contains, starts or ends with a literal, which is folded unless `cased`."""

    how: How
    literal: str
    cased: bool = False


class Wildcards(Struct, frozen=True, tag=True, gc=False):
    """The value fits a pattern with wildcards.

    Args:
        pattern: RE2 pattern; matched against the folded value unless `cased`.
        literal: The longest text that every fitting value contains, maybe empty.
        cased: Whether case counts.
    """

    pattern: str
    literal: str
    cased: bool = False


class Regex(Struct, frozen=True, tag=True, gc=False):
    """An RE2 pattern, flags included, is found somewhere in the value."""

    pattern: str


class Number(Struct, frozen=True, tag=True, gc=False):
    """The value, read as a number, stands in an order to another; what isn't a number does not."""

    order: Order
    number: int | float


class TimePart(Struct, frozen=True, tag=True, gc=False):
    """A part of the value, read as a time in UTC, stands in an order to a number; weeks are ISO weeks."""

    unit: Unit
    order: Order
    number: int | float


class Network(Struct, frozen=True, tag=True, gc=False):
    """The value is an address in a network."""

    cidr: str


class Present(Struct, frozen=True, tag=True, gc=False):
    """The field has a value, be it the empty text."""


Predicate = Text | Wildcards | Regex | Number | TimePart | Network | Present
"""Every predicate is false where the field is absent or null; the rest is said with `Not`."""
