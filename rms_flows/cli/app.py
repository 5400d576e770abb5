"""The table of commands."""

from __future__ import annotations

from typing import Annotated

import typer

from rms_flows.cli import (
    act,
    backtest,
    documents,
    engine,
    look,
    parity,
    probe,
    registry,
    rules,
    run,
    serve,
    stream,
)
from rms_flows.version import __version__

app = typer.Typer(
    name="rms",
    help="Runtime monitoring of IoT security: replay archives through Sigma rules and filters, "
    "write threat reports.",
    epilog="Examples:\n\n"
    "rms detect rules/ --in auth.log --out reports.ndjson\n\n"
    "rms replay smart-home.yaml --from 2026-01-01 --to 2026-02-01 --workers 4\n\n"
    "rms report reports.ndjson --out report.html",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001  Typer passes a flag's value by position
    if wanted:
        typer.echo(f"rms {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold the options that come before a command."""


app.command("replay", epilog=run.REPLAY_EPILOG)(run.replay)
app.command("detect", epilog=run.DETECT_EPILOG)(run.detect)
app.command("archive", epilog=run.ARCHIVE_EPILOG)(run.archive)
app.command("stream", epilog=stream.EPILOG)(stream.stream)
app.command("worker", epilog=stream.WORKER_EPILOG)(stream.worker)
app.command("parity", epilog=parity.EPILOG)(parity.parity)
app.command("backtest", epilog=backtest.EPILOG)(backtest.backtest)
app.command("report", epilog=look.EPILOG)(look.report)
app.command("act", epilog=act.EPILOG)(act.act)
app.command("serve", epilog=serve.EPILOG)(serve.serve)
app.command("processors", epilog=documents.PROCESSORS_EPILOG)(documents.processors)
app.command("schema", epilog=documents.SCHEMA_EPILOG)(documents.schema)
app.add_typer(rules.app, name="rules")
app.add_typer(registry.app, name="registry")
app.add_typer(engine.app, name="engine")
app.add_typer(probe.app, name="probe")
