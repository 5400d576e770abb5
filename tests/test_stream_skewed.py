"""A probe whose clock is wrong: what it says is told as it says it or is a dead letter, and others lose nothing."""

from __future__ import annotations

import json

import pytest
import topics
from evented import CORRELATIONS, SINGLE, H, M, at, generated, lines, time_of, write_rules
from followed import told
from test_stream_kafka import closing, compared, read, replayed, streamed


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *SINGLE, *CORRELATIONS.values())
    return tmp_path


def received(sound, wrong, skew, partition):
    """Events of probes whose clocks are right and, in a partition, of one whose clock isn't, as they are received."""
    both = [
        *((time_of(one), 0, one) for one in sound),
        *((time_of(one), partition, {**one, "@timestamp": at(time_of(one) + skew)}) for one in wrong),
    ]
    both = [both[0], *sorted(both[1:], key=lambda one: one[0])]
    return [(number, json.dumps(one).encode(), time // 1_000) for time, number, one in both]


@pytest.mark.parametrize("skew", [-2 * H, 4 * M], ids=["behind", "ahead"])
def test_in_a_partition_of_its_own_it_makes_nobody_late(home, kafka_broker, skew):
    sound, wrong = generated(1, 200, jitter=0), generated(2, 100, jitter=0, prefix="w")
    topic = topics.create(kafka_broker, "skewed", 2)
    topics.produce(kafka_broker, topic, [*received(sound, wrong, skew, 1), *closing(2)])
    uri = topics.uri(kafka_broker, topic)
    wanted = replayed(home, uri)
    account = streamed(home, uri, wanted)
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(sound) + len(wrong) + 2, "late": 0}


def test_among_others_it_is_late_and_they_are_told_all_the_same(home, kafka_broker):
    """The trap: an event that is late goes into no window, and moves no time."""
    sound, wrong = generated(1, 200, jitter=0), generated(2, 100, jitter=0, prefix="w")
    mixed, alone = (topics.create(kafka_broker, name) for name in ("skewed", "sound"))
    topics.produce(kafka_broker, alone, [*received(sound, [], 0, 0), *closing(1)])
    topics.produce(kafka_broker, mixed, [*received(sound, wrong, -30 * H, 0), *closing(1)])
    wanted = replayed(home, topics.uri(kafka_broker, alone))
    uri = topics.uri(kafka_broker, mixed)
    account = streamed(home, uri, wanted, also=lambda _reports: read(home) == len(sound) + len(wrong) + 1)
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(sound) + 1, "late": len(wrong)}
    dead = {one["rms.origin"]: one["error.type"] for one in lines(home / "out.dead-letters.ndjson")}
    assert dead == {
        f"{mixed}/0@{one.offset}": "late"
        for one in topics.consume(kafka_broker, mixed)
        if b'"w-' in (one.value or b"")
    }
