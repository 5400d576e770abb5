"""What a receiver is: one way of telling somebody of reports, and what became of a try."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol

import pyarrow as pa

from rms_flows.action.policy import row


@dataclass(frozen=True)
class Outgoing:
    """What somebody is told.

    Args:
        id: The same however often it is tried.
        receiver: Id of who is told.
        due: ISO 8601, by the time of events.
        group: What the reports agree in.
        table: The reports (`schema.REPORT`), by time.
    """

    id: str
    receiver: str
    due: str
    group: dict[str, Any]
    table: pa.Table

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """The reports as plain values, with the parts of their group keys beside them."""
        return [row(one) for one in self.table.to_pylist()]


class Outcome(NamedTuple):
    """What became of a try.

    Args:
        state: `sent`; `refused` for good, as telling it again would be; or `later`, to be tried again.
        said: Why, where it was not sent; where it was, whom it did not reach.
        after: Seconds for which the receiver wants to be left alone.
    """

    state: Literal["sent", "refused", "later"]
    said: str = ""
    after: float | None = None


SENT = Outcome("sent")


class Receiver(Protocol):
    """One way of telling somebody."""

    @property
    def uri(self) -> str:
        """Where that is; safe to log."""

    def send(self, one: Outgoing, now: float) -> Outcome:
        """Try once, within a bounded time; never raises for what the other side does.

        Args:
            one: What is told.
            now: Seconds since 1970.
        """
