"""The numbers of correlations: to the last bit, and as pySigma's SQLite backend has them."""

import json
from pathlib import Path

import pytest
from correlation_oracle import ORDERS, Event, correlated
from correlation_traces import KINDS, correlation, go, series
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows.correlate.spec import NUMERIC, Both, Bound, Either, Seen
from rms_flows.correlate.state import empty
from rms_flows.correlate.step import ALWAYS


def measured(one, events):
    return [row["measured"] for row in go(one, empty(one), events, ALWAYS).found.to_pylist()]


FLOATS = st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=100)
@given(st.sampled_from(["value_sum", "value_avg", "value_median"]), st.lists(FLOATS, min_size=1, max_size=12))
def test_sums_means_and_medians_are_rounded_once_whatever_came_before(kind, values):
    """A running total keeps the errors of what has left the window."""
    one = correlation(kind, timespan=2)
    assert measured(one, series(values)) == [
        row["measured"] for row in correlated(one, series(values))[0].values()
    ]


@settings(max_examples=100)
@given(st.lists(st.floats(-1e306, 1e306), min_size=1, max_size=12), st.floats(0, 100))
def test_percentiles_of_any_numbers_are_right_to_a_few_units_of_the_last_place(values, percent):
    one = correlation("value_percentile", timespan=4, percentile=percent)
    expected = [row["measured"] for row in correlated(one, series(values))[0].values()]
    for ours, theirs in zip(measured(one, series(values)), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-14, abs=1e-14 * max(map(abs, values)) + 1e-300)


@pytest.mark.parametrize(
    ("kind", "values", "bound", "true"),
    [
        ("value_sum", [1e16, 1.0, -1e16, 0.1, 0.2], Bound("eq", 0.1 + 0.2), 1),
        ("value_sum", [1e308, 1e308, -1e308, 3.0, 4.0], Bound("eq", 7), 1),
        ("value_sum", [1e308, 1e308, -1e308], Bound("gt", 1e308), 1),  # beyond what a float can hold
        ("value_avg", [1e16, 0.1, 0.1], Bound("gt", 0.1), 2),
        ("value_avg", [1e16, 1.0, 0.1, 0.1], Bound("eq", 0.1), 1),
        ("value_percentile", [0.0, 100.0], Bound("gt", 55), 0),
    ],
)
def test_a_bound_is_compared_with_the_exact_number(kind, values, bound, true):
    """What one way of adding up puts above the bound, another puts below it."""
    one = correlation(kind, timespan=1, bounds=(bound,), percentile=55)
    assert len(measured(one, series(values))) == true


@pytest.mark.parametrize("percent", [1, 7, 29, 55, 57, 58, 99])
def test_a_percentile_that_falls_on_a_value_is_that_value(percent):
    """0.55 · 100 is 55.00000000000001 in binary: a hair beyond the value that is meant."""
    one = correlation("value_percentile", timespan=1000, percentile=percent)
    assert measured(one, series(range(101)))[-1] == percent


@pytest.mark.parametrize("kind", KINDS)
def test_exactly_a_timespan_apart_counts_and_a_microsecond_more_does_not(kind):
    bounds = {
        "event_count": (Bound("gte", 2),),
        "value_count": (Bound("gte", 2),),
        "value_sum": (Bound("eq", 3),),
    }
    between = (Bound("gt", 1), Bound("lt", 2)) if kind in NUMERIC else ()
    inputs = 2 if kind.startswith("temporal") else 1
    one = correlation(kind, 10, inputs, bounds=bounds.get(kind, between), percentile=50)
    for apart in (10, 11):
        first = Event("{}", 0, "a" * 32, frozenset({0}), 1.0)
        last = Event("{}", apart, "b" * 32, frozenset({inputs - 1}), 2.0)
        said = [row["time"] for row in go(one, empty(one), [first, last], ALWAYS).found.to_pylist()]
        together = {"flatline": [10 + apart], "new_terms": [0]}.get(kind, [apart])
        alone = {"flatline": [10, 10 + apart], "new_terms": [0, apart]}.get(kind, [])
        assert said == (together if apart == 10 else alone)


ANSWERS = json.loads(
    (Path(__file__).parent / "data" / "sigma" / "correlation_answers.json").read_text("utf-8")
)
SECOND = 1_000_000


def asked(question):
    """A correlation as the file of answers says it; of conditions it has one."""
    names, condition = question["rules"], question.get("condition", {})
    presence = Either((Seen(0), Both((Seen(1), Seen(2))))) if isinstance(condition, str) else None
    limits = {} if presence else condition
    bounds = tuple(Bound(order, limits[order]) for order in ORDERS if order in limits)
    return correlation(
        question["type"],
        question["timespan"] * SECOND,
        len(names),
        bounds=bounds,
        presence=presence,
        percentile=limits.get("percentile"),
    )


def answered(question):
    """The events of the file that a correlation looks at, by the rules of the file."""
    field = question["condition"]["field"] if question["type"].startswith("value_") else "size"
    for place, row in enumerate(ANSWERS["events"], 1):
        event = dict(zip(ANSWERS["fields"], row, strict=True))
        rules_of = [ANSWERS["rules"][name] for name in question["rules"]]
        inputs = frozenset(
            number
            for number, rule in enumerate(rules_of)
            if all(event[name] in (one if isinstance(one, list) else [one]) for name, one in rule.items())
        )
        if inputs:
            value = float(event[field][1:]) if field == "host" else float(event[field])
            yield Event(event["user"], event["time"] * SECOND, f"{place:032x}", inputs, value)


@pytest.mark.parametrize(
    "question", ANSWERS["correlations"], ids=lambda one: f"{one['type']} {one.get('condition')}"
)
def test_the_sqlite_backend_of_pysigma_says_the_same(question):
    """What means something else there is listed in `oracle/make_correlation_answers.py`, with its reason."""
    one = asked(question)
    said = go(one, empty(one), list(answered(question)), ALWAYS).found.to_pylist()
    numbers = {(row["group"], row["time"] // SECOND): (row["measured"], row["count"]) for row in said}
    expected = {(user, time): (number, count) for user, time, number, count in question["answers"]}
    assert len(expected) > 5
    if question["type"] == "temporal_ordered":
        assert numbers.keys() == expected.keys()
    elif one.presence is not None:
        assert {key: number for key, (number, _) in numbers.items()} == {
            key: n for key, (n, _) in expected.items()
        }
    else:
        assert numbers == expected
