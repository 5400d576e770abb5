"""The ledger commits what all sinks have, never more, and remembers where a restart can begin."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.beam.ledger import Known, Ledger, Place, load
from rms_flows.errors import SinkError, SourceError
from rms_flows.io.position import NOT_BEGUN, Offsets, Position

LATENESS = {"a": 5, "b": 0}


@given(st.permutations([(number, owner) for number in range(5) for owner in range(2)]))
def test_what_is_committed_is_the_lowest_that_nobody_owes(order):
    ledger = Ledger(None, {"a": 2}, LATENESS)
    for number in range(5):
        ledger.issue("a", number, Position(0, number + 1), number * 10)
    left = [2] * 5
    for number, _ in order:
        ledger.acknowledge("a", number)
        left[number] -= 1
        done = next((n for n, owed in enumerate(left) if owed), 5)
        assert ledger.known["a"].place.position == Position(0, done)
        assert ledger.settled() == ((done - 1) * 10 if done else NOT_BEGUN)


def test_a_batch_that_no_sink_waits_for_is_committed_at_once():
    ledger = Ledger(None, {"a": 0}, LATENESS)
    ledger.issue("a", 0, Position(0, 7), 3)
    assert ledger.known["a"].place == Place(Position(0, 7), 3)


def test_the_slowest_source_tells_what_is_settled():
    ledger = Ledger(None, {"a": 0, "b": 0}, LATENESS)
    ledger.issue("a", 0, Position(0, 1), 30)
    assert ledger.settled() == NOT_BEGUN
    ledger.issue("b", 1, Position(0, 1), 20)
    assert ledger.settled() == 20


def test_a_batch_of_before_a_restart_moves_nothing_back(tmp_path):
    ledger = Ledger(tmp_path / "p", {"a": 0}, LATENESS)
    ledger.issue("a", 0, Position(0, 9), 30)
    ledger.write()
    again = Ledger(tmp_path / "p", {"a": 0}, LATENESS)
    again.issue("a", 0, Position(0, 4), 10)
    assert again.known["a"].place == Place(Position(0, 9), 30)


@given(st.lists(st.integers(0, 30), min_size=1, max_size=30), st.integers(0, 40), st.integers(0, 20))
def test_a_restart_begins_at_the_last_place_before_which_nothing_matters(steps, back, lateness):
    """Trimming never takes it away: no earlier place would do."""
    ledger = Ledger(None, {"a": 0}, {"a": lateness}, lambda settled: settled - back)
    places, time = [Place()], 0
    for number, step in enumerate(steps):
        time += step
        places.append(Place(Position(0, number + 1), time))
        ledger.issue("a", number, places[-1].position, time)
    line = time - back
    due = [
        place.position for place in places if place.settled != NOT_BEGUN and place.settled + lateness < line
    ]
    assert ledger.known["a"].before(line, lateness) == (due[-1] if due else Position())


def test_a_long_trail_gets_sparse():
    ledger = Ledger(None, {"a": 0}, LATENESS, lambda settled: NOT_BEGUN)
    for number in range(5_000):
        ledger.issue("a", number, Position(0, number + 1), number)
    trail = ledger.known["a"].trail
    assert len(trail) <= 1_000
    assert trail == sorted(trail, key=lambda place: place.position)
    assert trail[0] == Place()


def test_positions_are_written_whole_and_read_again(tmp_path):
    ledger = Ledger(tmp_path / "p", {"a": 0, "b": 1}, LATENESS, lambda settled: settled - 100, 0)
    for number in range(3):
        ledger.issue("a", number, Position(1, number, 2), number * 10)
    assert load(tmp_path / "p", {"a": Position(), "b": Position()}) == ledger.known
    assert load(tmp_path / "p", {"b": Position()}) == {"b": Known()}
    assert [path.name for path in tmp_path.iterdir()] == ["p"]
    assert load(tmp_path / "none", {"a": Position()}) == {"a": Known()}


def test_positions_that_can_not_be_read_or_written(tmp_path):
    (tmp_path / "p").write_text(json.dumps({"version": 2, "sources": {}}))
    with pytest.raises(
        SourceError, match=r"p: can't be read as positions of a stream \(2\); remove it to begin anew"
    ):
        Ledger(tmp_path / "p", {"a": 0}, LATENESS)
    ledger = Ledger(tmp_path / "none" / "p", {"a": 0}, LATENESS)
    with pytest.raises(SinkError, match="p: can't be written: No such file or directory"):
        ledger.issue("a", 0, Position(0, 1), 1)


def test_what_is_acknowledged_soon_after_a_write_is_written_though_nothing_more_comes(tmp_path):
    ledger = Ledger(tmp_path / "p", {"a": 0}, LATENESS, every=0.05)
    for number in range(2):
        ledger.issue("a", number, Position(0, number + 1), number)
    begun = {"a": Position()}
    assert load(tmp_path / "p", begun)["a"].place.position == Position(0, 1)
    time.sleep(0.1)
    ledger.write_when_due()
    assert load(tmp_path / "p", begun)["a"].place.position == Position(0, 2)


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), min_size=2, max_size=2), max_size=30),
    st.integers(0, 60),
)
def test_a_restart_begins_in_each_partition_at_the_last_place_before_what_is_needed(steps, line):
    ledger = Ledger(None, {"a": 0}, {"a": 10}, lambda settled: min(settled, line), begins={"a": Offsets()})
    places, spots = [], {"t/0": (0, NOT_BEGUN), "t/1": (0, NOT_BEGUN)}
    for number, step in enumerate(steps):
        for name, (more, high) in zip(spots, step, strict=True):
            offset, latest = spots[name]
            spots = {**spots, name: (offset + more, max(latest, high) if more else latest)}
        settled = min(high for _, high in spots.values()) - 10
        places.append(Offsets(dict(spots)))
        ledger.issue("a", number, places[-1], settled)
    found = ledger.known["a"].before(line, 10)
    due = [{name: one for name, one in place.spots.items() if one[1] < line} for place in places]
    wanted = {}
    for one in due:
        wanted |= one
    assert {name: found.offset(name) for name in spots} == {
        name: wanted[name][0] if name in wanted else -1 for name in spots
    }
