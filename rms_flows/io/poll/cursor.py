"""How far a server has been asked: the highest value of a field, and the question for what comes after it.

A value is microseconds since 1970 or, `written: number`, the number itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.decode import clock
from rms_flows.decode.contract import Options
from rms_flows.io.poll.body import text_at
from rms_flows.model import microseconds
from rms_flows.model.poll import Cursor
from rms_flows.schema import micros

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_UNITS: Final = {
    "iso": 1_000_000,
    "seconds": 1_000_000,
    "milliseconds": 1_000,
    "microseconds": 1,
    "number": 1,
}
_PATTERNS: Final = (
    (("%f",), 1),
    (("%S", "%T", "%X", "%c", "%s"), 1_000_000),
    (("%M", "%R"), 60_000_000),
    (("%H", "%I"), 3_600_000_000),
)
_DAY: Final = 86_400_000_000
_LATEST: Final = micros(datetime(9999, 12, 31, tzinfo=UTC))


def unit(cursor: Cursor) -> int:
    """Give the least step that can be written.

    Example:
        >>> unit(Cursor(parameter="since")), unit(Cursor(parameter="since", written="%Y-%m-%dT%H:%M"))
        (1000000, 60000000)
    """
    if cursor.written in _UNITS:
        return _UNITS[cursor.written]
    return next((size for words, size in _PATTERNS if any(word in cursor.written for word in words)), _DAY)


def written(cursor: Cursor, value: int) -> str:
    """Write a value as the server wants it, rounded down.

    Example:
        >>> written(Cursor(parameter="lastdate"), 1_767_225_600_900_000)
        '2026-01-01T00:00:00Z'
    """
    if cursor.written in _UNITS and cursor.written != "iso":
        return str(value // unit(cursor))
    pattern = "%Y-%m-%dT%H:%M:%SZ" if cursor.written == "iso" else cursor.written
    return (_EPOCH + timedelta(microseconds=min(max(0, value), _LATEST))).strftime(pattern)


def before(cursor: Cursor, value: int, overlap: int) -> int:
    """Give the value to ask from so that nothing is missed, whether the server gives equal values or not."""
    return value - max(unit(cursor), 0 if cursor.written == "number" else overlap)


def overlap(cursor: Cursor, lateness: int) -> int:
    """Give the microseconds to go back at each poll."""
    return lateness if cursor.overlap is None else microseconds(cursor.overlap)


def begin(cursor: Cursor, line: int | None) -> int | None:
    """Tell where to begin: where the document says, or later, from a time on.

    Args:
        cursor: How the server is asked.
        line: Nothing before it matters, microseconds; None where all does.
    """
    start = cursor.start if cursor.start is None or isinstance(cursor.start, int) else micros(cursor.start)
    if line is None or cursor.written == "number":
        return start
    return line if start is None else max(start, line)


def values(cursor: Cursor, records: Sequence[bytes], options: Options) -> tuple[np.ndarray, np.ndarray]:
    """Read the cursor's field.

    Args:
        cursor: Says where it is in a record.
        records: JSON.
        options: How times are to be read.

    Returns:
        int64, shape (records,): values; and bool, the same shape: which records have one.
    """
    assert cursor.field is not None  # noqa: S101  else it is the event's time
    texts = [text_at(record, cursor.field) for record in records]
    if cursor.written == "number":
        numbers = [int(text) if text and text.lstrip("-").isdecimal() else None for text in texts]
        there = np.array([number is not None and abs(number) < 1 << 62 for number in numbers], np.bool_)
        found = np.array(
            [number or 0 if known else 0 for number, known in zip(numbers, there.tolist(), strict=True)],
            np.int64,
        )
        return found, there
    times = clock.parse(pa.array(texts, pa.string()), options).values.cast(pa.int64())
    there = times.is_valid().to_numpy(zero_copy_only=False)
    return times.fill_null(0).to_numpy(), there
