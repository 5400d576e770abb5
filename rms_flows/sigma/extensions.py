"""What our kinds of correlations say beyond Sigma's: who is expected, and what a baseline is made of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, Literal, get_args, get_type_hints

from rms_flows.correlate.spec import Baseline, Key
from rms_flows.errors import RuleError
from rms_flows.sigma.written import mapping, shown, span, whole, wrong

MAX_SLOTS: Final = 10_000
"""Parts of a season at most: each keeps a normal of its own for each key."""

_VALID: Final = "valid-from"
_METHODS: Final = get_args(get_type_hints(Baseline)["method"])


def expected(where: str, value: Any, group_by: Sequence[str]) -> tuple[Key, ...] | Literal["sources"]:
    """Read `keys`: strings where a group is one field, else mappings of its fields; raises RuleError.

    Or the word `sources` where groups are the sources.

    Args:
        where: Its place in the document.
        value: What stands there.
        group_by: Fields of a group; a key has a value for each of them.
    """
    if not group_by:
        raise RuleError(
            f"`{where}` names who is expected, but there is no `correlation.group-by`",
            remedy="group by the field that holds these keys",
        )
    if value == "sources":
        if tuple(group_by) != ("rms.source",):
            raise RuleError(
                f"`{where}` expects the sources, but `correlation.group-by` is {', '.join(group_by)}",
                remedy="group by rms.source alone",
            )
        return "sources"
    if not isinstance(value, list) or not value:
        raise wrong(where, value, "a list of keys, or the word sources")
    found: dict[tuple[str, ...], Key] = {}
    for place, one in enumerate(value):
        key = _key(f"{where}[{place}]", one, group_by)
        if key.values in found:
            raise RuleError(f"`{where}[{place}]` is {shown(one)}, which comes twice", remedy="keep one")
        found[key.values] = key
    return tuple(found.values())


def _key(where: str, value: Any, group_by: Sequence[str]) -> Key:
    if not isinstance(value, dict):
        if len(group_by) > 1:
            raise wrong(where, value, f"a mapping of {', '.join(group_by)}, for a group has them all")
        return Key((_text(where, value),))
    mapping(where, value, [*group_by, _VALID])
    values = tuple(_text(f"{where}.{field}", value.get(field)) for field in group_by)
    return Key(values, None if _VALID not in value else _time(f"{where}.{_VALID}", value[_VALID]))


def _text(where: str, value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise wrong(where, value, "the value as text")
    return str(value)


def _time(where: str, value: Any) -> int:
    """Give microseconds since 1970; a time without a zone is UTC, as on the command line."""
    try:
        time = value if isinstance(value, date) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise wrong(where, value, "a time as in 2026-01-31 or 2026-01-31T12:00:00Z") from None
    if not isinstance(time, datetime):  # YAML reads 2026-01-31 as a date
        time = datetime(time.year, time.month, time.day, tzinfo=UTC)
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time
    passed = time - datetime(1970, 1, 1, tzinfo=UTC)
    return (passed.days * 86_400 + passed.seconds) * 1_000_000 + passed.microseconds


def baseline(where: str, value: Any) -> Baseline:
    """Read `baseline`; what is left out is as in `spec.Baseline`; raises RuleError."""
    if value is None:
        return Baseline()
    found = mapping(where, value, Baseline.__struct_fields__)
    normal = Baseline()
    method = found.get("method", normal.method)
    if method not in _METHODS:
        raise wrong(f"{where}.method", method, f"one of {', '.join(_METHODS)}")
    season = span(f"{where}.season", found["season"]) if "season" in found else normal.season
    slots = whole(f"{where}.slots", found.get("slots", normal.slots), 1, MAX_SLOTS)
    least = whole(f"{where}.least", found.get("least", normal.least), 1, 1_000_000)
    if method == "regularity" and found.keys() & {"season", "slots"}:
        raise RuleError(
            f"`{where}` has a season, but regularity looks at the time from event to event alone",
            remedy="leave out season and slots, or use the method deviation",
        )
    if slots > 1 and not season:
        raise RuleError(f"`{where}` has {slots} slots of no season", remedy="say how long a `season` is")
    return Baseline(method, season, slots, least)
