"""The small part of a Kafka client that is used here; two stand behind it, the fast one where it is there."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Final, NamedTuple, Protocol

from rms_flows.errors import DocumentError, RmsError
from rms_flows.io.kafka.address import Address
from rms_flows.kafka_login import PREFIX

CLIENTS: Final = ("confluent-kafka", "kafka-python")
"""The first is taken that is installed, unless `RMS_KAFKA_CLIENT` names one."""

ANSWER: Final = 30.0
"""Seconds for an answer to a question."""

DELIVERY: Final = 120.0
"""Seconds for which it is tried to deliver a message: a broker that was killed is back by then."""

LARGEST: Final = 1_048_588
"""Bytes of a batch that brokers take unless a topic says otherwise."""

AROUND: Final = 512
"""Bytes that a batch adds to one message at most."""

BATCH: Final = 1_000_000
"""Bytes of a batch at most."""

Headers = Sequence[tuple[str, bytes]]
"""What is said beside a message."""

_TLS: Final = ("ssl handshake", "[ssl", "certificate")
_LOGIN: Final = ("authentication", "credential")

NO_TIME: Final = -1
"""Stamp of a message that has none."""


class Spot(NamedTuple):
    """A partition of a topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}/{self.partition}"

    @classmethod
    def of(cls, text: str) -> Spot:
        """Read what `str` writes."""
        topic, _, partition = text.rpartition("/")
        return cls(topic, int(partition))


@dataclass(slots=True)
class Messages:
    """Messages of one partition in their order.

    Args:
        values: Their bytes; None is a tombstone.
        offsets: Where they lie.
        stamps: Kafka's time of each, milliseconds; `NO_TIME` for none.
    """

    values: list[bytes | None] = field(default_factory=list)
    offsets: list[int] = field(default_factory=list)
    stamps: list[int] = field(default_factory=list)


class Bounds(NamedTuple):
    """What a partition holds: offsets from `first` to before `last`."""

    first: int
    last: int


class Committed(NamedTuple):
    """What a group has committed of a partition, and what was noted beside it."""

    offset: int
    note: str


class Reader(Protocol):
    """Reads partitions that it is told; nothing is balanced between members of a group.

    All but `poll` and `commit` wait for an answer and raise the error of the client, see `Client`.
    """

    def partitions(self, seconds: float | None = None) -> list[Spot]:
        """List the partitions of all topics; waits so long, or as long as it takes at a start."""

    def bounds(self, spots: Sequence[Spot], seconds: float | None = None) -> dict[Spot, Bounds]:
        """Ask what partitions hold now; waits so long, or `ANSWER`."""

    def since(self, spots: Sequence[Spot], stamp: int) -> dict[Spot, int]:
        """Ask for the first offset of this time (milliseconds) or later, the end where there is none."""

    def committed(self, spots: Sequence[Spot]) -> dict[Spot, Committed]:
        """Ask for what the group has committed, of partitions of which it has."""

    def assign(self, offsets: Mapping[Spot, int]) -> None:
        """Read these partitions from these offsets on, and no others."""

    def poll(self, seconds: float, most: int) -> dict[Spot, Messages]:
        """Give what has come within a time; raises for what doesn't pass, such as offsets that are gone."""

    def reached(self) -> Mapping[Spot, int]:
        """Tell up to where everything was given, also where the last offsets hold no message."""

    def ends(self) -> Mapping[Spot, int]:
        """Tell the ends of partitions that are read as brokers last told them, asking nobody."""

    def commit(self, offsets: Mapping[Spot, Committed], *, wait: bool) -> None:
        """Commit for the group; without waiting, what fails is logged: the next commit makes up for it."""

    def close(self) -> None:
        """Let go of all connections."""


class Writer(Protocol):
    """Writes messages to a topic, which it makes where it is not there.

    Each gets there at least once and, while the writer lives, in order and once.
    """

    @property
    def largest(self) -> int:
        """Bytes of the largest message that the topic takes, with its key and headers."""

    def send(self, key: bytes | None, value: bytes, headers: Headers) -> None:
        """Hand over a message, which is sent soon; waits while too many are on their way.

        Raises:
            RmsError: One before could not be delivered.
        """

    def flush(self) -> None:
        """Wait until all are on the brokers' disks; raises like `send`."""

    def close(self) -> None:
        """Let go of all connections, and of what was not flushed."""


@dataclass(frozen=True, slots=True)
class Client:
    """Makes readers and writers.

    Args:
        address: Where to.
        error: What is raised.
    """

    address: Address
    error: type[RmsError]

    def reader(self, group: str = "rms") -> Reader:
        """Connect for reading, as a group whose offsets are asked for and committed; raises `error`."""
        if self.name == CLIENTS[0]:
            from rms_flows.io.kafka.confluent import ConfluentReader  # noqa: PLC0415  may not be installed

            return ConfluentReader(self.address, group, self.error)
        from rms_flows.io.kafka.pure import PureReader  # noqa: PLC0415

        return PureReader(self.address, group, self.error)

    def writer(self) -> Writer:
        """Connect for writing; raises `error`."""
        if self.name == CLIENTS[0]:
            from rms_flows.io.kafka.confluent import ConfluentWriter  # noqa: PLC0415

            return ConfluentWriter(self.address, self.error)
        from rms_flows.io.kafka.pure import PureWriter  # noqa: PLC0415

        return PureWriter(self.address, self.error)

    @property
    def name(self) -> str:
        """Which client it is; raises `error` where there is none."""
        wanted = os.environ.get(f"{PREFIX}CLIENT")
        if wanted and wanted not in CLIENTS:
            raise DocumentError(
                f"no client is called {wanted!r}",
                where=f"{PREFIX}CLIENT",
                remedy=f"there are {', '.join(CLIENTS)}",
            )
        for name in (wanted,) if wanted else CLIENTS:
            if _version(name):
                return name
        raise self.error(
            f"needs {wanted or 'a client of Kafka'}, which is not installed",
            where=self.address.uri,
            remedy="pip install 'rms-flows[kafka]', or the faster 'rms-flows[kafka-fast]'",
        )

    @property
    def said(self) -> str:
        """What a person is told at the start."""
        name = self.name
        slow = "; 'rms-flows[kafka-fast]' is several times as fast" * (name == CLIENTS[1])
        return f"{self.address.uri} by {name} {_version(name)}{slow}"


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def barred(reason: str) -> bool:
    """Tell whether a reason says that another try won't help: brokers don't let us in, or TLS fails."""
    return any(word in reason.lower() for word in (*_LOGIN, *_TLS))


def unreached(address: Address, error: type[RmsError], reason: str) -> RmsError:
    """Give the error for brokers that don't answer, or don't let us in."""
    if any(word in reason.lower() for word in _TLS):
        return error(
            f"TLS fails ({reason})",
            where=address.uri,
            remedy=f"set {PREFIX}TLS=true where the port wants it, and name the authority with {PREFIX}CA",
        )
    if any(word in reason.lower() for word in _LOGIN):
        return error(
            f"the brokers don't let us in ({reason})",
            where=address.uri,
            remedy=f"set {PREFIX}USER, {PREFIX}PASSWORD and {PREFIX}MECHANISM to what they know",
        )
    return error(
        f"no broker answers ({reason})",
        where=address.uri,
        remedy="check hosts and ports, and see whether they run",
    )


def unknown(address: Address, error: type[RmsError], topic: str) -> RmsError:
    """Give the error for a topic that is not there."""
    return error(f"there is no topic {topic}", where=address.uri, remedy="check the name, or create it")


def gone(address: Address, error: type[RmsError], place: str) -> RmsError:
    """Give the error for offsets that the topic doesn't keep any more."""
    return error(
        f"{place} no longer holds what was to be read next",
        where=address.uri,
        remedy="let it keep them for longer; to go on without them, name new --positions and --from earliest",
    )


def undelivered(address: Address, error: type[RmsError], reason: str) -> RmsError:
    """Give the error for messages that did not arrive."""
    return error(
        f"messages were not delivered ({reason})",
        where=address.uri,
        remedy="see whether the brokers run and have room, and start it again",
    )
