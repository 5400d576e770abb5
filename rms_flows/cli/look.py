"""The command that turns reports into something to look at: `rms report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rms_flows.errors import SinkError

EPILOG = """Examples:

rms report reports.ndjson --out report.html

rms report 'out/*.ndjson' --out week.html --title "Week 14"
"""


def report(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORTS...", help="Reports that a run wrote (files or globs).", show_default=False
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write.")] = Path("report.html"),
    title: Annotated[str, typer.Option("--title", help="Its heading.")] = "Threat reports",
) -> None:
    """Draw threat reports as one self-contained HTML page: no server, no network."""
    from rms_flows.report import read_reports, write_html

    table = read_reports(reports)
    try:
        write_html(table, out, title=title)
    except OSError as error:
        raise SinkError(
            f"can't be written ({error.strerror})", where=str(out), remedy="choose another --out"
        ) from None
    typer.echo(f"{table.num_rows} reports in {out}")
