"""Messages of MQTT topics, by paho-mqtt."""

from __future__ import annotations

import json
import queue
import socket
import threading
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from rms_flows.envelope import Observed
from rms_flows.errors import DocumentError
from rms_flows.probe.collectors.contract import Look, now
from rms_flows.probe.settings import Mqtt as Settings

WAITING: Final = 10_000
"""Messages between two looks; what comes beyond is dropped and counted."""
LONGEST: Final = 65_536
"""Bytes of a message that are told; what is beyond is cut off, and says so."""
MOST: Final = 200
"""Messages of one look; the rest follows at once."""
_SECONDS: Final = 10.0
"""For the broker to answer."""
_PORTS: Final = {"mqtt": 1883, "mqtts": 8883}
_HERE: Final = ("localhost", "127.0.0.1", "::1")


class Mqtt:
    """Subscribes to topics, and tells each message.

    While the broker is away, that is its state, and it connects anew at the next look. Messages of that time
    are lost, unless `qos` is 1 or 2: then the broker keeps them for the session, which has a name.
    """

    def __init__(self, entry: Settings, position: Any) -> None:
        del position
        self._where = entry.broker
        self._topics = [(topic, entry.qos) for topic in entry.topics]
        self._messages: queue.Queue[Observed] = queue.Queue(WAITING)
        self._dropped = 0
        self._answered = threading.Event()
        self._problem: str | None = "the broker doesn't answer"
        self._client = _client(entry)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_disconnect = self._disconnected
        self._client.on_message = self._came
        parts = urlsplit(entry.broker)
        self._client.connect(parts.hostname or "", parts.port or _PORTS[parts.scheme])
        self._client.loop_start()
        self._answered.wait(_SECONDS)

    def look(self) -> Look:
        """See `Collector.look`."""
        found: list[Observed] = []
        while len(found) < MOST:
            try:
                found.append(self._messages.get_nowait())
            except queue.Empty:
                break
        if self._dropped and found:
            found[-1].payload["mqtt.dropped"], self._dropped = self._dropped, 0
        if not found and self._problem is not None:
            raise ConnectionError(f"{self._where}: {self._problem}")
        return Look(found, more=bool(found) and (len(found) == MOST or self._problem is not None))

    def close(self) -> None:
        """See `Collector.close`."""
        self._client.disconnect()
        self._client.loop_stop()

    def _connected(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._problem = f"the broker doesn't let us in ({reason})"
            self._answered.set()
        else:
            client.subscribe(self._topics)

    def _subscribed(self, _client: Any, _data: Any, _number: int, reasons: Any, _properties: Any) -> None:
        refused = [topic for (topic, _), one in zip(self._topics, reasons, strict=False) if one.is_failure]
        self._problem = f"the broker refuses {', '.join(refused)}" if refused else None
        self._answered.set()

    def _disconnected(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure and self._problem is None:
            self._problem = f"the connection was lost ({reason})"

    def _came(self, _client: Any, _data: Any, message: Any) -> None:
        try:
            self._messages.put_nowait(Observed("mqtt", _told(message), now()))
        except queue.Full:
            self._dropped += 1


def _told(message: Any) -> dict[str, Any]:
    payload: dict[str, Any] = {
        "mqtt.topic": message.topic,
        "mqtt.qos": message.qos,
        "mqtt.retained": message.retain,
    }
    if len(message.payload) > LONGEST:
        payload["log.flags"] = ["truncated"]
    text = message.payload[:LONGEST].decode("utf-8", "backslashreplace")
    try:
        found = json.loads(text, parse_constant=_no_number)
    except (ValueError, RecursionError):
        found = None
    return {**payload, "mqtt.payload": found} if isinstance(found, dict) else {**payload, "message": text}


def _no_number(text: str) -> None:
    raise ValueError(text)


def _client(entry: Settings) -> Any:
    """Make a client that knows whom to trust and who we are; raises DocumentError."""
    try:
        from paho.mqtt import client, enums  # noqa: PLC0415  takes memory, and not everybody has it
    except ImportError:
        raise DocumentError(
            "needs paho-mqtt, which is not installed",
            where=entry.broker,
            remedy="pip install 'rms-flows[probe]'",
        ) from None
    parts = urlsplit(entry.broker)
    if entry.user and parts.scheme != "mqtts" and parts.hostname not in _HERE:
        raise DocumentError(
            "a password would cross the network in plain text", where=entry.broker, remedy="write mqtts://"
        )
    name = f"rms-{socket.gethostname()}-{entry.called}"
    made = client.Client(enums.CallbackAPIVersion.VERSION2, client_id=name, clean_session=entry.qos == 0)
    if parts.scheme == "mqtts":
        made.tls_set(ca_certs=entry.authority)
    if entry.user:
        password = (
            Path(entry.password_file).read_text(encoding="utf-8").strip() if entry.password_file else None
        )
        made.username_pw_set(entry.user, password)
    return made
