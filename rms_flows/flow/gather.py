"""A run whose reports come back to who asked for them, instead of going to the flow's sinks."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from rms_flows.beam.progress import Progress
from rms_flows.beam.workers import Crew
from rms_flows.errors import FlowError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.launch import launch
from rms_flows.flow.plan import Plan, SinkStage, SourceStage
from rms_flows.flow.summary import Summary
from rms_flows.io.gathering import GatheringSink
from rms_flows.model import Orchestrator, SinkEntry
from rms_flows.report.fold import folded
from rms_flows.schema import DEAD_LETTER, REPORT


@dataclass(frozen=True, slots=True)
class Gathered:
    """What a run found.

    Args:
        reports: `schema.REPORT`, folded by id, sorted by time and id.
        dead_letters: `schema.DEAD_LETTER`: records that could not be processed.
        summary: The account of the run; None where it was stopped before its end.
        sources: How each source was read, by its id, to look up events again.
    """

    reports: pa.Table
    dead_letters: pa.Table
    summary: Summary | None
    sources: Mapping[str, SourceStage]


def gather(
    flow: Orchestrator,
    *,
    folder: Path,
    data_folder: Path,
    choices: Choices,
    adapt: Mapping[str, Callable[[SourceStage], SourceStage]] | None = None,
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Gathered:
    """Run a flow to its end, or until Ctrl-C, and give what its processors reported.

    The corridor is that of a replay; the flow's own sinks are left alone.

    Args:
        flow: The document.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources begin.
        choices: For this run; those about sinks and dead letters have no meaning here.
        adapt: Source id → what makes another stage of its stage, to read something that is open already.
        workers: Processes that work at once; 1 works in this one.
        progress: Called in this process about four times a second.

    Raises:
        RmsError: As `replay.replay`.
    """
    with tempfile.TemporaryDirectory(prefix="rms-") as aside:
        reports, dead = (GatheringSink(Path(aside) / name) for name in ("reports", "dead-letters"))
        for sink in (reports, dead):
            sink.folder.mkdir()
        plan = _plan(flow, folder, data_folder, choices, Path(aside))
        stage = SinkStage("reports", _reporting(plan), reports)
        adapters = adapt or {}
        plan = replace(
            plan,
            sources=tuple(adapters.get(one.id, _as_it_is)(one) for one in plan.sources),
            sinks=(stage,),
            dead_letters=dead,
        )
        summary = None
        try:
            with Crew(workers) as crew:
                summary = launch(plan, crew, progress=progress)
        except KeyboardInterrupt:
            pass  # what was found so far is an answer too; the summary's absence tells that it is not all
        return Gathered(
            folded(pa.Table.from_batches(reports.batches(), REPORT)),
            pa.Table.from_batches(dead.batches(), DEAD_LETTER),
            summary,
            {one.id: one for one in plan.sources},
        )


def _plan(flow: Orchestrator, folder: Path, data_folder: Path, choices: Choices, aside: Path) -> Plan:
    """Build the flow with one sink, and with all that it writes on the way in a folder of its own."""
    if not flow.processors:
        raise FlowError("no processor reports anything", where=flow.orchestrator, remedy="give it one")
    known = {one.id for one in flow.processors}
    shown = tuple(dict.fromkeys(name for sink in flow.sinks for name in sink.inputs if name in known))
    sink = SinkEntry(
        id="reports", inputs=shown or tuple(one.id for one in flow.processors), uri="reports.ndjson"
    )
    placed = replace(
        choices,
        sinks={"reports": str(aside / "reports.ndjson")},
        dead_letters=str(aside / "dead-letters.ndjson"),
    )
    return build(flow.model_copy(update={"sinks": (sink,)}), folder, data_folder, placed)


def _reporting(plan: Plan) -> tuple[str, ...]:
    """Name what gives reports, of what the flow's sinks would get."""
    steps = {stage.id: stage.ready() for stage in plan.processors}
    return tuple(name for name in plan.sinks[0].inputs if steps[name].gives == "reports")


def _as_it_is(stage: SourceStage) -> SourceStage:
    return stage
