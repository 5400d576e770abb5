"""The corridor as a stream: the same stages behind one reader, state in shards, sinks that acknowledge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rms_flows.beam import account
from rms_flows.flow.plan import Plan, ProcessorStage

if TYPE_CHECKING:
    import apache_beam as beam

SHARDS = 4
"""Of each stage that keeps state."""


@dataclass(frozen=True, slots=True)
class Way:
    """What comes on a way through the graph.

    Args:
        batches: A `beam.PCollection`.
        origins: The shards that it comes from, each with a time of its own; one for a source.
    """

    batches: beam.PCollection
    origins: tuple[str, ...] = ("",)


Ways = dict[str, dict[str, Way]]
"""Id of a source or processor → the ways that end there."""


def corridor(
    pipeline: beam.Pipeline, plan: Plan, run: str, *, shards: int = SHARDS, bundle: float = 1.0
) -> None:
    """Lay the graph of a stream.

    Args:
        pipeline: What the graph grows from.
        plan: The flow.
        run: Id in `beam.reading.LIVE`.
        shards: Of each stage that keeps state.
        bundle: Seconds after which what was found is flushed and acknowledged.
    """
    from rms_flows.beam import live, reading  # noqa: PLC0415  Beam is loaded by who runs the graph

    raw = reading.read(pipeline, run, [source.id for source in plan.sources], bundle)
    ways: Ways = {}
    for source in plan.sources:
        apply = live.apply(account.annotate(source.id), source.annotator)
        known = raw[account.source(source.id)] | f"Annotate {source.id}" >> apply
        ways[source.id] = {source.id: Way(known)}
    for processor in plan.processors:
        inlets = {
            f"{way} > {processor.id}": inlet for name in processor.inputs for way, inlet in ways[name].items()
        }
        if processor.id in plan.spills:
            ways[processor.id] = _together(processor, inlets, run, shards)
            continue
        stage = account.processor(processor.id)
        ways[processor.id] = {
            way: replace(inlet, batches=inlet.batches | way >> live.apply(stage, processor.function))
            for way, inlet in inlets.items()
        }
    for sink in plan.sinks:
        for way, inlet in [inlet for name in sink.inputs for inlet in ways[name].items()]:
            inlet.batches | f"{way} > {sink.id}" >> live.write(account.sink(sink.id), run, sink.id)
    raw[account.DEAD] | "Dead letters" >> live.write(account.DEAD_LETTERS, run, account.DEAD_LETTERS)


def _together(processor: ProcessorStage, inlets: dict[str, Way], run: str, shards: int) -> dict[str, Way]:
    """Lay a processor with the stages that keep its state; give the ways of its reports."""
    import apache_beam as beam  # noqa: PLC0415

    from rms_flows.beam import live  # noqa: PLC0415

    given: dict[str, Way] = {}
    dealt, origins = [], []
    for way, inlet in inlets.items():
        split = live.split(account.processor(processor.id), processor.stateful, way, shards)
        found = inlet.batches | way >> split
        given[way] = replace(inlet, batches=found[live.REPORTS])
        dealt.append(found[live.NEXT])
        origins += [live.origin_of(way, origin) for origin in inlet.origins]
    matches = dealt | f"{processor.id} matches" >> beam.Flatten()
    for level in range(processor.stateful().levels):
        name = f"{processor.id} level {level}"
        stage = live.TogetherLive(
            account.together(processor.id), processor.stateful, level, origins, shards, (run, processor.id)
        )
        found = matches | name >> live.together(stage)
        matches, origins = found[live.NEXT], [f"{level}/{shard}" for shard in range(shards)]
        given[name] = Way(found[live.REPORTS], tuple(origins))
    return given


def owed(plan: Plan, shards: int = SHARDS) -> dict[str, int]:
    """Count how often sinks acknowledge a batch of each source: once for each batch that comes of it."""
    given: dict[str, Mapping[str, int]] = {source.id: {source.id: 1} for source in plan.sources}
    for processor in plan.processors:
        total: dict[str, int] = {}
        for name in processor.inputs:
            for source, count in given[name].items():
                total[source] = total.get(source, 0) + count
        if processor.id in plan.spills:
            total = {
                source: _messages(count, processor.stateful().levels, shards)
                for source, count in total.items()
            }
        given[processor.id] = total
    counts = {source.id: 1 for source in plan.sources}  # dead letters
    for sink in plan.sinks:
        for name in sink.inputs:
            for source, count in given[name].items():
                counts[source] += count
    return counts


def _messages(ways: int, levels: int, shards: int) -> int:
    """Count the batches of reports that come of one batch on some ways through stages that keep state."""
    into = ways
    for _ in range(levels):
        into *= shards
        ways += into
    return ways
