"""What would have been sent: a plan over reports that are all there, of which nobody is told."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rms_flows.action import reading
from rms_flows.action.plan import Notification, Planned, plan
from rms_flows.action.policy import Policy
from rms_flows.action.receivers.post import moment
from rms_flows.flow.window import within
from rms_flows.io.contract import Source, Window
from rms_flows.schema import REPORT


@dataclass(frozen=True, slots=True)
class Dry:
    """What would have been sent.

    Args:
        planned: Notifications, and why others are none.
        reports: `schema.REPORT`: what was looked at.
        dead: How many records are no reports.
    """

    planned: Planned
    reports: pa.Table
    dead: int

    def rows(self) -> Iterator[dict[str, str]]:
        """Give a line of a table for each notification."""
        known = {row["event.id"]: row for row in self.reports.to_pylist()}
        for one in self.planned.notifications:
            first = known[one.reports[0]]
            yield {
                "time": moment(one.due / 1e6)[:19] + "Z",
                "receiver": one.receiver,
                "reports": f"{len(one.reports):,}",
                "level": first["rule.level"] or "",
                "group": ", ".join(str(value) for value in json.loads(one.group).values()),
                "first": first["message"] or first["rule.name"] or "",
            }

    @property
    def fates(self) -> Counter[str]:
        """Count reports nobody, or somebody not, would have been told of, by why."""
        return Counter(fate.kind for fate in self.planned.fates)

    def plain(self) -> dict[str, Any]:
        """Give all of it for programs."""
        return {
            "reports": self.reports.num_rows,
            "dead": self.dead,
            "notifications": [
                {
                    "id": one.id,
                    "receiver": one.receiver,
                    "due": moment(one.due / 1e6),
                    "group": json.loads(one.group),
                    "reports": one.reports,
                }
                for one in self.planned.notifications
            ],
            "others": [fate._asdict() for fate in self.planned.fates],
        }


def dry(policy: Policy, source: Source, window: Window) -> Dry:
    """Tell what would have been sent of the reports of a period; sends and keeps nothing.

    Raises:
        SourceError: They can't be read.
    """
    found = reading.read(source, window)
    keep = within(window)
    reports = pa.Table.from_batches([keep(one) for one in found.reports.to_batches()], REPORT)
    planned = plan(policy.seen(reports))
    first: dict[tuple[str, str], Notification] = {}
    for one in planned.notifications:  # two routes may tell a receiver of one report, which it gets once
        first.setdefault((one.receiver, one.id), one)
    return Dry(Planned([*first.values()], planned.fates), reports, len(found.dead))
