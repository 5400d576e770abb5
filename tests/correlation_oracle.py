"""What correlations mean, said the plainest way: every kind over all pairs of events, in exact numbers.

Knows nothing of `rms_flows.correlate` but its documents (`spec`).
"""

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import groupby
from typing import NamedTuple

from rms_flows.correlate.spec import Both, Correlation, Either, Never, Seen

ORDERS = {
    "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b, "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b, "eq": lambda a, b: a == b, "neq": lambda a, b: a != b,
}  # fmt: skip


class Event(NamedTuple):
    """A match; sorts by group, time and id."""

    group: str
    time: int
    id: str
    inputs: frozenset[int] = frozenset({0})
    value: float = 0.0


class Anchor(NamedTuple):
    """A time at which a correlation is true: the name of it, the events that make it true, the number."""

    time: int
    name: str
    events: tuple[Event, ...]
    number: float | None = None


def merged(events):
    """An event is one, however often it is delivered and whichever inputs each delivery names."""
    for _, same in groupby(sorted(events, key=lambda event: event[:3]), key=lambda event: event[:3]):
        first, *others = same
        yield first._replace(inputs=first.inputs.union(*(other.inputs for other in others)))


def window(one, events, anchor):
    return [e for e in events if anchor.time - one.timespan <= e.time <= anchor.time]


def fulfils(one, number):
    return all(ORDERS[bound.order](number, bound.number) for bound in one.bounds)


def rounded(number):
    """The nearest float, as IEEE 754 rounds."""
    try:
        return float(number)
    except OverflowError:
        return math.inf if number > 0 else -math.inf


def percentile(values, percent):
    """Linear between the two values around place (n - 1) · p / 100; 99.9 means 999 / 10."""
    values = sorted(Fraction(value) for value in values)
    place = (len(values) - 1) * Fraction(str(percent)) / 100
    under = math.floor(place)
    over = min(under + 1, len(values) - 1)
    return rounded(values[under] + (values[over] - values[under]) * (place - under))


def measure(one, inside, most):
    """The number of a window; the limit leaves the last events, but for values, that are counted whole."""
    values = [event.value for event in inside[-most:]]
    match one.kind:
        case "event_count":
            return float(len(values))
        case "value_count":
            return float(len({event.value for event in inside}))
        case "value_sum":
            return rounded(sum(map(Fraction, values)))
        case "value_avg":
            return rounded(sum(map(Fraction, values)) / len(values))
        case "value_median":
            return percentile(values, 50)
        case "value_percentile":
            return percentile(values, one.percentile)


def counted(one: Correlation, events: Sequence[Event], most: int) -> Iterator[Anchor]:
    """Every event over whose window the number fulfils the bounds."""
    for anchor in events:
        inside = window(one, events, anchor)
        number = measure(one, inside, most)
        if fulfils(one, number):
            yield Anchor(anchor.time, anchor.id, tuple(inside[-most:]), number)


def holds(presence, before, around):
    """Whether a condition is true of the inputs that matched within the window, and within it and after."""
    match presence:
        case Seen(number):
            return number in before
        case Never(Seen(number)):
            return number not in around
        case Both(parts):
            return all(holds(part, before, around) for part in parts)
        case Either(parts):
            return any(holds(part, before, around) for part in parts)
    raise AssertionError(presence)


def unwanted(presence):
    """The inputs of which a condition says `not`."""
    match presence:
        case Never(Seen(number)):
            return {number}
        case Both(parts) | Either(parts):
            return set().union(*map(unwanted, parts))
    return set()


def temporal(one: Correlation, events: Sequence[Event], most: int) -> Iterator[Anchor]:
    """Every event of an input that is wanted, over whose window the inputs are as the condition asks."""
    never = unwanted(one.presence)
    for anchor in events:
        inside = window(one, events, anchor)
        before = {number for e in inside for number in e.inputs}
        around = {n for e in events if abs(e.time - anchor.time) <= one.timespan for n in e.inputs}
        everything = one.presence or Both(tuple(map(Seen, range(len(one.inputs)))))
        true = fulfils(one, len(before)) if one.bounds else holds(everything, before, around)
        if true and anchor.inputs - never:
            wanted = tuple(e for e in inside[-most:] if e.inputs - never)
            yield Anchor(anchor.time, anchor.id, wanted, float(len(before)))


def complete(events, number, before):
    """Whether inputs 0 to `number` matched one after the other, the last of them before a time."""
    ends = [e.time for e in events if e.time < before and number in e.inputs]
    return any(number == 0 or complete(events, number - 1, end) for end in ends)


def ordered(one: Correlation, events: Sequence[Event], most: int) -> Iterator[Anchor]:
    """Every event of the last input before which the others matched in their order, within the window."""
    last = len(one.inputs) - 1
    for anchor in events:
        inside = window(one, events, anchor)
        if last in anchor.inputs and (last == 0 or complete(inside, last - 1, anchor.time)):
            yield Anchor(anchor.time, anchor.id, tuple(inside[-most:]))


def flatline(one: Correlation, events: Sequence[Event], most: int) -> Iterator[Anchor]:
    """Every deadline by which nothing came after the last event before it."""
    for place, event in enumerate(events):
        deadline = event.time + one.timespan
        if not any(later.time <= deadline for later in events[place + 1 :]):
            yield Anchor(deadline, str(deadline), (event,))


def new_terms(one: Correlation, events: Sequence[Event], most: int) -> Iterator[Anchor]:
    """Every event, the first at its time, in whose timespan before there is none."""
    for place, event in enumerate(events):
        if not any(event.time - one.timespan <= before.time for before in events[:place]):
            yield Anchor(event.time, event.id, (event,))


KINDS = {"temporal": temporal, "temporal_ordered": ordered, "flatline": flatline, "new_terms": new_terms}


def folded(one: Correlation, anchors: Sequence[Anchor]) -> Iterator[Anchor]:
    """One for each bucket of `suppress`: at its first anchor, with the events of all."""
    for bucket, some in groupby(anchors, key=lambda anchor: anchor.time // one.suppress):
        members = list(some)
        events = sorted({event for member in members for event in member.events})
        numbers = [member.number for member in members if member.number is not None]
        yield Anchor(members[0].time, str(bucket * one.suppress), tuple(events), max(numbers, default=None))


def written(anchors, group, evidence):
    for anchor in anchors:
        times = [event.time for event in anchor.events]
        yield {
            "time": anchor.time,
            "anchor": anchor.name,
            "group": group,
            "first": min(times, default=None),
            "last": max(times, default=None),
            "count": len(times),
            "evidence": [event.id for event in anchor.events[:evidence]],
            "measured": anchor.number,
        }


def correlated(one, events, *, settled=math.inf, most=10**9, evidence=100):
    """What a correlation finds, and what it reports, by anchor and group.

    Args:
        one: The correlation.
        events: In any order, an event as often as you like.
        settled: Silences are told only if their deadline lies before.
        most: Events of a window that count, the last ones by time and id.
        evidence: Ids in a report, the first ones.
    """
    found, reports = [], []
    for group, some in groupby(merged(events), key=lambda event: event.group):
        anchors = list(KINDS.get(one.kind, counted)(one, list(some), most))
        anchors = [anchor for anchor in anchors if one.kind != "flatline" or anchor.time < settled]
        found += written(anchors, group, evidence)
        reports += written(anchors if one.suppress is None else folded(one, anchors), group, evidence)
    return by_anchor(found), by_anchor(reports)


def by_anchor(rows):
    """Rows by the name of their anchor and their group; one each."""
    rows = list(rows)
    named = {(row["anchor"], row["group"]): row for row in rows}
    assert len(named) == len(rows)
    return named
