"""A topic of Kafka, by kafka-python, which is light."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from typing import Any, Final

from rms_flows.errors import DocumentError, SinkError
from rms_flows.kafka_login import login

_URI: Final = re.compile(r"kafka://([A-Za-z0-9._\[\]:,-]+)/([A-Za-z0-9._-]{1,249})")
_PORT: Final = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^\[\]:]+)(:[0-9]{1,5})?")
_SECONDS: Final = 10
"""For a broker to answer; what fails is sent again."""

_LOG: Final = logging.getLogger("kafka")


class Kafka:
    """Sends each envelope as a message, the probe's id its key: one partition has them all, in order.

    Guarantee: what `send` returned for lies with all replicas in sync. After a failure the batch is sent
    again, so messages may be there twice; they are the same byte for byte, and flows take them for one.

    Args:
        uri: `kafka://HOST[:PORT][,HOST…]/TOPIC`; logins and TLS come from the environment (`RMS_KAFKA_…`).
        probe: Id of the probe.

    Raises:
        DocumentError: The URI is none, or the login, or the library is missing.
    """

    def __init__(self, uri: str, probe: str) -> None:
        found = _URI.fullmatch(uri)
        hosts = [_PORT.fullmatch(host) for host in found[1].split(",")] if found else [None]
        if found is None or None in hosts:
            raise DocumentError("is no topic", where=uri, remedy="write kafka://HOST[:PORT][,HOST…]/TOPIC")
        self._uri, self._topic, self._key = uri, found[2], probe.encode()
        self._hosts = tuple(f"{host[1]}{host[2] or ':9092'}" for host in hosts if host)
        self._login = login(self._hosts)
        self._make, self._error = _library(uri)
        self._producer: Any = None
        _LOG.setLevel(logging.CRITICAL)  # what fails is told once, by who sends

    def send(self, lines: list[bytes], last: int) -> None:
        """See `Output.send`."""
        del last
        try:
            if self._producer is None:
                self._producer = self._make(**self._settings())
            waiting = [self._producer.send(self._topic, line, self._key) for line in lines]
            self._producer.flush(_SECONDS)
            for one in waiting:
                one.get(timeout=_SECONDS)
        except (self._error, OSError) as error:
            self.close()
            raise SinkError(
                f"no broker took it ({type(error).__name__}: {error})",
                where=self._uri,
                remedy="check hosts, ports and the topic, and see whether they run",
            ) from None

    def close(self) -> None:
        """See `Output.close`."""
        if self._producer is not None:
            with suppress(self._error):  # what was not delivered is sent again
                self._producer.close(timeout=1)
            self._producer = None

    def _settings(self) -> dict[str, Any]:
        given = {
            "security_protocol": self._login.protocol,
            "sasl_mechanism": self._login.mechanism if self._login.user else None,
            "sasl_plain_username": self._login.user,
            "sasl_plain_password": self._login.password,
            "ssl_cafile": self._login.authority,
            "ssl_certfile": self._login.certificate,
            "ssl_keyfile": self._login.key,
            "ssl_password": self._login.key_password,
        }
        return {
            "bootstrap_servers": list(self._hosts),
            "bootstrap_timeout_ms": 1_000 * _SECONDS,
            "acks": "all",
            "enable_idempotence": True,
            "max_block_ms": 1_000 * _SECONDS,
            "request_timeout_ms": 1_000 * _SECONDS,
            "delivery_timeout_ms": 2_000 * _SECONDS,
            "metrics_enabled": False,
            **{name: value for name, value in given.items() if value is not None},
        }


def _library(uri: str) -> tuple[Any, type[Exception]]:
    try:
        from kafka import KafkaProducer, errors  # noqa: PLC0415  takes memory, and not everybody sends there
    except ImportError:
        raise DocumentError(
            "needs kafka-python, which is not installed", where=uri, remedy="pip install 'rms-flows[probe]'"
        ) from None
    return KafkaProducer, errors.KafkaError
