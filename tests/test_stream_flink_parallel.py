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

import psutil
import pytest
import topics
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    S,
    flow,
    folded,
    generated,
    sigma,
    write_events,
    write_rules,
)
from flinked import until
from followed import streamed_until, told
from test_stream_flink_workers import children, pool  # noqa: F401  a fixture
from test_stream_kafka import closing, compared, document, messages, read

from rms_flows.beam.cluster import Cluster
from rms_flows.errors import DocumentError
from rms_flows.replay import replay

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
        yield
    finally:
        thread.join()
    if failed:
        raise failed[0]


def readers(home):
    return json.loads((home / "positions").read_text())["readers"]


def connected(pid, broker):
    """Give the children of a process that are connected to a broker."""
    port = int(broker.rpartition(":")[2])
    found = set()
    for one in children(pid):
        with suppress(psutil.NoSuchProcess):
            ends = [each.raddr for each in psutil.Process(one).net_connections("tcp")]
            found |= {one} if any(end and end.port == port for end in ends) else set()
    return found


def test_they_share_the_partitions_and_tell_what_a_replay_tells(home, kafka_broker, cluster, pool):  # noqa: F811
    """The traps: what a correlation counts lies in partitions of both; and Flink may put both in one process."""
    topic = topics.create(kafka_broker, "parallel", 5)
    one = named(home, topics.uri(kafka_broker, topic))
    events = [*messages(generated(11, 300, jitter=30 * S), 5), *closing(5)]
    topics.produce(kafka_broker, topic, events)
    wanted = replayed(home, one)
    with meanwhile(lambda: until(lambda: read(home) and len(connected(pool.pid, kafka_broker)) == 2)):
        streamed(home, one, cluster, wanted, len(events))
    assert compared(told(home)) == wanted
    assert len({each["rule.name"] for each in wanted.values()}) > 10
    assert read(home) == len(events)
    assert {*readers(home)["settled"]} == {"a/0", "a/1"}
    done = topics.committed(kafka_broker, f"rms.{home.name}.a", topic)
    assert sum(offset for offset, _ in done.values()) <= len(events)


def test_more_readers_than_partitions_and_partitions_without_events_hold_nobody_up(
    home, kafka_broker, cluster
):
    """The trap: time goes on with the slowest reader, and one has nothing to read, or nothing comes there."""
    topic = topics.create(kafka_broker, "parallel", 4)
    one = named(home, topics.uri(kafka_broker, topic), idle="2s")
    filled = [(number // 2 * 3, value, stamp) for number, value, stamp in messages(generated(12, 200), 4)]
    events = [*filled, *[each for each in closing(4) if each[0] in {0, 3}]]
    topics.produce(kafka_broker, topic, events)
    wanted = replayed(home, one)
    streamed(home, one, replace(cluster, parallelism=6), wanted, len(events))
    assert compared(told(home)) == wanted
    settled = readers(home)["settled"]
    assert len(settled) == 6
    assert sum(idle for _, idle in settled.values()) >= 4


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
    """And both feed the same correlations; the file ends, the topic does not."""
    topic = topics.create(kafka_broker, "parallel", 3)
    uri = topics.uri(kafka_broker, topic)
    events = generated(14, 300, jitter=30 * S)
    write_events(home / "b.json", events[::3])
    there = [*messages([each for number, each in enumerate(events) if number % 3], 3), *closing(3)]
    topics.produce(kafka_broker, topic, there)
    both = flow(
        [("a", "none", "30s"), ("b", "b.json", "30s")], [sigma("s", "a", "b")], {"out": (["s"], "out.ndjson")}
    )
    known = named(home, uri)
    both = both.model_copy(update={"sources": (*known.sources, both.sources[1]), "orchestrator": home.name})
    wanted = replayed(home, both)
    streamed(home, both, cluster, wanted, len(there))
    assert compared(told(home)) == wanted


def test_whichever_process_is_killed_nothing_is_lost(home, kafka_broker, cluster, pool):  # noqa: F811
    killed(home, kafka_broker, cluster, pool, 3, seed=15)


@pytest.mark.soak
def test_whichever_process_is_killed_nothing_is_lost_for_long(home, kafka_broker, cluster, pool):  # noqa: F811
    for seed in range(4):
        (home / str(seed)).mkdir()
        write_rules(home / str(seed) / "rules", *SINGLE, *CORRELATIONS.values())
        killed(home / str(seed), kafka_broker, cluster, pool, 5, seed=seed)


def killed(home, broker, cluster, pool, kills, seed):  # noqa: F811
    """Stream what comes bit by bit, while one of the pool's processes after the other is killed.

    The traps: Flink starts all anew, in processes some of which live on with what they had before; and a
    reader must not begin elsewhere than what is behind it.
    """
    rng = random.Random(seed)  # noqa: S311  seeded
    topic = topics.create(broker, "parallel", 5)
    one = named(home, topics.uri(broker, topic))
    parts = 4 * kills
    events = generated(seed, 30 * parts, jitter=30 * S)
    all_of = [*messages(events, 5), *closing(5)]
    per = len(events) // parts

    def trouble():
        for number in range(parts):
            topics.produce(broker, topic, all_of[number * per : (number + 1) * per])
            if number % 4 == 1:
                before = read(home)
                until(lambda before=before: read(home) > before, 200)
            time.sleep(rng.random())
            if number % 4 == 2:
                os.kill(rng.choice(until(lambda: children(pool.pid))), signal.SIGKILL)
        topics.produce(broker, topic, all_of[parts * per :])

    with meanwhile(trouble):
        streamed_until(
            lambda reports: read(home) == len(all_of) and settled(home),
            home,
            one,
            {},
            500,
            cluster=cluster,
        )
    wanted = replayed(home, one)
    assert compared(told(home)) == wanted
    assert read(home) == len(all_of)


def settled(home):
    """Tell whether the closing event of each partition has been acknowledged."""
    known = json.loads((home / "positions").read_text())["sources"]["a"]["at"]
    return known[1] > ZERO + 48 * H


def test_what_they_can_not_do_is_said(home, cluster):
    with pytest.raises(DocumentError, match="several readers need processes of their own"):
        replace(cluster, workers=None)
    with pytest.raises(
        DocumentError, match=r"several readers begin together, by the positions.*--checkpoint"
    ):
        replace(cluster, checkpoint=2.0)
    with pytest.raises(DocumentError, match="no source is a topic of Kafka; write --parallelism 1"):
        streamed(
            home,
            flow([("a", "a.json", "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")}),
            cluster,
            {},
            1,
        )
