"""What a correlation means: data that a pack of rules keeps, made by `sigma` and evaluated by `step`.

Words: a *match* is an event of which an input (a rule, or another correlation) is true. An *anchor* is a
match at which the condition is true over the window from a timespan before it to its time, borders included.
"""

from __future__ import annotations

from typing import Literal

from msgspec import Struct

Kind = Literal[
    "event_count", "value_count", "value_sum", "value_avg", "value_median", "value_percentile",
    "temporal", "temporal_ordered", "flatline", "new_terms", "baseline",
]  # fmt: skip
Order = Literal["gt", "gte", "lt", "lte", "eq", "neq"]

NUMERIC = frozenset({"value_sum", "value_avg", "value_median", "value_percentile", "baseline"})
"""Kinds that look at numbers; a match whose field is absent or no number takes no part."""

MAX_INPUTS = 62
"""Inputs of one correlation at most: each is a bit."""

MOST = 100_000
"""Matches of a window that count, the last of them: what a group may hold is bounded."""


class Input(Struct, frozen=True):
    """A rule, or another correlation, whose matches are correlated.

    Args:
        name: What the correlation calls it: the rule's `name`, else its id.
        id: Id of the rule or correlation.
        group: The field of its events for each of `Correlation.group_by`; other names where aliases say so.
    """

    name: str
    id: str
    group: tuple[str, ...] = ()


class Bound(Struct, frozen=True):
    """The number that is measured stands in an order to another."""

    order: Order
    number: int | float


class Seen(Struct, frozen=True, tag=True):
    """Input number `input` matched within the window."""

    input: int


class Both(Struct, frozen=True, tag=True):
    """All parts are true."""

    parts: tuple[Presence, ...]


class Either(Struct, frozen=True, tag=True):
    """At least one part is true."""

    parts: tuple[Presence, ...]


class Never(Struct, frozen=True, tag=True):
    """The input did not match within the window, nor for a timespan after it."""

    part: Presence


Presence = Seen | Both | Either | Never
"""The condition of `temporal` kinds. `sigma` moves negations to the inputs: `part` of `Never` is a `Seen`."""


class Key(Struct, frozen=True):
    """A key that is expected to be seen.

    Args:
        values: A value for each of `Correlation.group_by`.
        valid_from: Microseconds since 1970 from which silence counts although it was never seen; None waits
            for its first event.
    """

    values: tuple[str, ...]
    valid_from: int | None = None


class Baseline(Struct, frozen=True):
    """What is normal, for the kind `baseline`.

    Args:
        method: `deviation` of a metric from the robust mean of its season, or `regularity` of intervals.
        season: Microseconds after which the pattern repeats; 0 has none.
        slots: Parts of a season that have a normal each.
        least: Values that a slot, or intervals that a key, needs before it is judged.
    """

    method: Literal["deviation", "regularity"] = "deviation"
    season: int = 0
    slots: int = 1
    least: int = 20


class Correlation(Struct, frozen=True):
    """A correlation that can be evaluated.

    Args:
        id: Its id; made from a hash of its content where it has none.
        title: For people.
        author: To be kept with every message based on it.
        level: informational, low, medium, high or critical.
        tags: Such as `attack.t1110`.
        meaning: Hash of what it detects, the meanings of its inputs included.
        file: Where it was read.
        line: Where its document begins, from 1.
        kind: What is measured.
        inputs: What is correlated, in the order of the rule; at most `MAX_INPUTS`.
        group_by: Names of the fields that a group has in common.
        timespan: Length of the window in microseconds; of the silence for `flatline`, of the history for
            `new_terms`.
        bounds: What the measured number has to fulfil, all of them; empty for conditions of presence.
        fields: What is counted, summed …: the value is the tuple of them.
        percentile: For `value_percentile`, from 0 to 100.
        presence: Condition of `temporal` kinds; None asks for all inputs.
        suppress: Microseconds; reports of one group within a bucket of this length become one.
        keys: For `flatline`: who is expected, `sources` for the sources that are read; None takes every key
            from its first event on.
        baseline: For `baseline`.
        generate: Whether the rules that it refers to report too.
    """

    id: str
    title: str
    author: str | None
    level: str
    tags: tuple[str, ...]
    meaning: str
    file: str
    line: int
    kind: Kind
    inputs: tuple[Input, ...]
    group_by: tuple[str, ...]
    timespan: int
    bounds: tuple[Bound, ...] = ()
    fields: tuple[str, ...] = ()
    percentile: float | None = None
    presence: Presence | None = None
    suppress: int | None = None
    keys: tuple[Key, ...] | Literal["sources"] | None = None
    baseline: Baseline | None = None
    generate: bool = False

    @property
    def where(self) -> str:
        """File and line."""
        return f"{self.file}:{self.line}"


def negated(presence: Presence | None) -> int:
    """Give the inputs that must not match, one bit each.

    Example:
        >>> negated(Both((Seen(0), Never(Seen(1)))))
        2
    """
    match presence:
        case Never(Seen(number)):
            return 1 << number
        case Both(parts) | Either(parts):
            bits = 0
            for part in parts:
                bits |= negated(part)
            return bits
        case _:
            return 0


def is_early(one: Correlation) -> bool:
    """Tell whether more events can only make it true: it reports at once, and others when all is settled."""
    if one.kind in {"event_count", "value_count"}:
        return all(bound.order in {"gt", "gte"} for bound in one.bounds)
    if one.kind == "temporal":
        return not negated(one.presence) and all(bound.order in {"gt", "gte"} for bound in one.bounds)
    return one.kind == "temporal_ordered"


def horizon(one: Correlation) -> int:
    """Give how long after its anchor, in microseconds, an event can still decide."""
    return one.timespan if negated(one.presence) else 0
