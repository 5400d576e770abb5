"""`rms stream` over a real topic, ended and broken in every way: its reports are those of a replay of the topic."""

from __future__ import annotations

import json
import random
import resource
import signal
import time
from collections import Counter

import pytest
import topics
import yaml
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    S,
    event,
    folded,
    generated,
    lines,
    rule,
    write_rules,
)
from followed import told
from forge import STILL, forge
from servers.kafka_broker import Broker
from test_stream_kafka import closing, compared, document, messages, read, replayed

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow

PARTITIONS = 3
ALONE = {**rule("failed"), "title": "alone", "name": "alone"}
"""Tells of each event by itself: others only feed correlations."""


@pytest.fixture(scope="module")
def rms():
    with forge() as start:
        yield start


@pytest.fixture(scope="module")
def own_broker(kafka_set_up, tmp_path_factory):
    with Broker(tmp_path_factory.mktemp("own") / "broker") as broker:
        yield broker


class Stream:
    """A flow over a topic of its own, or that of another, that tells to a file and to a topic."""

    def __init__(self, rms, home, broker, beside=None, **more):
        self._rms = rms
        self.home = home
        self.broker = broker
        self.topic = beside.topic if beside else topics.create(broker, "faults", PARTITIONS)
        self.bus = beside.bus if beside else topics.create(broker, "bus", PARTITIONS)
        self.uri = topics.uri(broker, self.topic)
        one = document(self.uri, **more)
        bus = one.sinks[0].model_copy(update={"id": "bus", "uri": topics.uri(broker, self.bus)})
        written = one.model_copy(update={"sinks": (*one.sinks, bus)}).model_dump(
            mode="json", exclude_none=True
        )
        (home / "flow.yaml").write_text(yaml.safe_dump(written))
        write_rules(home / "rules", *SINGLE, ALONE, *CORRELATIONS.values())
        self.given = 0

    def produce(self, made):
        topics.produce(self.broker, self.topic, made)
        self.given += len(made)

    def wanted(self):
        return replayed(self.home, self.uri)

    def start(self, *words):
        return self._rms(
            "stream", "flow.yaml", "--positions", "positions", "--batch", "60", "--bundle", "0.05", "--shards", "1", *words,
            folder=self.home,
        )  # fmt: skip

    def finish(self):
        """Stream what is left, end it, and check that what was told is what a replay tells."""
        wanted = self.wanted()
        running = self.start()
        running.until(lambda: "confluent" in running.errors and read(self.home) >= self.given)
        running.until(lambda: compared(told(self.home)).keys() >= wanted.keys())
        running.until(lambda: self.committed() == self.given)
        running.send(signal.SIGTERM)
        assert running.ended() == 0, running.errors
        assert compared(folded(self.home / "out.ndjson")) == wanted
        bus = {json.loads(one.value)["event.id"] for one in topics.consume(self.broker, self.bus)}
        assert bus == {one["event.id"] for one in lines(self.home / "out.ndjson")}
        assert len({one["rule.name"] for one in wanted.values()}) > 10

    def committed(self):
        """Give how many messages the flow's group has."""
        done = topics.committed(self.broker, "rms.t.a", self.topic)
        return sum(offset for offset, _ in done.values())

    def tells(self):
        out = self.home / "out.ndjson"
        return out.exists() and out.stat().st_size > 0


def said_of_single_events(home):
    """Count how often each report of one event was told."""
    return Counter(one["event.id"] for one in lines(home / "out.ndjson") if one["rms.report_type"] == "sigma")


def test_a_signal_ends_it_in_order_and_what_it_said_is_not_said_again(rms, tmp_path, kafka_broker):
    one = Stream(rms, tmp_path, kafka_broker)
    one.produce([*messages(generated(1, jitter=30 * S), PARTITIONS), *closing(PARTITIONS)])
    running = one.start("--rate", "200", "--json")
    running.until(one.tells)
    running.send(signal.SIGTERM)
    assert running.ended() == 0, running.errors
    account = json.loads(running.said)
    assert account["stopped"]
    assert 0 < account["sources"]["a"]["rows"] == read(tmp_path) < one.given, "all that was read is committed"
    assert account["sinks"]["out"] == len(lines(tmp_path / "out.ndjson"))
    assert one.committed() == read(tmp_path)
    one.finish()
    assert set(said_of_single_events(tmp_path).values()) == {1}


def test_a_second_signal_ends_at_once_what_can_not_end_in_order(rms, tmp_path, own_broker):
    """A broker that is away takes no reports; to end without them would be a lie, to wait is asked for once."""
    one = Stream(rms, tmp_path, own_broker.url)
    one.produce([*messages(generated(2, jitter=30 * S), PARTITIONS), *closing(PARTITIONS)])
    running = one.start("--rate", "200")
    running.until(one.tells)
    own_broker.kill()
    try:
        time.sleep(1)  # for something to be on its way
        running.send(signal.SIGTERM)
        time.sleep(1)
        assert running.code() is STILL
        running.send(signal.SIGINT)  # the other one is a second one too
        assert running.ended(2) == -signal.SIGINT
    finally:
        own_broker.start()
    one.finish()


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), *(pytest.param(20, seed, marks=pytest.mark.soak) for seed in range(1, 4))]
)
def test_kill_9_at_any_moment_loses_nothing(rms, tmp_path, kafka_broker, kills, seed):
    one = Stream(rms, tmp_path, kafka_broker)
    one.produce([*messages(generated(3, jitter=30 * S), PARTITIONS, seed), *closing(PARTITIONS)])
    chance = random.Random(seed)  # noqa: S311  seeded
    for number in range(kills):
        before = read(tmp_path)
        if before >= one.given:
            assert number > kills // 2, "it was to be killed on the way"
            break
        running = one.start("--rate", f"{0.6 * one.given / kills:.0f}")
        running.until(lambda before=before: read(tmp_path) > before)
        time.sleep(chance.random())
        running.send(signal.SIGKILL)
        assert running.ended() == -signal.SIGKILL
    one.finish()


@pytest.mark.parametrize(
    ("kills", "seed"), [(2, 0), *(pytest.param(10, seed, marks=pytest.mark.soak) for seed in range(1, 3))]
)
def test_a_broker_that_is_killed_and_comes_back_is_read_on(rms, tmp_path, own_broker, kills, seed):
    one = Stream(rms, tmp_path, own_broker.url)
    made = messages(generated(4, jitter=30 * S), PARTITIONS, seed)
    one.produce(made[:300])
    chance = random.Random(seed)  # noqa: S311  seeded
    running = one.start("--rate", "150")
    running.until(one.tells)
    for number in range(kills):
        time.sleep(chance.random())
        own_broker.kill()
        time.sleep(chance.random() * 2)
        own_broker.start()
        more = made[300 + 300 * number // kills : 300 + 300 * (number + 1) // kills]
        one.produce(more)
        running.until(lambda: read(tmp_path) >= one.given, 90)
        assert running.code() is STILL, running.errors
    one.produce(closing(PARTITIONS))
    running.until(lambda: read(tmp_path) >= one.given)
    running.send(signal.SIGTERM)
    assert running.ended() == 0, running.errors
    one.finish()
    assert set(said_of_single_events(tmp_path).values()) == {1}


def test_poison_is_a_dead_letter_that_a_replay_reads_again_once_it_can(rms, tmp_path, kafka_broker):
    """The fix is in the flow: what was too far ahead of its reception is let in, and is the report it would be."""
    one = Stream(rms, tmp_path, kafka_broker)
    ahead = json.dumps(event("ahead", ZERO + 10 * H, "failed", **{"source.ip": "10.0.0.1"})).encode()
    poison = [
        (0, b"\xff\x00{", ZERO // 1_000),
        (1, None, ZERO // 1_000),
        (2, ahead, ZERO // 1_000),
        (0, b'{"@timestamp": "yesterday", "event.action": "failed"}', ZERO // 1_000),
        (1, b'{"n": ' + b"[" * 100_000, ZERO // 1_000),
    ]
    events = messages(generated(5, jitter=30 * S), PARTITIONS)
    one.produce([*events[:300], *poison, *events[300:], *closing(PARTITIONS)])
    one.finish()
    dead = lines(tmp_path / "out.dead-letters.ndjson")
    assert len(dead) == len(poison)
    assert all(letter["error.type"] and letter["error.message"] and letter["rms.origin"] for letter in dead)
    assert {letter["rms.origin"].rpartition("@")[0] for letter in dead} == {
        f"{one.topic}/{n}" for n in range(3)
    }
    written = yaml.safe_load((tmp_path / "flow.yaml").read_text())
    written["sources"][0]["max_ahead"] = "11h"
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(written))
    again = rms(
        "replay", "flow.yaml", "--source", "a=dead-letters:out.dead-letters.ndjson", "--sink", "out=again.ndjson",
        "--sink", "bus=again-bus.ndjson", "--dead-letters", "again-dead.ndjson", folder=tmp_path,
    )  # fmt: skip
    assert again.ended() == 0, again.errors
    [report] = [one for one in lines(tmp_path / "again.ndjson") if one["rms.report_type"] == "sigma"]
    assert report["rms.evidence"] == ["ahead"]
    assert len(lines(tmp_path / "again-dead.ndjson")) == len(poison) - 2, (
        "a tombstone has no bytes to be read"
    )


def test_a_partition_that_is_added_while_it_runs_is_read(rms, tmp_path, kafka_broker):
    one = Stream(rms, tmp_path, kafka_broker)
    events = generated(6, jitter=30 * S)
    one.produce(messages(events[:300], PARTITIONS))
    running = one.start()
    running.until(lambda: read(tmp_path) >= one.given)
    topics.grow(kafka_broker, one.topic, PARTITIONS + 1)
    more = messages(events[300:], PARTITIONS + 1)
    one.produce([message for message in more if message[0] == PARTITIONS])
    running.until(lambda: read(tmp_path) >= one.given)
    one.produce([*(message for message in more if message[0] < PARTITIONS), *closing(PARTITIONS + 1)])
    running.until(lambda: read(tmp_path) >= one.given)
    running.send(signal.SIGKILL)
    assert running.ended() == -signal.SIGKILL
    one.finish()


def test_a_disk_that_is_full_ends_it_and_what_was_not_kept_is_not_committed(rms, tmp_path, kafka_broker):
    """Dead letters come first to the limit of a file's size; what the torn last line was comes again."""
    one = Stream(rms, tmp_path, kafka_broker)
    poison = [(n % PARTITIONS, b"{%d" % n + b"x" * 20_000, ZERO // 1_000) for n in range(90)]
    mixed = messages(generated(7, jitter=30 * S), PARTITIONS)
    for n, letter in enumerate(poison):
        mixed.insert(5 * n, letter)
    one.produce([*mixed, *closing(PARTITIONS)])
    running = one.start("--rate", "600")
    running.until(one.tells)
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (600_000, 600_000))
    assert running.ended() == 2, running.errors
    assert "out.dead-letters.ndjson: can't be written: File too large" in " ".join(running.errors.split())
    letters = tmp_path / "out.dead-letters.ndjson"
    kept = {json.loads(line)["rms.origin"] for line in letters.read_bytes().splitlines(keepends=True)[:-1]}
    known = json.loads((tmp_path / "positions").read_text())["sources"]["a"]["at"][0]
    bad = {
        f"{one.topic}/{message.partition}@{message.offset}": message
        for message in topics.consume(kafka_broker, one.topic)
        if len(message.value) > 20_000
    }
    read_of = {name for name, lies in bad.items() if lies.offset < known[f"{one.topic}/{lies.partition}"][0]}
    assert read_of <= kept < bad.keys()
    one.finish()
    assert {letter["rms.origin"] for letter in lines(letters)} == bad.keys()


def test_streams_of_one_group_that_come_and_go_tell_what_a_replay_tells(rms, tmp_path, kafka_broker):
    """Each reads all partitions, as groups of events go over them: one more goes on where the group is."""
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    one = Stream(rms, homes[0], kafka_broker)
    two = Stream(rms, homes[1], kafka_broker, beside=one)
    events = messages(generated(8, jitter=30 * S), PARTITIONS)
    one.produce(events[:300])
    first = one.start()
    first.until(lambda: one.tells() and one.committed() > 0)
    second = two.start()
    second.until(lambda: read(two.home) > 0)
    first.send(signal.SIGKILL)
    assert first.ended() == -signal.SIGKILL
    one.produce([*events[300:], *closing(PARTITIONS)])
    second.until(lambda: read(two.home) == one.given)
    second.send(signal.SIGKILL)
    assert second.ended() == -signal.SIGKILL
    one.finish()
    assert {*said_of_single_events(two.home)} < {*said_of_single_events(one.home)}
