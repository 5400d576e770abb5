"""What a URI of Kafka says: `kafka://HOST[:PORT][,HOST…]/TOPIC[,TOPIC…]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris

PORT: Final = 9092
_TOPIC: Final = re.compile(r"[A-Za-z0-9._-]{1,249}")
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::(?P<port>[0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Address:
    """Topics of a cluster; safe to log, as it holds no credentials.

    Args:
        hosts: Brokers to ask first, `host:port`.
        topics: One of a sink, one or several of a source.
    """

    hosts: tuple[str, ...]
    topics: tuple[str, ...]

    @property
    def uri(self) -> str:
        """The URI without options; the same for all ways to write the same place."""
        return f"kafka://{','.join(self.hosts)}/{','.join(self.topics)}"


def address(place: uris.Address, *, several: bool = False) -> Address:
    """Read a URI that `uri.split` took apart; without a host it is this machine.

    Args:
        place: Its scheme is `kafka`.
        several: It may name several topics.

    Raises:
        DocumentError: A host or a topic is none.

    Example:
        >>> from pathlib import Path
        >>> address(uris.split("kafka://one,two:9093/auth", Path())).uri
        'kafka://one:9092,two:9093/auth'
    """
    where = place.uri.partition("?")[0]
    named, _, rest = place.path.partition("/")
    hosts = tuple(_host(host, where) for host in (named or "localhost").split(","))
    topics = tuple(dict.fromkeys(rest.split(",")))
    for topic in topics:
        if not _TOPIC.fullmatch(topic) or topic in {".", ".."}:
            raise DocumentError(
                f"{topic!r} can't name a topic" if topic else "no topic",
                where=where,
                remedy="write kafka://HOST[:PORT]/TOPIC, with letters, digits and . _ - in the topic",
            )
    if len(topics) > 1 and not several:
        raise DocumentError("a sink writes to one topic", where=where, remedy="name one")
    return Address(hosts, topics)


def _host(host: str, where: str) -> str:
    found = _HOST.fullmatch(host)
    if found is None or int(found["port"] or PORT) not in range(1, 65_536):
        raise DocumentError(
            f"{host!r} is no host and port", where=where, remedy="write kafka://HOST[:PORT][,HOST…]/TOPIC"
        )
    return f"{found['name']}:{found['port'] or PORT}"
