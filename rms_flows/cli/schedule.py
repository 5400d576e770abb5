"""`rms replay --every`: what is due, now."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rms_flows.cli import show
from rms_flows.cli.engine import Described, replaying

if TYPE_CHECKING:
    from rms_flows.beam.workers import Crew
    from rms_flows.replay import Summary
    from rms_flows.schedule import Done, Outlook, Replayed, Span

Every = Annotated[
    str | None,
    typer.Option(
        "--every",
        metavar="TIME",
        help="Replay spans of this length that are due, such as 1h; --from: the first.",
    ),
]
Lag = Annotated[
    str | None,
    typer.Option("--lag", metavar="TIME", help="Leave a span alone so long, for events that come late."),
]
State = Annotated[
    Path | None,
    typer.Option(
        "--state",
        metavar="FILE",
        help="Where is kept up to when all is done, beside it a lock. FLOW.watermark unless told.",
    ),
]
Plan = Annotated[
    bool, typer.Option("--plan", help="Tell what is due and what it would cost; replay nothing.")
]
Metrics = Annotated[
    Path | None,
    typer.Option("--metrics", metavar="FILE", help="Write figures of this start for Prometheus."),
]


@dataclass(frozen=True, slots=True)
class Wishes:
    """What a person chose for every span, the first time to judge, and the time at which to stop."""

    folder: Path | None
    sources: Mapping[str, str]
    sinks: Mapping[str, str]
    dead_letters: str | None
    pushdown: bool
    state: Path | None
    start: datetime | None
    end: datetime | None


@dataclass(frozen=True, slots=True)
class Look:
    """How the account is given; see `options`."""

    strict: bool
    as_json: bool
    quiet: bool


def alone_without(every: str | None, others: Mapping[str, object]) -> None:
    """Check that options of a schedule don't stand alone; raises typer.BadParameter."""
    lonely = [name for name, value in others.items() if value]
    if every is None and lonely:
        raise typer.BadParameter("says how to replay span after span; add --every 1h", param_hint=lonely[0])


def due(
    one: Described,
    wishes: Wishes,
    every: str,
    lag: str | None,
    *,
    plan: bool,
    crew: Callable[[], Crew],
    metrics: Path | None,
    look: Look,
    instance: str | None = None,
) -> None:
    """Replay what is due, or tell what that is."""
    from rms_flows.schedule import Timetable, outlook, scheduled
    from rms_flows.schedule.metrics import write_metrics
    from rms_flows.schedule.spans import length

    table = Timetable(
        length(every, "--every"),
        timedelta(0) if lag is None else length(lag, "--lag"),
        wishes.start,
        wishes.end,
    )
    now, replayed = datetime.now(UTC), _replayed(one, wishes)
    if plan:
        _told(outlook(replayed, table, now=now), as_json=look.as_json)
        return
    with (
        crew() as workers,
        show.progress(quiet=look.quiet or look.as_json) as report,
        replaying(one, instance, report) as told,
    ):
        done = scheduled(
            replayed,
            table,
            workers,
            now=now,
            progress=told,
            tell=None if look.quiet or look.as_json else _line,
        )
    if metrics is not None:
        write_metrics(metrics, done, now)
    _account(done, as_json=look.as_json)
    if look.strict and any(one.dead or one.refused for _, one in done.spans):
        raise typer.Exit(1)


def _replayed(one: Described, wishes: Wishes) -> Replayed:
    from rms_flows.flow.build import Choices
    from rms_flows.schedule import Replayed

    choices = Choices(
        sources=wishes.sources,
        sinks=wishes.sinks,
        dead_letters=wishes.dead_letters,
        pushdown=wishes.pushdown,
    )
    folder = wishes.folder or one.folder
    state = wishes.state or one.file(".watermark")
    return Replayed(one.flow, one.folder, folder, choices, state)


def _line(span: Span, summary: Summary) -> None:
    typer.echo(
        f"{span}: {summary.reports:,} reports, {summary.rows:,} rows in {summary.seconds:.1f} s", err=True
    )


def _account(done: Done, *, as_json: bool) -> None:
    if as_json:
        spans = [
            {
                **_ends(span),
                "reports": one.reports,
                "rows": one.rows,
                "dead": one.dead,
                "refused": one.refused,
            }
            for span, one in done.spans
        ]
        whole = {"done": done.mark.done.isoformat(), "spans": spans, "waiting": _iso(done.waiting)}
        typer.echo(json.dumps(whole))
        return
    for line in _state(done.mark.done, len(done.spans), done.waiting):
        typer.echo(line, err=True)


def _told(known: Outlook, *, as_json: bool) -> None:
    if as_json:
        total = known.total
        spans = [_ends(span) for span in known.spans]
        whole = {
            "done": known.done.isoformat(),
            "spans": spans,
            "rows": total.rows,
            "bytes": total.bytes,
            "seconds": round(total.seconds, 1),
            "waiting": _iso(known.waiting),
        }
        typer.echo(json.dumps(whole))
        return
    for span, one in zip(known.spans, known.costs, strict=False):
        typer.echo(f"{span}: about {one.rows:,} rows, {one.bytes / 1e6:,.1f} MB, {one.seconds:.1f} s")
    if len(known.spans) > len(known.costs):
        typer.echo(f"and {len(known.spans) - len(known.costs):,} more spans")
    total = known.total
    typer.echo(
        f"{len(known.spans):,} spans are due: about {total.rows:,} rows, {total.bytes / 1e6:,.1f} MB, "
        f"{total.seconds:.1f} s on one core"
    )
    for line in _state(known.done, 0, known.waiting):
        typer.echo(line)


def _state(done: datetime, spans: int, waiting: datetime | None) -> Iterator[str]:
    from rms_flows.schedule.spans import text

    yield f"{f'{spans:,} spans replayed; ' if spans else ''}done up to {text(done)}"
    if waiting is not None:
        yield f"the next span waits: its rules look at events up to {text(waiting)}"


def _ends(span: Span) -> dict[str, Any]:
    return {"from": span.start.isoformat(), "to": span.end.isoformat()}


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
