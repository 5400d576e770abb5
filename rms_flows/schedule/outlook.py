"""What a start would do, and what it would cost, without doing it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from rms_flows.flow.estimate import Cost, Rate, cost, sample
from rms_flows.flow.plan import Plan
from rms_flows.schedule.run import Replayed, waiting
from rms_flows.schedule.spans import Span, Timetable

LOOKED_AT: Final = 10
"""Spans whose reading is listed; of more the mean of these is taken."""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is due.

    Args:
        done: Up to here all is done.
        spans: What would be replayed.
        costs: Of the first ten of them, each with what lies around it and is read too.
        total: Of all.
        waiting: See `Done`; of the first span after those.
    """

    done: datetime
    spans: tuple[Span, ...]
    costs: tuple[Cost, ...]
    total: Cost
    waiting: datetime | None


def outlook(replayed: Replayed, table: Timetable, *, now: datetime) -> Outlook:
    """Tell what is due and what it would cost; nothing is written.

    Raises:
        DocumentError: Nobody knows where to begin.
        RmsError: A source can't be read.
    """
    mark = replayed.begun(table)
    spans, costs, rates = list[Span](), list[Cost](), dict[str, Rate]()
    for span, plan in replayed.ready(table, mark.done, now):
        if len(spans) < LOOKED_AT:
            costs.append(_cost(plan, rates))
        spans.append(span)
    total = sum(costs, Cost())
    if len(spans) > len(costs):
        times = len(spans) / len(costs)
        total = Cost(round(total.rows * times), round(total.bytes * times), total.seconds * times)
    after = spans[-1].end if spans else mark.done
    return Outlook(mark.done, tuple(spans), tuple(costs), total, waiting(replayed, table, after, now))


def _cost(plan: Plan, rates: dict[str, Rate]) -> Cost:
    """Add up the sources of a plan; each is sampled once."""
    total = Cost()
    for stage in plan.sources:
        fragments = stage.source.fragments(stage.request)
        if fragments and (stage.id not in rates or not rates[stage.id].rows):
            rates[stage.id] = sample(plan, stage, fragments)
        if fragments:
            total += cost(fragments, rates[stage.id])
    return total
