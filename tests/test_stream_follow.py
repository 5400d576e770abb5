"""A stream over files that are being written: idle sources hold nobody up, and the clock ends a silence."""

import json
import time

import pytest
from evented import ZERO, S, correlation, event, flow, folded, named, rule, sigma, write_rules
from followed import streamed_until, told

from rms_flows.replay import replay

RULES = [
    rule("login"),
    rule("beat"),
    correlation("few", "event_count", "login", "source.ip", "10s", {"lte": 1}),
    correlation("silent", "flatline", "beat", "host.name", "2s"),
]


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *RULES)
    for name in "ab":
        (tmp_path / f"{name}.ndjson").touch()
    return tmp_path


def document(lateness="0s", idle="300ms"):
    made = flow(
        [("a", "a.ndjson", lateness), ("b", "b.ndjson", lateness)],
        [sigma("s", "a", "b")],
        {"out": (["s"], "out.ndjson")},
    )
    sources = [source.model_copy(update={"idle": idle}) for source in made.sources]
    return made.model_copy(update={"sources": tuple(sources)})


def logged_in(number, second):
    return event(f"a-{number}", ZERO + second * S, "login", **{"source.ip": "10.0.0.1"})


def beat(number, second):
    return event(f"b-{number}", ZERO + second * S, "beat", **{"host.name": "hub"})


def write(path, *events):
    with path.open("a") as file:
        file.writelines(json.dumps(one) + "\n" for one in events)


def followed(home, until, *, idle="300ms", seconds=30):
    sources = {name: f"follow:{home}/{name}.ndjson" for name in "ab"}
    return streamed_until(until, home, document(idle=idle), sources, seconds)


def test_what_waits_is_told_though_another_source_is_idle_and_a_restart_goes_on(home):
    write(home / "a.ndjson", *[logged_in(n, 30 * n) for n in range(4)])
    write(home / "b.ndjson", beat(0, 0))
    done = followed(home, lambda reports: len(named(reports, "few")) >= 3)
    assert done.stopped
    found = told(home)
    assert {time for time, *_ in named(found, "few")} >= {ZERO + 30 * S * n for n in range(3)}
    write(home / "a.ndjson", *[logged_in(n, 30 * n) for n in range(4, 8)])
    followed(home, lambda reports: len(named(reports, "few")) >= 7)
    write(home / "b.ndjson", beat(1, 1_000_000))  # not late: nothing said that it is that late already
    last = [one for one in [followed(home, lambda reports: len(named(reports, "few")) >= 8)] if one.stopped]
    assert last[0].sources["b"].get("late", 0) == 0
    replayed = home / "replayed.ndjson"
    replay(document(), folder=home, sinks={"out": str(replayed)})
    wanted = folded(replayed)
    assert named(told(home), "few") == named(wanted, "few")


def test_a_silence_is_told_by_the_clock_where_all_sources_are_idle(home):
    write(home / "a.ndjson", logged_in(0, 0))
    write(home / "b.ndjson", *[beat(n, n) for n in range(4)])
    began = time.monotonic()
    followed(home, lambda reports: named(reports, "silent"))
    assert time.monotonic() - began < 20
    [(deadline, *_)] = named(told(home), "silent")
    assert deadline == ZERO + 5 * S, "its last event and the timespan, not when it was told"


def test_nobody_idle_nothing_told(home):
    """The trap: a clock that runs beside the events would tell of a silence while they are on their way."""
    write(home / "b.ndjson", *[beat(n, n) for n in range(4)])
    write(home / "a.ndjson", logged_in(0, 0))
    began = time.monotonic()
    done = followed(home, lambda _: time.monotonic() - began > 6, idle="1h")
    assert (done.sources["b"]["rows"], named(told(home), "silent")) == (4, set())
