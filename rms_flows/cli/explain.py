"""The command that says why a rule is true of an event: `rms rules explain`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from rms_flows.cli import options

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.text import Text
    from rich.tree import Tree

    from rms_flows.sigma import Rule, RuleSet
    from rms_flows.sigma.explain import Evidence, Explanation, Judged

EPILOG = """Examples:

rms rules explain rules/encoded_powershell.yml --event event.json

rms rules explain sigma-rules.tar.gz --rule 'HackTool - Rubeus' --event 'events.zip' --nth 12

rms rules explain rules/ssh.yml --event 'auth.log?year=2026' --json
"""

MARGIN = 36
"""Characters of a value that are shown on either side of what was found in it."""
FILE_WIDTH = 4096
"""Columns where no terminal wraps lines."""
SHOWN = 4
"""Values of one item that are named of those that did not decide."""


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
        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
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
    from rich.tree import Tree

    head = Text.assemble(_mark(true=found.match), (found.rule, "bold"), f"  {found.where}")
    root = Tree(head)
    if found.route is not None:
        route = root.add(Text.assemble(_mark(true=found.route.true), f"log source {found.logsource}"))
        if not found.route.true:
            _grow(route, found.route)
    _grow(root, found.condition)
    console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
    console.print(root)
    console.print(Text(found.summary, style="bold"))


def _grow(tree: Tree, judged: Judged) -> None:
    from rich.text import Text

    line = Text.assemble(_mark(true=judged.true), judged.label)
    parts = judged.parts
    if judged.values:
        deciding = [part for part in parts if part.true is judged.true] if _split(judged) else []
        line.append(_counted(judged))
        if not deciding and (evidence := parts[0].evidence) is not None:
            line.append("   ").append_text(_evidence(msgspec.structs.replace(evidence, start=None, end=None)))
        parts = tuple(deciding)
    elif judged.evidence is not None:
        line.append("   ").append_text(_evidence(judged.evidence))
    branch = tree.add(line)
    for part in parts:
        _grow(branch, part)


def _split(judged: Judged) -> bool:
    """Tell whether some values decided and others did not."""
    return judged.true or judged.join == "all"


def _counted(judged: Judged) -> str:
    """Name a few of the values that did not decide, and count the rest.

    Example:
        >>> from rms_flows.sigma.explain import Judged
        >>> parts = tuple(Judged(f"'{letter}'", letter == "a") for letter in "abcdefg")
        >>> _counted(Judged("f|contains", True, "any", parts, values=True))
        " (any of 7; not 'b', 'c', 'd', 'e' and 2 more)"
    """
    others = [part.label for part in judged.parts if part.true is not judged.true or not _split(judged)]
    word = "not" if judged.join == "any" else "with"
    listed = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" * (len(others) > SHOWN))
    named = f"; {word} {listed}" if others else ""
    return f" ({'any' if judged.join == 'any' else 'all'} of {len(judged.parts)}{named})"


def _mark(*, true: bool) -> tuple[str, str]:
    return ("✓ ", "green") if true else ("✗ ", "red")


def _evidence(evidence: Evidence) -> Text:
    """Write what was found: the value, shortened, with the part that was asked for marked."""
    from rich.text import Text

    text = Text(style="dim")
    if evidence.value is not None:
        value = evidence.value
        start, end = evidence.start or 0, evidence.end if evidence.end is not None else 0
        begin, stop = max(0, start - MARGIN), min(len(value), max(end, start) + MARGIN)
        stop = max(stop, min(len(value), begin + 2 * MARGIN))
        middle = value[start:end]
        if len(middle) > 4 * MARGIN:
            middle = f"{middle[: 2 * MARGIN]}…{middle[-MARGIN:]}"
        text.append(f"{evidence.field or 'the event'} is {'…' if begin else ''}")
        text.append(_plain(value[begin:start]))
        text.append(_plain(middle), style="bold underline")
        text.append(_plain(value[end:stop]) + ("…" if stop < len(value) else ""))
    elif evidence.field:
        text.append(f"{evidence.field} is absent")
    if evidence.note:
        text.append(f"{'; ' if text else ''}{evidence.note}")
    return text


def _plain(text: str) -> str:
    """Write characters that would move a terminal's cursor as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
