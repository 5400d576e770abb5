"""A stream over an index that grows: what is written is told, late or not, and a restart goes on."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from evented import correlation, flow, folded, lines, rule, sigma, write_rules
from followed import streamed_until
from indexing import fill, index
from test_elasticsearch_doors import at
from test_io_elasticsearch_source import OURS, source

from rms_flows.errors import DocumentError
from rms_flows.io.contract import Request
from rms_flows.io.elasticsearch import tail as module
from rms_flows.replay import replay

BEGAN = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=10)
DATED = {**OURS, "properties": {"@timestamp": {"type": "date"}}}
RULES = [
    rule("login"),
    correlation("many", "event_count", "login", "source.ip", "20s", {"gte": 2}, generate=True),
]


def event(name, second):
    time = (BEGAN + timedelta(seconds=second)).isoformat()
    return {"@timestamp": time, "event.id": name, "event.action": "login", "source.ip": "10.0.0.1"}


def write(node, name, *events):
    fill(node, name, events, [one["event.id"] for one in events])


@pytest.fixture(autouse=True)
def often(monkeypatch):
    monkeypatch.setattr(module, "POLL", 0.2)
    monkeypatch.setattr(module, "MARGIN", 8_000)


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *RULES)
    return tmp_path


def document(lateness="30s"):
    return flow([("a", "any", lateness)], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})


def followed(home, place, until, seconds=60):
    return streamed_until(until, home, document(), {"a": f"follow:{place}"}, seconds)


def evidence(reports):
    return {one for report in reports.values() for one in report["rms.evidence"]}


def test_what_is_written_while_it_is_followed_is_told_and_a_restart_goes_on(home, elasticsearch_node):
    name = "tail-grows"
    place = at(elasticsearch_node, name)
    index(elasticsearch_node, name, DATED)
    write(elasticsearch_node, name, *[event(f"e{n}", 30 * n) for n in range(5)])

    more = [event("e5", 150), event("late", 125)]  # in time, though behind

    def add(reports):
        if more and "e4" in evidence(reports):
            write(elasticsearch_node, name, *more)
            more.clear()
        return {"late", "e5"} <= evidence(reports)

    first = followed(home, place, add)
    assert first.stopped
    before = lines(home / "out.ndjson")
    write(elasticsearch_node, name, event("e6", 160), event("behind", 140), event("e7", 200))
    second = followed(home, place, lambda reports: {"e6", "e7", "behind"} <= evidence(reports))
    assert second.stopped
    replay(document(), folder=home, sources={"a": place}, sinks={"out": str(home / "replayed.ndjson")})
    wanted, found = folded(home / "replayed.ndjson"), folded(home / "out.ndjson")
    assert found.keys() == wanted.keys()
    assert len(wanted) > 10
    assert {name: one["rms.evidence"] for name, one in found.items()} == {
        name: one["rms.evidence"] for name, one in wanted.items()
    }
    again = lines(home / "out.ndjson")[len(before) :]
    assert "e0" not in {one for line in again for one in line["rms.evidence"]}, "it was settled long before"
    assert first.dead_letters == second.dead_letters == 0


def test_a_time_that_has_not_come_makes_nobody_late(home, elasticsearch_node):
    name = "tail-future"
    index(elasticsearch_node, name, DATED)
    write(elasticsearch_node, name, event("e0", 0), event("soon", 700), event("forged", 10**8))
    opened = source(elasticsearch_node, name)
    reading = module.tail(opened._cluster(), search(name), Request(lateness=0), "x")
    assert next(reading)[0].origins.to_pylist() == [f"{name}/e0"]
    page, place = next(reading)
    assert page.origins.to_pylist() == [f"{name}/soon"]
    assert place <= (time.time() * 1_000 - module.MARGIN) * 1_000
    assert next(reading) == (None, place)
    write(elasticsearch_node, name, event("e1", (datetime.now(UTC) - BEGAN).total_seconds() - 2))
    assert new(reading) == [f"{name}/e1"]


def search(name):
    return module.Search(name, order="@timestamp")


def new(reading, most=100):
    """Give what comes next."""
    for _ in range(most):
        page, _ = next(reading)
        if page is not None:
            return page.origins.to_pylist()
        time.sleep(0.05)
    return None


def test_what_is_behind_is_found_within_the_margin(elasticsearch_node):
    name = "tail-margin"
    index(elasticsearch_node, name, DATED)
    write(elasticsearch_node, name, event("e0", 0), event("e1", 100))
    reading = module.tail(source(elasticsearch_node, name)._cluster(), search(name), Request(lateness=0), "x")
    assert [new(reading), new(reading)] == [[f"{name}/e0"], [f"{name}/e1"]]
    write(elasticsearch_node, name, event("near", 99), event("far", 93), event("beyond", 80))
    assert sorted([new(reading), new(reading)]) == [[f"{name}/far"], [f"{name}/near"]]
    assert new(reading, most=60) is None, "each comes once, and what is beyond the margin does not"


def test_a_replay_does_not_follow(home):
    with pytest.raises(
        DocumentError, match="never ends, and only a stream reads such a source; name it without"
    ):
        replay(document(), folder=home, sources={"a": "follow:elasticsearch://es1/x"})
