"""Times as people write them in a notebook."""

from __future__ import annotations

from datetime import UTC, date, datetime, time

from rms_flows.errors import DocumentError

Moment = str | date | datetime
"""ISO 8601 text, a day (its first moment), or a time; without a zone it is UTC."""


def moment(value: Moment | None, name: str) -> datetime | None:
    """Read a time; None stays None.

    Args:
        value: What was written.
        name: Of the argument, for the message.

    Raises:
        DocumentError: It is no time.

    Example:
        >>> moment("2026-03-14", "start")
        datetime.datetime(2026, 3, 14, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise DocumentError(
                f"{value!r} is no ISO 8601 time",
                where=name,
                remedy="write 2026-01-31 or 2026-01-31T12:00:00Z",
            ) from None
    elif value is not None and not isinstance(value, datetime):
        value = datetime.combine(value, time())
    return value.replace(tzinfo=UTC) if value is not None and value.tzinfo is None else value


def period(start: Moment | None, end: Moment | None) -> tuple[datetime | None, datetime | None]:
    """Read the two ends of a period; raises DocumentError where it is empty."""
    first, last = moment(start, "start"), moment(end, "end")
    if first is not None and last is not None and first >= last:
        raise DocumentError(
            f"the period from {start} to {end} is empty", where="end", remedy="let it end after it starts"
        )
    return first, last
