"""The corridor as a stream: the same stages behind one reader, state in shards, sinks that acknowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rms_flows.beam import account
from rms_flows.flow.plan import Plan, ProcessorStage

if TYPE_CHECKING:
    import apache_beam as beam

    from rms_flows.beam.reading import Live

SHARDS = 4
"""Of each stage that keeps state."""


@dataclass(frozen=True, slots=True)
class Way:
    """What comes on a way through the graph.

    Args:
        batches: A `beam.PCollection`.
        name: What the stages behind it call it; ways that begin in the same state share one.
        origins: The shards that it comes from, each with a time of its own; one for a source.
    """

    batches: beam.PCollection
    name: str
    origins: tuple[str, ...] = ("",)


Ways = dict[str, dict[str, Way]]
"""Id of a source or processor → the ways that end there."""


def corridor(
    pipeline: beam.Pipeline,
    plan: Plan,
    run: str,
    *,
    shards: int = SHARDS,
    bundle: float = 1.0,
    kept: bool = False,
    make: Callable[[], Live] | None = None,
) -> None:
    """Lay the graph of a stream.

    Args:
        pipeline: What the graph grows from.
        plan: The flow.
        run: Id in `beam.reading.LIVE`.
        shards: Of each stage that keeps state.
        bundle: Seconds after which what was found is flushed and acknowledged.
        kept: The runner keeps state, and brings ways together: not the local one, where behind a `Flatten`
            nothing comes before the end, so that the stages of all ways share their state in the process.
        make: Makes what `run` names in a process that hasn't got it.
    """
    from rms_flows.beam import live, reading  # noqa: PLC0415  Beam is loaded by who runs the graph

    raw = reading.read(pipeline, run, [source.id for source in plan.sources], bundle, make)
    ways: Ways = {}
    for source in plan.sources:
        apply = live.apply(account.annotate(source.id), source.annotator, run)
        known = raw[account.source(source.id)] | f"Annotate {source.id}" >> apply
        ways[source.id] = {source.id: Way(known, source.id)}
    for processor in plan.processors:
        inlets = {
            f"{way} > {processor.id}": inlet for name in processor.inputs for way, inlet in ways[name].items()
        }
        if processor.id in plan.spills:
            ways[processor.id] = _together(processor, inlets, (run, shards), kept=kept)
            continue
        stage = account.processor(processor.id)
        ways[processor.id] = {
            way: Way(
                inlet.batches | way >> live.apply(stage, processor.function, run),
                f"{inlet.name} > {processor.id}",
                inlet.origins,
            )
            for way, inlet in inlets.items()
        }
    for sink in plan.sinks:
        for way, inlet in [inlet for name in sink.inputs for inlet in ways[name].items()]:
            inlet.batches | f"{way} > {sink.id}" >> live.write(account.sink(sink.id), run, sink.id)
    raw[account.DEAD] | "Dead letters" >> live.write(account.DEAD_LETTERS, run, account.DEAD_LETTERS)


def _together(
    processor: ProcessorStage, inlets: dict[str, Way], run: tuple[str, int], *, kept: bool
) -> dict[str, Way]:
    """Lay a processor with the stages that keep its state; give the ways of its reports."""
    import apache_beam as beam  # noqa: PLC0415

    from rms_flows.beam import live  # noqa: PLC0415

    name, shards = run
    given: dict[str, Way] = {}
    dealt: dict[str, beam.PCollection] = {}
    origins: list[str] = []
    for way, inlet in inlets.items():
        here = f"{inlet.name} > {processor.id}"
        found = inlet.batches | way >> live.split(
            account.processor(processor.id), processor.stateful, here, shards, name
        )
        given[way], dealt[way] = Way(found[live.REPORTS], here, inlet.origins), found[live.NEXT]
        origins += [live.origin_of(here, origin) for origin in inlet.origins]
    if kept:
        dealt = {processor.id: [*dealt.values()] | f"{processor.id} matches" >> beam.Flatten()}
    form = live.TogetherKept if kept else live.TogetherLive
    for level in range(processor.stateful().levels):
        stage = form(
            account.together(processor.id), processor.stateful, level, origins, shards, (name, processor.id)
        )
        origins = [f"{level}/{shard}" for shard in range(shards)]
        for way, matches in dealt.items():
            found = matches | f"{way} level {level}" >> live.together(stage)
            dealt[way] = found[live.NEXT]
            reports = Way(found[live.REPORTS], f"{processor.id} level {level}", tuple(origins))
            given[f"{way} level {level}"] = reports
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
