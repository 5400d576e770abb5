"""The log of Home Assistant; lines of a traceback belong to the message before them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode import clock
from rms_flows.decode.contract import Context, Format, Parsed
from rms_flows.decode.lines import Columns, constant, extract, mask, settle, texts
from rms_flows.schema import TEXTS

_LINE: Final = (
    r"(?s)^(?P<stamp>\d{4}-\d{2}-\d{2} \d{2}:\d{2}:\d{2}(?:\.\d+)?) (?P<level>[A-Z]+) \((?P<thread>[^)]*)\) "
    r"\[(?P<logger>[^\]]*)\] (?P<message>.*)$"
)
_BAN: Final = (
    r"^Login attempt or request with invalid authentication from (?P<host>\S+) \((?P<ip>[^)]+)\)\.?"
    r"(?: Requested URL: '(?P<url>.*?)'\.?)?(?: \((?P<agent>.*)\))?$"
)


class HomeAssistantDecoder:
    """Decodes lines; what does not begin with a stamp is joined to the message before it."""

    def __init__(self, context: Context) -> None:
        self._options = context.options

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn lines into columns; a joined line counts as blank, since its row is another line's."""
        lines = texts(records)
        head = extract(lines, _LINE)
        starts = mask(head["stamp"].is_valid())
        message, joined = _joined(head["message"], lines, starts.tolist())
        ban = extract(head["message"], _BAN)
        refused = ban["ip"].is_valid()
        times = clock.parse(head["stamp"], self._options).values
        category = pa.array([["authentication"]], TEXTS)
        columns: Columns = {
            "message": message,
            "event.dataset": pa.repeat("home_assistant.log", len(lines)),
            "log.level": pc.utf8_lower(head["level"]),
            "log.logger": head["logger"],
            "event.category": category.take(pc.if_else(refused, pa.scalar(0, pa.int64()), None)),
            "event.action": constant("home_assistant_login", refused),
            "event.outcome": constant("failure", refused),
            "source.ip": ban["ip"],
            "source.domain": ban["host"],
            "url.original": ban["url"],
            "user_agent.original": ban["agent"],
        }
        reasons = (
            "no line of Home Assistant; expected '2026-01-31 12:00:00 WARNING (MainThread) [component] text'",
            "the stamp is no date",
        )
        parsed = settle(lines, columns, times, pa.array(starts), "home-assistant", reasons)
        parsed.failures = [failure for failure in parsed.failures if failure.record not in joined]
        parsed.blank = sorted({*parsed.blank, *joined})
        return parsed


def _joined(message: pa.Array, lines: pa.Array, starts: list[bool]) -> tuple[pa.Array, set[int]]:
    """Join lines without a stamp to the message before them."""
    if all(starts):
        return message, set()
    texts_of, every = message.to_pylist(), lines.to_pylist()
    last: int | None = None
    joined = set()
    for row, start in enumerate(starts):
        if start:
            last = row
        elif last is not None and every[row].strip():
            texts_of[last] = f"{texts_of[last] or ''}\n{every[row]}"
            joined.add(row)
    return pa.array(texts_of, pa.string()), joined


_WORDS = re.compile(rb"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d(?:\.\d+)? [A-Z]+ \([^)]*\) \[[\w.]+\] ", re.MULTILINE)


def _sniff(head: bytes) -> int:
    return 85 if _WORDS.search(head) else 0


FORMAT: Final = Format("home-assistant", "Log of Home Assistant", "lines", _sniff, HomeAssistantDecoder)
