"""Spans that are due are replayed, one after the other; what is done is noted after each."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from rms_flows.beam.progress import Progress
from rms_flows.beam.workers import Crew
from rms_flows.errors import DocumentError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.launch import launch
from rms_flows.flow.plan import Plan
from rms_flows.flow.summary import Summary
from rms_flows.model import Orchestrator
from rms_flows.schedule import watermark
from rms_flows.schedule.spans import Span, Timetable
from rms_flows.schedule.watermark import Watermark


@dataclass(frozen=True, slots=True)
class Replayed:
    """What is replayed, and how.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources and sinks begin.
        choices: As for a replay; the period is that of each span, and files are added to.
        state: The file of the watermark.
    """

    orchestrator: Orchestrator
    folder: Path
    data_folder: Path
    choices: Choices
    state: Path

    def plan(self, span: Span) -> Plan:
        """Plan the replay of a span; raises as `build`."""
        choices = replace(self.choices, start=span.start, end=span.end, adding=True)
        return build(self.orchestrator, self.folder, self.data_folder, choices)

    def begun(self, table: Timetable) -> Watermark:
        """Tell up to where all is done.

        Raises:
            DocumentError: Nobody knows, or the watermark is none.
        """
        known = watermark.read(self.state, self.orchestrator.orchestrator)
        if known is not None:
            return known
        if table.start is None:
            raise DocumentError(
                "there is no watermark yet, so nobody knows what was replayed",
                where=str(self.state),
                remedy="say with --from where to begin; later it goes on from there",
            )
        return Watermark(self.orchestrator.orchestrator, table.start)

    def ready(self, table: Timetable, done: datetime, now: datetime) -> Iterator[tuple[Span, Plan]]:
        """Plan the spans that are due, up to the first for which something that matters is yet to come."""
        for span in table.due(done, now):
            plan = self.plan(span)
            if now < needed(plan, span) + table.lag:
                return
            yield span, plan


def needed(plan: Plan, span: Span) -> datetime:
    """Give the time until which events can matter for a span: later where rules look ahead or in buckets."""
    ends = [source.request.window.end for source in plan.sources]
    last = max((one for one in ends if one is not None), default=None)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    return span.end if last is None else max(span.end, epoch + timedelta(microseconds=last))


@dataclass(frozen=True, slots=True)
class Done:
    """What a start did.

    Args:
        mark: Up to where all is done now.
        spans: What was replayed, with its account.
        waiting: Until when events matter to the next span that the timetable has; None where none waits.
    """

    mark: Watermark
    spans: tuple[tuple[Span, Summary], ...]
    waiting: datetime | None = None


def scheduled(
    replayed: Replayed,
    table: Timetable,
    crew: Crew,
    *,
    now: datetime,
    progress: Callable[[Progress], None] | None = None,
    tell: Callable[[Span, Summary], None] | None = None,
) -> Done:
    """Replay what is due, each span once.

    A span is noted as done after its sinks have it. One that was killed is replayed again, which changes
    nothing where sinks fold by id: files, archives and Elasticsearch; Kafka is a log that its readers fold.

    Args:
        replayed: What.
        table: When.
        crew: Who works.
        now: The time.
        progress: Called about four times a second.
        tell: Called after each span.

    Raises:
        BusyError: Another instance is at work.
        DocumentError: Nobody knows where to begin.
        RmsError: As `replay`; spans before are done.
    """
    with watermark.alone(replayed.state):
        mark, spans = replayed.begun(table), list[tuple[Span, Summary]]()
        for span, plan in replayed.ready(table, mark.done, now):
            summary = launch(plan, crew, progress=progress)
            mark = replace(mark, done=span.end, spans=mark.spans + 1)
            watermark.write(replayed.state, mark)
            spans.append((span, summary))
            if tell is not None:
                tell(span, summary)
        return Done(mark, tuple(spans), waiting(replayed, table, mark.done, now))


def waiting(replayed: Replayed, table: Timetable, done: datetime, now: datetime) -> datetime | None:
    """Tell until when events matter to the first span that is due and yet has to wait."""
    for span in table.due(done, now):
        last = needed(replayed.plan(span), span)
        return last if now < last + table.lag else None
    return None
