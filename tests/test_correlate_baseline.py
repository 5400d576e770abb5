"""Baselines against medians over plain lists, however events come, and what they say of simple series."""

import math
import random
from functools import reduce
from itertools import pairwise
from operator import add
from statistics import median
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rms_flows.correlate.match import MATCH, NO_MATCHES, hashes, identify, rows
from rms_flows.correlate.spec import Baseline, Bound, Correlation, Input, is_early
from rms_flows.correlate.state import EVER, columns, dump, empty, read
from rms_flows.correlate.step import ALWAYS, Limits, step
from rms_flows.processors.correlation import Correlations

ORDERS = {
    "gt": lambda a, b: a > b, "gte": lambda a, b: a >= b, "lt": lambda a, b: a < b,
    "lte": lambda a, b: a <= b, "eq": lambda a, b: a == b, "neq": lambda a, b: a != b,
}  # fmt: skip
METHODS = ("deviation", "regularity")
LAWS = settings(max_examples=150, deadline=None)


class Event(NamedTuple):
    """A match; sorts by group, time and id."""

    group: str
    time: int
    id: str
    value: float


def baseline(normal, timespan, *bounds, **more):
    fields = ("usage",) if normal.method == "deviation" else ()
    named = (Input("all", "all", ("host",)),)
    return Correlation(
        "b", "t", None, "low", (), "m", "f", 1, "baseline", named, ("host",), timespan, bounds,
        fields, baseline=normal, **more,
    )  # fmt: skip


def deviation(least=1, season=0, slots=1, timespan=1_000):
    return baseline(Baseline("deviation", season, slots, least), timespan, Bound("gte", 0))


def regularity(least=1, timespan=1_000):
    return baseline(Baseline("regularity", least=least), timespan, Bound("gte", 0))


# The plainest evaluator: every definition over lists, for every event again.


def far(value, past):
    middle = median(past)
    spread = 1.4826 * median([abs(other - middle) for other in past])
    if spread == 0:
        lower = sorted(other for other in past if other < middle)
        upper = sorted((other for other in past if other > middle), reverse=True)
        spread = 1.2533 * (reduce(add, [abs(other - middle) for other in lower + upper], 0.0) / len(past))
    return min(abs(value - middle) / max(spread, 1e-3 * abs(middle), 1e-9), 1e9)


def alike(times):
    steps = [b - a for a, b in pairwise(times)]
    middle = median(steps)
    return 1 - min(1, 1.4826 * median([abs(one - middle) for one in steps]) / middle)


def slot(normal, time):
    return time % normal.season * normal.slots // normal.season if normal.season else 0


def score(one, event, inside):
    """The number of an event and the events that it speaks of; None where too little is known."""
    normal = one.baseline
    if normal.method == "regularity":
        times = sorted({other.time for other in inside})
        return (alike(times), inside) if len(times) > normal.least else None
    past = [
        other.value
        for other in inside
        if other.time < event.time and slot(normal, other.time) == slot(normal, event.time)
    ]
    return (far(event.value, past), [event]) if len(past) >= normal.least else None


def expected(one, events, most=100_000):
    found = {}
    for event in events:
        near = [e for e in events if e.group == event.group and 0 <= event.time - e.time <= one.timespan]
        judged = score(one, event, sorted(near)[-most:])
        if judged is not None and all(ORDERS[b.order](judged[0], b.number) for b in one.bounds):
            found[event.group, event.id] = (event.time, judged[0], [e.id for e in judged[1]])
    return found


# The step.


def matches(events, link=0):
    high, low, texts = identify(pa.array([event.id for event in events], pa.string()))
    groups = pa.array([event.group for event in events], pa.string())
    arrays = [
        pa.array(np.full(len(events), link, np.int32)),
        pa.array(np.ones(len(events), np.int64)),
        pa.array([event.time for event in events], pa.int64()),
        pa.array(high),
        pa.array(low),
        texts,
        pa.array(hashes(groups)),
        groups,
        pa.array(np.array([event.value for event in events], np.float64).view(np.int64)),
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=MATCH)


def flow(one, batches, limits=None, *, restarted=False):
    """All that is found, row by row, by group and anchor; nothing may be found twice."""
    state, found = empty(one), {}
    for events, settled in batches:
        outcome = step(one, state, *rows(one, matches(events)), settled, limits)
        assert not outcome.late
        state = read(dump(outcome.state)) if restarted else outcome.state
        for row in outcome.found.to_pylist():
            assert (row["group"], row["anchor"]) not in found, "a baseline is final"
            found[row["group"], row["anchor"]] = row
    return found


def told(found):
    return {key: (row["time"], row["measured"], row["evidence"]) for key, row in found.items()}


def scores(one, events):
    """The score of each event in the order of time and id, None where it isn't judged."""
    found = flow(one, [(events, ALWAYS)])
    return [
        found[event.group, event.id]["measured"] if (event.group, event.id) in found else None
        for event in sorted(events)
    ]


def series(values, start=0, every=1, group="{}"):
    return [Event(group, start + every * place, f"{place:032x}", value) for place, value in enumerate(values)]


def at(*times):
    return [Event("{}", time, f"{place:032x}", math.nan) for place, time in enumerate(times)]


@st.composite
def correlations(draw, method):
    season = draw(st.sampled_from([0, 5, 7])) if method == "deviation" else 0
    slots = draw(st.integers(1, 3)) if season else 1
    number = st.sampled_from([0, 0.5, 0.25, 0.9, 1, 2, 1 / 1.4826, 3.5])
    bounds = draw(st.lists(st.builds(Bound, st.sampled_from(list(ORDERS)), number), max_size=2))
    normal = Baseline(method, season, slots, draw(st.integers(1, 4)))
    return baseline(normal, draw(st.integers(1, 12)), *bounds)


@st.composite
def traces(draw):
    start = draw(st.sampled_from([0, -7, 1_700_000_000_000_000, 2**61, -(2**61)]))
    value = st.sampled_from([0.0, -0.0, 1.0, 2.0, 0.1, 0.2, 0.3, 10.0, 10.001, -1.0, 1e-9, 1e16, -1e300])
    groups = st.sampled_from(["{}", '{"host":"a"}', '{"host":"b"}'])
    about = st.lists(st.tuples(groups, st.integers(0, 20), value), max_size=25)
    numbers = draw(st.permutations(range(25)))  # ids in no order of time
    return [
        Event(group, start + time, f"{number:032x}", value)
        for (group, time, value), number in zip(draw(about), numbers, strict=False)
    ]


@st.composite
def streams(draw, events):
    """The events in any order, in batches, each with the time that is settled behind it; some come twice."""
    left = draw(st.permutations([*events, *draw(st.lists(st.sampled_from(events), max_size=3))]))
    batches, line = [], EVER
    while left:
        size = draw(st.integers(1, 6))
        batch, left = left[:size], left[size:]
        line = max(line, draw(st.sampled_from([EVER, min((e.time for e in left), default=ALWAYS)])))
        batches.append((batch, line))
    return [*batches, ([], ALWAYS)]


@LAWS
@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_an_archive_in_one_step_gives_what_the_definitions_say(method, data):
    one, events = data.draw(correlations(method)), data.draw(traces())
    assert told(flow(one, [(events, ALWAYS)])) == expected(one, events)


@LAWS
@pytest.mark.parametrize("method", METHODS)
@given(data=st.data())
def test_however_events_come_the_same_is_found_once(method, data):
    """Order, batches, duplicates, restarts and a limit: none may change a score."""
    one, events = data.draw(correlations(method)), data.draw(traces().filter(bool))
    limits = Limits(window=data.draw(st.sampled_from([1, 2, 4, 100])))
    batches, restarted = data.draw(streams(events)), data.draw(st.booleans())
    assert told(flow(one, batches, limits, restarted=restarted)) == expected(one, events, limits.window)


@LAWS
@given(
    st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=20),
    st.integers(1, 3),
)
@example([1.7e308, -1.7e308, 1.7e308, -1.7e308, 1.7e308], 2)
@example([5e-324, 5e-324, 1e-323], 2)
def test_a_score_is_a_number_whatever_the_values(values, least):
    judged = scores(deviation(least), series(values))
    assert judged[:least] == [None] * min(least, len(values))
    assert all(0 <= one <= 1e9 for one in judged[least:])


def test_it_waits_until_all_is_settled():
    one = deviation()
    assert not is_early(one)
    first, second, late = series([1.0, 5.0, 2.0])
    late = late._replace(time=0)
    assert not flow(one, [([first, second], 0)])
    found = flow(one, [([first, second], 0), ([late], 1), ([], 2)])
    assert told(found) == {("{}", second.id): (1, far(5, [1, 2]), [second.id])}, "the late one too"


def test_a_value_is_scored_before_it_is_learned():
    assert scores(deviation(3), series([1.0, 2.0, 3.0, 9.0])) == [None, None, None, far(9, [1, 2, 3])]


def test_values_of_one_time_are_no_part_of_each_others_normal():
    past = series([1.0, 2.0, 3.0])
    twins = [Event("{}", 3, f"{place:032x}", value) for place, value in ((7, 9.0), (8, 9.0))]
    assert scores(deviation(3), [*past, *twins])[3:] == [far(9, [1, 2, 3])] * 2


@pytest.mark.parametrize(("timespan", "past"), [(3, [1, 2, 3]), (2, [2, 3])])
def test_the_window_holds_what_is_a_timespan_old_and_nothing_older(timespan, past):
    assert scores(deviation(2, timespan=timespan), series([1.0, 2.0, 3.0, 9.0]))[3] == far(9, past)


def test_history_that_is_too_short_is_not_judged_whichever_the_bound():
    for order in ("neq", "lt", "gte"):
        one = baseline(Baseline("deviation", least=3), 10, Bound(order, 2))
        assert not flow(one, [(series([1.0, 1.0, 5.0]), ALWAYS)])
    assert not flow(baseline(Baseline("regularity", least=3), 10, Bound("neq", 2)), [(at(1, 2, 3), ALWAYS)])


def test_a_value_that_was_constant_may_flicker_in_its_last_digit():
    flicker, change = scores(deviation(5), series([20.0] * 5 + [20.01, 30.0]))[5:]
    assert flicker == pytest.approx(0.5)
    assert change == pytest.approx(500)


def test_after_nothing_but_zeros_anything_is_far_and_zero_is_not():
    assert scores(deviation(3), series([0.0] * 4 + [1.0]))[3:] == [0, pytest.approx(1e9)]


def test_what_is_seldom_but_not_new_is_no_more_than_seldom():
    """More than half are 0, so the median deviation is 0 too: the mean one tells 1, which was there, from 50."""
    seldom = [0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0]
    assert scores(deviation(8), series([*seldom, 1.0, 50.0]))[8:] == [
        pytest.approx(1 / (1.2533 * 2 / 8)),
        pytest.approx(50 / (1.2533 * 3 / 9)),
    ]


def test_each_part_of_a_season_has_its_own_normal():
    days = [value for day in range(4) for value in (1.0, 1.1 + day / 100, 100.0, 101.0 + day)]
    loud_night = [*days, 100.0]
    assert scores(deviation(2, season=4, slots=2), series(loud_night))[-1] > 100
    assert scores(deviation(2), series(loud_night))[-1] < 3, "without a season it's a value like others"


def test_a_season_is_counted_from_1970_before_it_too():
    values = [1.0, 50.0, 1.0, 50.0, 1.0, 50.0]
    for start in (-3, 0, 1):
        assert scores(deviation(1, season=2, slots=2), series(values, start))[2:] == [0.0] * 4


def test_a_beacon_is_regular_and_chance_is_not():
    rng = random.Random(7)  # noqa: S311  seeded
    beacon, chance = [0], [0]
    for _ in range(300):
        beacon.append(beacon[-1] + 300_000 + rng.randint(-4_000, 4_000))
        chance.append(chance[-1] + 1 + int(rng.expovariate(1 / 300_000)))
    assert scores(regularity(10, 10**9), at(*beacon))[-1] > 0.98
    assert scores(regularity(10, 10**9), at(*chance))[-1] < 0.2
    assert scores(regularity(10, 10**9), at(*range(0, 100, 5)))[-1] == 1


def test_intervals_stand_between_different_times_within_the_window():
    assert scores(regularity(2, 20), at(0, 0, 10, 10, 20)) == [None] * 4 + [1]
    assert scores(regularity(2, 20), at(0, 11, 21, 31)) == [None, None, None, 1], "the first is too old"
    assert scores(regularity(2, 30), at(0, 10, 20, 30, 45))[-1] == alike([20, 30, 45])


def test_evidence_is_the_event_of_a_deviation_and_the_window_of_a_regularity():
    [row] = flow(deviation(3), [(series([1.0, 2.0, 3.0, 9.0]), ALWAYS)]).values()
    assert (row["first"], row["last"], row["count"], row["evidence"]) == (3, 3, 1, [f"{3:032x}"])
    found = flow(regularity(2, 20), [(at(0, 10, 20, 30), ALWAYS)])
    row = found["{}", f"{3:032x}"]
    assert (row["first"], row["last"], row["count"]) == (10, 30, 3)


def test_reports_of_a_bucket_are_one_with_the_highest_score():
    one = baseline(Baseline(least=3), 1_000, Bound("gte", 3.5), suppress=100)
    events = series([1.0, 2.0, 3.0, 9.0, 2.0, 20.0])
    [row] = step(one, empty(one), *rows(one, matches(events)), ALWAYS).reports.to_pylist()
    assert row["count"] == 2
    assert row["measured"] == far(20, [1, 2, 3, 9, 2])


def test_windows_that_hold_more_than_counts_are_counted():
    one = deviation()
    outcome = step(one, empty(one), *rows(one, matches(series([1.0, 2.0, 3.0]))), ALWAYS, Limits(window=2))
    assert outcome.capped == 1


def test_what_is_too_old_is_forgotten():
    one, state = deviation(timespan=10), None
    for start in range(0, 1_000, 5):
        events = [e._replace(id=f"{start + e.time:032x}") for e in series([1.0] * 5, start)]
        state = step(one, state or empty(one), *rows(one, matches(events)), start + 5).state
    assert len(state.rows) <= 20


def test_regularity_looks_at_no_value_and_keeps_none():
    assert columns(deviation()) == (False, True)
    assert columns(regularity()) == (False, False)
    assert empty(regularity()).rows.value is None


def test_what_a_correlation_finds_can_be_regular():
    """A chain: the inner report has a time and a group, which is all that regularity looks at."""
    inner = Correlation(
        "i", "t", None, "low", (), "m", "f", 1, "event_count", (Input("r", "r", ("host",)),), ("host",), 1,
        (Bound("gte", 1),),
    )  # fmt: skip
    outer = Correlation(
        "o", "t", None, "low", (), "m", "f", 1, "baseline", (Input("i", "i", ("host",)),), ("host",), 1_000,
        (Bound("gte", 0.9),), baseline=Baseline("regularity", least=3),
    )  # fmt: skip
    both = Correlations([inner, outer], ["r"], judge=None, processor="p")
    beats = [event._replace(group='{"host":"a"}') for event in at(0, 10, 20, 30)]
    _, said = both.step(both.start(0, 0, 1), matches(beats), ALWAYS)
    [inside] = said.matches
    assert inside.num_rows == 4
    state, none = both.step(both.start(1, 0, 1), inside, 30)
    assert not none.reports
    _, given_ = both.step(state, NO_MATCHES, ALWAYS)
    assert [batch.num_rows for batch in given_.reports] == [1]
