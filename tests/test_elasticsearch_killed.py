"""Kill -9 while the repository is written: of the node, of the writer; nothing acknowledged is lost or doubled."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pyarrow as pa
import pytest
import repository
import topics
from corridor_fakes import rows_of
from evented import SINGLE, S, folded, generated, lines, write_events, write_rules
from followed import streamed_until
from servers.elasticsearch_node import Node
from test_stream_kafka import document, messages, read

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io.elasticsearch import bulk
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.replay import replay


@pytest.fixture
def node(servers_set_up, tmp_path):
    with Node(tmp_path / "node") as one:
        yield one


def revisions(number: int, rows: int) -> pa.RecordBatch:
    """Make reports of which every second batch tells of the same again, with a higher revision."""
    found = [
        {
            "event.id": f"{number // 2}-{row}",
            "rms.revision": number + 1,
            "rule.id": "r",
            "rms.report_type": "sigma",
        }
        for row in range(rows)
    ]
    return pa.RecordBatch.from_pylist(found, schema.REPORT)


def killed_while(node: Node, kills: int, seed: int) -> tuple[threading.Thread, threading.Event]:
    """Kill the node now and then, and start it again, until it is told to stop."""
    chance, over = random.Random(seed), threading.Event()  # noqa: S311  seeded

    def run() -> None:
        for _ in range(kills):
            time.sleep(0.3 + chance.random())
            node.kill()
            node.start()
        over.set()

    thread = threading.Thread(target=run)
    thread.start()
    return thread, over


@pytest.mark.parametrize("make", [rows_of, revisions])
@pytest.mark.parametrize(("kills", "seed"), [(1, 1), pytest.param(10, 2, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
def test_a_node_that_is_killed_while_it_is_written_has_everything_once(node, monkeypatch, make, kills, seed):
    monkeypatch.setattr(bulk, "BODY", 100_000)  # many bodies, so that kills fall into some
    sink = repository.sink(node.url, "killed")
    sink.prepare()
    part, acknowledged = sink.part("0"), 0
    thread, over = killed_while(node, kills, seed)
    number = 0
    while not over.is_set() or number % 2:
        assert part.write(make(number, 500)).num_rows == 0
        if number % 20 == 0:
            assert part.close().num_rows == 0
            acknowledged = number + 1
        number += 1
    thread.join()
    known = {name for n in range(acknowledged) for name in make(n, 500)["event.id"].to_pylist()}
    stored = repository.ids(node.url, "killed*")
    assert known <= {*stored}, "acknowledged and lost"
    assert part.close().num_rows == 0
    everything = {name for n in range(number) for name in make(n, 500)["event.id"].to_pylist()}
    assert sorted(repository.ids(node.url, "killed*")) == sorted(everything)
    if make is revisions:
        here = repository.cluster(node.url)
        query = {"size": 0, "aggs": {"each": {"terms": {"field": "rms.revision", "size": 10_000}}}}
        buckets = here.call("GET", "/killed/_search", query).json(dict)["aggregations"]["each"]["buckets"]
        assert all(bucket["key"] % 2 == 0 for bucket in buckets), "a later revision was lost"


def test_a_node_that_stays_away_ends_the_run(node):
    sink = repository.sink(node.url, "away")
    sink.prepare()
    sink.__dict__["_cluster"] = Cluster(node.url, sink.uri, SinkError, patience=1.0)
    part = sink.part("0")
    part.write(rows_of(0, 10))
    node.kill()
    with pytest.raises(
        SinkError, match=r"/away: can't be reached \(Connection refused\); check host and port"
    ):
        part.close()


@pytest.mark.timeout(900)
def test_a_stream_waits_for_a_repository_that_is_away_and_says_so_once(node, kafka_broker, tmp_path, caplog):
    """The trap: what was written to a file meanwhile is written again if the stream starts again for that."""
    write_rules(tmp_path / "rules", *SINGLE)
    topic = topics.create(kafka_broker, "away", 2)
    one = document(topics.uri(kafka_broker, topic))
    sink = one.sinks[0].model_copy(update={"id": "repository", "uri": repository.uri(node.url, "away")})
    one = one.model_copy(update={"sinks": (*one.sinks, sink)})
    events = messages(generated(9, 400, jitter=30 * S), 2)
    topics.produce(kafka_broker, topic, events[:200])

    def said(words: str) -> list[str]:
        return [told.message for told in caplog.records if words in told.message]

    killed = []

    def enough(reports: dict[str, object]) -> bool:
        if reports and not killed:
            node.kill()
            killed.append(node.url)
            topics.produce(kafka_broker, topic, events[200:])
        if killed and node.process is None and said("it is tried for"):
            node.start()
        return bool(killed) and read(tmp_path) == len(events)

    streamed_until(enough, tmp_path, one, {}, 400)
    assert read(tmp_path) == len(events)
    [away], [back] = said("it is tried for"), said("answers again")
    cut = r"\('Connection aborted\.', (RemoteDisconnected|ConnectionResetError)\(.+\)\)"  # under way when it went
    why = rf"\((Connection refused|{cut})\)"
    assert re.fullmatch(rf"{re.escape(sink.uri)}: can't be reached {why}; it is tried for 120 s", away)
    assert back.startswith(f"{sink.uri}: answers again, after ")
    names = [row["event.id"] for row in lines(tmp_path / "out.ndjson")]
    assert len(names) == len(set(names)) > 100
    assert sorted(repository.ids(node.url, "away")) == sorted(names)
    out = {"out": str(tmp_path / "replayed.ndjson"), "repository": str(tmp_path / "copy.ndjson")}
    replay(one, folder=tmp_path, sinks=out)
    assert folded(tmp_path / "replayed.ndjson").keys() == {*names}


def started(folder: Path, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-m", "rms_flows", *words],
        cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def test_an_archive_that_is_killed_and_run_again_leaves_each_document_once(elasticsearch_node, tmp_path):
    """Killed at moments from before its first document to after its last."""
    events = generated(9, 20_000)
    write_events(tmp_path / "a.ndjson", events)
    place = repository.uri(elasticsearch_node, "killed-archive")
    words = ("archive", "a.ndjson", place, "--dead-letters", "dead.ndjson", "--quiet")
    here = repository.cluster(elasticsearch_node)
    for least in (1, 5_000, 15_000):
        process = started(tmp_path, *words)
        while process.poll() is None:
            listed = here.call(
                "GET", "/_cat/indices/killed-archive-*", query={"format": "json", "h": "docs.count"}
            )
            here.call("POST", "/killed-archive-*/_refresh")
            if sum(int(one["docs.count"] or 0) for one in listed.json(list)) >= least:
                break
            time.sleep(0.02)
        process.kill()
        process.communicate()
    process = started(tmp_path, *words)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    assert sorted(repository.ids(elasticsearch_node, "killed-archive-*")) == sorted(
        one["event.id"] for one in events
    )


FLOW = """
orchestrator: t
sources: [{{id: a, archive: a.ndjson, format: json, lateness: 30s}}]
processors: [{{id: s, processor: sigma, inputs: [a], parameters: {{rules: [rules]}}}}]
sinks:
  - {{id: reports, inputs: [s], uri: "{reports}"}}
  - {{id: events, inputs: [a], uri: "{events}"}}
  - {{id: file, inputs: [s], uri: reports.ndjson}}
"""


@pytest.mark.parametrize(("kills", "seed"), [(2, 1), pytest.param(15, 2, marks=pytest.mark.soak)])
@pytest.mark.timeout(900)
def test_a_stream_that_is_killed_leaves_in_the_repository_what_a_whole_one_does(
    elasticsearch_node, tmp_path, kills, seed
):
    name = f"killed-stream{kills}"
    write_events(tmp_path / "a.ndjson", generated(9, 1_500 * kills))
    write_rules(tmp_path / "rules", *SINGLE)
    places = {word: repository.uri(elasticsearch_node, f"{name}-{word}") for word in ("reports", "events")}
    (tmp_path / "flow.yaml").write_text(FLOW.format(**places))
    script = Path(__file__).with_name("killed_stream.py")
    words = [str(kills), str(seed), "reports.ndjson", "flow.yaml", "--rate=1500", "--bundle=0.1"]
    done = subprocess.run(  # noqa: S603  our own script
        [sys.executable, script, *words], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) == kills
    process = started(
        tmp_path, "replay", "flow.yaml", "--sink", "reports=whole.ndjson", "--sink", "events=all.ndjson", "--quiet",
        "--sink", "file=copy.ndjson", "--dead-letters", "dead.ndjson",
    )  # fmt: skip
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    for word, file in (("reports", "whole.ndjson"), ("events", "all.ndjson")):
        pattern = f"{name}-reports" if word == "reports" else f"{name}-events-*"
        known = [row["event.id"] for row in lines(tmp_path / file)]
        assert sorted(repository.ids(elasticsearch_node, pattern)) == sorted(known)
