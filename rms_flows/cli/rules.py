"""The commands about rules: `rms rules` and what follows."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import cases, explain, options, show

if TYPE_CHECKING:
    from rms_flows.flow.survey import Coverage
    from rms_flows.sigma import Fate, RuleSet

app = typer.Typer(help="Look after Sigma rules.", no_args_is_help=True)
app.command("explain", epilog=explain.EPILOG)(explain.explain)
app.command("test", epilog=cases.EPILOG)(cases.run_tests)

_LINT_EPILOG = """Examples:

rms rules lint rules/

rms rules lint sigma-rules.tar.gz --ignore missing --ignore twin --strict

rms rules lint rules/ --json
"""


@app.command("lint", epilog=_LINT_EPILOG)
def lint(
    rules: options.Rules,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            "--ignore", metavar="CHECK", help="Leave out remarks of this kind; may come repeatedly."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if a rule is refused or remarked on.")
    ] = False,
    as_json: options.AsJson = False,
) -> None:
    """Name each rule that would be refused, and each that may not mean what its author thinks."""
    from rms_flows import sigma
    from rms_flows.sigma.lint import CHECKS
    from rms_flows.sigma.lint import lint as look

    if unknown := sorted(set(ignore or ()) - CHECKS.keys()):
        raise typer.BadParameter(
            f"no check is called {unknown[0]!r}; there are {', '.join(CHECKS)}", param_hint="--ignore"
        )
    loaded = sigma.load(rules)
    remarks = [one for one in look(rules) if one.check not in (ignore or ())]
    counts = Counter(one.check for one in remarks)
    if as_json:
        whole = {
            "evaluated": len(loaded.rules) + len(loaded.correlations),
            "correlations": [
                {"where": one.where, "rule": one.title, "type": one.kind}
                for one in sorted(loaded.correlations, key=lambda one: (one.file, one.line))
            ],
            "refused": [
                {"where": rule.where, "rule": rule.title, "reason": rule.reason} for rule in loaded.refused
            ],
            "remarks": remarks,
        }
        typer.echo(show.indented(whole))
    else:
        for rule in loaded.refused:
            typer.echo(f"{rule.where}: {rule.title}: refused: {rule.reason}")
        for one in remarks:
            typer.echo(f"{one.where}: {one.rule}: {one.check}: {one.message}")
        for check, count in counts.most_common():
            typer.echo(f"{count:6,} {check}: {CHECKS[check]}")
        typer.echo(f"{_counted(loaded)} can be evaluated, {len(loaded.refused)} are refused")
    if strict and (loaded.refused or remarks):
        raise typer.Exit(1)


def _counted(loaded: RuleSet) -> str:
    rules = f"{len(loaded.rules)} rules"
    return f"{rules} and {len(loaded.correlations)} correlations" if loaded.correlations else rules


_COVERAGE_EPILOG = """Examples:

rms rules coverage sigma-rules.tar.gz --in parquet:archive

rms rules coverage rules/ --in 'events/*.zip' --json
"""


@app.command("coverage", epilog=_COVERAGE_EPILOG)
def coverage(
    rules: options.Rules,
    source: Annotated[str, typer.Option("--in", metavar="URI", help="What to read.", show_default=False)],
    pipelines: options.Pipelines = None,
    routes: options.Routes = None,
    no_routing: options.NoRouting = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 if a rule is not evaluated.")] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Tell the fate of each rule on a source: evaluated, refused, or unreachable for want of fields."""
    from rms_flows import sigma
    from rms_flows.flow.survey import coverage as survey

    loaded = sigma.load(rules, pipelines or (), routing=not no_routing, routes=routes or ())
    with show.progress(quiet=quiet or as_json) as report:
        found = survey(loaded, source, progress=report)
    if as_json:
        whole = {**_totals(found.fates), "rows": found.rows, "events": found.events, "rules": found.fates}
        typer.echo(show.indented(whole))
    else:
        _table(found)
    if strict and any(fate.fate != "evaluated" for fate in found.fates):
        raise typer.Exit(1)


def _totals(found: Sequence[Fate]) -> dict[str, int]:
    counts = Counter(fate.fate for fate in found)
    everywhere = sum(fate.everywhere and fate.fate == "evaluated" for fate in found)
    known = {name: counts[name] for name in ("evaluated", "unreachable", "refused")}
    correlations = sum(fate.correlates is not None for fate in found)
    return {**known, "everywhere": everywhere, "correlations": correlations}


def _table(found: Coverage) -> None:
    """Print a line for each log source, those with most events first, then the rules that are refused."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    counts: dict[str, Counter[str]] = {}
    missing: dict[str, Counter[str]] = {}
    rules = [fate for fate in found.fates if fate.correlates is None]
    for fate in rules:
        if fate.fate != "refused":
            counts.setdefault(fate.logsource, Counter())[fate.fate] += 1
        if fate.fate == "unreachable":
            missing.setdefault(fate.logsource, Counter()).update(fate.lacks)
    table = Table("log source", "events", "evaluated", "unreachable", "lacks most often")
    for source in sorted(counts, key=lambda one: (-found.events[one], -counts[one].total(), one)):
        fields = ", ".join(name for name, _ in missing.get(source, Counter()).most_common(3))
        numbers = (found.events[source], counts[source]["evaluated"], counts[source]["unreachable"])
        table.add_row(Text(source), *(f"{number:,}" for number in numbers), Text(fields))
    Console().print(table)
    for fate in found.fates:
        if fate.fate == "refused":
            typer.echo(f"{fate.where}: {fate.rule}: refused: {fate.reason}")
        elif fate.correlates is not None:
            lacks = f": lacks {', '.join(fate.lacks)}" if fate.fate == "unreachable" else ""
            typer.echo(f"{fate.where}: {fate.rule}: {fate.correlates}: {fate.fate}{lacks}")
    totals = _totals(found.fates)
    what = "rules and correlations" if totals["correlations"] else "rules"
    typer.echo(
        f"{found.rows:,} events; {totals['evaluated']:,} {what} evaluated ({totals['everywhere']:,} of them"
        f" on every event, for nobody knows their log source), {totals['unreachable']:,} unreachable,"
        f" {totals['refused']:,} refused"
    )


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
        "evaluated": len(loaded.rules) + len(loaded.correlations),
        "refused": len(loaded.refused),
        "pack": str(place),
        "bytes": place.stat().st_size,
        "seconds": round(time.monotonic() - began, 3),
    }
    if as_json:
        typer.echo(json.dumps(summary, indent=2))
    else:
        counts = f"{_counted(loaded)}, {len(loaded.refused)} refused"
        typer.echo(f"{counts}, ready in {summary['seconds']:.1f} s: {place}")
