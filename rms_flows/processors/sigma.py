"""The processor `sigma`: Sigma rules, all in one plan."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows import sigma
from rms_flows.model import Example, Parameter, ProcessorDefinition
from rms_flows.processors.contract import Processor, Search, Step
from rms_flows.processors.correlation import Correlations, Judged
from rms_flows.processors.parameters import inside
from rms_flows.report.build import EVENT_COLUMNS, Rule, many_rules
from rms_flows.sigma.expression import Look
from rms_flows.sigma.pipelines import ours


def make(manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
    """Load and compile the rules; raises DocumentError where there are none."""
    paths = [inside(folder, str(path), f"{manifest_id}.rules") for path in parameters["rules"]]
    pipelines = [_pipeline(folder, str(path), f"{manifest_id}.pipelines") for path in parameters["pipelines"]]
    tables = [inside(folder, str(path), f"{manifest_id}.routes") for path in parameters["routes"]]
    routing = parameters["routing"]
    loaded = sigma.load(paths, pipelines, routing=routing, routes=tables)
    plan = sigma.compile(loaded)
    pack = _meaning(loaded)
    rules = [
        Rule(rule.id, rule.title, rule.author, rule.level, rule.tags, rule.meaning, pack)
        for rule in plan.rules
    ]

    speaks = np.array([rule.id not in loaded.silent for rule in plan.rules], dtype=np.bool_)

    def judge(batch: pa.RecordBatch) -> Judged:
        found = plan.match(batch)
        said = speaks[found.rule]
        reports = many_rules(
            batch, found.row[said], found.rule[said], rules, processor=manifest_id, kind="sigma"
        )
        return Judged(reports, found.row, found.rule)

    stateful = None
    if loaded.correlations:
        ids = [rule.id for rule in plan.rules]
        stateful = Correlations(
            loaded.correlations, ids, judge, processor=manifest_id, silent=loaded.silent, pack=pack
        )
    refused = tuple(f"{rule.where}: {rule.title}: refused: {rule.reason}" for rule in loaded.refused)
    looks = frozenset(EVENT_COLUMNS) | (stateful.columns if stateful else frozenset())
    return Step(
        run=lambda batch: judge(batch).reports,
        gives="reports",
        columns=None if plan.columns is None else plan.columns | looks,
        notes=(*refused, *(_unrouted(loaded) if routing else ())),
        counts={"evaluated": len(rules) + len(loaded.correlations), "refused": len(loaded.refused)},
        unreachable=partial(_unreachable, loaded),
        stateful=stateful,
        meaning=pack,
        refused=refused,
        made_of=(*paths, *pipelines, *tables),
        looks_for=_looks_for(loaded),
        search=None if plan.first is None else Search(plan.first, looks, plan.search),
    )


def _looks_for(loaded: sigma.RuleSet) -> tuple[Look, ...] | None:
    """Give the rules' conditions; a silence is over at the last event, whatever that is."""
    if any(one.kind == "flatline" for one in loaded.correlations):
        return None
    return tuple(Look(rule.title, rule.route, rule.detection) for rule in loaded.rules)


def _meaning(loaded: sigma.RuleSet) -> str:
    meant = [(one.id, one.meaning) for one in loaded.rules] + [(c.id, c.meaning) for c in loaded.correlations]
    parts = sorted(map(" ".join, meant))
    return xxhash.xxh3_128_hexdigest("\n".join(parts).encode())


def _unreachable(loaded: sigma.RuleSet, columns: frozenset[str]) -> int:
    return sum(fate.fate == "unreachable" for fate in sigma.fates(loaded, columns))


def _unrouted(loaded: sigma.RuleSet) -> Iterator[str]:
    """Name the log sources that no table knows, those with most rules first."""
    unknown = Counter(rule.logsource for rule in loaded.rules if rule.route is None)
    for source, count in unknown.most_common():
        rules = "1 rule looks" if count == 1 else f"{count} rules look"
        yield f"{{{source}}}: no route: {rules} at every event"


def _pipeline(folder: Path, path: str, where: str) -> Path:
    """Resolve a pipeline: a file in the document's folder, else one of ours by name."""
    here = inside(folder, path, where)
    return here if here.exists() else ours().get(path, here)


PROCESSOR: Final = Processor(
    ProcessorDefinition(
        id="sigma",
        name="sigma",
        description="Reports events of which a rule is true, and what correlations find in many.",
        vendor="rms_flows",
        version="1",
        availability="replay, stream",
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
        examples=(
            Example(description="Rules of the flow's folder", parameters={"rules": ["rules/linux"]}),
            Example(
                description="Rules written for Windows events, over ECS fields",
                parameters={"rules": ["sigma-rules.tar.gz"], "pipelines": ["ecs"]},
            ),
        ),
    ),
    make,
)
