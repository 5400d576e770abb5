"""Kafka by kafka-python, which needs no compiled library."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

from kafka import KafkaConsumer, KafkaProducer, errors
from kafka.admin import ConfigResource, ConfigResourceType, KafkaAdminClient
from kafka.structs import OffsetAndMetadata, TopicPartition

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
    gone,
    undelivered,
    unknown,
    unreached,
)
from rms_flows.kafka_login import login

_LOG: Final = logging.getLogger(__name__)
for _name in (__name__, "kafka"):  # who wants its log gets it; nobody else finds each retry on the terminal
    logging.getLogger(_name).addHandler(logging.NullHandler())
logging.getLogger("kafka").setLevel(logging.INFO)  # below that it tells passwords

_READING: Final[Mapping[str, Any]] = {
    "enable_auto_commit": False,
    "auto_offset_reset": "none",
    "isolation_level": "read_committed",
    "allow_auto_create_topics": False,
    "fetch_max_wait_ms": 100,
    "metadata_max_age_ms": 5_000,  # so new partitions are found
    "metrics_enabled": False,
}
_WRITING: Final[Mapping[str, Any]] = {
    "enable_idempotence": True,
    "acks": "all",
    "linger_ms": 5,
    "delivery_timeout_ms": int(DELIVERY * 1_000),
    "max_block_ms": int(DELIVERY * 1_000),
    "max_request_size": 1 << 30,  # the topic's limit counts
    "allow_auto_create_topics": False,
    "metrics_enabled": False,
}
_BARRED: Final = (errors.TopicAuthorizationFailedError, errors.GroupAuthorizationFailedError)
_LIMIT: Final = "max.message.bytes"
_MILLISECONDS: Final = 1_000


class _Heard(logging.Handler):
    """Keeps the last reason for which a connection failed."""

    last = ""

    def emit(self, record: logging.LogRecord) -> None:
        """Look for an error in what is logged."""
        for one in record.args or ():
            if isinstance(one, Exception) and not isinstance(one, errors.KafkaTimeoutError):
                self.last = str(one)


_HEARD: Final = _Heard(logging.WARNING)
logging.getLogger("kafka.net.manager").addHandler(_HEARD)


class _Connection:
    """What reader and writer have in common."""

    def __init__(self, address: Address, error: type[RmsError]) -> None:
        self._address = address
        self._error = error

    def _settings(self, own: Mapping[str, Any]) -> dict[str, Any]:
        known = login(self._address.hosts)
        given = {
            "security_protocol": known.protocol,
            "sasl_mechanism": known.mechanism if known.user else None,
            "sasl_plain_username": known.user,
            "sasl_plain_password": known.password,
            "ssl_cafile": known.authority,
            "ssl_certfile": known.certificate,
            "ssl_keyfile": known.key,
            "ssl_password": known.key_password,
        }
        return {
            "bootstrap_servers": list(self._address.hosts),
            "bootstrap_timeout_ms": int(ANSWER * _MILLISECONDS),
            "reconnect_backoff_max_ms": 1_000,
            **own,
            **{name: value for name, value in given.items() if value is not None},
        }

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except errors.UnknownTopicOrPartitionError:
            raise unknown(self._address, self._error, ", ".join(self._address.topics)) from None
        except _BARRED as failure:
            raise self._error(
                f"the user has no right to do this ({type(failure).__name__})",
                where=self._address.uri,
                remedy="give it the right, or log in as another",
            ) from None
        except (errors.KafkaError, OSError) as failure:
            raise unreached(self._address, self._error, self._why(failure)) from None

    def _why(self, failure: BaseException) -> str:
        """Tell why, as far as is known: in a time-out it is not said, but logged."""
        if isinstance(failure, errors.KafkaTimeoutError) and _HEARD.last:
            hung_up = _HEARD.last.endswith("disconnected") and login(self._address.hosts).user
            return f"{_HEARD.last}{' at the authentication' * bool(hung_up)}"
        return _reason(failure)


def _reason(failure: BaseException) -> str:
    text = str(failure)
    name = type(failure).__name__
    return text if text.startswith(name) else f"{name}: {text}".rstrip(": ")


class PureReader(_Connection):
    """See `client.Reader`."""

    def __init__(self, address: Address, group: str, error: type[RmsError]) -> None:
        super().__init__(address, error)
        with self._told():
            self._consumer = KafkaConsumer(**self._settings({**_READING, "group_id": group}))
        self._reached: dict[Spot, int] = {}

    def partitions(self, seconds: float | None = None) -> list[Spot]:
        """See `Reader.partitions`; what it knows is renewed beside it."""
        del seconds
        found = []
        for topic in self._address.topics:
            with self._told():
                numbers = self._consumer.partitions_for_topic(topic)
            if not numbers:
                raise unknown(self._address, self._error, topic)
            found += [Spot(topic, number) for number in sorted(numbers)]
        return found

    def bounds(self, spots: Sequence[Spot], seconds: float | None = None) -> dict[Spot, Bounds]:
        """See `Reader.bounds`."""
        if not spots:
            return {}
        places = [TopicPartition(*spot) for spot in spots]
        wait = int((seconds or ANSWER) * _MILLISECONDS)
        with self._told():
            first = self._consumer.beginning_offsets(places, wait)
            last = self._consumer.end_offsets(places, wait)
        return {Spot(*place): Bounds(first[place], last[place]) for place in places}

    def since(self, spots: Sequence[Spot], stamp: int) -> dict[Spot, int]:
        """See `Reader.since`."""
        with self._told():
            told = self._consumer.offsets_for_times({TopicPartition(*spot): max(stamp, 0) for spot in spots})
        found = {Spot(*place): one.offset for place, one in told.items() if one is not None}
        behind = self.bounds([spot for spot in spots if spot not in found])
        return {spot: found[spot] if spot in found else behind[spot].last for spot in spots}

    def committed(self, spots: Sequence[Spot]) -> dict[Spot, Committed]:
        """See `Reader.committed`."""
        found = {}
        for spot in spots:
            with self._told():
                one = self._consumer.committed(
                    TopicPartition(*spot), metadata=True, timeout_ms=int(ANSWER * _MILLISECONDS)
                )
            if one is not None and one.offset >= 0:
                found[spot] = Committed(one.offset, one.metadata or "")
        return found

    def assign(self, offsets: Mapping[Spot, int]) -> None:
        """See `Reader.assign`."""
        self._reached = dict(offsets)
        places = {TopicPartition(*spot): offset for spot, offset in offsets.items()}
        self._consumer.assign(list(places))
        for place, offset in places.items():
            self._consumer.seek(place, offset)

    def poll(self, seconds: float, most: int) -> dict[Spot, Messages]:
        """See `Reader.poll`."""
        with self._told():
            try:
                told = self._consumer.poll(int(seconds * _MILLISECONDS), most)
            except errors.OffsetOutOfRangeError as failure:
                raise gone(self._address, self._error, str(failure)) from None
        given = {}
        for place, records in told.items():
            spot = Spot(place.topic, place.partition)
            given[spot] = Messages(
                [one.value for one in records],
                [one.offset for one in records],
                [one.timestamp for one in records],
            )
        for place in self._consumer.assignment():
            spot = Spot(place.topic, place.partition)
            behind = self._consumer.position(place, timeout_ms=0) or 0
            last = given[spot].offsets[-1] + 1 if spot in given else 0
            self._reached[spot] = max(behind, last, self._reached.get(spot, 0))
        return given

    def reached(self) -> Mapping[Spot, int]:
        """See `Reader.reached`."""
        return self._reached

    def ends(self) -> Mapping[Spot, int]:
        """See `Reader.ends`."""
        told = {spot: self._consumer.highwater(TopicPartition(*spot)) for spot in self._reached}
        return {spot: end for spot, end in told.items() if end is not None}

    def commit(self, offsets: Mapping[Spot, Committed], *, wait: bool) -> None:
        """See `Reader.commit`."""
        places = {
            TopicPartition(*spot): OffsetAndMetadata(one.offset, one.note, -1)
            for spot, one in offsets.items()
        }
        try:
            if wait:
                self._consumer.commit(places, timeout_ms=int(ANSWER * _MILLISECONDS))
            else:
                self._consumer.commit_async(places, callback=self._was_committed)
        except errors.KafkaError as failure:
            self._was_committed(places, failure)

    def _was_committed(self, _places: object, answer: object) -> None:
        if isinstance(answer, Exception):
            _LOG.warning("%s: offsets were not committed: %s", self._address.uri, answer)

    def close(self) -> None:
        """See `Reader.close`."""
        self._consumer.close(autocommit=False, timeout_ms=5_000)


class PureWriter(_Connection):
    """See `client.Writer`."""

    def __init__(self, address: Address, error: type[RmsError]) -> None:
        super().__init__(address, error)
        self._topic = address.topics[0]
        self._lost: BaseException | None = None
        with self._told():
            self._most = self._limit()
            batch = min(BATCH, self.largest)
            self._producer = KafkaProducer(**self._settings({**_WRITING, "batch_size": batch}))

    @property
    def largest(self) -> int:
        """See `Writer.largest`."""
        return self._most - AROUND

    def _limit(self) -> int:
        """Make the topic where it isn't there; give the bytes of a batch that it takes."""
        admin = KafkaAdminClient(**self._settings({}))
        try:
            if self._topic not in admin.list_topics():
                admin.create_topics({self._topic: {}}, int(ANSWER * _MILLISECONDS), wait_for_metadata=True)
        except errors.TopicAlreadyExistsError:
            pass
        try:
            asked = ConfigResource(ConfigResourceType.TOPIC, self._topic, {_LIMIT: None})
            told = admin.describe_configs([asked], config_filter="all")
            return int(told["topic"][self._topic][_LIMIT]["value"])
        except _BARRED:
            return LARGEST
        finally:
            admin.close()

    def send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        """See `Writer.send`."""
        try:
            self._producer.send(self._topic, value, key, headers=list(headers)).add_errback(self._failed)
        except errors.KafkaError as failure:
            self._failed(failure)
        self._check()

    def _failed(self, failure: BaseException) -> None:
        self._lost = self._lost or failure

    def flush(self) -> None:
        """See `Writer.flush`."""
        try:
            self._producer.flush(DELIVERY)
        except errors.KafkaError as failure:
            self._failed(failure)
        self._check()

    def _check(self) -> None:
        if self._lost is not None:
            raise undelivered(self._address, self._error, _reason(self._lost)) from None

    def close(self) -> None:
        """See `Writer.close`."""
        self._producer.close(timeout=1, null_logger=True)
