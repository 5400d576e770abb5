"""The corridor: an orchestrator becomes one Beam graph, and this is the whole of it.

::

    sources (decoded within) → annotate → window → processors in graph order → sinks
           └→ dead letters

Every stage is a plain function from batch to batch that runs without Beam. The graph has no GroupByKey and no
Flatten: each way from a source to a sink stands for itself, so that the runner fuses them all into one step,
and a batch never leaves the process that read it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from rms_flows.beam import account
from rms_flows.beam.account import Account
from rms_flows.beam.load import load
from rms_flows.beam.pieces import Piece
from rms_flows.flow.plan import Plan
from rms_flows.flow.window import within

if TYPE_CHECKING:
    import apache_beam as beam

__all__ = ["Plan", "corridor", "run_share"]


def corridor(pipeline: beam.Pipeline, plan: Plan, pieces: Sequence[Piece]) -> None:
    """Lay the graph of `plan` over `pieces`; a transform's name is the way that leads through it."""
    from rms_flows.beam.sinks import write  # noqa: PLC0415  Beam is loaded by who runs the graph, see `load`
    from rms_flows.beam.sources import read  # noqa: PLC0415
    from rms_flows.beam.steps import step  # noqa: PLC0415

    raw = read(pipeline, pieces, {source.id: (source.source, source.request) for source in plan.sources})
    ways: dict[str, dict[str, beam.PCollection]] = {}  # id → the ways that end there
    for source in plan.sources:
        known = raw[account.source(source.id)] | f"Annotate {source.id}" >> step(
            account.annotate(source.id), source.annotator
        )
        inside = known | f"Window {source.id}" >> step(
            account.window(source.id), partial(within, plan.window)
        )
        ways[source.id] = {source.id: inside}
    for processor in plan.processors:
        ways[processor.id] = {
            f"{way} > {processor.id}": batches
            | f"{way} > {processor.id}" >> step(account.processor(processor.id), processor.function)
            for name in processor.inputs
            for way, batches in ways[name].items()
        }
    for sink in plan.sinks:
        inlets = [inlet for name in sink.inputs for inlet in ways[name].items()]
        for edge, (way, batches) in enumerate(inlets):
            batches | f"{way} > {sink.id}" >> write(account.sink(sink.id), sink.sink, edge)
    raw[account.DEAD] | "Dead letters" >> write(account.DEAD_LETTERS, plan.dead_letters, 0)


def run_share(plan: Plan, share: Sequence[Piece]) -> Account:
    """Run the corridor over a share of the work, in this process, to its end."""
    load()
    from rms_flows.beam.runner import run  # noqa: PLC0415  Beam takes seconds; a launcher of workers needs none

    return run(lambda pipeline: corridor(pipeline, plan, share))
