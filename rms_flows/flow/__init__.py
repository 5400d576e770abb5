"""The corridor: an orchestrator becomes one Beam graph, and this is the whole of it.

::

    sources (decoded within) → annotate → window → processors in graph order → clip → sinks → dead letters
           └→ dead letters                      └→ matches → stages with state → processors behind → sinks

Every stage is a plain function from batch to batch that runs without Beam. The graph has no GroupByKey and no
Flatten: each way from a source to a sink stands for itself, so that the runner fuses them all into one step,
and a batch never leaves the process that read it. Where something is found in many events together, their
matches wait on disk, and a second graph takes each shard of them in the order of time.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rms_flows.beam import account
from rms_flows.beam.account import Account
from rms_flows.beam.load import load
from rms_flows.beam.pieces import Piece, Stage
from rms_flows.flow.plan import Plan, ProcessorStage
from rms_flows.flow.window import within

if TYPE_CHECKING:
    import apache_beam as beam

__all__ = ["Plan", "corridor", "run_share", "run_stages", "together"]

Ways = dict[str, "dict[str, beam.PCollection]"]
"""Id of a source or processor → the ways that end there."""


def corridor(pipeline: beam.Pipeline, plan: Plan, pieces: Sequence[Piece]) -> None:
    """Lay the graph of `plan` over `pieces`; a transform's name is the way that leads through it."""
    from rms_flows.beam.sinks import write  # noqa: PLC0415  Beam is loaded by who runs the graph, see `load`
    from rms_flows.beam.sources import read  # noqa: PLC0415
    from rms_flows.beam.steps import step  # noqa: PLC0415
    from rms_flows.beam.together import note  # noqa: PLC0415

    raw = read(pipeline, pieces, {source.id: (source.source, source.request) for source in plan.sources})
    ways: Ways = {}
    for source in plan.sources:
        known = raw[account.source(source.id)] | f"Annotate {source.id}" >> step(
            account.annotate(source.id), source.annotator
        )
        inside = known | f"Window {source.id}" >> step(
            account.window(source.id), partial(within, source.request.window)
        )
        ways[source.id] = {source.id: inside}
        for name in _behind(plan, source.id) & {*plan.spills}:
            inside | f"Last of {source.id} for {name}" >> note(plan.spills[name])
    _lay(plan, ways)
    raw[account.DEAD] | "Dead letters" >> write(account.DEAD_LETTERS, plan.dead_letters, 0)


def _lay(plan: Plan, ways: Ways) -> None:
    """Lay processors and sinks behind what is there; a processor that is there is not laid again."""
    from rms_flows.beam.sinks import write  # noqa: PLC0415
    from rms_flows.beam.steps import step  # noqa: PLC0415

    around = {source.id for source in plan.sources}  # who may give what lies around the period that is judged
    for processor in plan.processors:
        if processor.id not in ways:
            inlets = [inlet for name in processor.inputs for inlet in ways.get(name, {}).items()]
            ways[processor.id] = dict(
                _processed(plan, processor, f"{way} > {processor.id}", batches, edge)
                for edge, (way, batches) in enumerate(inlets)
            )
        if processor.window != plan.window or processor.ready().gives == "observations":
            around.add(processor.id)
    refused = 0
    for sink in plan.sinks:
        inward = [(name, *inlet) for name in sink.inputs for inlet in ways.get(name, {}).items()]
        for edge, (name, way, batches) in enumerate(inward):
            inside = batches
            if name in around:
                inside |= f"{way} > {sink.id} window" >> step(
                    account.clip(sink.id), partial(within, plan.window)
                )
            letters = inside | f"{way} > {sink.id}" >> write(account.sink(sink.id), sink.sink, edge)
            refused += 1  # the first input of the sink of dead letters is what sources give
            letters | f"{way} > {sink.id} refused" >> write(account.DEAD_LETTERS, plan.dead_letters, refused)


def _processed(
    plan: Plan, processor: ProcessorStage, way: str, batches: beam.PCollection, edge: int
) -> tuple[str, beam.PCollection]:
    """Lay one processor behind one way."""
    from rms_flows.beam.steps import MATCHES, REPORTS, split, step  # noqa: PLC0415
    from rms_flows.beam.together import spill  # noqa: PLC0415

    stage = account.processor(processor.id)
    if processor.id not in plan.spills:
        return way, batches | way >> step(stage, processor.function)
    found = batches | way >> split(stage, processor.stateful, partial(within, processor.window))
    found[MATCHES] | f"{way} spill" >> spill(plan.spills[processor.id], processor.stateful, edge)
    return way, found[REPORTS]


def together(pipeline: beam.Pipeline, plan: Plan, stages: Sequence[Stage]) -> None:
    """Lay the graph of one level of a processor that keeps state, and of all that lies behind it."""
    from rms_flows.beam.steps import MATCHES, REPORTS  # noqa: PLC0415
    from rms_flows.beam.together import correlate, spill  # noqa: PLC0415

    processor = next(one for one in plan.processors if one.id == stages[0].processor)
    runs, window = plan.spills[processor.id], processor.window
    until = processor.stateful().reach(window.start, window.end).end  # what is suppressed is told as a whole
    found = correlate(
        pipeline,
        stages,
        runs,
        processor.stateful,
        account=account.together(processor.id),
        until=runs.until() if until is None else until,
        keep=partial(within, window),
    )
    found[MATCHES] | "Spill" >> spill(runs, processor.stateful, 0)
    behind = _behind(plan, processor.id)
    ways: Ways = {one.id: {} for one in plan.processors if one.id not in behind}
    ways[processor.id] = {f"{processor.id} together": found[REPORTS]}
    _lay(plan, ways)


def _behind(plan: Plan, name: str) -> set[str]:
    """Name the processors that lie behind a source or a processor."""
    behind = {name}
    for one in plan.processors:
        if behind & {*one.inputs}:
            behind.add(one.id)
    return behind - {name}


def run_share(plan: Plan, share: Sequence[Piece]) -> Account:
    """Run the corridor over a share of the work, in this process, to its end."""
    load()
    from rms_flows.beam.runner import run  # noqa: PLC0415  Beam takes seconds; a launcher of workers needs none

    return run(lambda pipeline: corridor(pipeline, plan, share))


def run_stages(plan: Plan, stages: Sequence[Stage]) -> Account:
    """Work off shards of one level of a processor, in this process, to their end."""
    load()
    from rms_flows.beam.runner import run  # noqa: PLC0415

    return run(lambda pipeline: together(pipeline, plan, stages))
