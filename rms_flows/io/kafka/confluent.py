"""Kafka by confluent-kafka, whose threads fetch and send beside ours."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient
from confluent_kafka.admin._config import ConfigResource
from confluent_kafka.admin._metadata import TopicMetadata
from confluent_kafka.cimpl import NewTopic

from rms_flows.errors import RmsError
from rms_flows.io.kafka.address import Address
from rms_flows.io.kafka.client import (
    ANSWER,
    AROUND,
    BATCH,
    DELIVERY,
    LARGEST,
    Bounds,
    Committed,
    Headers,
    Messages,
    Spot,
    barred,
    gone,
    undelivered,
    unknown,
    unreached,
)
from rms_flows.kafka_login import login

_LOG: Final = logging.getLogger(__name__)
_LOG.addHandler(logging.NullHandler())  # who wants its log gets it; nobody finds each retry on the terminal

_READING: Final[Mapping[str, Any]] = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "isolation.level": "read_committed",
    "enable.partition.eof": True,  # tells of ends that hold no message
    "check.crcs": True,
    "fetch.wait.max.ms": 100,
    # A second by default, for which nothing is fetched when the queue was full: that halves the rate.
    "fetch.queue.backoff.ms": 5,
    "queued.max.messages.kbytes": 32_768,
}
_WRITING: Final[Mapping[str, Any]] = {
    "enable.idempotence": True,
    "acks": "all",
    "linger.ms": 5,
    "compression.type": "lz4",
    "message.timeout.ms": int(DELIVERY * 1_000),
    "message.max.bytes": 1_000_000_000,  # the topic's limit counts
    "queue.buffering.max.kbytes": 131_072,
}
_GONE: Final = (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE)  # noqa: SLF001  its name
_LOST: Final = (
    KafkaError.UNKNOWN_TOPIC_OR_PART,
    KafkaError._UNKNOWN_TOPIC,  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION,  # noqa: SLF001
)
_BARRED: Final = (KafkaError.TOPIC_AUTHORIZATION_FAILED, KafkaError.GROUP_AUTHORIZATION_FAILED)
_MOVING: Final = (
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
)
"""Of groups whose coordinator is being found, as on a broker that has just started."""
_SOON: Final = 0.05
_LIMIT: Final = "max.message.bytes"


class _Connection:
    """What reader and writer have in common."""

    def __init__(self, address: Address, error: type[RmsError]) -> None:
        self._address = address
        self._error = error
        self._said = ""

    def _settings(self, own: Mapping[str, Any]) -> dict[str, Any]:
        known = login(self._address.hosts)
        given = {
            "security.protocol": known.protocol,
            "sasl.mechanism": known.mechanism if known.user else None,
            "sasl.username": known.user,
            "sasl.password": known.password,
            "ssl.ca.location": known.authority,
            "ssl.certificate.location": known.certificate,
            "ssl.key.location": known.key,
            "ssl.key.password": known.key_password,
        }
        return {
            "bootstrap.servers": ",".join(self._address.hosts),
            "reconnect.backoff.max.ms": 1_000,
            "error_cb": self._failed,
            "logger": _LOG,
            **own,
            **{name: value for name, value in given.items() if value is not None},
        }

    def _failed(self, error: KafkaError) -> None:
        if error.code() != KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001  says less than what came before
            self._said = error.str()

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except KafkaException as failure:
            raise self._trouble(failure.args[0]) from None

    def _answer(self, client: Consumer | AdminClient, topic: str) -> TopicMetadata:
        """Ask for a topic until there is an answer, or it is clear why there will be none.

        Only before anything is assigned: what a poll gives here is lost.
        """
        end = time.monotonic() + ANSWER
        while True:
            with self._told():
                try:
                    return client.list_topics(topic, timeout=1).topics[topic]
                except KafkaException:
                    client.poll(0)  # lets it say why
                    if time.monotonic() > end or barred(self._said):
                        raise

    def _trouble(self, error: KafkaError) -> RmsError:
        if error.code() in _LOST:
            return unknown(self._address, self._error, ", ".join(self._address.topics))
        if error.code() in _BARRED:
            return self._error(
                f"the user has no right to do this ({error.str()})",
                where=self._address.uri,
                remedy="give it the right, or log in as another",
            )
        return unreached(self._address, self._error, self._said or error.str())


class ConfluentReader(_Connection):
    """See `client.Reader`."""

    def __init__(self, address: Address, group: str, error: type[RmsError]) -> None:
        super().__init__(address, error)
        self._consumer = Consumer(self._settings({**_READING, "group.id": group}))
        self._reached: dict[Spot, int] = {}

    def partitions(self, seconds: float | None = None) -> list[Spot]:
        """See `Reader.partitions`."""
        found = []
        for topic in self._address.topics:
            told = self._topic(topic, seconds)
            if told.error is not None:
                raise self._trouble(told.error)
            found += [Spot(topic, number) for number in sorted(told.partitions)]
        return found

    def _topic(self, topic: str, seconds: float | None) -> TopicMetadata:
        if seconds is None:
            return self._answer(self._consumer, topic)
        with self._told():
            told: TopicMetadata = self._consumer.list_topics(topic, timeout=seconds).topics[topic]
            return told

    def bounds(self, spots: Sequence[Spot], seconds: float | None = None) -> dict[Spot, Bounds]:
        """See `Reader.bounds`."""
        with self._told():
            return {
                spot: Bounds(
                    *self._consumer.get_watermark_offsets(TopicPartition(*spot), timeout=seconds or ANSWER)
                )
                for spot in spots
            }

    def since(self, spots: Sequence[Spot], stamp: int) -> dict[Spot, int]:
        """See `Reader.since`."""
        with self._told():
            told = self._consumer.offsets_for_times(
                [TopicPartition(*spot, max(stamp, 0)) for spot in spots], timeout=ANSWER
            )
        for one in told:
            if one.error is not None:
                raise self._trouble(one.error)
        found = {Spot(one.topic, one.partition): one.offset for one in told}
        behind = self.bounds([spot for spot, offset in found.items() if offset < 0])
        return {spot: behind[spot].last if spot in behind else offset for spot, offset in found.items()}

    def committed(self, spots: Sequence[Spot]) -> dict[Spot, Committed]:
        """See `Reader.committed`."""
        places = [TopicPartition(*spot) for spot in spots]
        end = time.monotonic() + ANSWER
        while True:
            with self._told():
                try:
                    told = self._consumer.committed(places, timeout=ANSWER)
                    break
                except KafkaException as failure:
                    if failure.args[0].code() not in _MOVING or time.monotonic() > end:
                        raise
            time.sleep(_SOON)
        return {
            Spot(one.topic, one.partition): Committed(one.offset, one.metadata or "")
            for one in told
            if one.offset >= 0
        }

    def assign(self, offsets: Mapping[Spot, int]) -> None:
        """See `Reader.assign`."""
        self._reached = dict(offsets)
        with self._told():
            self._consumer.assign([TopicPartition(*spot, offset) for spot, offset in offsets.items()])

    def poll(self, seconds: float, most: int) -> dict[Spot, Messages]:
        """See `Reader.poll`."""
        found: defaultdict[Any, list[Any]] = defaultdict(list)
        for message in self._consumer.consume(most, seconds):
            error = message.error()
            if error is None:
                found[message.topic(), message.partition()].append(message)
            else:
                self._odd(message, error)
        given = {
            Spot(*place): Messages(
                [one.value() for one in own],
                [one.offset() for one in own],
                [one.timestamp()[1] for one in own],
            )
            for place, own in found.items()
        }
        for spot, own in given.items():
            self._reached[spot] = max(own.offsets[-1] + 1, self._reached.get(spot, 0))
        return given

    def _odd(self, message: Any, error: KafkaError) -> None:
        """Take in what comes between messages; raises what doesn't pass."""
        if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001  its name
            spot = Spot(message.topic(), message.partition())
            self._reached[spot] = max(message.offset(), self._reached.get(spot, 0))
        elif error.code() in _GONE:
            raise gone(self._address, self._error, f"{message.topic()}/{message.partition()}")
        elif error.code() in _LOST + _BARRED or error.fatal():
            raise self._trouble(error)
        else:
            _LOG.warning("%s: %s", self._address.uri, error.str())

    def reached(self) -> Mapping[Spot, int]:
        """See `Reader.reached`."""
        return self._reached

    def ends(self) -> Mapping[Spot, int]:
        """See `Reader.ends`."""
        known = {
            spot: self._consumer.get_watermark_offsets(TopicPartition(*spot), cached=True)
            for spot in self._reached
        }
        return {spot: last for spot, (_, last) in known.items() if last >= 0}  # below it is not known yet

    def commit(self, offsets: Mapping[Spot, Committed], *, wait: bool) -> None:
        """See `Reader.commit`."""
        places = [TopicPartition(*spot, one.offset, one.note) for spot, one in offsets.items()]
        try:
            if wait:
                self._consumer.commit(offsets=places, asynchronous=False)
            else:
                self._consumer.commit(offsets=places, asynchronous=True)
        except KafkaException as failure:
            _LOG.warning("%s: offsets were not committed: %s", self._address.uri, failure)

    def close(self) -> None:
        """See `Reader.close`."""
        self._consumer.close()


class ConfluentWriter(_Connection):
    """See `client.Writer`."""

    def __init__(self, address: Address, error: type[RmsError]) -> None:
        super().__init__(address, error)
        self._topic = address.topics[0]
        self._lost: KafkaError | None = None
        self._most = self._limit()
        self._producer = Producer(self._settings({**_WRITING, "batch.size": min(BATCH, self.largest)}))

    @property
    def largest(self) -> int:
        """See `Writer.largest`."""
        return self._most - AROUND

    def _limit(self) -> int:
        """Make the topic where it isn't there; give the bytes of a batch that it takes."""
        # At its end it would tell on standard error what it has not looked at.
        admin = AdminClient(self._settings({"log_level": 5}))
        told = self._answer(admin, self._topic)
        with self._told():
            if told.error is not None:
                self._make(admin, told.error)
            try:
                asked = ConfigResource(ConfigResource.Type.TOPIC, self._topic)
                said = admin.describe_configs([asked], request_timeout=ANSWER)[asked].result()
            except KafkaException as failure:
                if failure.args[0].code() not in _BARRED:
                    raise
                return LARGEST
        return int(said[_LIMIT].value)

    def _make(self, admin: AdminClient, missing: KafkaError) -> None:
        if missing.code() not in _LOST:
            raise self._trouble(missing)
        try:
            admin.create_topics([NewTopic(self._topic)], request_timeout=ANSWER)[self._topic].result()
        except KafkaException as failure:
            if failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise
        end = time.monotonic() + ANSWER
        while admin.list_topics(self._topic, timeout=ANSWER).topics[self._topic].error is not None:
            if time.monotonic() > end:  # brokers hear of it one after the other
                raise KafkaException(missing)
            time.sleep(_SOON)

    def send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        """See `Writer.send`."""
        while True:
            try:
                self._producer.produce(
                    self._topic, value, key, on_delivery=self._delivered, headers=list(headers)
                )
                break
            except BufferError:
                self._producer.poll(0.1)
        self._producer.poll(0)
        self._check()

    def _delivered(self, error: KafkaError | None, _message: object) -> None:
        self._lost = self._lost or error

    def flush(self) -> None:
        """See `Writer.flush`."""
        while self._producer.flush(1.0):
            self._check()
        self._check()

    def _check(self) -> None:
        if self._lost is not None:
            raise undelivered(self._address, self._error, self._lost.str())

    def close(self) -> None:
        """See `Writer.close`."""
        self._producer.purge()
        self._producer.flush(1.0)
