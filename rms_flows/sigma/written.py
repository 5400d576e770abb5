"""Values as people write them in documents of correlations; others are refused with what was expected."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from reprlib import Repr
from typing import Any, Final

from sigma.correlations import SigmaCorrelationTimespan
from sigma.exceptions import SigmaError

from rms_flows.errors import RuleError

MAX_SPAN: Final = 100 * 31_556_952 * 1_000_000
"""Longest span in microseconds, a hundred years: times less a span stay far within 64 bits."""

_EXACT: Final = 2**53

_short: Final = Repr()
_short.maxstring = _short.maxother = 80


def shown(value: Any) -> str:
    """Write a value for a message, as long as a line at most."""
    return _short.repr(value)


def wrong(where: str, value: Any, expected: str) -> RuleError:
    """Make the error of a value that isn't what it has to be; None is one that is missing."""
    came = "is missing" if value is None else f"is {shown(value)}"
    return RuleError(f"`{where}` {came}", remedy=f"expected {expected}")


def near(name: str, known: Collection[str]) -> str:
    """Write the name that was probably meant, as a question; nothing where none is near."""
    close = get_close_matches(name, known, n=1)
    return f" (was {close[0]!r} meant?)" if close else ""


def mapping(where: str, value: Any, known: Collection[str]) -> Mapping[str, Any]:
    """Give a mapping that has none but known keys; raises RuleError."""
    if not isinstance(value, dict):
        raise wrong(where, value, f"a mapping of {', '.join(known)}")
    for key in value:
        if key not in known:
            raise RuleError(
                f"`{where}` has the unknown key {shown(key)}{near(str(key), known)}",
                remedy=f"known here are {', '.join(known)}",
            )
    return value


def names(where: str, value: Any, what: str) -> tuple[str, ...]:
    """Give one name or a list of them; raises RuleError for what is none, and for one that comes twice."""
    found: dict[str, None] = {}
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str) or not one:
            raise wrong(where, one, f"{what}, or a list of such")
        if one in found:
            raise RuleError(f"`{where}` names {shown(one)} twice", remedy="name it once")
        found[one] = None
    return tuple(found)


def span(where: str, value: Any) -> int:
    """Give a span of time (`30s`, `5m`, `1h`) in microseconds, units as pySigma's; raises RuleError."""
    try:
        seconds = SigmaCorrelationTimespan(value).seconds
    except (SigmaError, ValueError):  # ValueError: more digits than Python reads
        raise wrong(
            where, value, "a number above 0 and a unit, as in 30s, 5m, 1h, 7d, 2w, 1M (a month), 1y"
        ) from None
    if seconds * 1_000_000 > MAX_SPAN:
        raise wrong(where, value, "at most 100y")
    return seconds * 1_000_000


def number(where: str, value: Any) -> int | float:
    """Give a finite number, an integer as such; raises RuleError."""
    if isinstance(value, str):  # pySigma takes "10" too
        try:
            value = float(value)
        except ValueError:
            raise wrong(where, value, "a finite number") from None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(where, value, "a finite number")
    if isinstance(value, int) and abs(value) > _EXACT:
        raise wrong(where, value, "a number that a double holds exactly, up to 2 ** 53")
    if not math.isfinite(value):
        raise wrong(where, value, "a finite number")
    return int(value) if value == int(value) and abs(value) <= _EXACT else value


def whole(where: str, value: Any, least: int, most: int) -> int:
    """Give an integer within limits; raises RuleError."""
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise wrong(where, value, f"a whole number from {least} to {most}")
    return value


def switch(where: str, value: Any) -> bool:
    """Give true or false; raises RuleError."""
    if not isinstance(value, bool):
        raise wrong(where, value, "true or false")
    return value
