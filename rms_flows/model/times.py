"""Times as numbers, without Arrow: probes have none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def micros(moment: datetime) -> int:
    """Give a time in microseconds since 1970, as `schema.micros` does; one without a zone is in UTC.

    Example:
        >>> micros(datetime(1970, 1, 1, 0, 0, 1))
        1000000
    """
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment
    return (aware - EPOCH) // timedelta(microseconds=1)
