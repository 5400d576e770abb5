"""What correlations remember: how long, how much, and in which form; times and ids at the edge."""

import numpy as np
import pyarrow as pa
import pytest
from correlation_oracle import Event
from correlation_traces import KINDS, correlation, flow, go, kept, series

from rms_flows.correlate import found
from rms_flows.correlate import state as remembered
from rms_flows.correlate.match import hashes
from rms_flows.correlate.state import EVER, Rows, State, dump, empty, read
from rms_flows.correlate.step import ALWAYS, Limits
from rms_flows.errors import FlowError


def test_a_state_of_another_layout_is_refused(monkeypatch):
    data = dump(empty(correlation("event_count")))
    monkeypatch.setattr(remembered, "VERSION", b"next")
    with pytest.raises(FlowError, match="layout b'1', this version reads b'next'"):
        read(data)


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_to_take_gives_nothing_and_moves_time(kind):
    one = correlation(kind, percentile=50)
    state = empty(one)
    for settled in (EVER, 5, 3, ALWAYS):
        outcome = go(one, state, [], settled)
        assert (outcome.found.num_rows, outcome.reports.num_rows, outcome.late) == (0, 0, 0)
        assert outcome.state.settled == max(settled, state.settled)
        state = read(dump(outcome.state))
    assert len(state.rows) == 0


@pytest.mark.parametrize("kind", KINDS)
def test_times_at_the_ends_of_what_a_number_can_hold_do_no_harm(kind):
    """A deadline after the last time there is would wrap around to before the first one."""
    one = correlation(kind, 10, percentile=50, suppress=7)
    times = [-(2**63), EVER - 1, EVER, 0, ALWAYS - 11, ALWAYS, 2**63 - 1]
    events = [Event("{}", time, f"{place:032x}") for place, time in enumerate(times, 1)]
    state = empty(one)
    outcomes = [go(one, state, events, EVER)]
    outcomes.append(go(one, outcomes[0].state, [], ALWAYS))
    expected = [0, EVER, ALWAYS - 11] if kind != "flatline" else [10, EVER + 10, ALWAYS - 1]
    assert sorted(row["time"] for o in outcomes for row in o.found.to_pylist()) == sorted(expected)
    assert outcomes[0].late == 4


def test_ids_that_are_no_hash_are_kept_as_they_are():
    """Evidence names events as their source does; 32 digits in capitals are not the bytes they spell."""
    one = correlation("temporal", 10, 2)
    names = ["4624:1", "f" * 32, "F" * 32, "é"]
    events = [Event("{}", 1, name, frozenset({place % 2})) for place, name in enumerate(names)]
    batches = [(events[:3], EVER), (events, EVER), ([], ALWAYS)]
    said = kept(one, flow(one, batches, restarted=True), "found")
    assert {anchor for anchor, _ in said} == set(names)
    assert all(row["count"] == 4 and set(row["evidence"]) == set(names) for row in said.values())


def test_a_report_lists_a_hundred_events_and_counts_all(monkeypatch):
    monkeypatch.setattr(found, "EVIDENCE", 100)
    one = correlation("event_count", 1000, suppress=500)
    events = series([0.0] * 250)
    outcome = go(one, empty(one), events, ALWAYS)
    for rows_of in (outcome.found, outcome.reports):
        last = rows_of.to_pylist()[-1]
        assert (last["count"], last["evidence"]) == (250, [event.id for event in events[:100]])


def test_who_is_expected_and_says_nothing_is_missed_from_the_day_it_was_due():
    one = correlation("flatline", 10)
    name = '{"ip":"a"}'
    group, zero = hashes(pa.array([name])), np.zeros(1, np.uint64)
    expected = State(Rows(group, np.array([100]), zero, zero), group, pa.array([name]))
    silent = go(one, expected, [], 111).found.to_pylist()
    assert [(row["time"], row["count"], row["first"], row["evidence"]) for row in silent] == [
        (110, 0, None, [])
    ]
    heard = go(one, expected, [Event(name, 110, "a" * 32)], 200).found.to_pylist()
    assert [(row["time"], row["count"], row["first"]) for row in heard] == [(120, 1, 110)]


def test_groups_beyond_the_limit_go_those_first_that_were_not_seen_for_longest():
    one = correlation("event_count", 1000)
    limits = Limits(groups=2)
    seen = [("a", 5, "2"), ("b", 1, "1"), ("c", 5, "3"), ("d", 5, "1"), ("b", 4, "4")]
    events = [Event(group, time, digit * 32) for group, time, digit in seen]
    outcomes = [go(one, empty(one), some, EVER, limits) for some in (events, events[::-1])]
    for outcome in outcomes:
        assert outcome.evicted == 2
        assert sorted(outcome.state.texts.to_pylist()) == ["a", "c"]
    again = go(one, outcomes[0].state, [Event("a", 6, "5" * 32), Event("b", 7, "6" * 32)], EVER, limits)
    assert {row["group"]: row["count"] for row in again.found.to_pylist()} == {"a": 2, "b": 1}
    assert again.evicted == 1


def test_windows_that_hold_more_than_counts_are_counted_once():
    one, limits = correlation("event_count", 1000), Limits(window=3)
    first = go(one, empty(one), series([0.0] * 3), EVER, limits)
    assert first.capped == 0  # three are not more than three
    second = go(one, first.state, series([0.0] * 5), EVER, limits)
    assert second.capped == 2
    third = go(one, second.state, series([0.0] * 6), EVER, limits)
    assert third.capped == 1


@pytest.mark.parametrize(("kind", "room"), [("event_count", 32), ("value_count", 40), ("value_sum", 40)])
def test_an_event_takes_less_than_48_bytes(kind, room):
    one = correlation(kind, 10**6, percentile=50)
    state = go(one, empty(one), series([0.5] * 5000), EVER).state
    assert state.nbytes == room * 5000
    assert len(dump(state)) < 48 * 5000


@pytest.mark.parametrize("suppress", [None, 40])
@pytest.mark.parametrize("kind", KINDS)
def test_what_can_matter_no_more_is_forgotten(kind, suppress):
    """A year of events must not take more room than a window of them."""
    one = correlation(kind, 100, percentile=50, suppress=suppress)
    state, sizes = empty(one), []
    for start in range(0, 20_000, 100):
        come = [Event(f"{start // 1000 % 7}", time, f"{time:032x}") for time in range(start, start + 100, 5)]
        state = go(one, state, come, start + 100).state
        sizes.append((len(state.rows), len(state.groups)))
    if kind in {"flatline", "new_terms"}:
        assert max(sizes) <= (7 if suppress is None else 10, 7)
    else:
        assert max(sizes) <= (2 * (100 + (suppress or 0)) // 5, 3)
        assert len(go(one, state, [], ALWAYS).state.groups) == 0


@pytest.mark.parametrize("kind", ["flatline", "new_terms"])
def test_of_a_group_one_settled_row_is_kept(kind):
    one = correlation(kind, 100)
    state = empty(one)
    for start in range(0, 500, 50):
        state = go(
            one, state, [Event("{}", start + k, f"{start + k:032x}") for k in range(50)], start + 50
        ).state
        assert len(state.rows) == 1
    assert len(go(one, state, [Event("{}", 550, "a" * 32), Event("{}", 551, "b" * 32)], 550).state.rows) == 3


def test_groups_of_late_events_leave_nothing_behind():
    one = correlation("event_count")
    state = go(one, empty(one), [], 1000).state
    outcome = go(one, state, [Event(f"{number}", 1, f"{number:032x}") for number in range(9)], 1000)
    assert outcome.late == 9
    assert len(outcome.state.groups) == len(outcome.state.texts) == 0
