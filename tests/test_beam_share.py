"""Several readers: each partition has one, their positions are those of the source, and time goes on together."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.beam.gather import Gather
from rms_flows.beam.ledger import Known, Ledger, Place, Told, fed, load, load_readers
from rms_flows.beam.reading import LEFT, LIVE, Live, Mark, ReadLive, Sent, live_of, marked, renewed
from rms_flows.beam.share import Followed, Several, attempt_of, attempted, origin, task_of, tickets
from rms_flows.errors import FlowError, SourceError
from rms_flows.io.contract import Request
from rms_flows.io.line import ENDED, NO_ROWS, Feed, Taken
from rms_flows.io.live import Reading
from rms_flows.io.position import NOT_BEGUN, Offsets, Position
from rms_flows.io.share import ALL, Share

NAMES = [f"t/{number}" for number in range(5)]


@given(st.integers(1, 9), st.lists(st.tuples(st.text("ab/", max_size=3), st.integers(0, 99)), unique=True))
def test_each_partition_has_one_reader_and_those_of_a_topic_go_round(count, spots):
    for topic, number in spots:
        assert sum(Share(one, count).takes(f"{topic}/{number}") for one in range(count)) == 1
    dealt = Counter(
        one for one in range(count) for number in range(3 * count) if Share(one, count).takes(f"t/{number}")
    )
    assert {*dealt.values()} == {3}


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16, 64])
def test_flink_deals_each_ticket_to_a_task_of_its_own(count):
    """The trap: keys are hashed, and of two readers every second time both were in one task."""
    dealt = [*tickets(count, 1_796_018_961_799)]
    assert [task_of(one, count) for one in dealt] == [*range(count)]
    assert [one % count for one in dealt] == [*range(count)]
    assert {attempt_of(one) for one in dealt} == {1_796_018_961_799}


def test_an_attempt_follows_those_before_though_a_clock_goes_back(tmp_path):
    first = attempted(tmp_path / "p")
    assert abs(first - time.time() * 1_000) < 60_000
    later = first + 1_000_000
    Ledger(tmp_path / "p", {"a": 0}, {"a": 0}, begins={"a": Offsets()}, attempt=later).write()
    assert attempted(tmp_path / "p") == later + 1


def test_tickets_are_dealt_as_a_real_flink_did():
    """What Flink 1.19 did with these numbers, by Beam's runner of 2.70."""
    found = [{one for one in range(16) if task_of(one, 4) == task} for task in range(4)]
    assert found == [{5, 6, 9, 10, 11}, {0, 4, 12, 15}, {3, 7, 13, 14}, {1, 2, 8}]


STEPS = st.lists(st.tuples(st.integers(0, 4), st.integers(1, 5), st.integers(0, 50)), max_size=30)


@given(STEPS, st.integers(1, 4), st.integers(1, 4), st.integers(0, 60))
def test_positions_of_several_readers_are_those_of_the_source_for_any_number_of_others(
    steps, count, others, line
):
    """A restart begins in each partition at the last place before what is needed, whoever read it."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "p")
        ledger = Ledger(
            path,
            {"a": 0},
            {"a": 10},
            lambda settled: min(settled, line),
            1e9,
            {"a": Offsets()},
            {"a": count},
            1,
        )
        shares = [Share(one, count) for one in range(count)]
        own = [Offsets(dict.fromkeys(filter(one.takes, NAMES), (0, NOT_BEGUN))) for one in shares]
        history = [one.spots for one in own]
        for number, share in enumerate(shares):
            ledger.issue(fed("a", share), number, own[share.number], NOT_BEGUN)
        for number, (spot, more, high) in enumerate(steps, count):
            reader = next(one for one in shares if one.takes(NAMES[spot]))
            spots = own[reader.number].spots
            offset, latest = spots[NAMES[spot]]
            own[reader.number] = Offsets({**spots, NAMES[spot]: (offset + more, max(latest, high))})
            history.append(own[reader.number].spots)
            settled = min(latest for _, latest in own[reader.number].spots.values())
            ledger.issue(fed("a", reader), number, own[reader.number], max(settled - 10, NOT_BEGUN))
        ledger.write()
        (known,) = load(path, {"a": Offsets()}).values()
        for again in ({"a": others}, {}):
            parts = Ledger(path, {"a": 0}, {"a": 10}, begins={"a": Offsets()}, readers=again).known.values()
            assert Known.together([*parts]).before(line, 10) == known.before(line, 10)
            assert Known.together([*parts]).place == known.place
    wanted = {}
    for one in history:
        wanted |= {name: spot for name, spot in one.items() if spot[1] < line}
    found = known.before(line, 10)
    assert {name: found.offset(name) for name in NAMES} == {
        name: wanted[name][0] if name in wanted else -1 for name in NAMES
    }
    last = {name: spot for one in history for name, spot in one.items()}
    assert known.place.position == Offsets(last)


def test_a_long_trail_of_many_readers_gets_sparse():
    spots = [{f"t/{reader}": (number, number)} for reader in range(8) for number in range(100)]
    parts = [
        Known(
            Place(Offsets(), 0),
            [Place(Offsets(one), one[f"t/{reader}"][1]) for one in spots if f"t/{reader}" in one],
            Offsets(),
        )
        for reader in range(8)
    ]
    trail = Known.together(parts).trail
    assert len(trail) <= Offsets.TRAIL
    assert trail[0].position.spots == {"t/0": (0, 0)}
    for before, after in itertools.pairwise(trail):
        assert all(
            after.position.offset(name) >= offset for name, (offset, _) in before.position.spots.items()
        )


BEGINS = {"a": Offsets(), "b": Position()}


def two(path, attempt=7):
    return Ledger(path, {"a": 1, "b": 1}, {"a": 0, "b": 0}, begins=BEGINS, readers={"a": 2}, attempt=attempt)


def test_nothing_is_written_before_all_readers_have_been_heard(tmp_path):
    """The trap: who begins later would begin from other positions than those behind it."""
    ledger = two(tmp_path / "p")
    ledger.issue("a/0", 1, Offsets({"t/0": (5, 50)}), 50)
    ledger.acknowledge("a/0", 1)
    ledger.issue("b", 1, Position(0, 4), 60)
    ledger.acknowledge("b", 1)
    ledger.write()
    assert not (tmp_path / "p").exists()
    ledger.issue("a/1", 1, Offsets(), 40, idle=True)
    ledger.write()
    told = Told(7, {"a/0": (50, False), "a/1": (NOT_BEGUN, True), "b": (60, False)})
    known, readers = load_readers(tmp_path / "p", BEGINS)
    assert readers == told
    assert known["a"].place == Place(Offsets({"t/0": (5, 50)}), NOT_BEGUN)
    ledger.acknowledge("a/1", 1)
    ledger.leave()
    ledger.write()
    assert load_readers(tmp_path / "p", {})[1] == told, "somebody else writes now"
    one = Ledger(tmp_path / "p", {"a": 0, "b": 0}, {"a": 0, "b": 0}, begins=BEGINS)
    one.issue("b", 1, Position(0, 5), 70)
    one.write()
    assert load_readers(tmp_path / "p", {})[1] == Told()


def test_a_reader_is_heard_by_any_of_its_sources(tmp_path):
    """The trap: of two topics one has a backlog, and the other has no turn before the end of that."""
    ledger = Ledger(
        tmp_path / "p",
        {"a": 0, "c": 0},
        {"a": 0, "c": 0},
        begins={"a": Offsets(), "c": Offsets()},
        readers={"a": 2, "c": 2},
        attempt=7,
    )
    ledger.issue("a/0", 1, Offsets(), 0)
    ledger.write()
    assert not (tmp_path / "p").exists()
    ledger.issue("c/1", 1, Offsets(), 0)
    ledger.write()
    assert (tmp_path / "p").exists()
    assert [ledger.reader_of(name) for name in ("a/0", "c/0", "a/1", "c/1")] == [0, 0, 1, 1]


def followed(path, number, attempt=7):
    return Followed(path, {"a": 3, "b": 2}, BEGINS, ["a"], Share(number, 2), attempt)


def test_a_reader_hears_what_others_of_its_attempt_have_settled(tmp_path, monkeypatch):
    """The trap: until all have begun, a reader took those that were not there yet for idle."""
    monkeypatch.setattr("rms_flows.beam.share.LOOK_EVERY", 0.0)
    with pytest.raises(SourceError, match=r"p: is not what was written as the job began.* a disk that all"):
        followed(tmp_path / "p", 0)
    Ledger(tmp_path / "p", {"a": 0, "b": 0}, {"a": 0, "b": 0}, begins=BEGINS, attempt=7).write()
    with pytest.raises(SourceError, match="p: is not what was written as the job began"):
        followed(tmp_path / "p", 0, attempt=8)
    readers = [followed(tmp_path / "p", 0), followed(tmp_path / "p", 1)]
    assert readers[0].others() == ([NOT_BEGUN], [])
    assert readers[0].issue("a", 1, Offsets(), 0) == 3
    ledger = two(tmp_path / "p")
    for name, at, settled, idle in [
        ("a/0", Offsets({"t/0": (5, 50)}), 50, False),
        ("a/1", Offsets({"t/1": (6, 60)}), 60, True),
        ("b", Position(0, 1), 70, False),
    ]:
        ledger.issue(name, 1, at, settled, idle=idle)
        ledger.acknowledge(name, 1)
    ledger.write()
    assert Share(1, 2).takes("t/1")
    assert readers[0].others() == ([], [60]), "the first reads the file too, and the other waits"
    assert readers[1].others() == ([50, 70], [50, 70])
    assert readers[1].committed("a") == (Offsets({"t/1": (6, 60)}), 50)
    assert readers[0].committed("a") == (Offsets({"t/0": (5, 50)}), 50)
    assert readers[1].settled() == NOT_BEGUN, "it is what was settled when it began"
    written = (tmp_path / "p").read_text()
    (tmp_path / "p").write_text("{")
    assert readers[1].others() == ([50, 70], [50, 70]), "it is had again soon"
    monkeypatch.setattr("rms_flows.beam.share.PATIENCE", 0.0)
    with pytest.raises(SourceError, match="p: can't be read as positions"):
        readers[1].others()
    (tmp_path / "p").write_text(written)
    Ledger(tmp_path / "p", {"a": 0, "b": 0}, {"a": 0, "b": 0}, begins=BEGINS, attempt=8).write()
    assert readers[1].others() == ([NOT_BEGUN], []), "another attempt has begun"


class Waiting:
    """A line that gives nothing."""

    def __init__(self, latest=NOT_BEGUN, quiet=0):
        self.feed = Feed("a", None, Request(), 10)
        self.settled, self.latest, self.quiet = NOT_BEGUN, latest, quiet
        self.again, self.idle = 0.0, True

    def take(self):
        return NO_ROWS


@pytest.mark.parametrize(
    ("others", "latest", "awake", "wanted"),
    [
        (([40, 30], [40, 30, 20]), 100, None, 30),
        (([40, 30], [40, 30, 20]), 100, 90, 30),
        (([40, 30], [40, 30, 20]), 100, 25, 25),
        (([], [40, 20]), 100, 90, 90),
        (([], [40, 20]), 100, None, 100 + 7 - 10),
        (([], [400, 20]), 100, None, 400),
        (([], [40, 20]), NOT_BEGUN, None, 40),
        (([NOT_BEGUN], []), 100, None, NOT_BEGUN),
        (([], []), NOT_BEGUN, None, NOT_BEGUN),
    ],
)
def test_an_idle_source_goes_on_with_all_that_are_not_whoever_reads_them_then_with_the_clock(
    others, latest, awake, wanted
):
    reading = Reading([], others=lambda: others)
    reading.lines["a"] = line = Waiting(latest, 7)
    if awake is not None:
        reading.lines["c"] = other = Waiting()
        other.idle, other.settled = False, awake
    reading._open = reading.lines
    assert max(reading._time(line), NOT_BEGUN) == wanted


@pytest.fixture
def run():
    yield "a run"
    for name in ("a run", "a run/0", "a run/1"):
        LIVE.pop(name, None)


def made(attempt, begun=50):
    def make(attempt=attempt):
        ledger = Ledger(None, {"a": 1}, {"a": 0}, begins={"a": Offsets()}, readers={"a": 2})
        return Live(Reading([]), ledger, {}, attempt=attempt, begun=begun)

    return make


def behind(attempt):
    return Several(2, Path("p"), None, None, made(attempt))


def sent(number, attempt=3, begun=50, **more):
    told = Sent("a/1", attempt, begun, Offsets({"t/0": (number, number)}).plain())
    return 0, (0, 0, marked(NO_ROWS, Mark("a", number, 0, 0, sent=told, origin="#1", **more)))


def test_what_comes_of_an_attempt_that_is_over_is_refused_and_a_later_one_begins_anew(run):
    """The trap: processes may live on when a runner starts a job again, and would go on with what they had."""
    closed = []
    old = renewed(run, 3, made(3))
    old.close = lambda: closed.append(old)
    assert renewed(run, 3, made(3)) is old
    with pytest.raises(SourceError, match="away"):
        renewed(run, 4, failing)
    assert old.stopped()
    new = renewed(run, 5, made(5))
    assert closed == [old], "once, though what came next could not be made"
    with pytest.raises(FlowError, match="a step came after the end of what it is of; nothing: the job was"):
        renewed(run, 3, made(3))
    with pytest.raises(FlowError, match="a step came after"):
        live_of(run, Mark("a", 1, 0, 0, sent=Sent("a/1", 3, 0, [])))
    assert live_of(run, Mark("a", 1, 0, 0, sent=Sent("a/1", 5, 0, []))) is new
    with pytest.raises(FlowError, match="a step came after"):
        live_of("no run", Mark("a", 1, 0, 0))


def failing():
    raise SourceError("is away")


def test_positions_are_written_again_should_an_attempt_before_have_written_late(tmp_path, monkeypatch):
    """The trap: with all idle nothing changes, and readers wait for those of their attempt for good."""
    monkeypatch.setattr("rms_flows.beam.ledger.AGAIN", 0.1)
    ledger = two(tmp_path / "p")
    for name in ("a/0", "a/1"):
        ledger.issue(name, 1, Offsets(), NOT_BEGUN)
    ledger.write_when_due()
    Ledger(tmp_path / "p", {"a": 0, "b": 0}, {"a": 0, "b": 0}, begins=BEGINS, attempt=6).write()
    time.sleep(0.3)
    ledger.write_when_due()
    assert load_readers(tmp_path / "p", {})[1].attempt == 7


@pytest.mark.parametrize(
    ("idle", "settled", "told", "wanted"),
    [
        (False, 5, None, True),
        (False, 5, False, False),
        (True, 5, False, True),
        (True, 5, True, False),
        (False, ENDED, False, True),
    ],
)
def test_a_reader_tells_that_it_is_here_that_a_source_is_idle_and_that_it_has_ended(
    run, idle, settled, told, wanted
):
    """The trap: others waited for a source that had ended."""
    live = made(3)()
    line = Waiting()
    line.idle = idle
    live.reading.lines["a"] = line
    live.beat = time.monotonic()
    live.told = {} if told is None else {"a": told}
    reader = ReadLive(run, 1.0, several=behind(3))
    taken = Taken("a", NO_ROWS, NO_ROWS, None, Offsets(), settled, 0, warm=False, new=False)
    assert reader._turned(live, taken) == wanted
    live.beat -= 2
    assert reader._turned(live, taken)
    mark = reader._sent(live, taken, Mark("a", 1, settled, 0))
    assert (mark.sent.idle, mark.sent.feed, mark.origin) == (idle or settled == ENDED, "a", "")
    assert not reader._turned(live, taken)


def test_a_batch_is_noted_when_the_first_of_it_comes_and_goes_on_its_way(run):
    gather = Gather(run, behind(3), [False, True])
    for number in (1, 1, 2):
        (given,) = gather.process(sent(number))
        assert given.tag == "way 0"
    _, (_, shard, batch) = sent(2)
    (given,) = gather.process((0, (1, shard, batch)))
    assert (given.tag, given.value[0]) == ("way 1", 0)
    ledger = LIVE[run].ledger
    assert [each.name for each in threading.enumerate()].count("attended") == 1, (
        "who watches over the readers"
    )
    assert ledger.owing() == {"a/1": 2}
    for number in (1, 2):
        ledger.acknowledge("a/1", number)
    assert ledger.known["a/1"].place.position == Offsets({"t/0": (2, 2)})


def test_a_reader_that_began_elsewhere_is_refused(run):
    gather = Gather(run, behind(3), [False])
    with pytest.raises(
        FlowError, match="p: a reader began where 40 was settled, its sinks where 50 was; see that"
    ):
        [*gather.process(sent(1, begun=40))]


def test_what_is_one_readers_alone_is_called_like_the_source():
    assert (fed("a", ALL), origin(ALL)) == ("a", "")
    assert (fed("a", Share(1, 3)), origin(Share(1, 3))) == ("a/1", "#1")
    mark = Mark("a", 1, 0, 0)
    assert mark.feed == "a"
    assert "sent" not in json.loads(marked(NO_ROWS, mark).schema.metadata[b"rms.mark"])
    assert isinstance(marked(NO_ROWS, mark), pa.RecordBatch)


SILENT = """
import sys, time
from rms_flows.beam.load import load
load()
from rms_flows.beam.reading import LIVE, Live, attended
from rms_flows.io.live import Reading
LIVE["run"] = Live(Reading([]), None, {})
LIVE["run"].heard[0] = time.monotonic() + 60
if sys.argv[1] == "over":
    del LIVE["run"]
attended("run", 2, 0.5)
"""


@pytest.mark.parametrize(
    ("when", "code", "said"), [("on", LEFT, "has given nothing of reader 1 for 1 s"), ("over", 0, "")]
)
def test_what_is_behind_a_reader_that_the_runner_lost_ends_for_all_to_begin_anew(when, code, said):
    words = [sys.executable, "-c", SILENT, when]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603  our own words
    assert (done.returncode, said in done.stderr) == (code, True)


def test_who_has_another_part_in_the_next_attempt_lets_go_of_the_first(run):
    """The trap: a process that wrote still held the sink's file, for which another one waited."""
    closed = []
    one = renewed(run, 3, made(3))
    one.close = lambda: closed.append(one)
    other = renewed(f"{run}/1", 4, made(4))
    assert closed == [one]
    assert {name: each for name, each in LIVE.items() if name.startswith(run)} == {f"{run}/1": other}
    assert renewed(f"{run}/0", 4, made(4)) is not other
    assert LIVE[f"{run}/1"] is other
