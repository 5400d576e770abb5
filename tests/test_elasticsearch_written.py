"""The repository by every door: replay, detect, archive and stream leave the documents that files would hold."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import repository
import yaml
from evented import (
    CORRELATIONS,
    SINGLE,
    event,
    flow,
    folded,
    generated,
    lines,
    sigma,
    write_events,
    write_rules,
)
from test_cli import run as run_rms

from rms_flows.errors import DocumentError, FlowError, SinkError
from rms_flows.model import Orchestrator
from rms_flows.replay import archive, detect, replay
from rms_flows.stream import Pace, stream

EVENTS = generated(7, 300)
CHAIN = [CORRELATIONS[name] for name in ("many", "spread", "few", "hourly")]


def content(reports: dict) -> dict[str, str]:
    """Give what reports say; null and absent are one."""
    return {
        name: json.dumps(
            {key: value for key, value in row.items() if value is not None}, sort_keys=True, default=str
        )
        for name, row in reports.items()
    }


def told(path: Path) -> dict[str, str]:
    """Give what the lines of a file say, by id: of one id, the highest revision."""
    best: dict[str, dict] = {}
    for row in lines(path):
        known = best.setdefault(row["event.id"], row)
        if row["rms.revision"] > known["rms.revision"]:
            best[row["event.id"]] = row
    return content(best)


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_events(tmp_path / "a.ndjson", EVENTS)
    write_rules(tmp_path / "rules", *SINGLE, *CHAIN)
    return tmp_path


def document(node, index, **sinks) -> Orchestrator:
    known = {
        "reports": (["s"], repository.uri(node, f"{index}-reports")),
        "events": (["a"], repository.uri(node, f"{index}-events")),
        "file": (["s"], "reports.ndjson"),
        **sinks,
    }
    return flow([("a", "a.ndjson", "30s")], [sigma("s", "a")], known)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_replay_writes_what_a_file_holds_and_twice_is_once(home, elasticsearch_node, workers):
    index = f"written-replay{workers}"
    for _ in range(2):
        done = replay(document(elasticsearch_node, index), folder=home, workers=workers)
        assert done.sinks["reports"] == done.sinks["file"] > 100
        assert done.sinks["events"] == len(EVENTS)
        assert done.dead == 0
    found = repository.documents(elasticsearch_node, f"{index}-reports")
    assert content(found) == told(home / "reports.ndjson")
    assert len(repository.documents(elasticsearch_node, f"{index}-events-*")) == len(EVENTS)


def test_a_stream_writes_what_a_replay_does(home, elasticsearch_node):
    replay(document(elasticsearch_node, "written-again"), folder=home)
    known = folded(home / "reports.ndjson")
    for _ in range(2):
        flowing = document(elasticsearch_node, "written-stream", file=(["s"], "live.ndjson"))
        stream(flowing, folder=home, pace=Pace(rows=20, bundle=0.05), positions=home / "positions")
    found = repository.documents(elasticsearch_node, "written-stream-reports")
    assert content(found) == told(home / "live.ndjson")
    assert found.keys() == known.keys()
    assert all(found[name]["rms.count"] == known[name]["rms.count"] for name in known)
    assert len(repository.documents(elasticsearch_node, "written-stream-events-*")) == len(EVENTS)


def test_what_was_archived_is_found_again_id_for_id(home, elasticsearch_node):
    """Also where the server leaves out what no rule can be true of."""
    place = repository.uri(elasticsearch_node, "written-archive")
    for _ in range(2):
        assert archive("a.ndjson", place, name="a", dead_letters="dead.ndjson").sinks == {
            "a.archive": len(EVENTS)
        }
    archive("a.ndjson", "parquet:archive", name="a")
    detect([home / "rules"], source="parquet:archive", sink="parquet.ndjson")
    known = content(folded(home / "parquet.ndjson"))
    assert len(known) > 100
    for pushdown in (True, False):
        detect([home / "rules"], source=f"{place}-*", sink="found.ndjson", pushdown=pushdown)
        assert content(folded(home / "found.ndjson")) == known


def test_detect_writes_reports(home, elasticsearch_node):
    place = repository.uri(elasticsearch_node, "written-detect")
    done = detect([home / "rules"], source="a.ndjson", sink=place, dead_letters="dead.ndjson")
    assert done.sinks["reports"] == len(repository.documents(elasticsearch_node, "written-detect")) > 100


ODD = [
    event(f"e{n}", 1_767_225_600_000_000 + n, "failed", n=str(n) if n % 7 else f"odd {n}") for n in range(50)
]
REFUSED = {f"e{n}" for n in range(0, 50, 7)}


@pytest.fixture
def odd(home, elasticsearch_node, request):
    """Give an index in which a field is a number, and a flow whose events have text in it now and then."""
    index = f"written-odd-{request.node.name.partition('[')[0]}".lower().replace("_", "-")
    here = repository.cluster(elasticsearch_node)
    here.call("DELETE", f"/{index}-2026.01.01", accept=(404,))
    here.call("PUT", f"/{index}-2026.01.01", {"mappings": {"properties": {"n": {"type": "long"}}}})
    write_events(home / "a.ndjson", ODD)
    sinks = {"events": (["a"], repository.uri(elasticsearch_node, index)), "file": (["a"], "events.ndjson")}
    return index, flow([("a", "a.ndjson", "30s")], [], sinks)


def check_letters(index, node, path):
    assert repository.documents(node, f"{index}-*").keys() == {f"e{n}" for n in range(50)} - REFUSED
    letters = lines(path)
    assert {letter["error.type"] for letter in letters} == {"refused"}
    assert all("odd" in letter["error.message"] for letter in letters)
    assert {letter["rms.origin"].partition("#")[0] for letter in letters} == {"a.ndjson"}
    assert len(letters) == len(REFUSED)


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_replay_can_not_store_is_a_dead_letter_and_comes_in_after_the_fix(
    odd, home, elasticsearch_node, workers
):
    index, document = odd
    done = replay(document, folder=home, workers=workers)
    assert dict(done.dead_letters) == {"refused": len(REFUSED)}
    assert done.sinks["events"] == 50 - len(REFUSED)
    check_letters(index, elasticsearch_node, home / "events.dead-letters.ndjson")
    mended = repository.uri(elasticsearch_node, f"written-mended{workers}")
    again = replay(
        document,
        folder=home,
        sources={"a": f"dead-letters:{home}/events.dead-letters.ndjson?format=json"},
        sinks={"events": mended, "file": "again.ndjson"},
        dead_letters="again.dead.ndjson",
    )
    assert again.dead == 0
    assert repository.documents(elasticsearch_node, f"written-mended{workers}-*").keys() == REFUSED


def test_what_a_stream_can_not_store_is_a_dead_letter(odd, home, elasticsearch_node):
    index, document = odd
    done = stream(document, folder=home, pace=Pace(rows=9), positions=home / "positions")
    assert done.dead_letters == len(REFUSED)
    check_letters(index, elasticsearch_node, home / "events.dead-letters.ndjson")


def test_dead_letters_that_are_refused_end_the_run(home, elasticsearch_node):
    here = repository.cluster(elasticsearch_node)
    dead = repository.uri(elasticsearch_node, "written-dead")
    here.call("PUT", "/written-dead-undated", {"mappings": {"dynamic": "strict"}})
    (home / "a.ndjson").write_text('{"@timestamp": "2026-01-01T00:00:00Z"}\n{broken\n')
    document = flow([("a", "a.ndjson", "30s")], [], {"file": (["a"], "events.ndjson")})
    match = r"written-dead: dead letters are refused: .*; let them go to a file with --dead-letters"
    with pytest.raises(SinkError, match=match):
        replay(document, folder=home, dead_letters=dead)
    with pytest.raises(SinkError, match=r"dead letters are refused: .*; let them go to a file"):
        stream(document, folder=home, dead_letters=dead)


def test_dead_letters_need_a_place_beside_the_repository(home, elasticsearch_node):
    place = repository.uri(elasticsearch_node, "written-only")
    with pytest.raises(
        FlowError, match="dead letters have nowhere to go; give the flow a sink that is a file, or"
    ):
        detect([home / "rules"], source="a.ndjson", sink=place)


def test_two_sinks_do_not_write_to_one_index(home, elasticsearch_node):
    again = (["a"], repository.uri(elasticsearch_node, "written-one-reports"))
    with pytest.raises(DocumentError, match="write to one place; name two"):
        replay(document(elasticsearch_node, "written-one", events=again), folder=home)


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("elasticsearch://127.0.0.1:9/a", r"can't be reached \(Connection refused\); check host and port"),
        ("elasticsearch://no-such-host.invalid/a", "can't be reached .*; check host and port"),
        ("elasticsearch://me:s3cret@es1/a", "credentials don't belong in a URI"),
        ("elasticsearch://es1/Reports", "'Reports' can't name an index; use lower-case letters"),
    ],
)
def test_where_nothing_can_be_done_every_door_ends_with_2(home, monkeypatch, capsys, place, message):
    sinks = {"events": (["a"], "events.ndjson")}
    plan = flow([("a", "a.ndjson", "30s")], [], sinks)
    (home / "flow.yaml").write_text(yaml.safe_dump(json.loads(plan.model_dump_json(exclude_none=True))))
    letters = ("--dead-letters", "dead.ndjson")
    for words in (
        ("replay", "flow.yaml", "--sink", f"events={place}"),
        ("stream", "flow.yaml", "--sink", f"events={place}"),
        ("detect", "rules", "--in", "a.ndjson", "--out", place),
        ("archive", "a.ndjson", place),
    ):
        code, out, err = run_rms(monkeypatch, capsys, *words, *letters)
        assert (code, out) == (2, "")
        assert "s3cret" not in err
        assert "Traceback" not in err
        assert re.search(message, " ".join(err.split())), err
