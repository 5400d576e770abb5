"""The command that measures rules on labelled history: `rms backtest`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options, show

if TYPE_CHECKING:
    from rms_flows.backtest import Backtest

EPILOG = """Examples:

rms backtest rules/ --in parquet:archive --truth labels.csv

rms backtest rules/ --in parquet:archive --truth labels.yaml --min-precision 0.9 --min-recall 1

rms backtest rules/ --in parquet:archive --truth labels.csv --known last.ndjson --max-new-reports 20

rms backtest rules/ --in parquet:archive --truth labels.csv --json --out backtest.html
"""


def backtest(
    rules: options.Rules,
    source: Annotated[str, typer.Option("--in", metavar="URI", help="The history.", show_default=False)],
    truth: Annotated[
        Path,
        typer.Option(
            "--truth", help="What happened in it: YAML, JSON or CSV (rms schema Truth).", show_default=False
        ),
    ],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write a page (HTML) too.")] = None,
    known: Annotated[
        list[str] | None, typer.Option("--known", metavar="REPORTS", help="Reports of an earlier run.")
    ] = None,
    min_precision: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if fewer reports belong to an incident.")
    ] = None,
    min_recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Exit with 1 if fewer incidents are found.")
    ] = None,
    max_new_reports: Annotated[
        int | None, typer.Option(min=0, help="Exit with 1 if more reports are not among those of --known.")
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    pipelines: options.Pipelines = None,
    routes: options.Routes = None,
    no_routing: options.NoRouting = False,
    workers: options.Workers = 1,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure rules on labelled history: precision, recall, time to detection, false reports."""
    if max_new_reports is not None and not known:
        raise typer.BadParameter(
            "new compared with what? name reports with --known", param_hint="--max-new-reports"
        )
    period = options.period(start, end)
    with show.progress(quiet=quiet or as_json) as report:
        from rms_flows.backtest.run import run

        found = run(
            rules,
            source=source,
            truth=truth,
            pipelines=pipelines or (),
            routes=routes or (),
            routing=not no_routing,
            period=period,
            workers=workers,
            progress=report,
        )
    typer.echo(found.to_json() if as_json else repr(found))
    if out is not None:
        _write(found, out)
    failed = list(_failed(found, min_precision, min_recall, known or [], max_new_reports))
    for problem in failed:
        typer.echo(f"rms: {problem}", err=True)
    if failed:
        raise typer.Exit(1)


def _write(found: Backtest, out: Path) -> None:
    from rms_flows.errors import SinkError

    try:
        found.write_html(out)
    except OSError as error:
        raise SinkError(
            f"can't be written ({error.strerror})", where=str(out), remedy="choose another --out"
        ) from None


def _failed(
    found: Backtest, min_precision: float | None, min_recall: float | None, known: list[str], most: int | None
) -> list[str]:
    """Say which limits were not kept."""
    score, problems = found.score, []
    for name, share, least in (
        ("precision", score.precision, min_precision),
        ("recall", score.recall, min_recall),
    ):
        if least is not None and (share.value if share.value is not None else 1.0) < least:
            problems.append(f"{name} is {share}, at least {least:.1%} was asked for")
    if most is not None:
        from rms_flows.backtest import news
        from rms_flows.report import read_reports

        fresh = news(found.reports, read_reports(known)).num_rows
        if fresh > most:
            problems.append(f"{fresh:,} reports are new, at most {most:,} were allowed")
    return problems
