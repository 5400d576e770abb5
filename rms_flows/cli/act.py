"""The command that tells people and programs of reports: `rms act`."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rms_flows.cli import options
from rms_flows.cli.show import ROWS, TEXT_EVERY
from rms_flows.signals import told_to_end

if TYPE_CHECKING:
    from rms_flows.action.run import Acting
    from rms_flows.io.contract import Source

EPILOG = """Examples:

rms act actions.yaml --in reports.ndjson --dry-run

rms act actions.yaml --in 'elasticsearch://es1/threat-reports' --dry-run --from 2026-01-01 --to 2026-02-01

rms act actions.yaml --in kafka://localhost:9092/reports --from 2026-03-01

rms act actions.yaml --in reports.ndjson --once --strict

rms act actions.yaml --in reports.ndjson --once --retry-refused
"""


def act(
    document: Annotated[
        Path,
        typer.Argument(
            metavar="ACTIONS", help="Who is told of what (rms schema Actions).", show_default=False
        ),
    ],
    source: Annotated[
        str,
        typer.Option(
            "--in",
            metavar="URI",
            help="Where reports are: file, kafka://HOST/TOPIC or elasticsearch://HOST/INDEX.",
            show_default=False,
        ),
    ],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would have been sent; send and keep nothing.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option("--from", metavar="TIME", help="At the first start: reports from this time on count."),
    ] = None,
    end: Annotated[
        str | None, typer.Option("--to", metavar="TIME", help="With --dry-run: reports before this time.")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Tell of what is due, then end.")] = False,
    every: Annotated[
        float, typer.Option("--every", min=0.1, metavar="SECONDS", help="Between two looks at the reports.")
    ] = 10.0,
    state: Annotated[
        Path | None,
        typer.Option(
            "--state",
            metavar="FILE",
            help="Where what waits and what was sent is kept. ACTIONS.outbox unless told.",
        ),
    ] = None,
    dead_letters: Annotated[
        Path | None,
        typer.Option(
            "--dead-letters",
            metavar="FILE",
            help="Where goes what receivers refuse, and what is no report. ACTIONS.dead-letters.ndjson "
            "unless told.",
        ),
    ] = None,
    retry_refused: Annotated[
        bool, typer.Option("--retry-refused", help="Try again what receivers refused before.")
    ] = False,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if something waits, was refused or is no report.")
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Tell people and programs of threat reports: by webhook, mail or Alertmanager.

    Routed, grouped, silenced and inhibited as the document says, by the time of events. Each notification is
    kept on disk until its receiver has it, and is sent under one id. Replays and streams send nothing: this
    command alone does. Without --once it goes on until SIGTERM or Ctrl-C.
    """
    if end is not None and not dry_run:
        raise typer.BadParameter("is for --dry-run: what is sent has no end", param_hint="--to")
    from rms_flows.action.reading import open_reports

    period, reports = options.period(start, end), open_reports(source, Path())
    if dry_run:
        _dry(document, reports, period, as_json=as_json)
        return
    from rms_flows.action.run import acting

    with acting(
        document, reports, state=state, dead_letters=dead_letters, begin=period[0], now=time.time()
    ) as known:
        if retry_refused:
            known.outbox.retry()
        _run(known, every, once=once, quiet=quiet or as_json)
        account = {**asdict(known.counts), "grouped": known.grouped, "waiting": known.waits}
    if as_json:
        typer.echo(json.dumps(account))
    else:
        typer.echo(_said(account), err=True)
    if strict and (account["waiting"] or account["refused"] or account["dead"]):
        raise typer.Exit(1)


def _run(known: Acting, every: float, *, once: bool, quiet: bool) -> None:
    import logging

    logging.basicConfig(format="rms act: %(message)s", level=logging.WARNING)
    if once:
        known.look(time.time())
        known.tell(time.time)
        return
    stop = threading.Event()
    last = time.monotonic()

    def show(known: Acting) -> None:
        nonlocal last
        if not quiet and time.monotonic() - last >= TEXT_EVERY:
            last = time.monotonic()
            waiting = {"grouped": known.grouped, "waiting": known.waits}
            typer.echo(f"rms: {_said({**asdict(known.counts), **waiting})}", err=True)

    with told_to_end(stop.set):
        known.follow(stop, every, show)


def _said(account: dict[str, Any]) -> str:
    """Say in a line what was done; what there was none of is left out, but for the first two."""
    waiting = ", ".join(f"{name} {count:,}" for name, count in account["waiting"].items())
    counts = {name: count for name, count in account.items() if isinstance(count, int)}
    others = [
        f"{counts[name]:,} {text}"
        for name, text in {
            "late": "late",
            "silenced": "silenced",
            "inhibited": "inhibited",
            "unrouted": "without a route",
            "forgotten": "too late to tell of",
            "grouped": "to be told of with their group",
            "refused": "notifications refused",
            "failed": "tries failed",
            "dead": "records that are no reports",
        }.items()
        if counts[name]
    ]
    first = [f"{counts['reports']:,} new reports", f"{counts['sent']:,} notifications sent"]
    return ", ".join([*first, *others, *([f"waiting: {waiting}"] if waiting else [])])


def _dry(
    document: Path, reports: Source, period: tuple[datetime | None, datetime | None], *, as_json: bool
) -> None:
    from rms_flows.action.dry import dry
    from rms_flows.action.policy import Policy
    from rms_flows.io.contract import Window
    from rms_flows.model import Actions, load

    found = dry(Policy(load(document, Actions), str(document)), reports, Window.of(*period))
    if as_json:
        typer.echo(json.dumps(found.plain(), ensure_ascii=False))
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = list(found.rows())
    heads = ("time", "receiver", "reports", "level", "group", "first")
    table = Table(*heads, title=f"{len(rows):,} notifications, none of them sent")
    for row in rows[-ROWS:]:
        table.add_row(*(Text(row[head]) for head in heads))  # Text: reports may hold markup
    Console().print(table)
    if len(rows) > ROWS:
        typer.echo(f"the last {ROWS} are shown; --json lists them all")
    told = ", ".join(f"{count:,} {kind}" for kind, count in sorted(found.fates.items()))
    typer.echo(
        f"{found.reports.num_rows:,} reports{f': {told}' if told else ''}"
        + (f"; {found.dead:,} records are no reports" if found.dead else ""),
        err=True,
    )
