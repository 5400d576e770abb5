"""The commands about rules: `rms rules lint`."""

from __future__ import annotations

import json

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
