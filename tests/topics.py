"""Topics of a real broker, made, filled and read by the plainest calls, for tests to compare."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from confluent_kafka import OFFSET_BEGINNING, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewPartitions, NewTopic

from rms_flows.decode.contract import Options
from rms_flows.io import open_sink, open_source

SECONDS = 30


class Message(NamedTuple):
    key: bytes | None
    value: bytes | None
    headers: dict[str, bytes]
    partition: int
    offset: int


def create(broker: str, name: str, partitions: int = 1, **config: str) -> str:
    """Make a topic whose name no other test has; give it."""
    topic = f"{name}-{uuid.uuid4().hex[:8]}"
    made = NewTopic(topic, partitions, config={key.replace("_", "."): one for key, one in config.items()})
    here = admin(broker)  # ends what is under way when it goes
    here.create_topics([made])[topic].result(SECONDS)
    return topic


def grow(broker: str, topic: str, partitions: int) -> None:
    here = admin(broker)
    here.create_partitions([NewPartitions(topic, partitions)])[topic].result(SECONDS)


def delete(broker: str, topic: str) -> None:
    here = admin(broker)
    here.delete_topics([topic])[topic].result(SECONDS)


def cut(broker: str, topic: str, offset: int) -> None:
    """Remove what lies before an offset of the first partition."""
    here = admin(broker)
    here.delete_records([TopicPartition(topic, 0, offset)])[TopicPartition(topic, 0)].result(SECONDS)


def transact(broker: str, topic: str, values: Iterable[bytes], *, commit: bool) -> None:
    """Write messages in a transaction."""
    producer = Producer({"bootstrap.servers": broker, "transactional.id": uuid.uuid4().hex})
    producer.init_transactions(SECONDS)
    producer.begin_transaction()
    for value in values:
        producer.produce(topic, value)
    producer.flush(SECONDS)
    (producer.commit_transaction if commit else producer.abort_transaction)(SECONDS)


def admin(broker: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": broker})


def produce(broker: str, topic: str, messages: Iterable[tuple[int, bytes | None, int]]) -> None:
    """Write messages: partition, value and Kafka's time in milliseconds, 0 for now."""
    producer = Producer(
        {"bootstrap.servers": broker, "linger.ms": 1, "queue.buffering.max.messages": 1_000_000}
    )
    failed = []

    def delivered(error, _message):
        if error:
            failed.append(error)

    for partition, value, stamp in messages:
        producer.produce(topic, value, partition=partition, timestamp=stamp, on_delivery=delivered)
        producer.poll(0)
    assert not producer.flush(SECONDS)
    assert not failed, failed[0]


def consume(broker: str, topic: str) -> list[Message]:
    """Give all messages that lie there now, partition by partition."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": "test", "enable.auto.commit": False})
    try:
        told = consumer.list_topics(topic, timeout=SECONDS).topics[topic]
        ends = {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=SECONDS)
            for number in told.partitions
        }
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in ends])
        count = sum(last - first for first, last in ends.values())
        found: list[Message] = []
        stop = time.monotonic() + SECONDS
        while len(found) < count:
            assert time.monotonic() < stop, f"{len(found)} of {count} messages came"
            for one in consumer.consume(10_000, 0.1):
                assert not one.error(), one.error()
                headers = dict(one.headers() or ())
                found.append(Message(one.key(), one.value(), headers, one.partition(), one.offset()))
        return sorted(found, key=lambda one: (one.partition, one.offset))
    finally:
        consumer.close()


def uri(broker: str, topic: str) -> str:
    return f"kafka://{broker}/{topic}"


def sink(broker: str, topic: str, query: str = ""):
    return open_sink(uri(broker, topic) + query, base=Path())


def source(broker: str, topic: str, **options):
    return open_source(uri(broker, topic), base=Path(), options=Options(**options))


def commit(broker: str, group: str, topic: str, offset: int) -> None:
    """Commit for a group in the first partition."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    try:
        consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    finally:
        consumer.close()


def committed(broker: str, group: str, topic: str) -> Mapping[int, tuple[int, str]]:
    """Give what a group has committed: partition → offset and note."""
    consumer = Consumer({"bootstrap.servers": broker, "group.id": group})
    try:
        numbers = consumer.list_topics(topic, timeout=SECONDS).topics[topic].partitions
        told = consumer.committed([TopicPartition(topic, number) for number in numbers], timeout=SECONDS)
    finally:
        consumer.close()
    return {one.partition: (one.offset, one.metadata or "") for one in told if one.offset >= 0}
