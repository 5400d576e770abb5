"""A topic holds each row as a message that says what it is, and what brokers refuse comes back."""

from __future__ import annotations

import json
import os
import pickle
import re
import socket
from pathlib import Path

import pyarrow as pa
import pytest
import topics
from corridor_fakes import rows_of

from rms_flows import schema
from rms_flows.errors import DocumentError, SinkError
from rms_flows.io import open_sink
from rms_flows.io.kafka import client, confluent, pure
from rms_flows.io.kafka.address import Address

REPORT = {
    "event.id": "r1",
    "rms.revision": 2,
    "rule.id": "brute",
    "rms.report_type": "sigma",
    "rms.source": "hub",
    "message": "many failures",
}

MODULES = {"confluent-kafka": confluent, "kafka-python": pure}
IMPATIENT = {
    "confluent-kafka": {"message.timeout.ms": 2_000},
    "kafka-python": {"delivery_timeout_ms": 2_000, "request_timeout_ms": 1_000, "max_block_ms": 2_000},
}


def written(sink, *batches) -> pa.Table:
    """Write batches as one part of a run; give what was refused."""
    sink.prepare()
    part = sink.part("0")
    refused = [part.write(batch) for batch in batches]
    part.close()
    return pa.Table.from_batches(refused).combine_chunks()


def reports(*rows: dict) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema.REPORT)


def test_a_report_lies_under_its_id_and_says_its_rule_and_revision(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "sink")
    sink = topics.sink(kafka_broker, topic)
    assert written(sink, reports(REPORT)).num_rows == 0
    [message] = topics.consume(kafka_broker, topic)
    assert message.key == b"r1"
    assert message.headers == {"rms.schema": b"1", "rule.id": b"brute", "rms.revision": b"2"}
    document = json.loads(message.value)
    assert (document["event.kind"], document["event.id"], document["message"]) == (
        "alert",
        "r1",
        "many failures",
    )
    assert sink.commit() == 1


def test_reports_are_written_as_iotac_has_them(kafka_broker):
    topic = topics.create(kafka_broker, "sink")
    written(topics.sink(kafka_broker, topic, "?as=iotac"), reports(REPORT))
    [message] = topics.consume(kafka_broker, topic)
    document = json.loads(message.value)
    assert (message.key, document["id"], document["dataSourceID"]) == (b"r1", "r1", "hub")


def test_observations_of_a_source_stay_in_order(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "sink", 3)
    batches = [rows_of(number, 500) for number in range(4)]
    batches = [
        batch.append_column("rms.source", pa.array([f"s{number % 2}"] * 500, schema.DICTIONARY))
        for number, batch in enumerate(batches)
    ]
    sink = topics.sink(kafka_broker, topic)
    assert written(sink, *batches).num_rows == 0
    found = topics.consume(kafka_broker, topic)
    assert len(found) == sink.commit() == 2_000
    for key in (b"s0", b"s1"):
        mine = [one for one in found if one.key == key]
        assert len({one.partition for one in mine}) == 1
        wanted = [name for batch in batches[int(key[1:]) :: 2] for name in batch["event.id"].to_pylist()]
        assert [json.loads(one.value)["event.id"] for one in mine] == wanted


def test_a_dead_letter_is_the_record_s_bytes_and_headers_say_what_is_wrong(kafka_broker):
    topic = topics.create(kafka_broker, "sink")
    letter = {
        "event.ingested": None,
        "rms.source": "hub",
        "rms.origin": "f#1",
        "error.type": "json",
        "error.message": "broken: ü",
        "event.original": b"\xff{",
    }
    written(topics.sink(kafka_broker, topic), pa.RecordBatch.from_pylist([letter], schema.DEAD_LETTER))
    [message] = topics.consume(kafka_broker, topic)
    assert (message.key, message.value) == (b"hub", b"\xff{")
    assert message.headers == {
        "rms.schema": b"1",
        "rms.source": b"hub",
        "rms.origin": b"f#1",
        "error.type": b"json",
        "error.message": "broken: ü".encode(),
    }


def test_a_topic_that_is_not_there_is_made(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "sink") + "-new"
    sink = topics.sink(kafka_broker, topic)
    for _ in range(2):
        sink.prepare()
    assert sink.commit() == 0
    assert topics.consume(kafka_broker, topic) == []


def test_what_brokers_refuse_comes_back_with_its_bytes_and_the_reason(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "sink", max_message_bytes="20000")
    large = {**REPORT, "event.id": "r2", "message": os.urandom(20_000).hex()}
    refused = written(topics.sink(kafka_broker, topic), rows_of(1, 10), reports(REPORT, large, REPORT))
    [letter] = refused.to_pylist()
    assert refused.schema == schema.DEAD_LETTER
    assert (letter["rms.source"], letter["error.type"]) == ("hub", "refused")
    assert re.search(
        r"a message of 40,\d+ bytes is more than kafka://.* takes, 19,488; raise", letter["error.message"]
    )
    assert json.loads(letter["event.original"])["event.id"] == "r2"
    assert len(topics.consume(kafka_broker, topic)) == 12


def test_a_stream_appends_and_knows_when_brokers_have_it(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "sink")
    log = topics.sink(kafka_broker, topic).log()
    log.open()
    assert log.write(reports(REPORT)).num_rows == 0
    log.flush()
    assert len(topics.consume(kafka_broker, topic)) == 1
    log.close()


def test_it_crosses_to_workers(kafka_broker):
    topic = topics.create(kafka_broker, "sink")
    copy = pickle.loads(pickle.dumps(topics.sink(kafka_broker, topic, "?as=iotac")))  # noqa: S301  our own
    written(copy, reports(REPORT))
    assert json.loads(topics.consume(kafka_broker, topic)[0].value)["id"] == "r1"


def test_brokers_that_do_not_answer_are_told(kafka_client, monkeypatch):
    monkeypatch.setattr(MODULES[kafka_client], "ANSWER", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as held:
        port = held.getsockname()[1]
    sink = open_sink(f"kafka://127.0.0.1:{port}/t", base=Path())
    with pytest.raises(
        SinkError, match=rf"kafka://127.0.0.1:{port}/t: no broker answers \(.*check hosts and ports"
    ):
        sink.prepare()


def write_and_flush(part):
    part.write(reports(REPORT))
    part.flush()


def test_messages_that_can_not_be_delivered_are_an_error(kafka_broker, kafka_client, monkeypatch):
    for name, value in IMPATIENT[kafka_client].items():
        monkeypatch.setitem(MODULES[kafka_client]._WRITING, name, value)
    topic = topics.create(kafka_broker, "sink")
    part = topics.sink(kafka_broker, topic).part("0")
    write_and_flush(part)
    topics.delete(kafka_broker, topic)
    with pytest.raises(
        SinkError, match=r"messages were not delivered \(.*see whether the brokers run and have room"
    ):
        write_and_flush(part)
    part.leave()


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("kafka://h:1/a,b", "a sink writes to one topic; name one"),
        ("kafka://h:1/", r"no topic; write kafka://HOST\[:PORT\]/TOPIC"),
        ("kafka://h:1/a/b", "'a/b' can't name a topic"),
        ("kafka://h:x/a", r"'h:x' is no host and port; write kafka://HOST\[:PORT\]\[,HOST…\]/TOPIC"),
        ("kafka://h:70000/a", "'h:70000' is no host and port"),
        ("kafka://ann:secret@h/a", r"kafka://…@h/a: credentials don't belong in a URI"),
        ("kafka://h/a?as=xml", "reports can't be written as 'xml'; as= ecs or iotac"),
        ("kafka://h/a?acks=1", "no option is called 'acks'; a sink takes as="),
    ],
)
def test_a_uri_that_names_no_topic_is_refused(uri, message):
    with pytest.raises(DocumentError, match=message):
        open_sink(uri, base=Path())


def test_which_client_is_taken_is_said(monkeypatch):
    one = client.Client(Address(("h:1",), ("t",)), SinkError)
    monkeypatch.delenv("RMS_KAFKA_CLIENT", raising=False)
    assert one.said.startswith("kafka://h:1/t by confluent-kafka 2.")
    monkeypatch.setenv("RMS_KAFKA_CLIENT", "kafka-python")
    assert one.said.startswith("kafka://h:1/t by kafka-python 3.")
    assert one.said.endswith("; 'rms-flows[kafka-fast]' is several times as fast")
    monkeypatch.setenv("RMS_KAFKA_CLIENT", "aiokafka")
    with pytest.raises(
        DocumentError, match="RMS_KAFKA_CLIENT: no client is called 'aiokafka'; there are confluent-kafka"
    ):
        _ = one.said


@pytest.mark.parametrize(
    ("wanted", "missing"), [(None, "a client of Kafka"), ("kafka-python", "kafka-python")]
)
def test_without_its_extra_the_cure_is_told(monkeypatch, wanted, missing):
    monkeypatch.setattr(client, "_version", lambda _name: None)
    monkeypatch.delenv("RMS_KAFKA_CLIENT", raising=False)
    if wanted:
        monkeypatch.setenv("RMS_KAFKA_CLIENT", wanted)
    with pytest.raises(
        SinkError,
        match=rf"kafka://h:1/t: needs {missing}, which is not installed; pip install 'rms-flows\[kafka\]'",
    ):
        open_sink("kafka://h:1/t", base=Path()).prepare()
