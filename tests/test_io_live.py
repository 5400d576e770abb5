"""Reading as a stream: the same rows, late or not, however they come in batches and wherever it begins."""

import time
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode.contract import Counts, Decoded
from rms_flows.errors import SourceError
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.line import ENDED, Feed, too_late
from rms_flows.io.live import Reading, letters
from rms_flows.io.position import NOT_BEGUN, Position
from rms_flows.schema import DEAD_LETTER, DICTIONARY, TIMESTAMP


class Chunks:
    """A source of fragments of chunks: each the times of its rows and how many dead letters it has."""

    uri = "fake:chunks"
    endless = False

    def __init__(self, fragments, name="a"):
        self.fragments_ = fragments
        self.name = name

    def columns(self):
        return None

    def fragments(self, request):
        return [Fragment(self.uri, str(number)) for number in range(len(self.fragments_))]

    def read(self, fragment, request):
        before, dead_before = 0, 0
        for times, dead in self.fragments_[int(fragment.key)]:
            names = [f"{self.name}{fragment.key}.{before + row}" for row in range(len(times))]
            rows = pa.record_batch(
                {
                    "@timestamp": pa.array(times, pa.int64()).cast(TIMESTAMP),
                    "event.ingested": pa.nulls(len(times), TIMESTAMP),
                    "event.id": pa.array(names, pa.string()),
                    "rms.source": pa.array([self.name] * len(times)).dictionary_encode().cast(DICTIONARY),
                    "rms.origin": pa.array(names, pa.string()),
                }
            )
            bad = [
                {"error.type": "json", "rms.origin": f"dead{fragment.key}.{dead_before + n}"}
                for n in range(dead)
            ]
            yield Decoded(rows, pa.RecordBatch.from_pylist(bad, DEAD_LETTER), Counts())
            before, dead_before = before + len(times), dead_before + dead


def taken(feed, rows, *others):
    reading = Reading([feed, *others], rows=rows)
    while (one := reading.take()) is not None:
        yield one


def ids(batches):
    return [
        name
        for batch in batches
        if "event.id" in batch.schema.names
        for name in batch["event.id"].to_pylist()
    ]


def origins(batches):
    return [name for batch in batches for name in batch["rms.origin"].to_pylist()]


times = st.lists(st.integers(0, 100), max_size=12)
chunks = st.lists(st.lists(st.tuples(times, st.integers(0, 2)), max_size=4), min_size=1, max_size=3)
sizes = st.integers(1, 9)


@given(chunks, st.integers(0, 40), sizes, sizes)
def test_what_is_late_depends_on_the_order_alone(fragments, lateness, one, other):
    found = []
    for rows in (one, other):
        got = list(taken(Feed("a", Chunks(fragments), Request(), lateness), rows))
        found.append((ids(each.rows for each in got), ids(each.late for each in got)))
        whole = [time for fragment in fragments for some, _ in fragment for time in some]
        assert int(too_late(np.array(whole, np.int64), lateness)[0].sum()) == len(found[-1][1])
        for before, after in pairwise(got):
            assert before.settled <= after.settled
        assert [each.settled for each in got].count(ENDED) == 1
        assert got[-1].latest == max(whole, default=NOT_BEGUN)
    assert found[0] == found[1]


@given(chunks, sizes)
def test_no_event_in_time_is_before_what_was_settled(fragments, rows):
    settled = NOT_BEGUN
    for one in taken(Feed("a", Chunks(fragments), Request(), 7), rows):
        stamps = one.rows["@timestamp"].cast(pa.int64()).to_pylist()
        assert all(stamp >= settled for stamp in stamps)
        settled = one.settled


@given(chunks, sizes, st.data())
def test_every_row_and_every_dead_letter_comes_once_from_any_start(fragments, rows, data):
    source = Chunks(fragments)
    whole = list(taken(Feed("a", source, Request(), 1_000), rows))
    positions = [Position(), *(one.position for one in whole)]
    assert positions == sorted(positions)
    at = data.draw(st.integers(0, len(whole)))
    start = data.draw(st.integers(0, at))
    feed = Feed("a", source, Request(), 1_000, positions[start], positions[at])
    again = list(taken(feed, data.draw(sizes)))
    assert ids(one.rows for one in again) == ids(one.rows for one in whole[start:])
    cold = [one for one in again if not one.warm]
    assert ids(one.rows for one in cold) == ids(one.rows for one in whole[at:])
    assert origins(map(letters, again)) == origins(map(letters, whole[at:]))


@given(st.lists(st.tuples(times, st.integers(0, 2)), max_size=3), times, st.integers(0, 2), sizes)
def test_what_a_file_grew_by_comes_and_no_row_again(begin, more, dead, rows):
    """Also in the chunk that was read before; its dead letters may come again, as nothing tells old from new."""
    before = list(taken(Feed("a", Chunks([begin]), Request(), 1_000), rows))
    last = begin[-1] if begin else ([], 0)
    grown = [*begin[:-1], ([*last[0], *more], last[1] + dead)]
    at = before[-1].position
    after = list(taken(Feed("a", Chunks([grown]), Request(), 1_000, at, at), rows))
    assert len(ids(one.rows for one in after)) == len(more)
    told = set(origins(map(letters, before))) | set(origins(map(letters, after)))
    assert len(told) == sum(number for _, number in grown)


def test_an_input_that_is_shorter_than_what_was_read_of_it_is_refused():
    feed = Feed("a", Chunks([[([1, 2], 0)]]), Request(), 0, Position(0, 1), Position(0, 3))
    with pytest.raises(
        SourceError,
        match=r"fake:chunks: ends before what the positions say was read of it .*name another file",
    ):
        list(taken(feed, 10))


def test_the_source_that_is_behind_comes_first_and_one_that_ended_holds_nobody_up():
    slow = Feed("slow", Chunks([[([0, 50, 100, 150], 0)]], "s"), Request(), 0)
    fast = Feed("fast", Chunks([[([10, 20], 0)]], "f"), Request(), 0)
    got = [(one.source, one.settled) for one in taken(slow, 1, fast)]
    assert got == [
        ("fast", 10), ("slow", 0), ("slow", 50), ("fast", 20), ("fast", ENDED), ("slow", 100), ("slow", 150), ("slow", ENDED),
    ]  # fmt: skip


def test_a_rate_is_kept_and_what_only_warms_up_takes_no_time():
    source = Chunks([[(list(range(400)), 0)]])
    feed = Feed("a", source, Request(), 0, Position(), Position(0, 380))
    reading = Reading([feed], rows=5, rate=100)
    began = time.monotonic()
    for _ in range(76):
        assert reading.take().warm
    assert time.monotonic() - began < 2
    began = time.monotonic()
    while reading.take() is not None:
        pass
    assert 0.2 <= time.monotonic() - began < 5


def test_a_source_without_events_ends():
    (one,) = taken(Feed("a", Chunks([[]]), Request(), 5), 3)
    assert (one.settled, one.latest, one.rows.num_rows, one.warm) == (ENDED, NOT_BEGUN, 0, False)


class Fed:
    """A source without an end: what a test puts in, a list of times, None where there is nothing new."""

    uri = "fake:fed"
    endless = True

    def __init__(self, *given, name="a"):
        self.given = list(given)
        self.name = name

    def columns(self):
        return None

    def fragments(self, request):
        return [Fragment(self.uri)]

    def read(self, fragment, request):
        number = 0
        while True:
            one = self.given.pop(0) if self.given else None
            times, dead = one if isinstance(one, tuple) else (one or [], 0)
            chunks = Chunks([[(times, dead)]], f"{self.name}{number}.")
            yield from chunks.read(Fragment("", "0"), request)
            number += 1


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on only while somebody sleeps."""

    class Clock:
        now = 1_000.0

        def monotonic(self):
            return self.now

        def sleep(self, seconds):
            self.now += seconds

    made = Clock()
    for module in ("live", "sliced"):
        monkeypatch.setattr(f"rms_flows.io.{module}.time", made)
    return made


SECOND = 1_000_000


def endless(name, source, *, lateness=0, idle=5, **feed):
    return Feed(name, source, Request(), lateness, idle=idle * SECOND, **feed)


def took(reading, number):
    return [reading.take() for _ in range(number)]


def test_an_idle_source_goes_on_with_the_others_and_not_before_it_is_idle(clock):
    busy = Fed(*([SECOND * n] for n in range(100, 1_000)), name="busy")
    reading = Reading([endless("busy", busy), endless("still", Fed([50 * SECOND]))])
    until, settled = clock.now + 8, []
    while clock.now < until:
        clock.now += 0.05
        one = reading.take()
        if one.source == "still":
            settled.append((clock.now - 1_000, one.settled))
    assert {at for when, at in settled if when < 5} == {50 * SECOND}
    assert all(at > 90 * SECOND for when, at in settled if when > 5.5)
    assert [at for _, at in settled] == sorted(at for _, at in settled)


def test_when_all_are_idle_time_goes_on_by_the_clock_less_the_lateness(clock):
    reading = Reading(
        [endless("a", Fed([10 * SECOND]), lateness=SECOND), endless("b", Fed([70 * SECOND], name="b"))]
    )
    began, last = clock.now, {}
    while clock.now < began + 60:
        one = reading.take()
        last[one.source] = one
    # the later of the two stands for the time of both
    assert last["b"].settled == pytest.approx((70 + 60) * SECOND, abs=SECOND / 2)
    assert last["a"].settled == pytest.approx((70 + 60 - 1) * SECOND, abs=SECOND / 2)
    assert (last["a"].latest, last["b"].latest) == (10 * SECOND, 70 * SECOND), "time is no event"


def test_a_source_that_never_gave_an_event_does_not_hold_the_others_up_for_ever(clock):
    busy = Fed(*([SECOND * n] for n in range(1_000)), name="busy")
    reading = Reading([endless("busy", busy), endless("never", Fed())])
    settled = []
    for _ in range(900):
        clock.now += 0.02
        one = reading.take()
        settled += [one.settled] if one.source == "never" else []
    assert settled[0] == NOT_BEGUN
    assert settled[-1] > NOT_BEGUN
    alone = Reading([endless("never", Fed())])
    assert {one.settled for one in took(alone, 300)} == {NOT_BEGUN}, "nothing says what time it is"


def test_time_that_we_did_not_look_is_no_idleness(clock):
    """A process that was stopped, or waited for a sink, must not take what lies there for late."""
    source = Fed([10 * SECOND], None, None, [11 * SECOND])
    reading = Reading([endless("a", source)])
    took(reading, 2)
    clock.now += 3_600
    taken = took(reading, 2)
    assert [one.rows.num_rows for one in taken] == [0, 1]
    assert taken[-1].late.num_rows == 0


def test_an_event_before_what_was_settled_while_its_source_was_idle_is_late_and_says_so(clock):
    source = Fed([10 * SECOND], *[None] * 100, [11 * SECOND, 10 * SECOND + 60 * SECOND])
    found = took(Reading([endless("a", source)]), 102)
    settled = found[-2].settled
    assert 19 * SECOND < settled < 21 * SECOND
    assert (found[-1].late.num_rows, found[-1].rows.num_rows) == (1, 1)
    assert letters(found[-1])["error.message"].to_pylist() == [
        "too far behind the latest event, or behind what was settled while the source was idle; raise lateness, or idle"
    ]
    after = endless("a", Fed([10 * SECOND], [11 * SECOND]), committed=Position(0, 1), settled=settled)
    again = took(Reading([after]), 2)
    assert [one.late.num_rows for one in again] == [0, 1], "so it is after a restart"


def test_dead_letters_are_given_and_are_no_events(clock):
    reading = Reading([endless("a", Fed([SECOND], *[([], 1)] * 100))])
    found = []
    for _ in range(101):
        clock.now += 0.1
        found.append(reading.take())
    assert sum(letters(one).num_rows for one in found) == 100
    assert found[-1].settled > SECOND, "a source that gives nothing else is idle"


def test_a_source_with_nothing_new_is_not_asked_all_the_time_and_says_little(clock):
    began = clock.now
    found = took(Reading([endless("a", Fed([SECOND]))]), 601)
    assert clock.now - began > 59
    assert 90 <= sum(one.new for one in found) <= 124


def test_a_source_with_nothing_new_does_not_slow_the_others(clock):
    began = clock.now
    busy = Fed(*([SECOND * n] for n in range(100, 1_000)), name="busy")
    found = took(Reading([endless("busy", busy), endless("still", Fed([SECOND]))]), 500)
    assert clock.now - began < 1
    assert sum(one.rows.num_rows for one in found if one.source == "busy") > 480
