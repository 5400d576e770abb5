"""What a run would cost, told from the list of what it would read and a look at some of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from rms_flows.decode.contract import Decoded
from rms_flows.flow.plan import Plan, SourceStage
from rms_flows.flow.window import within
from rms_flows.io.contract import Fragment

SAMPLE: Final = 1.0
"""Seconds of a sample of one source."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What is read, and how long that takes on one core; rows may be told from a sample.

    Args:
        rows: Events.
        bytes: As the source tells them, decoded.
        seconds: To read, decode and judge single events, start-up and correlations aside.
    """

    rows: int = 0
    bytes: int = 0
    seconds: float = 0.0

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.rows + other.rows, self.bytes + other.bytes, self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Rate:
    """What a sample had, and how long it took."""

    rows: int
    bytes: int
    seconds: float


def sample(plan: Plan, stage: SourceStage, fragments: Sequence[Fragment], limit: float = SAMPLE) -> Rate:
    """Read some of a source and judge it, for so many seconds; the first batch is for warming up.

    Raises:
        SourceError: It can't be read.
    """
    known, inside = stage.annotator(), within(stage.request.window)
    judges = [one.function() for one in plan.processors if stage.id in one.inputs]

    def judged() -> Iterator[Decoded]:
        for fragment in fragments:
            for decoded in stage.source.read(fragment, stage.request):
                batch = inside(known(decoded.rows))
                for judge in judges:
                    judge(batch)
                yield decoded

    next(judged(), None)
    rows, size, began = 0, 0, time.monotonic()
    for decoded in judged():
        rows, size = rows + decoded.rows.num_rows, size + decoded.counts.bytes
        if time.monotonic() - began > limit:
            break
    return Rate(rows, size, time.monotonic() - began)


def cost(fragments: Sequence[Fragment], rate: Rate) -> Cost:
    """Tell what it costs to read fragments at a rate.

    Example:
        >>> cost([Fragment("a", size=500)], Rate(rows=10, bytes=100, seconds=2.0))
        Cost(rows=50, bytes=500, seconds=10.0)
    """
    size = sum(one.size or 0 for one in fragments)
    known = [one.rows for one in fragments if one.rows is not None]
    if len(known) == len(fragments):
        rows = sum(known)
        return Cost(rows, size, rate.seconds * rows / max(rate.rows, 1))
    share = size / max(rate.bytes, 1)
    return Cost(round(rate.rows * share), size, rate.seconds * share)
