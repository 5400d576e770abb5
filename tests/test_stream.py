"""A stream finds what a replay finds, id for id: whatever the batches, the shards, the stops, crashes and kills."""

import base64
import functools
import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    M,
    S,
    correlation,
    event,
    flow,
    folded,
    generated,
    lines,
    named,
    rule,
    sigma,
    time_of,
    write_events,
    write_rules,
)

from rms_flows.beam import ledger
from rms_flows.errors import DocumentError, FlowError, SinkError, SourceError
from rms_flows.flow import live
from rms_flows.flow.build import Choices, build
from rms_flows.io.log_sink import LogSink
from rms_flows.io.position import NOT_BEGUN, Position
from rms_flows.replay import replay
from rms_flows.stream import Pace, run, stream

A = generated(1, 350)
B = generated(2, 150, span=7 * H, jitter=9 * M, prefix="b")
C = generated(3, 120, start=ZERO + H, span=22 * H, jitter=0, prefix="c")
SECOND = [
    {
        **rule(name),
        "logsource": {"product": "reports"},
        "detection": {"s": {"rule.name": name}, "condition": "s"},
    }
    for name in ("users", "few", "new", "failed")
]
BEHIND = [
    correlation("twice", "event_count", "users", "rms.group", "2h", {"gte": 2}),
    correlation("fewest", "event_count", ["few", "failed"], "rms.request_source", "3h", {"lte": 2}),
    correlation("quiet", "flatline", "new", [], "2h", generate=True),
]

FEW = [
    correlation("fourth", "event_count", "failed", "source.ip", "4m", {"gte": 2}, suppress="4h"),
    correlation("still", "flatline", "reading", "host.name", "55m"),
]


def document(**changes):
    high = {"field": "n", "operator": "EQ", "threshold": "7"}
    return flow(
        changes.get("sources", [("a", "a.ndjson", "30s"), ("b", "b.ndjson", "10m"), ("c", "c.ndjson", "0s")]),
        [
            sigma("s", "a", "b"),
            sigma("t", "s", "c", rules="second"),
            sigma("u", "b", "c", rules="few"),
            {"id": "high", "processor": "filter", "inputs": ["c"], "parameters": high},
        ],
        changes.get("sinks", {"out": (["s", "t", "u", "high"], "out.ndjson"), "all": (["c"], "all.ndjson")}),
    )


def lay(folder):
    folder.mkdir(exist_ok=True)
    for name, events in (("a", A), ("b", B), ("c", C)):
        write_events(folder / f"{name}.ndjson", events)
    write_rules(folder / "rules", *SINGLE, *(one | {"correlation": one["correlation"] | {"generate": True}} for one in CORRELATIONS.values()))  # fmt: skip
    write_rules(folder / "second", *SECOND, *BEHIND)
    write_rules(folder / "few", SINGLE[0], SINGLE[3], *FEW)
    return folder


@pytest.fixture(scope="module")
def replayed(tmp_path_factory):
    home = lay(tmp_path_factory.mktemp("replayed"))
    replay(document(), folder=home)
    return folded(home / "out.ndjson")


@pytest.fixture
def home(tmp_path):
    return lay(tmp_path / "home")


class CrashError(Exception):
    pass


def after(batches, what):
    """A fault that calls something once so many batches were taken."""
    left = iter(range(batches))

    def fault():
        if next(left, None) is None:
            what()

    return fault


def crash():
    raise CrashError


def streamed(home, pace=None, fault=None, **changes):
    plan = build(document(**changes), home, home, Choices())
    return run(plan, home / "positions", pace or Pace(rows=60, bundle=0.001), fault=fault)


@pytest.mark.parametrize(("rows", "shards"), [(37, 3), (10_000, 1)])
def test_a_stream_finds_what_a_replay_finds(home, replayed, rows, shards):
    got = stream(document(), folder=home, pace=Pace(rows=rows, shards=shards, bundle=0.01))
    assert folded(home / "out.ndjson") == replayed
    names = Counter(row["rule.name"] for row in replayed.values())
    assert all(
        names[name] for name in (*CORRELATIONS, *(one["title"] for one in (*SINGLE, *BEHIND, *FEW)), "high")
    ), names
    assert {line["event.id"] for line in lines(home / "all.ndjson")} == {one["event.id"] for one in C}
    assert {name: counts["rows"] for name, counts in got.sources.items()} == {
        "a": len(A),
        "b": len(B),
        "c": len(C),
    }
    assert not got.stopped
    assert got.processors["s"]["ungrouped"] > 0
    assert not [path for path in home.iterdir() if path.name.startswith(".")]


def test_state_that_the_runner_keeps_finds_the_same(home, replayed, monkeypatch):
    laid = functools.partial(live.corridor, kept=True)
    monkeypatch.setattr("rms_flows.stream.graph.corridor", laid)
    streamed(home)
    assert folded(home / "out.ndjson") == replayed


def test_what_is_found_in_several_sources_is_told_and_committed_before_they_end(home):
    """The trap: the local runner holds what comes behind a Flatten back until its inputs have ended."""
    seen = []

    def look():
        known = ledger.load(home / "positions", {"a": Position(), "b": Position(), "c": Position()})
        found = folded(home / "out.ndjson") if (home / "out.ndjson").exists() else {}
        seen.append((len(named(found, "users")), *(one.place.position.row for one in known.values())))

    streamed(home, Pace(rows=10, bundle=0.001, commit=0), fault=look)
    middle = seen[len(seen) // 2]
    assert all(middle), "reports of a processor that reads two sources, and the position of each source"


@pytest.mark.parametrize("batches", [1, 9])
def test_a_stream_that_was_stopped_goes_on_and_says_nothing_twice_of_single_events(home, replayed, batches):
    pace = Pace(rows=60, bundle=0.001)
    assert streamed(home, pace, after(batches, pace.stop)).stopped
    first = lines(home / "out.ndjson")
    assert not streamed(home).stopped
    assert folded(home / "out.ndjson") == replayed
    said = Counter(line["event.id"] for line in lines(home / "out.ndjson") if line["rms.report_type"] in {"sigma", "threshold"} and line["rms.processor"] != "t")  # fmt: skip
    assert set(said.values()) == {1}
    assert lines(home / "out.ndjson")[: len(first)] == first
    assert Counter(line["event.id"] for line in lines(home / "all.ndjson")) == Counter(
        one["event.id"] for one in C
    )


def test_a_stream_that_crashes_again_and_again_loses_nothing(home, replayed):
    for batches in (3, 5, 2, 8, 1, 4, 12):
        with pytest.raises(FlowError, match="CrashError"):
            streamed(home, Pace(rows=60, bundle=0.001, commit=0), after(batches, crash))
    streamed(home, Pace(rows=45, shards=2, bundle=0.001))  # another number of shards is no matter
    assert folded(home / "out.ndjson") == replayed


@pytest.mark.parametrize("seed", [4, *(pytest.param(seed, marks=pytest.mark.soak) for seed in range(5, 15))])
def test_a_stream_may_be_stopped_after_any_batch(tmp_path, seed):
    """Also where a second processor waits for a first that holds its time back, for it tells of whole hours."""
    write_events(tmp_path / "a.ndjson", generated(seed, 120))
    write_rules(tmp_path / "rules", SINGLE[0], correlation("h", "event_count", "failed", "source.ip", "5m", {"gte": 2}, suppress="4h", generate=True))  # fmt: skip
    write_rules(tmp_path / "second", SECOND[3], correlation("few", "event_count", "failed", "rms.request_source", "1h", {"lte": 2}))  # fmt: skip
    one = flow([("a", "a.ndjson", "30s")], [sigma("s", "a"), sigma("t", "s", rules="second")], {"out": (["s", "t"], "out.ndjson")})  # fmt: skip
    replay(one, folder=tmp_path)
    expected = folded(tmp_path / "out.ndjson")
    plan = build(one, tmp_path, tmp_path, Choices())
    for batches in range(1, 13, 2):
        for name in ("out.ndjson", "positions"):
            (tmp_path / name).unlink(missing_ok=True)
        pace = Pace(rows=10, bundle=0.001)
        run(plan, tmp_path / "positions", pace, fault=after(batches, pace.stop))
        run(plan, tmp_path / "positions", Pace(rows=10, bundle=0.001))
        assert folded(tmp_path / "out.ndjson") == expected, batches


def test_a_start_reads_no_more_than_can_still_matter(home):
    """The trail of places leads to the last one before what matters, also where the lateness is long."""
    write_rules(
        home / "rules", SINGLE[0], correlation("c", "event_count", "failed", "source.ip", "5m", {"gte": 3})
    )
    pace = Pace(rows=5, bundle=0.001)
    sources = [("a", "a.ndjson", "20m"), ("b", "b.ndjson", "10m"), ("c", "c.ndjson", "0s")]
    one = flow(sources[:1], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})
    plan = build(one, home, home, Choices())
    run(plan, home / "positions", pace, fault=after(60, pace.stop))
    known = ledger.load(home / "positions", {"a": Position()})["a"]
    line = known.place.settled - 5 * M
    start = known.before(line, 20 * M)
    behind = [time_of(event) for event in A[: start.row]]
    assert start.row > 200
    assert max(behind) < line
    assert max(time_of(event) for event in A[: start.row + 10]) >= line


def test_what_a_sink_did_not_flush_is_not_committed(home, replayed, monkeypatch):
    flush, flushes = LogSink.flush, []

    def full(self):
        flushes.append(self.uri)
        if self.uri.endswith("all.ndjson") and flushes.count(self.uri) > 3:
            raise SinkError("no room", where=self.uri)
        flush(self)

    with monkeypatch.context() as patch:
        patch.setattr(LogSink, "flush", full)
        with pytest.raises(SinkError, match="no room"):
            streamed(home)
    at = ledger.load(home / "positions", {"c": Position()})["c"].place.position
    assert at.row <= len(lines(home / "all.ndjson"))
    streamed(home)
    assert folded(home / "out.ndjson") == replayed
    assert {line["event.id"] for line in lines(home / "all.ndjson")} == {one["event.id"] for one in C}


def test_nothing_of_a_source_is_committed_while_one_of_its_sinks_takes_nothing(home, monkeypatch):
    def full(self):
        if self.uri.endswith("all.ndjson"):
            raise SinkError("no room", where=self.uri)

    monkeypatch.setattr(LogSink, "flush", full)
    with pytest.raises(SinkError, match="no room"):
        streamed(home)
    if (home / "positions").exists():  # of the other sources something may be committed
        assert ledger.load(home / "positions", {"c": Position()})["c"].place.position == Position()


def test_late_events_are_dead_letters_and_left_out(home, tmp_path):
    behind = [event(f"late-{n}", ZERO + n * H, "failed", **{"source.ip": "10.0.0.1", "user.name": "bo"}) for n in range(1, 6)]  # fmt: skip
    write_events(home / "a.ndjson", [*A, *behind])
    got = streamed(home)
    assert got.sources["a"] == {"rows": len(A), "late": 5}
    assert got.dead_letters == 5
    letters = lines(home / "out.dead-letters.ndjson")
    assert {letter["error.type"] for letter in letters} == {"late"}
    assert {letter["rms.source"] for letter in letters} == {"a"}
    told = [json.loads(base64.b64decode(letter["event.original"])) for letter in letters]
    assert [one["event.id"] for one in told] == [one["event.id"] for one in behind]
    before = folded(home / "out.ndjson")
    write_events(home / "a.ndjson", A)
    replay(document(), folder=home)
    assert folded(home / "out.ndjson") == before


def test_a_file_that_grew_gives_what_is_new(home):
    """Bad lines too, wherever they lie; the end of the file was no end."""
    write_rules(home / "rules", *SINGLE, CORRELATIONS["users"], CORRELATIONS["silent"])
    one = flow(
        [("c", "c.ndjson", "0s")],
        [sigma("s", "c")],
        {"out": (["s"], "out.ndjson"), "all": (["c"], "all.ndjson")},
    )

    def streamed(home):
        return stream(one, folder=home, positions=home / "positions", pace=Pace(rows=30, bundle=0.001))

    write_events(home / "c.ndjson", C[:70])
    streamed(home)
    first = (home / "out.ndjson").read_bytes()
    streamed(home)
    assert {line["event.id"] for line in map(json.loads, first.splitlines())} == {
        line["event.id"] for line in lines(home / "out.ndjson")
    }
    assert len(lines(home / "all.ndjson")) == 70
    with (home / "c.ndjson").open("a") as file:
        file.write("oops\n")
    assert streamed(home).dead_letters == 1
    assert streamed(home).dead_letters == 0
    with (home / "c.ndjson").open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in C[70:])
        file.write("oops again\n")
    streamed(home)
    assert len(lines(home / "all.ndjson")) == len(C)
    dead = [base64.b64decode(letter["event.original"]) for letter in lines(home / "out.dead-letters.ndjson")]
    assert {*dead} == {b"oops", b"oops again"}
    before = folded(home / "out.ndjson")
    replay(one, folder=home)
    assert {name: row for name, row in before.items() if row["rule.name"] != "silent"} == {
        name: row for name, row in folded(home / "out.ndjson").items() if row["rule.name"] != "silent"
    }  # what an end silenced before its time stays said


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "positions: can't be read as positions of a stream"),
        ("[]", "positions: can't be read as positions of a stream"),
        ('{"version": 99, "sources": {}}', r"positions: can't be read as positions of a stream \(99\); remove it"),
        ('{"version": 1, "sources": {"a": {"at": [0, 0, "x", 1], "trail": []}}}', "can't be read as positions"),
        ('{"version": 1, "sources": {"a": {"at": [0, 9000, 0, 1], "trail": []}}}', r"a.ndjson: ends before what the positions say was read of it .*; they are of another input"),
        ('{"version": 1, "sources": {"a": {"at": [7, 0, 0, 1], "trail": []}}}', r"a.ndjson: ends before what the positions say"),
    ],
)  # fmt: skip
def test_positions_that_are_damaged_or_of_something_else_are_refused(home, content, match):
    (home / "positions").write_text(content)
    one = flow([("a", "a.ndjson", "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})
    with pytest.raises(SourceError, match=match):
        stream(one, folder=home, positions=home / "positions")
    assert (home / "positions").read_text() == content


def test_a_torn_last_line_is_cut_off(tmp_path):
    log = LogSink(tmp_path / "out.ndjson")
    for content, kept in (
        (b"", b""),
        (b"torn", b""),
        (b'{"a": 1}\n{"b"', b'{"a": 1}\n'),
        (b"x\n" + b"y" * 200_000, b"x\n"),
    ):
        (tmp_path / "out.ndjson").write_bytes(content)
        log.open()
        log.close()
        assert (tmp_path / "out.ndjson").read_bytes() == kept


def test_one_stream_at_a_time_writes_to_a_file(tmp_path):
    first, second = LogSink(tmp_path / "out.ndjson"), LogSink(tmp_path / "out.ndjson")
    first.open()
    with pytest.raises(SinkError, match=r"out.ndjson: another stream writes to it; wait for its end"):
        second.open()
    first.close()
    second.open()
    second.close()


@pytest.mark.parametrize("place", ["parquet:archive", "all.ndjson.gz"])
def test_a_sink_that_can_not_be_appended_to_is_refused(home, place):
    sinks = {"out": (["s"], "out.ndjson"), "all": (["c"], place)}
    with pytest.raises(DocumentError, match=r"a stream appends to files of JSON lines, to Kafka and to Elasticsearch only; name one that ends in .ndjson with --sink"):  # fmt: skip
        streamed(home, sinks=sinks)
    assert not (home / "positions").exists()


def test_a_stream_that_is_told_to_stop_before_it_reads_stops(home):
    pace = Pace()
    pace.stop()
    got = streamed(home, pace)
    assert (got.stopped, got.sources["a"]) == (True, {})


def killed(home, kills, seed):
    written = document().model_dump(mode="json", exclude_none=True)
    (home / "flow.yaml").write_text(yaml.safe_dump(written))
    script = Path(__file__).with_name("killed_stream.py")
    arguments = ["flow.yaml", "--batch", "12", "--bundle", "0.05", "--shards", "2", "--rate=220"]
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, str(script), str(kills), str(seed), "out.ndjson", *arguments],
        cwd=home, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), *(pytest.param(20, seed, marks=pytest.mark.soak) for seed in range(3))]
)
def test_kill_9_at_any_moment_loses_no_alert_and_doubles_none(home, replayed, kills, seed):
    assert killed(home, kills, seed) >= 2
    assert folded(home / "out.ndjson") == replayed
    assert {line["event.id"] for line in lines(home / "all.ndjson")} == {one["event.id"] for one in C}


def test_positions_tell_of_what_is_committed(home):
    streamed(home)
    known = ledger.load(home / "positions", {"a": Position(), "b": Position(), "c": Position()})
    assert {name: one.place.position for name, one in known.items()} == {
        "a": Position(0, len(A)),
        "b": Position(0, len(B)),
        "c": Position(0, len(C)),
    }
    assert known["a"].place.settled == max(map(time_of, A)) - 30 * S
    assert all(place.settled == NOT_BEGUN for place in known["a"].trail[:1])
