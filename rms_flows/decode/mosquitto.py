"""The log of the MQTT broker Mosquitto, 1.x and 2.x."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from rms_flows.decode import clock
from rms_flows.decode.contract import Context, Format, Parsed
from rms_flows.decode.lines import ADDRESS, Columns, Form, extract, said, settle, texts

_LINE: Final = r"(?s)^(?P<stamp>\d{9,11}(?:\.\d+)?|\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\S*?): (?P<message>.*)$"
_PLACE: Final = rf"(?P<ip>{ADDRESS}):(?P<port>\d+)"


_FORMS: Final = (
    Form(rf"^New connection from {_PLACE} on port (?P<broker>\d+)\.$", "mqtt_connection", None),
    Form(
        rf"^New (?:bridge|client) connected from {_PLACE} as (?P<client>.*) "
        r"\(p\d.*?(?:, u'(?P<user>.*)')?\)\.$",
        "mqtt_connect",
        "success",
    ),
    Form(
        r"^Client (?P<client>.*?)(?: \[[^\]]*\])? disconnected[,:]? "
        r"(?:not authorised|bad user ?name or password|identifier rejected|(?:due to )?protocol error)\.$",
        "mqtt_connect_refused",
        "failure",
    ),
    Form(
        r"^Sending CONNACK to (?P<client>.*) \(\d+, (?P<code>[1-9]\d*)\)$",
        "mqtt_connect_refused",
        "failure",
    ),
    Form(r"^Socket error on client (?P<client>.*), disconnecting\.$", "mqtt_disconnect", None),
    Form(r"^Client (?P<client>.*) has exceeded timeout, disconnecting\.$", "mqtt_disconnect", None),
    Form(r"^Client (?P<client>.*) already connected, closing old connection\.$", "mqtt_disconnect", None),
    Form(
        r"^Client (?P<client>.*?)(?: \[[^\]]*\])? (?:closed its connection|disconnected)\.$",
        "mqtt_disconnect",
        None,
    ),
)


class MosquittoDecoder:
    """Decodes lines; each stands for itself."""

    def __init__(self, context: Context) -> None:
        self._options = context.options

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn lines into columns."""
        lines = texts(records)
        head = extract(lines, _LINE)
        message = head["message"]
        times = clock.parse(head["stamp"], self._options).values
        found = said(_FORMS, message)
        columns: Columns = {
            "message": message,
            "event.dataset": pa.repeat("mosquitto.log", len(lines)),
            "event.action": found["action"],
            "event.outcome": found["outcome"],
            "source.ip": found["ip"],
            "source.port": found["port"],
            "destination.port": found["broker"],
            "mqtt.client_id": found["client"],
            "mqtt.return_code": found["code"],
            "user.name": found["user"],
        }
        reasons = (
            "no line of Mosquitto; expected '1679930000: text' or '2023-03-27T13:06:56: text'",
            "the stamp is no date; expected epoch seconds or ISO 8601",
        )
        return settle(lines, columns, times, head["stamp"].is_valid(), "mosquitto", reasons)


_WORDS = re.compile(
    rb"^(?:\d{9,11}|\d{4}-\d\d-\d\dT[\d:]+): (?:New c|Client |mosquitto |Sending |Received |Socket )",
    re.MULTILINE,
)


def _sniff(head: bytes) -> int:
    return 85 if _WORDS.search(head) else 0


FORMAT: Final = Format("mosquitto", "Log of the MQTT broker Mosquitto", "lines", _sniff, MosquittoDecoder)
