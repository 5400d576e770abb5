"""Correlations and streams of their matches for tests, and how to run them: small, dense, full of ties."""

import random
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from correlation_oracle import Event, correlated
from hypothesis import strategies as st

from rms_flows.correlate.match import MATCH, hashes, identify, rows
from rms_flows.correlate.spec import NUMERIC, Both, Bound, Correlation, Either, Input, Never, Seen, is_early
from rms_flows.correlate.state import EVER, dump, empty, read
from rms_flows.correlate.step import ALWAYS, step

KINDS = (
    "event_count", "value_count", "value_sum", "value_avg", "value_median", "value_percentile",
    "temporal", "temporal_ordered", "flatline", "new_terms",
)  # fmt: skip
GROUPS = ('{"ip":"a"}', '{"ip":"a"}', "{}")
FEW = 3
"""Ids that a report of these tests lists, so that there are more."""

ID = st.builds("{}123456789abcde0{}fedcba987654320".format, st.sampled_from("178f"), st.sampled_from("0189f"))
COUNT = st.integers(0, 4)
WHOLE = st.sampled_from([0.0, 1.0, 2.0, 7.0, 10.0, 100.0, -1.0])
ODD = st.sampled_from([0.1, 0.2, 0.3, 0.7, 1.0, 1e16, -1e16, 1e308, -1e308, 5e-324])
NEAR = st.sampled_from([0, 1, 3, 0.1, 0.2, 0.3, 0.1 + 0.2, 0.4, 1.1, 1e16, 1.0000000000000002, 1e308])
ORDER = st.sampled_from(["gt", "gte", "lt", "lte", "eq", "neq"])


def correlation(kind, timespan=10, inputs=1, **more):
    named = tuple(Input(f"rule{number}", f"rule{number}", ("ip",)) for number in range(inputs))
    return Correlation("c", "t", None, "low", (), "m", "f", 1, kind, named, ("ip",), timespan, **more)


def presences(inputs):
    seen = st.builds(Seen, st.integers(0, inputs - 1))
    return st.recursive(
        seen | seen.map(Never),
        lambda part: st.builds(
            lambda node, parts: node(tuple(parts)),
            st.sampled_from([Both, Either]),
            st.lists(part, min_size=1, max_size=3),
        ),
        max_leaves=4,
    )


@st.composite
def correlations(draw, kind):
    inputs = draw(st.integers(1, 3))
    more = {"suppress": draw(st.none() | st.integers(1, 9))}
    number = NEAR if kind in NUMERIC else COUNT
    bounds = st.lists(st.builds(Bound, ORDER, number), max_size=2).map(tuple)
    if kind == "temporal":
        more |= draw(
            st.builds(lambda tree: {"presence": tree}, presences(inputs))
            | st.builds(lambda some: {"bounds": some}, bounds)
        )
    elif kind == "event_count" or kind.startswith("value_"):
        more["bounds"] = draw(bounds)
    if kind == "value_percentile":
        more["percentile"] = draw(st.sampled_from([0, 25, 50, 55, 90, 99, 100]))
    return correlation(kind, draw(st.integers(1, 6)), inputs, **more)


class Arrival(NamedTuple):
    """When an event comes, and with which of its inputs."""

    at: int
    event: Event


@st.composite
def arrivals(draw, one):
    """Events at few times from few groups, delivered once or twice, somewhat late; as they come."""
    value = ODD | WHOLE if one.kind in {"value_sum", "value_avg", "value_median"} else WHOLE
    inputs = st.frozensets(st.integers(0, len(one.inputs) - 1), min_size=1)
    delivery = st.tuples(st.integers(0, 6), inputs)
    about = st.tuples(st.integers(0, 14), value, st.lists(delivery, min_size=1, max_size=2))
    start = draw(st.sampled_from([0, -7, 1_700_000_000_000_000, 2**61, -(2**61)]))
    events = draw(st.dictionaries(st.tuples(ID, st.sampled_from(GROUPS)), about, max_size=16))
    come = [
        Arrival(time + delay, Event(group, start + time, name, some, number))
        for (name, group), (time, number, deliveries) in events.items()
        for delay, some in deliveries
    ]
    return sorted(come, key=lambda arrival: arrival.at)


@st.composite
def streams(draw, one):
    """Batches in the order in which they come, each with the time that is settled after it."""
    left = [arrival.event for arrival in draw(arrivals(one))]
    batches = []
    while left:
        size = draw(st.integers(0, 5))
        batch, left = left[:size], left[size:]
        settled = min((event.time for event in left), default=ALWAYS)
        settled = draw(st.sampled_from([EVER, settled - 1, settled, settled, settled, settled + 2]))
        batches.append((batch, max(settled, batches[-1][1] if batches else EVER)))
    return [*batches, ([], ALWAYS)]


def matches(events):
    """Events as they travel to the step."""
    high, low, texts = identify(pa.array([event.id for event in events], pa.string()))
    columns = [
        pa.array(np.zeros(len(events), np.int32)),
        pa.array([sum(1 << number for number in event.inputs) for event in events], pa.int64()),
        pa.array([event.time for event in events], pa.int64()),
        pa.array(high),
        pa.array(low),
        texts,
        pa.array(hashes(pa.array([event.group for event in events], pa.string()))),
        pa.array([event.group for event in events], pa.string()).dictionary_encode(),
        pa.array(np.array([event.value for event in events], np.float64).view(np.int64)),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=MATCH)


def go(one, state, events, settled, limits=None):
    return step(one, state, *rows(one, matches(events)), settled, limits)


def flow(one, batches, limits=None, *, restarted=False):
    """All outcomes of a stream, one after the other."""
    state, outcomes = empty(one), []
    for events, settled in batches:
        outcomes.append(go(one, state, events, settled, limits))
        state = outcomes[-1].state
        if restarted:
            state = read(dump(state))
    return outcomes


def kept(one, outcomes, name):
    """What a reader ends with, who keeps the highest revision of each report, of equal ones the last."""
    last = {}
    final = not is_early(one) and (name == "found" or one.suppress is None)
    for outcome in outcomes:
        said = {(row["anchor"], row["group"]): row for row in getattr(outcome, name).to_pylist()}
        assert len(said) == getattr(outcome, name).num_rows, "one row an anchor"
        for key, row in said.items():
            assert not (final and key in last), "what waits is said once"
            assert key not in last or row["count"] >= last[key]["count"], "revisions only rise"
        last |= said
    return last


def agree(one, outcomes, events, **how):
    expected = correlated(one, events, evidence=FEW, **how)
    assert kept(one, outcomes, "found") == expected[0]
    assert kept(one, outcomes, "reports") == expected[1]


def in_time(batches):
    """The events of a stream that came before their time was settled."""
    settled = [EVER, *(after for _, after in batches)]
    return [e for (batch, _), line in zip(batches, settled, strict=False) for e in batch if e.time >= line]


def dense(seed):
    """Events with ties, in batches of five and out of order; quicker to make than those that shrink."""
    chance = random.Random(seed)  # noqa: S311 - seeded, chosen by hand
    events = [
        Event(
            chance.choice(GROUPS),
            chance.randrange(16),
            chance.choice("178f") * 5 + chance.choice("0189f") * 3 + "0123456789abcdef01234567",
            frozenset(chance.sample([0, 1], chance.choice([1, 1, 2]))),
        )
        for _ in range(20)
    ]
    events = list({(event.group, event.id): event for event in events}.values())  # an id has one time
    events = [event._replace(value=float(event.time % 3)) for event in events]
    events.sort(key=lambda event: event.time + chance.randrange(4))
    batches = [(events[at : at + 5], events[at + 5 :]) for at in range(0, len(events), 5)]
    come = [(batch, min((event.time for event in left), default=9)) for batch, left in batches]
    return [*come, *(([], settled) for settled in (12, 14, 16, 17, 18, ALWAYS))]


def series(values, gap=1):
    """An event of one group for each value, a time apart."""
    return [Event("{}", place * gap, f"{place:032x}", value=value) for place, value in enumerate(values, 1)]
