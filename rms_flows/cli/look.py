"""The command that turns reports into pictures, or into what other programs read: `rms report`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.errors import DocumentError, SinkError

if TYPE_CHECKING:
    import pyarrow as pa

EPILOG = """Examples:

rms report reports.ndjson --out report.html

rms report 'out/*.ndjson' --out week.html --title "Week 14"

rms report reports.ndjson --as stix --out bundle.json
"""


def report(
    reports: Annotated[
        list[str],
        typer.Argument(
            metavar="REPORTS...", help="Reports that a run wrote (files or globs).", show_default=False
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="The file to write; report.html, or with --as the terminal, unless told."
        ),
    ] = None,
    title: Annotated[str, typer.Option("--title", help="The page's heading.")] = "Threat reports",
    form: Annotated[
        str | None,
        typer.Option(
            "--as",
            metavar="FORM",
            help="Write documents instead: ecs, iotac, iotac-strict or ocsf, one a line; stix, one bundle.",
        ),
    ] = None,
    swapped_roles: Annotated[
        bool,
        typer.Option("--swapped-roles", help="IoTAC reports name the victim as requestSource: mend that."),
    ] = False,
) -> None:
    """Draw threat reports as one self-contained HTML page, or write them in the form of a standard."""
    from rms_flows.report import read_reports, write_html

    if form is not None:
        _write(read_reports(reports, swapped_roles=swapped_roles), form, out)
        return
    out = out or Path("report.html")
    table = read_reports(reports, swapped_roles=swapped_roles)
    try:
        write_html(table, out, title=title)
    except OSError as error:
        raise _unwritable(out, error) from None
    typer.echo(f"{table.num_rows} reports in {out}")


def _write(table: pa.Table, form: str, out: Path | None) -> None:
    from rms_flows.report import WRITERS, whole

    if form not in WRITERS:
        raise DocumentError(
            f"reports can't be written as {form!r}", where="--as", remedy=f"there are {', '.join(WRITERS)}"
        )
    data = whole(table, form)
    if out is None:
        sys.stdout.buffer.write(data)
        return
    aside = out.with_name(f".{out.name}.new")
    try:
        aside.write_bytes(data)
        aside.replace(out)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _unwritable(out, error) from None
    typer.echo(f"{table.num_rows} reports in {out}")


def _unwritable(out: Path, error: OSError) -> SinkError:
    return SinkError(f"can't be written ({error.strerror})", where=str(out), remedy="choose another --out")
