"""Correlations in a replay: counted again the plainest way, in any pieces, by any number of workers, no litter."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from datetime import timedelta
from pathlib import Path
from statistics import median

import pytest
from evented import (
    CORRELATIONS,
    DAY,
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

from rms_flows.beam import together
from rms_flows.errors import FlowError
from rms_flows.model.documents import Trust
from rms_flows.replay import replay
from rms_flows.stream import Pace, stream

EVENTS = generated(1, 700)


def hour(number):
    return DAY + timedelta(hours=number)


@pytest.fixture
def home(tmp_path):
    write_events(tmp_path / "a.ndjson", EVENTS)
    write_rules(tmp_path / "rules", *SINGLE, *CORRELATIONS.values())
    return tmp_path


def one_source(*processors, inputs=None):
    made = processors or [sigma("s", "a")]
    wanted = inputs or [one["id"] for one in made]
    return flow([("a", "a.ndjson", "30s")], made, {"out": (wanted, "out.ndjson")})


def ran(home, document=None, **choices):
    got = replay(document or one_source(), folder=home, **choices)
    return got, folded(home / "out.ndjson")


# What is there, counted over pairs of events. A match is (time, group, event or value).


def of(actions, *fields, value=None):
    for one in EVENTS:
        if one["event.action"] in actions and all(name in one for name in fields):
            group = json.dumps({name: one[name] for name in fields}, separators=(",", ":"))
            yield time_of(one), group, one if value is None else one.get(value)


def windows(matches, timespan):
    """Each match with the matches of its group in the timespan before it."""
    matches = list(matches)
    for anchor in matches:
        yield anchor, [m for m in matches if m[1] == anchor[1] and anchor[0] - timespan <= m[0] <= anchor[0]]


def counted(matches, timespan, fulfils):
    return [anchor for anchor, inside in windows(matches, timespan) if fulfils([m[2] for m in inside])]


def numbers():
    for name in ("host.name", "source.ip"):
        yield [(t, g, float(n)) for t, g, n in of({"sent"}, name, value="n") if n is not None and n != "none"]


def only(matches, field):
    """What a chain sees of an inner group: some of its fields."""
    return [(t, json.dumps({field: (known := json.loads(g))[field]}, separators=(",", ":")), known) for t, g, _ in matches]  # fmt: skip


BY_HOST, BY_IP = numbers()
FAILED, LOGIN = list(of({"failed"}, "source.ip")), list(of({"login"}, "source.ip"))
MANY = only(
    counted(of({"failed"}, "source.ip", "user.name"), 10 * M, lambda some: len(some) >= 2), "source.ip"
)
UNFINISHED = [
    (t, g, e)
    for t, g, e in FAILED
    if not any(g == other and abs(t - time) <= 10 * M for time, other, _ in LOGIN)
]
LAST = max(map(time_of, EVENTS))


def both():
    marked = [(t, g, "many") for t, g, _ in MANY] + [(t, g, "login") for t, g, _ in LOGIN]
    return counted(marked, 20 * M, lambda some: {*some} == {"many", "login"})


def order():
    return [
        (t, g, e)
        for t, g, e in LOGIN
        if any(g == other and t - 20 * M <= time < t for time, other, _ in MANY)
    ]


def silences(timespan, begun=()):
    seen = [*begun, *((t, g) for t, g, _ in of({"reading"}, "host.name"))]
    for time, group in {*seen}:
        silent = not any(g == group and time < t <= time + timespan for t, g in seen)
        if silent and time + timespan < LAST:
            yield time + timespan, group, None


def waited():
    """In buckets of three hours, each at its first deadline; one key is never seen, one was not asked for."""
    keys = {json.dumps({"host.name": key}, separators=(",", ":")) for key in ("h0", "h1", "gone")}
    begun = [(ZERO, key) for key in keys if "h0" not in key]
    buckets = {}
    for time, group, _ in sorted(silences(70 * M, begun)):
        if group in keys:
            buckets.setdefault((time // (3 * H), group), (time, group, None))
    return buckets.values()


def hourly():
    buckets = {}
    for one in sorted(counted(FAILED, 5 * M, lambda some: len(some) >= 2), key=lambda one: one[0]):
        buckets.setdefault((one[0] // H, one[1]), one)
    return buckets.values()


def new():
    seen = [(t, g, e["user.name"], e["source.ip"]) for t, g, e in of({"login"}, "user.name", "source.ip")]
    for time, group, user, ip in {(*one,) for one in seen}:
        if not any(one[1] == group and time - 6 * H <= one[0] < time for one in seen):
            yield time, json.dumps({"user.name": user, "source.ip": ip}, separators=(",", ":")), None


PLAIN = {
    "spread": lambda: counted(MANY, H, lambda some: len({one["user.name"].lower() for one in some}) >= 2),
    "users": lambda: counted(
        (one for one in of({"failed", "login"}, "source.ip") if "user.name" in one[2]),
        10 * M,
        lambda some: len({one["user.name"].lower() for one in some}) >= 3,
    ),
    "sum": lambda: counted(BY_HOST, 15 * M, lambda some: sum(some) > 30),
    "median": lambda: counted(BY_IP, H, lambda some: median(some) < 7),
    "few": lambda: counted(LOGIN, 2 * H, lambda some: len(some) <= 1),
    "both": both,
    "order": order,
    "after": lambda: counted(UNFINISHED, H, lambda some: len(some) >= 3),
    "hourly": hourly,
    "silent": lambda: silences(40 * M),
    "waited": waited,
    "new": new,
}


def test_a_replay_finds_what_is_found_by_looking_at_all_pairs(home):
    got, reports = ran(home)
    found = Counter(
        (row["rule.name"], *key[:2]) for row in reports.values() for key in named({0: row}, row["rule.name"])
    )
    silent = {"many", "unfinished"}
    for name in CORRELATIONS.keys() - {"regular"}:
        expected = Counter(
            (name, time, group) for time, group, _ in (() if name in silent else PLAIN[name]())
        )
        assert Counter({key: n for key, n in found.items() if key[0] == name}) == expected, name
        assert expected or name in silent, name
    assert {row["rule.name"] for row in reports.values()} == CORRELATIONS.keys() - silent
    missing = Counter(
        {
            name: sum(name not in one for one in EVENTS if one["event.action"] == "failed")
            for name in ("source.ip",)
        }
    )
    assert got.processors["s"]["ungrouped"] > missing["source.ip"] > 0


def test_what_a_report_says(home):
    _, reports = ran(home)
    ids = {one["event.id"]: time_of(one) for one in EVENTS}
    users = [row for row in reports.values() if row["rule.name"] == "users"]
    for row in users:
        group = json.loads(row["rms.group"])
        assert row["rms.request_source"] == group["source.ip"]
        assert row["rms.revision"] == row["rms.count"] == len(row["rms.evidence"])  # none has a hundred
        times = [ids[name] for name in row["rms.evidence"]]  # texts that are no hash come back as they were
        assert times == sorted(times)
        assert [int(row[name].timestamp() * S + 0.5) for name in ("rms.first", "rms.last")] == [
            times[0],
            times[-1],
        ]
        assert row["@timestamp"] == row["rms.last"]
        assert [one["name"] for one in row["rms.measurement"]] == ["value_count"]
        assert row["rms.measurement"][0]["value"] >= 3
        assert (row["rms.report_type"], row["rms.processor"], row["rms.status"]) == (
            "value_count",
            "s",
            "open",
        )
        assert (row["rule.level"], row["message"], row["event.dataset"], row["rms.source"]) == (
            "high",
            "users",
            None,
            None,
        )
    assert {
        tuple(row["rms.monitored_asset_id"]) for row in reports.values() if row["rule.name"] == "silent"
    } == {(f"h{number}",) for number in range(4)}


@pytest.mark.parametrize("generate", [True, False])
def test_rules_report_beside_a_correlation_only_where_it_says_so(home, generate):
    write_rules(home / "rules", SINGLE[0], correlation("c", "event_count", "failed", "source.ip", "5m", {"gte": 3}, generate=generate))  # fmt: skip
    got, reports = ran(home)
    failed = sum(one["event.action"] == "failed" for one in EVENTS)
    counted_ = Counter(row["rule.name"] for row in reports.values())
    assert counted_["failed"] == (failed if generate else 0)
    assert counted_["c"] == len(counted(FAILED, 5 * M, lambda some: len(some) >= 3))
    assert got.reports == len(reports)


def odd(*events):
    return [event(f"o-{n}", ZERO + n * S, "sent", **fields) for n, fields in enumerate(events)]


def test_values_and_groups_that_are_no_plain_text(home):
    """A list is a group as it stands, an empty one is none; numbers may be text; what fits no type is left out."""
    write_events(
        home / "a.ndjson",
        odd(
            {"tags": ["a", "b"], "source.bytes": 20, "n": "20"},
            {"tags": ["a", "b"], "source.bytes": "oops", "n": "1e1"},
            {"tags": ["b", "a"], "source.bytes": 30, "n": [1]},
            {"tags": ["a", "b"], "source.bytes": 15, "n": "oops"},
            {"source.bytes": 15, "n": 7},
            {"tags": [], "source.bytes": 100, "n": None},
        ),
    )
    write_rules(
        home / "rules",
        SINGLE[2],
        correlation("bytes", "value_sum", "sent", "tags", "5m", {"field": "source.bytes", "gte": 35}),
        correlation("n", "value_sum", "sent", [], "5m", {"field": "n", "gte": 30}),
        correlation("port", "event_count", "sent", "source.bytes", "5m", {"gte": 2}),
    )
    got, reports = ran(home)
    told = {(row["rule.name"], row["rms.group"], row["rms.measurement"][0]["value"], *row["rms.evidence"]) for row in reports.values()}  # fmt: skip
    assert told == {
        ("bytes", '{"tags":"[\\"a\\",\\"b\\"]"}', 35.0, "o-0", "o-3"),
        ("n", None, 30.0, "o-0", "o-1"),
        ("n", None, 37.0, "o-0", "o-1", "o-4"),
        ("port", '{"source.bytes":"15"}', 2.0, "o-3", "o-4"),
    }
    assert got.processors["s"]["ungrouped"] == 3  # one has no tags, one an empty list of them, one no bytes


SECOND = [
    {
        **rule(name),
        "logsource": {"product": "reports"},
        "detection": {"s": {"rule.name": name}, "condition": "s"},
    }
    for name in ("users", "hourly", "after", "new")
]
BEHIND = [
    correlation("twice", "event_count", "users", "rms.group", "2h", {"gte": 2}),
    correlation("mixed", "temporal", ["users", "hourly"], "rms.request_source", "3h"),
    correlation("afters", "event_count", "after", "rms.group", "1h", {"gte": 2}, generate=True),
    correlation("quiet", "flatline", "new", "rms.group", "2h"),
]


def behind(home):
    """A flow whose second processor reads what the first reports."""
    write_rules(home / "second", *SECOND, *BEHIND)
    return one_source(sigma("s", "a"), sigma("t", "s", rules="second"))


def whole(home, document, step):
    """The reports of a day, of its pieces, and how many these told."""
    _, day = ran(home, document, start=hour(0), end=hour(24))
    pieces, told = {}, 0
    for number in range(0, 24, step):
        _, some = ran(home, document, start=hour(number), end=hour(number + step))
        assert all(hour(number) <= row["@timestamp"] < hour(number + step) for row in some.values())
        pieces |= some
        told += len(some)
    return day, pieces, told


@pytest.mark.parametrize(
    ("names", "step"), [(("hourly", "silent", "waited", "few", "users"), 1), (CORRELATIONS.keys(), 8)]
)
def test_hours_add_up_to_a_day(home, names, step):
    """Also where events lie on the borders, and none do; what is suppressed or silent crosses them."""
    write_rules(home / "rules", *SINGLE, *(CORRELATIONS[name] for name in names))
    borders = [
        event(
            f"b-{n}-{k}",
            ZERO + n * H + k,
            action,
            **{"source.ip": "10.0.0.1", "user.name": "bo", "host.name": "h1"},
        )
        for n in (0, 1, 5, 23, 24)
        for k in (-1, 0)
        for action in ("failed", "login", "reading")
    ]
    kept = [one for one in EVENTS[:300] if not 9 * H <= time_of(one) - ZERO < 13 * H]
    write_events(home / "a.ndjson", sorted(kept + borders, key=time_of))
    day, pieces, told = whole(home, one_source(), step)
    assert pieces == day
    assert told == len(day)
    assert {row["rule.name"] for row in day.values()} >= {*names} - {"many", "unfinished", "regular"}


def test_periods_add_up_where_a_processor_reads_the_reports_of_another(home):
    """What the first reports before the period is judged by the second, and told by nobody."""
    day, pieces, told = whole(home, behind(home), 8)
    assert pieces == day
    assert told == len(day)
    names = Counter(row["rule.name"] for row in day.values())
    assert all(names[one["title"]] for one in BEHIND)


def test_a_silence_is_told_up_to_the_last_event_although_it_is_of_another_kind(home):
    """The second processor sees no report for hours; time goes on with the events."""
    write_rules(home / "rules", SINGLE[1])
    write_rules(home / "second", {**SECOND[0], "detection": {"s": {"rule.name": "login"}, "condition": "s"}}, correlation("quiet", "flatline", "users", [], "2h"))  # fmt: skip
    write_events(
        home / "a.ndjson",
        [event("x", ZERO, "login"), event("y", ZERO + H, "login"), event("z", ZERO + 9 * H, "reading")],
    )
    document = one_source(sigma("s", "a"), sigma("t", "s", rules="second"))
    _, reports = ran(home, document)
    assert [row["@timestamp"] for row in reports.values() if row["rule.name"] == "quiet"] == [hour(3)]


def silent_sources(home):
    """A flow that waits for its sources: of four, one speaks, one stops, one never spoke; one is not confirmed."""
    write_rules(
        home / "rules",
        SINGLE[3],
        correlation("lost", "flatline", "reading", "rms.source", "2h", keys="sources"),
    )
    write_events(home / "talks.ndjson", [event(f"t{n}", ZERO + n * H, "reading") for n in range(10)])
    write_events(home / "stops.ndjson", [event(f"s{n}", ZERO + n * H, "reading") for n in range(3)])
    for name in ("never", "unknown"):
        write_events(home / f"{name}.ndjson", [])
    names = ("talks", "stops", "never", "unknown")
    made = flow(
        [(name, f"{name}.ndjson", "0s") for name in names],
        [sigma("s", *names[:2]), sigma("t", *names[2:], "talks")],
        {"out": (["s", "t"], "out.ndjson")},
    )
    trust = Trust(validFrom=DAY + timedelta(minutes=30))
    confirmed = {"never": trust, "stops": trust}
    sources = [one.model_copy(update={"trust": confirmed.get(one.id)}) for one in made.sources]
    return made.model_copy(update={"sources": tuple(sources)})


LOST = {
    ("s", '{"rms.source":"stops"}', DAY + timedelta(hours=4)),
    ("t", '{"rms.source":"never"}', DAY + timedelta(hours=2, minutes=30)),
}


def test_a_source_of_the_flow_that_falls_silent_or_never_spoke_is_reported_by_whom_it_feeds(home):
    document = silent_sources(home)
    for report in (lambda: ran(home, document)[1], lambda: streamed(home, document)):
        found = {(row["rms.processor"], row["rms.group"], row["@timestamp"]) for row in report().values()}
        assert found == LOST


def streamed(home, document):
    (home / "out.ndjson").unlink()
    stream(document, folder=home, pace=Pace(rows=2, bundle=0.001))
    return folded(home / "out.ndjson")


def test_runs_leave_the_same_bytes_with_any_number_of_workers(home):
    for number in range(4):
        write_events(home / f"b-{number}.ndjson", generated(10 + number, 150, prefix=f"b{number}"))
    write_rules(
        home / "rules", *SINGLE, *(CORRELATIONS[name] for name in ("many", "spread", "users", "waited"))
    )
    write_rules(home / "second", SECOND[0], BEHIND[0])
    document = flow(
        [("a", "a.ndjson", "30s"), ("b", "b-*.ndjson", "1m")],
        [sigma("s", "a", "b"), sigma("t", "s", "b", rules="second")],
        {"out": (["s", "t"], "out.ndjson"), "all": (["b"], "all.ndjson")},
    )
    written = []
    for workers in (1, 2, 4):
        replay(document, folder=home, workers=workers, start=hour(2), end=hour(20))
        written.append([(home / name).read_bytes() for name in ("out.ndjson", "all.ndjson")])
    assert written[0] == written[1] == written[2]
    assert all(written[0])


def test_what_is_read_around_a_period_reaches_no_sink(home):
    kept = {"id": "kept", "processor": "persist", "inputs": ["a"], "parameters": {"fields": ["user.name"]}}
    document = flow(
        [("a", "a.ndjson", "30s")],
        [sigma("s", "a"), kept],
        {"out": (["s"], "out.ndjson"), "all": (["a"], "all.ndjson"), "some": (["kept"], "some.ndjson")},
    )
    write_rules(home / "rules", SINGLE[0], correlation("c", "event_count", "failed", "source.ip", "6h", {"gte": 3}, generate=True))  # fmt: skip
    got = replay(document, folder=home, start=hour(8), end=hour(9))
    inside = {one["event.id"] for one in EVENTS if 8 * H <= time_of(one) - ZERO < 9 * H}
    before = [one for one in EVENTS if time_of(one) - ZERO < 8 * H]
    assert inside
    assert before
    for name in ("all", "some"):
        assert {line["event.id"] for line in lines(home / f"{name}.ndjson")} == inside
    reports = folded(home / "out.ndjson")
    told = {row["rms.evidence"][0] for row in reports.values() if row["rule.name"] == "failed"}
    assert told == {
        one["event.id"] for one in EVENTS if one["event.id"] in inside and one["event.action"] == "failed"
    }
    evidence = {name for row in reports.values() if row["rule.name"] == "c" for name in row["rms.evidence"]}
    assert evidence - inside
    assert got.sinks["some"] == len(inside)


def left(home):
    return sorted(path.name for path in home.iterdir() if path.name.startswith("."))


def test_a_run_leaves_no_litter(home):
    ran(home)
    assert left(home) == []


def test_a_run_that_fails_leaves_no_litter_and_what_was_there(home, monkeypatch):
    _, before = ran(home)

    def broken(*_):
        raise KeyError("no such shard")

    monkeypatch.setattr(together.Correlate, "process", broken)
    with pytest.raises(FlowError, match=r"a step failed with KeyError: .no such shard"):
        replay(one_source(), folder=home)
    assert left(home) == []
    assert folded(home / "out.ndjson") == before


KILLED = """
import os, signal, sys
from pathlib import Path
from rms_flows.beam import together
from rms_flows.replay import replay
import test_correlation_replay as test
def process(self, stage):
    os.kill(os.getpid(), signal.SIGKILL)
together.Correlate.process = process
replay(test.one_source(), folder=Path(sys.argv[1]))
"""


def test_what_a_killed_run_left_is_removed_by_the_next(home):
    _, before = ran(home)
    paths = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", KILLED, str(home)], env={**os.environ, "PYTHONPATH": paths}, check=False)  # noqa: S603  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    assert ".out.dead-letters.ndjson.s.staging" in left(home)
    assert folded(home / "out.ndjson") == before
    assert ran(home)[1] == before
    assert left(home) == []
