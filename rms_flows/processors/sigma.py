"""The processor `sigma`: Sigma rules, all in one plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from rms_flows import sigma
from rms_flows.errors import DocumentError
from rms_flows.model import Parameter, ProcessorDefinition
from rms_flows.processors.contract import Processor, Step
from rms_flows.report.build import EVENT_COLUMNS, Rule, many_rules
from rms_flows.sigma.pipelines import ours


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Load and compile the rules; raises DocumentError where there are none."""
    paths = [_inside(folder, str(path), f"{manifest_id}.rules") for path in parameters["rules"]]
    pipelines = [_pipeline(folder, str(path), f"{manifest_id}.pipelines") for path in parameters["pipelines"]]
    tables = [_inside(folder, str(path), f"{manifest_id}.routes") for path in parameters["routes"]]
    routing = parameters["routing"]
    loaded = sigma.load(paths, pipelines, routing=routing, routes=tables)
    plan = sigma.compile(loaded)
    rules = [
        Rule(rule.id, rule.title, rule.author, rule.level, rule.tags, rule.meaning) for rule in plan.rules
    ]

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        found = plan.match(batch)
        return many_rules(batch, found.row, found.rule, rules, processor=manifest_id, kind="sigma")

    return Step(
        run=run,
        gives="reports",
        columns=None if plan.columns is None else plan.columns | frozenset(EVENT_COLUMNS),
        notes=(
            *(f"{rule.where}: {rule.title}: refused: {rule.reason}" for rule in loaded.refused),
            *(_unrouted(loaded) if routing else ()),
        ),
        counts={"evaluated": len(rules), "refused": len(loaded.refused)},
        unreachable=partial(_unreachable, loaded),
    )


def _unreachable(loaded: sigma.RuleSet, columns: frozenset[str]) -> int:
    return sum(fate.fate == "unreachable" for fate in sigma.fates(loaded, columns))


def _unrouted(loaded: sigma.RuleSet) -> Iterator[str]:
    """Name the log sources that no table knows, those with most rules first."""
    unknown = Counter(rule.logsource for rule in loaded.rules if rule.route is None)
    for source, count in unknown.most_common():
        rules = "1 rule looks" if count == 1 else f"{count} rules look"
        yield f"{{{source}}}: no route: {rules} at every event"


def _inside(folder: Path, path: str, where: str) -> Path:
    """Resolve a path of a document, which can't leave the document's folder unless it is absolute here."""
    whole = folder / path
    if not whole.resolve().is_relative_to(folder.resolve()):
        raise DocumentError(
            f"the path {path!r} leaves the folder of the document", where=where, remedy="move it inside"
        )
    return whole


def _pipeline(folder: Path, path: str, where: str) -> Path:
    """Resolve a pipeline: a file in the document's folder, else one of ours by name."""
    inside = _inside(folder, path, where)
    return inside if inside.exists() else ours().get(path, inside)


PROCESSOR: Final = Processor(
    ProcessorDefinition(
        id="sigma",
        name="sigma",
        description="Reports each event of which a Sigma rule is true.",
        vendor="rms_flows",
        version="1",
        availability="replay",
        processorType="stateless",
        inputKinds=("observation",),
        outputKinds=("threat report",),
        parameters=(
            Parameter(
                name="rules",
                description="Rule files, folders or archives (.tar.gz, .zip), relative to the document.",
                dataType="list",
                required=True,
            ),
            Parameter(
                name="pipelines",
                description="pySigma pipelines (YAML) that map fields and fill in placeholders; "
                "ours by name: ecs, iot, windows, zeek.",
                dataType="list",
                defaultValue=[],
            ),
            Parameter(
                name="routes",
                description="Tables (`rms schema RouteTable`) that say where log sources are, besides ours.",
                dataType="list",
                defaultValue=[],
            ),
            Parameter(
                name="routing",
                description="Whether a rule looks only at the events of its log source.",
                dataType="boolean",
                defaultValue=True,
            ),
        ),
    ),
    make,
)
