"""A stream over a topic on a real Flink, and while its rules change: it tells what a replay tells."""

from __future__ import annotations

from functools import partial

import pytest
import topics
from evented import CORRELATIONS, SINGLE, S, generated, write_rules
from flinked import document as flow_of_a_day
from flinked import made
from followed import streamed_until, told
from test_stream_flink_workers import pool  # noqa: F401  a fixture
from test_stream_kafka import closing, compared, document, messages, read
from test_stream_kafka import replayed as replayed_topic
from test_stream_renewed import LOGIN, Running, renewed, write

from rms_flows.beam.cluster import Cluster
from rms_flows.beam.ledger import load_packs
from rms_flows.beam.reading import LIVE, ReadLive, Turns, mark_of
from rms_flows.flow.build import Choices, build
from rms_flows.stream import Pace, opened

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow


@pytest.fixture
def cluster(flink_cluster):
    return Cluster(*flink_cluster)


def test_partitions_that_are_read_by_one_reader_are_what_a_replay_finds(tmp_path, kafka_broker, cluster):
    """The trap: time goes on with the slowest of them, in one job without parallelism."""
    write_rules(tmp_path / "rules", *SINGLE, *CORRELATIONS.values())
    topic = topics.create(kafka_broker, "flink", 3)
    uri = topics.uri(kafka_broker, topic)
    events = [*messages(generated(11, 300, jitter=30 * S), 3), *closing(3)]
    topics.produce(kafka_broker, topic, events)
    wanted = replayed_topic(tmp_path, uri)

    def enough(reports):
        return read(tmp_path) == len(events) and compared(reports).keys() >= wanted.keys()

    streamed_until(enough, tmp_path, document(uri), {}, 300, cluster=cluster)
    assert compared(told(tmp_path)) == wanted
    assert len({one["rule.name"] for one in wanted.values()}) > 10


@pytest.mark.parametrize("workers", ["loopback", pytest.param("external", marks=pytest.mark.soak)])
def test_rules_are_renewed_there_too(tmp_path, cluster, request, workers):
    """One job ends, the next begins where all sinks are: no event is judged by both or by none."""
    write_rules(tmp_path / "rules", LOGIN)
    (tmp_path / "a.ndjson").touch()
    if workers == "external":
        pool = request.getfixturevalue("pool")
        cluster = Cluster(cluster.job_server, cluster.rest, pool.address)
    before = write(tmp_path, 0, 5)
    with Running(tmp_path, cluster=cluster) as one:
        one.until(lambda self: len(self.judged("login")) == 5, 400)
        renewed(tmp_path, {**LOGIN, "title": "log-in"})
        one.until(lambda self: self.told("the rules have changed; s is "), 400)
        after = write(tmp_path, 5, 5)
        one.until(lambda self: len(self.judged("log-in")) == 5, 400)
    assert one.judged("login") == {*before}
    assert one.judged("log-in") == {*after}
    packs = load_packs(tmp_path / "positions")
    assert [one["from"]["a"][1] for one in packs] == [0, 5]


def test_a_worker_that_takes_over_goes_on_with_the_number_that_the_runner_knows(tmp_path):
    """The trap: a checkpoint holds the number of the reader's next batch, and who is new would begin with 1."""
    home = made(tmp_path)
    plan = build(flow_of_a_day(), home, home, Choices())
    reader = ReadLive("taken over", 60.0, partial(opened, plan, None, Pace(100), "earliest"))
    tracker = Turns(7)
    try:
        marks = [mark_of(given.value) for given in reader.process(None, tracker) if given.tag == "source:a"]
    finally:
        LIVE.pop("taken over").close()
    assert [mark.number for mark in marks] == [*range(7, 7 + len(marks))]
    assert len(marks) > 6
    tracker.check_done()
