"""Several readers on a real Flink, in processes of their own: together they tell what a replay tells."""

from __future__ import annotations

import json
import os
import random
import signal
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import replace

import apache_beam as beam
import psutil
import pytest
import test_stream as whole_flow
import topics
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    S,
    event,
    flow,
    folded,
    generated,
    sigma,
    write_events,
    write_rules,
)
from flinked import jobs_of, until
from followed import streamed_until, told
from test_stream_flink_workers import children, pool  # noqa: F401  a fixture
from test_stream_kafka import closing, compared, document, messages, read
from test_stream_renewed import LOGIN, renewed

from rms_flows.beam.account import Account
from rms_flows.beam.cluster import Cluster
from rms_flows.beam.gather import GATHER
from rms_flows.beam.ledger import load_packs, load_readers
from rms_flows.errors import DocumentError, FlowError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.opened import several
from rms_flows.replay import replay
from rms_flows.stream import Pace
from rms_flows.stream import run as stream_of

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *SINGLE, *CORRELATIONS.values())
    return tmp_path


@pytest.fixture
def cluster(flink_cluster, pool):  # noqa: F811  a fixture
    return Cluster(*flink_cluster, pool.address, parallelism=2)


def named(home, uri, **more):
    """Give the flow, under the name of its folder: others use the cluster meanwhile."""
    return document(uri, **more).model_copy(update={"orchestrator": home.name})


def replayed(home, flow):
    replay(flow, folder=home, sinks={"out": str(home / "replayed.ndjson")})
    return compared(folded(home / "replayed.ndjson"))


def streamed(home, flow, cluster, wanted, count, seconds=200, **more):
    """Stream until all that is wanted is there, and so much was read."""

    def enough(reports):
        return read(home) >= count and compared(reports).keys() >= wanted.keys()

    return streamed_until(enough, home, flow, {}, seconds, cluster=cluster, **more)


@contextmanager
def meanwhile(act):
    """Do something in another thread, and see that it went well."""
    failed = []

    def run():
        try:
            act()
        except BaseException as error:  # noqa: BLE001  it is raised in its place
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield failed
    finally:
        thread.join()
    if failed:
        raise failed[0]


def begun(home):
    """Give the attempt of the job, once all its readers have begun."""
    known = load_readers(home / "positions", {})[1]
    return known.attempt if known.readers else 0


def readers(home):
    return load_readers(home / "positions", {})[1].readers


def connected(pid, broker):
    """Give the children of a process that are connected to a broker."""
    port = int(broker.rpartition(":")[2])
    found = set()
    for one in children(pid):
        with suppress(psutil.NoSuchProcess):
            ends = [each.raddr for each in psutil.Process(one).net_connections("tcp")]
            found |= {one} if any(end and end.port == port for end in ends) else set()
    return found


def behind(cluster, home):
    """Give how many records came to what is behind the readers, where Flink knows."""
    tasks = [
        each
        for job in jobs_of(cluster, home)
        for each in cluster._ask("GET", f"/jobs/{job['jid']}")["vertices"]
    ]
    return [
        each["metrics"]["read-records"]
        for each in tasks
        if GATHER in each["name"] and each["metrics"]["read-records-complete"]
    ]


def test_they_share_the_partitions_and_tell_what_a_replay_tells(home, kafka_broker, cluster, pool):  # noqa: F811
    """The traps: what a correlation counts lies in partitions of both; and Flink may put both in one process."""
    topic = topics.create(kafka_broker, "parallel", 5)
    one = named(home, topics.uri(kafka_broker, topic))
    events = [*messages(generated(11, 300, jitter=30 * S), 5), *closing(5)]
    topics.produce(kafka_broker, topic, events)
    wanted = replayed(home, one)

    def apart():
        until(lambda: read(home) == len(events) and len(connected(pool.pid, kafka_broker)) == 2)
        until(lambda: any(behind(cluster, home)), 60)  # by which it is seen that any reader began

    def all_committed(_reports):
        done = topics.committed(kafka_broker, f"rms.{home.name}.a", topic)
        return sum(offset for offset, _ in done.values()) == len(events)

    with meanwhile(apart):
        streamed_until(all_committed, home, one, {}, 200, cluster=cluster)
    assert compared(told(home)) == wanted
    assert len({each["rule.name"] for each in wanted.values()}) > 10
    assert read(home) == len(events)
    assert {*readers(home)} == {"a/0", "a/1"}


def test_more_readers_than_partitions_and_partitions_without_events_hold_nobody_up(
    home, kafka_broker, cluster
):
    """The trap: time goes on with the slowest reader, and one has nothing to read, or nothing comes there."""
    topic = topics.create(kafka_broker, "parallel", 2)
    one = named(home, topics.uri(kafka_broker, topic), idle="2s")
    events = [*messages(generated(12, 200), 1), *closing(1)]
    topics.produce(kafka_broker, topic, events)
    wanted = replayed(home, one)
    streamed(home, one, replace(cluster, parallelism=3), wanted, len(events))
    assert compared(told(home)) == wanted
    assert sum(idle for _, idle in readers(home).values()) >= 2


@pytest.mark.parametrize("counts", [(2, 1, 3)])
def test_another_number_of_readers_goes_on_where_all_was_acknowledged(home, kafka_broker, cluster, counts):
    """The trap: positions are of sources, whoever reads which of their partitions."""
    topic = topics.create(kafka_broker, "parallel", 5)
    one = named(home, topics.uri(kafka_broker, topic))
    events = generated(13, 450, jitter=30 * S)
    given = 0
    for number, count in enumerate(counts):
        part = messages(events[number * 150 : (number + 1) * 150], 5, number)
        part += closing(5) if count == counts[-1] else []
        topics.produce(kafka_broker, topic, part)
        given += len(part)
        wanted = replayed(home, one) if count == counts[-1] else {}
        streamed(home, one, replace(cluster, parallelism=count), wanted, given)
        assert read(home) == given
        assert ("readers" in json.loads((home / "positions").read_text())) == (count > 1)
    assert compared(told(home)) == wanted


def test_a_file_beside_topics_is_read_by_one_of_them(home, kafka_broker, cluster):
    """Both feed the same correlations. The trap: who has no partition waited for the file, which had ended."""
    topic = topics.create(kafka_broker, "parallel", 1)
    uri = topics.uri(kafka_broker, topic)
    events = generated(14, 300, jitter=30 * S)
    write_events(home / "b.json", events[::3])
    there = [*messages([each for number, each in enumerate(events) if number % 3], 1), *closing(1)]
    topics.produce(kafka_broker, topic, there)
    both = flow(
        [("a", "none", "30s"), ("b", "b.json", "30s")], [sigma("s", "a", "b")], {"out": (["s"], "out.ndjson")}
    )
    known = named(home, uri)
    both = both.model_copy(update={"sources": (*known.sources, both.sources[1]), "orchestrator": home.name})
    wanted = replayed(home, both)
    streamed(home, both, replace(cluster, parallelism=3), wanted, len(there))
    assert compared(told(home)) == wanted


def test_whichever_process_is_killed_nothing_is_lost(home, kafka_broker, cluster, pool):  # noqa: F811
    killed(home, kafka_broker, cluster, pool, ["reader", "writer"], seed=15)


@pytest.mark.soak
def test_whichever_process_is_killed_nothing_is_lost_for_long(home, kafka_broker, cluster, pool):  # noqa: F811
    for seed in range(4):
        (home / str(seed)).mkdir()
        write_rules(home / str(seed) / "rules", *SINGLE, *CORRELATIONS.values())
        kinds = random.Random(seed).choices(["reader", "writer"], k=5)  # noqa: S311  seeded
        killed(home / str(seed), kafka_broker, cluster, pool, kinds, seed=seed)


def killed(home, broker, cluster, pool, kinds, seed):  # noqa: F811
    """Stream what comes bit by bit, while one of the pool's processes after the other is killed.

    The traps: processes that were not killed may live on with what they had before; a reader must not begin
    elsewhere than what is behind it; and a test may kill what only waits, of which nobody takes notice.
    """
    rng = random.Random(seed)  # noqa: S311  seeded
    topic = topics.create(broker, "parallel", 5)
    one = named(home, topics.uri(broker, topic))
    parts = 3 * len(kinds) + 1
    all_of = [*messages(generated(seed, 30 * parts, jitter=30 * S), 5), *closing(5)]
    per = len(all_of) // parts
    feed = iter([all_of[number * per : (number + 1) * per] for number in range(parts - 1)])

    def more():
        topics.produce(broker, topic, next(feed))
        time.sleep(rng.random())

    def trouble():
        for kind in kinds:
            more()
            before = until(lambda: begun(home), 200)
            more()
            reading, writing = connected(pool.pid, broker), holding(pool.pid, home / "out.ndjson")
            os.kill(rng.choice(sorted(reading if kind == "reader" else writing)), signal.SIGKILL)
            more()
            until(lambda before=before: begun(home) > before, 200)
        topics.produce(broker, topic, all_of[(parts - 1) * per :])

    with meanwhile(trouble) as failed:
        streamed_until(
            lambda _reports: failed or (read(home) == len(all_of) and settled(home)),
            home,
            one,
            {},
            500,
            cluster=cluster,
        )
    assert compared(told(home)) == replayed(home, one)
    assert read(home) == len(all_of)


def holding(pid, path):
    """Give the children of a process that have a file open."""
    found = set()
    for one in children(pid):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            found |= (
                {one} if any(each.path == str(path) for each in psutil.Process(one).open_files()) else set()
            )
    return found


def settled(home):
    """Tell whether the closing event of each partition has been acknowledged."""
    known = json.loads((home / "positions").read_text())["sources"]["a"]["at"]
    return known[1] > ZERO + 48 * H


def test_what_they_can_not_do_is_said(home, cluster):
    one = named(home, "kafka://localhost:1/a")
    with pytest.raises(
        DocumentError, match=r"--rate 0.01: several readers give 0.033 events a second at least"
    ):
        several(build(one, home, home, Choices(endless=True)), home / "p", Pace(rate=0.01), "earliest", 2)
    with pytest.raises(DocumentError, match="several readers need a file of positions"):
        several(build(one, home, home, Choices(endless=True)), None, Pace(), "earliest", 2)
    with pytest.raises(DocumentError, match="no source is a topic of Kafka; write --parallelism 1"):
        streamed(
            home,
            flow([("a", "a.json", "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")}),
            cluster,
            {},
            1,
        )


def test_partitions_that_are_added_get_a_reader_too(home, kafka_broker, cluster):
    topic = topics.create(kafka_broker, "parallel", 2)
    one = named(home, topics.uri(kafka_broker, topic))
    events = generated(16, 300, jitter=30 * S)
    before, after = messages(events[:150], 2), [*messages(events[150:], 5, 1), *closing(5)]
    topics.produce(kafka_broker, topic, before)

    added = [each for each in after if each[0] >= 2]

    def add():
        until(lambda: read(home) == len(before), 200)
        topics.grow(kafka_broker, topic, 5)
        topics.produce(kafka_broker, topic, added)
        until(lambda: read(home) == len(before) + len(added), 200)  # before the time of the others goes on
        topics.produce(kafka_broker, topic, [each for each in after if each[0] < 2])

    with meanwhile(add):
        streamed_until(
            lambda _reports: read(home) == len(before) + len(after), home, one, {}, 200, cluster=cluster
        )
    assert compared(told(home)) == replayed(home, one)


def test_rules_that_change_are_renewed_for_all_of_them_at_once(home, kafka_broker, cluster):
    """The trap: readers judge by the rules of their process, and one might go on with those of before."""
    write_rules(home / "rules", LOGIN)
    topic = topics.create(kafka_broker, "parallel", 4)
    one = named(home, topics.uri(kafka_broker, topic))
    made = [event(f"e-{number}", ZERO + number * S, "login") for number in range(40)]
    topics.produce(kafka_broker, topic, messages(made[:20], 4))

    def judged(title):
        return {each["rms.evidence"][0] for each in told(home).values() if each["rule.name"] == title}

    said = []

    def renew():
        until(lambda: len(judged("login")) == 20 and read(home) == 20, 200)
        renewed(home, {**LOGIN, "title": "log-in"})
        until(lambda: any("the rules have changed; s is " in one for one in said), 200)
        topics.produce(kafka_broker, topic, messages(made[20:], 4))

    with meanwhile(renew):
        streamed_until(
            lambda _reports: len(judged("log-in")) == 20, home, one, {}, 300, cluster=cluster, say=said.append
        )
    assert judged("login") == {f"e-{number}" for number in range(20)}
    assert judged("log-in") == {f"e-{number}" for number in range(20, 40)}
    packs = load_packs(home / "positions")
    assert [sum(at for at, _ in one["from"]["a"][0].values()) for one in packs] == [0, 20]


def test_whole_flows_are_laid_behind_several_readers(tmp_path, kafka_broker, cluster):
    """Two topics and a file, chains of processors that keep state, observations and reports in one sink each."""
    home = whole_flow.lay(tmp_path / "home")
    sources = []
    for name, events, partitions in (("a", whole_flow.A, 4), ("b", whole_flow.B, 3)):
        topic = topics.create(kafka_broker, "parallel", partitions)
        made = [*messages(events, partitions), *closing(partitions)]
        topics.produce(kafka_broker, topic, made)
        sources.append((name, topics.uri(kafka_broker, topic), "30s" if name == "a" else "10m"))
    one = whole_flow.document(
        sources=[*sources, ("c", "c.ndjson", "0s")],
        sinks={"out": (["s", "t", "u", "high"], "out.ndjson"), "all": (["a", "c"], "all.ndjson")},
    ).model_copy(update={"orchestrator": "whole"})
    replay(
        one,
        folder=home,
        sinks={"out": str(home / "replayed.ndjson"), "all": str(home / "all-replayed.ndjson")},
    )
    wanted = compared(folded(home / "replayed.ndjson"))

    def enough(reports):
        return compared(reports).keys() >= wanted.keys() and {*ids(home / "all.ndjson")} >= {*seen}

    seen = ids(home / "all-replayed.ndjson")
    account = streamed_until(enough, home, one, {}, 200, cluster=replace(cluster, parallelism=3))
    assert account.stopped
    assert compared(told(home)) == wanted
    assert len({each["rms.processor"] for each in wanted.values()}) == 4
    assert sorted(ids(home / "all.ndjson")) == sorted(seen)


def ids(path):
    """Give the ids of the observations in a file, without a line that is being written."""
    whole = path.read_bytes().rpartition(b"\n")[0].splitlines() if path.exists() else []
    return [json.loads(line)["event.id"] for line in whole]


def test_who_begins_a_job_is_not_ended_for_reading_nothing(home, monkeypatch):
    """The trap: after a minute the process was ended that had begun the job, as one that reads has to."""
    laid = []

    def run(build, *_):
        pipeline = beam.Pipeline()
        build(pipeline)
        laid.append(pipeline)
        return Account()

    monkeypatch.setattr("rms_flows.beam.flink.run", run)
    cluster = Cluster(workers="localhost:1", parallelism=2)
    plan = build(named(home, "kafka://localhost:1/a"), home, home, Choices(endless=True))
    stream_of(plan, home / "positions", Pace(), cluster=cluster)
    (read,) = [each for each in laid[0].transforms_stack[0].parts if each.full_label == "Read"]
    before = threading.active_count()
    read.parts[0].transform.fn.initial_restriction(1)
    assert threading.active_count() == before


def test_where_flink_has_lost_all_readers_the_stream_ends(home, kafka_broker, cluster, monkeypatch):
    """Nobody is there then who could tell."""
    monkeypatch.setattr("rms_flows.beam.flink.LOOK_CLOSER_EVERY", 0.0)
    monkeypatch.setattr(Cluster, "waits", lambda *_: 601.0)
    one = named(home, topics.uri(kafka_broker, topics.create(kafka_broker, "parallel", 2)))
    with pytest.raises(
        FlowError, match=r"Flink says that the job is .*, and has run no step of it for 601 s"
    ):
        streamed_until(lambda _reports: False, home, one, {}, 100, cluster=cluster)
    assert not [each for each in jobs_of(cluster, home) if each["state"] == "RUNNING"]
