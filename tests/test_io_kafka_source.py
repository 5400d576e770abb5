"""Topics read by a replay: each message once, from where it lies, as the records of a file are."""

from __future__ import annotations

import json
import pickle
import random
import socket

import pytest
import topics
from evented import ZERO, S, event, generated, time_of
from test_io_kafka_sink import MODULES

from rms_flows.decode.contract import Options
from rms_flows.errors import DecodeError, DocumentError, SourceError
from rms_flows.io.contract import Request, Window
from rms_flows.io.kafka import source as kafka_source

NOW = ZERO // 1_000


def dealt(events, partitions, seed=0):
    """Events as messages of partitions, each received when it happened."""
    rng = random.Random(seed)  # noqa: S311  seeded
    return [(rng.randrange(partitions), json.dumps(one).encode(), time_of(one) // 1_000) for one in events]


def read(source, request=None):
    """Give all rows and dead letters as dictionaries."""
    request = request or Request()
    rows, dead = [], []
    for fragment in source.fragments(request):
        for decoded in source.read(fragment, request):
            assert decoded.counts.balanced()
            rows += decoded.rows.to_pylist()
            dead += decoded.dead.to_pylist()
    return rows, dead


def filled(broker, messages, partitions=1):
    topic = topics.create(broker, "source", partitions)
    topics.produce(broker, topic, messages)
    return topic


def test_each_message_comes_once_and_says_where_it_lies(kafka_broker, kafka_client):
    events = generated(1, 500)
    messages = dealt(events, 3)
    topic = filled(kafka_broker, messages, 3)
    rows, dead = read(topics.source(kafka_broker, topic))
    assert not dead
    assert sorted(row["event.id"] for row in rows) == sorted(one["event.id"] for one in events)
    lying = {
        (f"{topic}/{one.partition}@{one.offset}", json.loads(one.value)["event.id"])
        for one in topics.consume(kafka_broker, topic)
    }
    assert {(row["rms.origin"], row["event.id"]) for row in rows} == lying
    assert all(abs(row["event.ingested"] - row["@timestamp"]).total_seconds() < 0.001 for row in rows)


def test_ids_are_the_same_whenever_and_by_whomever_it_is_read(kafka_broker, monkeypatch):
    messages = [(number % 2, json.dumps({"@timestamp": NOW + number}).encode(), NOW) for number in range(300)]
    topic = filled(kafka_broker, messages, 2)
    found = []
    for client, span in (("confluent-kafka", 250_000), ("kafka-python", 100), ("confluent-kafka", 50)):
        monkeypatch.setenv("RMS_KAFKA_CLIENT", client)
        monkeypatch.setattr(kafka_source, "SPAN", span)
        rows, _ = read(topics.source(kafka_broker, topic, format="json"))
        found.append(sorted((row["rms.origin"], row["event.id"]) for row in rows))
    assert found[0] == found[1] == found[2]
    assert len({name for _, name in found[0]}) == 300


def test_several_topics_are_one_source(kafka_broker):
    one, two = (filled(kafka_broker, dealt([event(name, ZERO, "login")], 1)) for name in "ab")
    rows, _ = read(topics.source(kafka_broker, f"{one},{two}"))
    assert sorted(row["event.id"] for row in rows) == ["a", "b"]


def test_what_is_no_event_is_a_dead_letter_with_its_bytes(kafka_broker, kafka_client):
    good = json.dumps(event("good", ZERO, "login")).encode()
    ahead = json.dumps(event("ahead", ZERO + 601 * S, "login")).encode()
    values = [good, b"{", None, b"\xff", b"x" * 200, good.replace(b"good", b"last"), ahead]
    topic = filled(kafka_broker, [(0, value, NOW) for value in values])
    rows, dead = read(topics.source(kafka_broker, topic, format="json", max_record=180, max_ahead=600 * S))
    assert [row["event.id"] for row in rows] == ["good", "last"]
    told = {one["rms.origin"].rpartition("@")[2]: (one["error.type"], one["event.original"]) for one in dead}
    assert told == {
        "1": ("json", b"{"),
        "2": ("tombstone", b""),
        "3": ("encoding", b"\xff"),
        "4": ("too-long", b"x" * 200),
        "6": ("future", ahead),
    }
    reasons = {one["error.type"]: one["error.message"] for one in dead}
    assert "the message has no value: it says that its key is deleted" in reasons["tombstone"]
    assert "longer than 180 bytes; set max_record= higher" in reasons["too-long"]
    assert all(one["event.ingested"].timestamp() * 1_000 == NOW for one in dead)


def test_only_what_can_be_of_the_window_is_read(kafka_broker):
    """An event was received before it happened, by the most that is allowed, or later."""
    events = [event(f"e{hour}", ZERO + hour * 3_600 * S, "login") for hour in range(10)]
    topic = filled(kafka_broker, dealt(events, 1))
    source = topics.source(kafka_broker, topic, max_ahead=3_600 * S)
    [fragment] = source.fragments(Request(window=Window(ZERO + 5 * 3_600 * S, None)))
    assert fragment.key == "0@4-10"


def test_lines_are_read_as_lines_of_a_file(kafka_broker):
    line = b"Jan  1 00:00:01 h0 sshd[7]: Failed password for root from 10.0.0.1 port 22 ssh2"
    topic = filled(kafka_broker, [(0, line + end, NOW) for end in (b"", b"\n", b"\r\n")])
    rows, dead = read(topics.source(kafka_broker, topic, year=2026))
    assert not dead
    assert [row["source.ip"] for row in rows] == ["10.0.0.1"] * 3
    assert rows[0]["event.dataset"] == rows[2]["event.dataset"]


def test_gaps_of_a_log_are_read_over(kafka_broker, kafka_client):
    """Transactions leave marks that are no messages, and what was aborted does not come."""
    topic = topics.create(kafka_broker, "source")
    topics.transact(kafka_broker, topic, [json.dumps(event("kept", ZERO, "login")).encode()], commit=True)
    topics.transact(kafka_broker, topic, [json.dumps(event("gone", ZERO, "login")).encode()], commit=False)
    rows, _ = read(topics.source(kafka_broker, topic))
    assert [row["event.id"] for row in rows] == ["kept"]


def test_an_empty_topic_gives_nothing(kafka_broker, kafka_client):
    assert topics.source(kafka_broker, topics.create(kafka_broker, "source", 2)).fragments(Request()) == []


def test_a_topic_that_is_not_there_is_an_error(kafka_broker, kafka_client):
    with pytest.raises(SourceError, match="there is no topic no-such-topic; check the name, or create it"):
        topics.source(kafka_broker, "no-such-topic").fragments(Request())


def test_brokers_that_do_not_answer_are_told(kafka_client, monkeypatch):
    monkeypatch.setattr(MODULES[kafka_client], "ANSWER", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    with pytest.raises(
        SourceError, match=rf"kafka://127.0.0.1:{port}/t: no broker answers \(.*check hosts and ports"
    ):
        topics.source(f"127.0.0.1:{port}", "t").fragments(Request())


def test_offsets_that_are_gone_are_told(kafka_broker, kafka_client):
    topic = filled(kafka_broker, dealt(generated(1, 50), 1))
    source = topics.source(kafka_broker, topic)
    [fragment] = source.fragments(Request())
    topics.cut(kafka_broker, topic, 20)
    with pytest.raises(
        SourceError, match="no longer holds what was to be read next; let it keep them for longer"
    ):
        list(source.read(fragment, Request()))


def test_brokers_that_fall_silent_are_told(kafka_broker, monkeypatch):
    topic = filled(kafka_broker, dealt(generated(1, 50), 1))
    source = topics.source(kafka_broker, topic)
    [fragment] = source.fragments(Request())
    monkeypatch.setattr(kafka_source, "PATIENCE", 0.0)
    topics.delete(kafka_broker, topic)
    with pytest.raises(
        SourceError, match=r"gave nothing for 0 s before the end that it had|there is no topic"
    ):
        list(source.read(fragment, Request()))


@pytest.mark.parametrize("name", ["csv", "zeek"])
def test_formats_that_need_a_first_line_are_refused(name):
    with pytest.raises(
        DocumentError, match=f"{name} needs a first line that tells its columns, and a topic has none"
    ):
        topics.source("h:1", "t", format=name)


def test_a_topic_of_csv_is_refused_where_that_is_guessed(kafka_broker):
    topic = filled(kafka_broker, [(0, b"timestamp,value", 0), (0, b"2026-01-01T00:00:00Z,1", 0)])
    with pytest.raises(DocumentError, match="csv needs a first line"):
        topics.source(kafka_broker, topic).fragments(Request())


def test_messages_of_no_format_are_told(kafka_broker):
    topic = filled(kafka_broker, [(0, b"\x00\x01", 0)])
    with pytest.raises(DecodeError, match=topic):
        topics.source(kafka_broker, topic).fragments(Request())


def test_it_crosses_to_workers(kafka_broker):
    topic = filled(kafka_broker, dealt([event("a", ZERO, "login")], 1))
    source, fragments = pickle.loads(  # noqa: S301  our own
        pickle.dumps(((one := topics.source(kafka_broker, topic)), one.fragments(Request())))
    )
    [decoded] = source.read(fragments[0], Request())
    assert (decoded.guessed, decoded.rows.num_rows) == ("json", 1)
    assert Options().max_ahead == 300 * S
