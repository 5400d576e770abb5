"""Rules from files, folders and archives: each becomes a rule, a correlation, a filter, or is refused."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rms_flows.errors import DocumentError, RuleError
from rms_flows.sigma.pipelines import resolve
from rms_flows.sigma.rules import Rule, RuleSet

if TYPE_CHECKING:
    from sigma.rule import SigmaRule

    from rms_flows.correlate.spec import Correlation
    from rms_flows.sigma.draft import Draft
    from rms_flows.sigma.mapping import Names
    from rms_flows.sigma.parse import Found


def load(
    paths: Sequence[Path],
    pipelines: Sequence[Path] = (),
    *,
    routing: bool = True,
    routes: Sequence[Path] = (),
) -> RuleSet:
    """Load all rules under `paths`, in the order of their names; those that were loaded before from a pack.

    Args:
        paths: Rule files (`.yml`, `.yaml`), folders of them at any depth, or archives (`.tar.gz`, `.tar`,
            `.zip`).
        pipelines: pySigma pipelines (YAML) that map fields and fill in placeholders, applied in this order.
        routing: Whether a rule looks only at the events of its log source; False judges every event.
        routes: Tables (`rms schema RouteTable`) that say where log sources are, besides ours.

    Returns:
        The rules and correlations that can be evaluated, and the documents that were refused. Filters are
        applied to the rules that they name.

    Raises:
        DocumentError: A path can't be read or holds no rules, a pipeline or table is none; a bad rule never
            raises.
    """
    from rms_flows.sigma import pack  # noqa: PLC0415  who evaluates no rules does not wait for it

    tables = tuple(routes) if routing else None
    pipelines = tuple(map(resolve, pipelines))
    place = pack.place(paths, pipelines, tables)
    if place is not None and (kept := pack.read(place)) is not None:
        return kept
    loaded, _ = read(paths, pipelines, tables)
    if place is not None:
        pack.keep(place, loaded)
    return loaded


def read(
    paths: Sequence[Path], pipelines: Sequence[Path] = (), tables: Sequence[Path] | None = ()
) -> tuple[RuleSet, dict[str, SigmaRule]]:
    """Read the documents themselves: rules, and by their ids what pySigma made of them.

    Args:
        paths: As for `load`.
        pipelines: Files of pipelines.
        tables: Tables of routes besides ours; None doesn't route.
    """
    from rms_flows.sigma.correlations import key_of  # noqa: PLC0415  pySigma takes 0.4 s to import
    from rms_flows.sigma.mapping import Names, read_pipelines  # noqa: PLC0415
    from rms_flows.sigma.parse import make_rule  # noqa: PLC0415
    from rms_flows.sigma.routes import Routes  # noqa: PLC0415

    found = gather(paths)
    pipeline = read_pipelines(pipelines)
    routes = None if tables is None else Routes(tables, pipeline)
    names = Names(pipeline)
    filters = [one for _, one in found.filters]
    inputs = [one.name for draft in found.correlations for one in draft.said.inputs]
    needed = {*inputs, *map(key_of, inputs)}
    rules: dict[str, Rule] = {}
    understood: dict[str, SigmaRule] = {}
    for document, parsed in found.rules:
        if needed and needed & {parsed.name, rule_id := str(parsed.id or document.made_id)}:
            names.keep(parsed, rule_id)
        try:
            rule = make_rule(document, parsed, filters, pipeline, routes)
        except RuleError as error:
            found.refuse(document, error)
            continue
        if rule.id in rules:
            found.refuse(document, _taken(rule.id, rules[rule.id].where))
        else:
            rules[rule.id], understood[rule.id] = rule, parsed
    correlations = tuple(_correlations(found, rules, names))
    refused = tuple(sorted(found.refused, key=lambda r: (r.file, r.line)))
    return RuleSet(tuple(rules.values()), refused, correlations), understood


def _correlations(found: Found, rules: Mapping[str, Rule], names: Names) -> Iterator[Correlation]:
    """Look up what correlations refer to, once all is there, and refuse those that can't be evaluated."""
    from rms_flows.sigma.correlations import Resolver  # noqa: PLC0415

    drafts: dict[str, Draft] = {}
    for draft in found.correlations:
        name = draft.said.id
        if name in rules or name in drafts:
            where = rules[name].where if name in rules else drafts[name].said.where
            found.refuse(draft.document, _taken(name, where))
        else:
            drafts[name] = draft
    for draft, outcome in Resolver(rules, tuple(drafts.values()), found.lost, names.of).resolve():
        if isinstance(outcome, RuleError):
            found.refuse(draft.document, outcome)
        else:
            yield outcome


def _taken(name: str, where: str) -> str:
    return f"the id {name} is taken by {where}; give it an id of its own"


def gather(paths: Sequence[Path]) -> Found:
    """Parse all documents; none is evaluated, filters and pipelines are not applied yet."""
    from rms_flows.sigma.files import read_files  # noqa: PLC0415
    from rms_flows.sigma.parse import Found  # noqa: PLC0415

    found = Found()
    for path in paths:
        count = 0
        for name, text in read_files(Path(path)):
            count += 1
            found.parse(name, text)
        if not count:
            raise DocumentError(
                "no rule files", where=str(path), remedy="expected .yml files or an archive of them"
            )
    return found
