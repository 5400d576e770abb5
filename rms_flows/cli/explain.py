"""The command that says why a rule is true of an event: `rms rules explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options, show

if TYPE_CHECKING:
    import pyarrow as pa

    from rms_flows.sigma import Rule, RuleSet
    from rms_flows.sigma.explain import Explanation

EPILOG = """Examples:

rms rules explain rules/encoded_powershell.yml --event event.json

rms rules explain sigma-rules.tar.gz --rule 'HackTool - Rubeus' --event 'events.zip' --nth 12

rms rules explain rules/ssh.yml --event 'auth.log?year=2026' --json
"""

FILE_WIDTH = 4096
"""Columns where no terminal wraps lines."""


def explain(
    rules: options.Rules,
    event: Annotated[
        str, typer.Option("--event", metavar="URI", help="Where the event is.", show_default=False)
    ],
    nth: Annotated[int, typer.Option("--nth", min=1, help="Which event of it, from 1.")] = 1,
    rule: Annotated[
        str | None,
        typer.Option("--rule", metavar="ID|TITLE", help="Which rule, where RULES holds several."),
    ] = None,
    pipelines: options.Pipelines = None,
    routes: options.Routes = None,
    no_routing: options.NoRouting = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the explanation as JSON.")] = False,
) -> None:
    """Show why a rule is true of an event or isn't: its condition, part by part, with what decided each."""
    from rms_flows.sigma.explain import explain as judge
    from rms_flows.sigma.load import read
    from rms_flows.sigma.pipelines import resolve

    tables = None if no_routing else routes or ()
    batch, row = _event(event, nth)
    loaded, parsed = read(rules, [resolve(path) for path in pipelines or ()], tables)
    chosen = _choose(loaded, rule, batch, row)
    found = judge(chosen, parsed[chosen.id], batch, row)
    if as_json:
        typer.echo(show.indented(found))
    else:
        _show(found)


def _event(uri: str, nth: int) -> tuple[pa.RecordBatch, int]:
    """Read until the event comes; a record that is none says why."""
    from rms_flows.errors import SourceError
    from rms_flows.io import open_source
    from rms_flows.io.contract import Request

    source, request = open_source(uri, base=Path()), Request()
    seen, dead = 0, ""
    for fragment in source.fragments(request):
        for decoded in source.read(fragment, request):
            if nth <= seen + decoded.rows.num_rows:
                return decoded.rows, nth - seen - 1
            seen += decoded.rows.num_rows
            if decoded.dead.num_rows and not dead:
                dead = f"; a record is no event: {decoded.dead.column('error.message')[0]}"
    count = "1 event" if seen == 1 else f"{seen} events"
    raise SourceError(f"holds {count}{dead}", where=uri, remedy=f"there is no event {nth}")


def _choose(loaded: RuleSet, name: str | None, batch: pa.RecordBatch, row: int) -> Rule:
    from rms_flows.errors import RuleError
    from rms_flows.sigma import RuleSet, compile  # noqa: A004 - as in re.compile

    rules, refused = loaded.rules, loaded.refused
    if name is not None:
        rules = tuple(one for one in rules if name == one.id or name.lower() in one.title.lower())
        rules = tuple(one for one in rules if name in {one.id, one.title}) or rules
        refused = tuple(one for one in refused if name.lower() in one.title.lower())
    if not rules and refused:
        raise RuleError(f"{refused[0].title}: {refused[0].reason}", where=refused[0].where)
    if not rules and any(name in {one.id, one.title} for one in loaded.correlations):
        raise RuleError(
            f"{name!r} is a correlation, which speaks of several events",
            remedy="explain a rule that it refers to; rms detect shows what it finds",
        )
    if not rules:
        raise RuleError(f"no rule has the id or title {name!r}", remedy="see rms rules coverage --json")
    if len(rules) > 1:
        plan = compile(RuleSet(rules, ()))
        true = [plan.rules[number] for number in plan.match(batch.slice(row, 1)).rule]
        listed = "".join(f"\n  {one.id}  {one.title}" for one in true) or " none"
        raise RuleError(
            f"{len(rules):,} rules to choose from; of these, true of the event:{listed}",
            remedy="name one with --rule ID",
        )
    return rules[0]


def _show(found: Explanation) -> None:
    from rich.console import Console
    from rich.text import Text

    from rms_flows.sigma.told import told

    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(told(found))
    console.print(Text(found.summary, style="bold"))
