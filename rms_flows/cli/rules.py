"""The commands about rules: `rms rules lint`, `rms rules compile`."""

from __future__ import annotations

import json
import time

import typer

from rms_flows.cli import options

app = typer.Typer(help="Look after Sigma rules.", no_args_is_help=True)

_LINT_EPILOG = """Examples:

rms rules lint rules/

rms rules lint sigma-rules.tar.gz --strict --json
"""


@app.command("lint", epilog=_LINT_EPILOG)
def lint(rules: options.Rules, strict: options.Strict = False, as_json: options.AsJson = False) -> None:
    """Load rules as a run would and name each one that would be refused, with file, line and reason."""
    from rms_flows import sigma

    loaded = sigma.load(rules)
    if as_json:
        refused = [
            {"where": rule.where, "rule": rule.title, "reason": rule.reason} for rule in loaded.refused
        ]
        typer.echo(json.dumps({"evaluated": len(loaded.rules), "refused": refused}, indent=2))
    else:
        for rule in loaded.refused:
            typer.echo(f"{rule.where}: {rule.title}: {rule.reason}")
        typer.echo(f"{len(loaded.rules)} rules can be evaluated, {len(loaded.refused)} are refused")
    if strict and loaded.refused:
        raise typer.Exit(1)


_COMPILE_EPILOG = """Examples:

rms rules compile sigma-rules.tar.gz
"""


@app.command("compile", epilog=_COMPILE_EPILOG)
def compile_(rules: options.Rules, as_json: options.AsJson = False) -> None:
    """Read rules once and keep them as a pack, which every later run opens in a tenth of a second.

    Runs do this by themselves the first time that they meet rules; the pack follows each change of them.
    """
    from rms_flows import sigma
    from rms_flows.errors import RuleError
    from rms_flows.sigma import pack

    began = time.monotonic()
    loaded = sigma.load(rules)
    sigma.compile(loaded)
    place = pack.place(rules, [])
    if place is None or not place.exists():
        raise RuleError(
            "the pack could not be written", where=str(pack.folder()), remedy="check rights and room there"
        )
    summary = {
        "evaluated": len(loaded.rules),
        "refused": len(loaded.refused),
        "pack": str(place),
        "bytes": place.stat().st_size,
        "seconds": round(time.monotonic() - began, 3),
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        counts = f"{len(loaded.rules)} rules, {len(loaded.refused)} refused"
        typer.echo(f"{counts}, ready in {summary['seconds']:.1f} s: {place}")
