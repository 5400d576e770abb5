"""What a person sees of a run: progress while it lasts, a summary when it ends."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from rms_flows.io.elasticsearch.pushdown import Pushed
    from rms_flows.replay import Progress, Summary

Show = Callable[["Progress"], None]

TEXT_EVERY = 10.0
"""Seconds between two lines of progress where no person watches."""


def indented(found: object) -> str:
    """Give JSON for people: of dataclasses too."""
    import msgspec

    return msgspec.json.format(msgspec.json.encode(found)).decode()


@contextmanager
def progress(*, quiet: bool) -> Iterator[Show | None]:
    """Give a function that shows how far a run is: a bar on a terminal, else a plain line now and then."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _plain()


@contextmanager
def counting(what: str, *, quiet: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Give a function that shows how many of how many are done."""
    if quiet:
        yield None
        return
    last = time.monotonic()
    begun = last

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= (1.0 if sys.stderr.isatty() else TEXT_EVERY) or done == total:
            last = now
            left = (now - begun) / done * (total - done)
            sys.stderr.write(f"rms: {done:,} of {total:,} {what}, {left:.0f} s left\n")

    yield show


def _rate(now: Progress) -> float:
    return now.rows / now.seconds if now.seconds > 0 else 0.0


def _plain() -> Show:
    last = time.monotonic()

    def show(now: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= TEXT_EVERY:
            last = time.monotonic()
            left = f", {now.left:.0f} s left" if now.left is not None else ""
            sys.stderr.write(f"rms: {now.rows:,} rows, {_rate(now):,.0f} rows/s{left}\n")

    return show


@contextmanager
def _bar() -> Iterator[Show]:
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[rows]} rows, {task.fields[rate]} rows/s"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("replay", total=None, rows="0", rate="0")

        def show(now: Progress) -> None:
            bar.update(
                task, completed=now.done, total=now.total, rows=f"{now.rows:,}", rate=f"{_rate(now):,.0f}"
            )

        yield show


def finish(summary: Summary, *, as_json: bool, strict: bool, printed: bool = False) -> None:
    """Print the account of a run, without sinks where reports were printed; `strict` may leave with 1."""
    if as_json:
        typer.echo(summary.to_json())
    else:
        for line in _lines(summary, printed=printed):
            typer.echo(line, err=True)
    if strict and (summary.dead or summary.refused):
        raise typer.Exit(1)


def _lines(summary: Summary, *, printed: bool) -> Iterator[str]:
    """Say what came in, what was found, where it lies and what a person should look at."""
    for source, formats in summary.formats.items():
        guessed = ", ".join(f"{name} ({count})" for name, count in formats.items())
        yield f"{source}: format guessed from content: {guessed}"
    yield (
        f"{summary.rows:,} rows ({summary.bytes / 1e6:,.1f} MB) in {summary.seconds:.1f} s, "
        f"{summary.rate:,.0f} rows/s"
    )
    for processor, counts in summary.processors.items():
        fates = ", ".join(
            f"{count:,} {name}" for name, count in counts.items() if name not in {"rows", "found"}
        )
        yield f"{processor}: {counts.get('found', 0):,} of {counts.get('rows', 0):,} rows" + (
            f" ({fates})" if fates else ""
        )
    sinks = {} if printed else summary.sinks
    for sink, kept in sinks.items():
        yield f"{sink}: {kept:,} rows in {summary.outputs.get(sink, '')}"
    if summary.dead_letters:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in summary.dead_letters.items())
        yield f"{summary.dead:,} records could not be processed ({reasons}): {summary.dead_letters_uri}"
        yield from _first_letter(summary.dead_letters_uri or "")
    shown = summary.notes[:NOTES]
    yield from shown
    if len(summary.notes) > len(shown):
        yield f"and {len(summary.notes) - len(shown):,} more such notes; --json lists them all"


def _first_letter(uri: str) -> Iterator[str]:
    """Say of one record why it could not be processed, and how to mend that."""
    path = Path(uri)
    if path.suffix == ".ndjson" and path.is_file():
        with path.open("rb") as lines:
            letter = json.loads(next(lines, b"{}"))
        if "error.message" in letter:
            yield f"  {letter.get('rms.origin', 'the first')}: {letter['error.message']}"


NOTES = 10
"""Most notes printed for a person; a pack of thousands of rules may refuse hundreds."""

ROWS = 50
"""Most reports printed for a person."""


def reports(path: Path) -> None:
    """Print reports as a table, the newest last."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from rms_flows.report import read_reports
    from rms_flows.report.row import group_text

    found = read_reports([str(path)])
    table = Table("time", "level", "rule", "source", "message", title=f"{found.num_rows:,} threat reports")
    columns = ("@timestamp", "rule.level", "rule.name", "rms.source", "message")
    for row in found.select([*columns, "rms.group"]).slice(max(0, found.num_rows - ROWS)).to_pylist():
        if group := group_text(row["rms.group"]):
            row["message"] = f"{row['message'] or ''} ({group})"
        # Text, because what an attacker wrote must not be read as markup.
        table.add_row(*(Text("" if row[name] is None else str(row[name])) for name in columns))
    Console().print(table)
    if not found.num_rows:
        typer.echo("rms rules explain RULES --event SOURCE shows how a rule sees an event")
    if found.num_rows > ROWS:
        typer.echo(f"the last {ROWS} are shown; --out keeps them all")


def pushdown(found: Pushed, *, as_json: bool) -> None:
    """Show what the server is asked for, what that saves, and what could not be said."""
    if as_json:
        typer.echo(json.dumps(asdict(found), ensure_ascii=False))
        return
    share = 100 * (1 - found.found / found.total) if found.total else 0.0
    typer.echo(json.dumps(found.query or {"match_all": {}}, indent=2, ensure_ascii=False))
    typer.echo(
        f"asked by {found.level}: {found.found:,} of {found.total:,} documents are read, {share:.1f} % saved"
    )
    if found.rules:
        typer.echo(f"{found.rules - len(found.loose):,} of {found.rules:,} rules are said exactly")
    for note in [*found.notes, *(f"{name}: {why}" for name, why in sorted(found.reasons.items()))]:
        typer.echo(f"  {note}")
