"""The corridor as a stream: the same stages behind one reader, state in shards, sinks that acknowledge."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rms_flows.beam import account
from rms_flows.beam.share import Several, origin
from rms_flows.flow.plan import Plan, ProcessorStage, SourceStage
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.io.share import ALL, Share

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
"""Id of a source or processor → the ways that end there, by their names."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was laid so far.

    Args:
        ways: Of sources and processors.
        matches: Of processors that keep state: what goes to it, for its shards.
    """

    ways: Ways
    matches: Ways


def corridor(  # noqa: PLR0913  each is something else
    pipeline: beam.Pipeline,
    plan: Plan,
    run: str,
    *,
    shards: int = SHARDS,
    bundle: float = 1.0,
    kept: bool = False,
    make: Callable[[], Live] | None = None,
    several: Several | None = None,
) -> None:
    """Lay the graph of a stream: what comes of sources without state, then what keeps state, then sinks.

    Args:
        pipeline: What the graph grows from.
        plan: The flow.
        run: Id in `beam.reading.LIVE`.
        shards: Of each stage that keeps state.
        bundle: Seconds after which what was found is flushed and acknowledged.
        kept: The runner keeps state, and brings ways together: not the local one, where behind a `Flatten`
            nothing comes before the end, so that the stages of all ways share their state in the process.
        make: Makes what `run` names in a process that hasn't got it.
        several: Makes it for several readers instead, each in a process with what needs no state, and for the
            one process behind them all.
    """
    from rms_flows.beam import live, reading  # noqa: PLC0415  Beam is loaded by who runs the graph

    raw = reading.read(pipeline, run, [source.id for source in plan.sources], bundle, make, several)
    dead, found = raw[account.DEAD], Found({}, {})
    for source in plan.sources:
        apply = live.apply(account.annotate(source.id), source.annotator, run)
        known = raw[account.source(source.id)] | f"Annotate {source.id}" >> apply
        found.ways[source.id] = {source.id: Way(known, source.id, _origins(source, several))}
    for processor in plan.processors:
        _judged(processor, plan, found, (run, shards))
    if several is not None:
        dead, found = _gathered(plan, dead, found, (run, several))
    later = Found({}, {})
    for processor in plan.processors:
        _judged(processor, plan, later, (run, shards))
        if processor.id in plan.spills:
            later.ways[processor.id] |= _together(processor, [found, later], (run, shards), kept=kept)
    for sink in plan.sinks:
        ways = [found.ways, later.ways]
        for way, inlet in [
            inlet for name in sink.inputs for one in ways for inlet in one.get(name, {}).items()
        ]:
            inlet.batches | f"{way} > {sink.id}" >> live.write(account.sink(sink.id), run, sink.id)
    dead | "Dead letters" >> live.write(account.DEAD_LETTERS, run, account.DEAD_LETTERS)


def _origins(source: SourceStage, several: Several | None) -> tuple[str, ...]:
    """Name the readers of a source."""
    if several is None or not isinstance(source.source, KafkaSource):
        return (origin(ALL),)
    return tuple(origin(Share(one, several.count)) for one in range(several.count))


def _judged(processor: ProcessorStage, plan: Plan, found: Found, run: tuple[str, int]) -> None:
    """Lay what needs no state of a processor, behind what is there of its inputs."""
    from rms_flows.beam import live  # noqa: PLC0415

    name, shards = run
    stage = account.processor(processor.id)
    ways: dict[str, Way] = {}
    matches: dict[str, Way] = {}
    inlets = [inlet for one in processor.inputs for inlet in found.ways.get(one, {}).items()]
    for before, inlet in inlets:
        way, here = f"{before} > {processor.id}", f"{inlet.name} > {processor.id}"
        if processor.id in plan.spills:
            split = inlet.batches | way >> live.split(stage, processor.stateful, here, shards, name)
            ways[way] = Way(split[live.REPORTS], here, inlet.origins)
            matches[way] = Way(split[live.NEXT], here, inlet.origins)
        else:
            applied = inlet.batches | way >> live.apply(stage, processor.function, name)
            ways[way] = Way(applied, here, inlet.origins)
    found.ways[processor.id], found.matches[processor.id] = ways, matches


def _gathered(
    plan: Plan, dead: beam.PCollection, found: Found, run: tuple[str, Several]
) -> tuple[beam.PCollection, Found]:
    """Have dead letters, what sinks take and what state is kept of go on in one process."""
    from rms_flows.beam.gather import gathered  # noqa: PLC0415

    name, several = run
    taken = {one for sink in plan.sinks for one in sink.inputs}
    kept = {one: ways for one, ways in found.ways.items() if one in taken}
    places = [
        (into, one, way) for into in (kept, found.matches) for one, ways in into.items() for way in ways
    ]
    sent = [
        (f"{way} matches" if into is found.matches else way, into[one][way].batches, into is found.matches)
        for into, one, way in places
    ]
    dead, *batches = gathered(name, several, [("Dead", dead, False), *sent])
    behind = Found({}, {})
    for (into, one, way), came in zip(places, batches, strict=True):
        to = behind.matches if into is found.matches else behind.ways
        to.setdefault(one, {})[way] = replace(into[one][way], batches=came)
    return dead, behind


def _together(
    processor: ProcessorStage, found: Sequence[Found], run: tuple[str, int], *, kept: bool
) -> dict[str, Way]:
    """Lay the stages that keep a processor's state; give the ways of their reports."""
    import apache_beam as beam  # noqa: PLC0415

    from rms_flows.beam import live  # noqa: PLC0415

    name, shards = run
    matches = {way: one for each in found for way, one in each.matches.get(processor.id, {}).items()}
    origins = [live.origin_of(one.name, origin) for one in matches.values() for origin in one.origins]
    dealt = {way: one.batches for way, one in matches.items()}
    given: dict[str, Way] = {}
    if kept:
        dealt = {processor.id: [*dealt.values()] | f"{processor.id} matches" >> beam.Flatten()}
    form = live.TogetherKept if kept else live.TogetherLive
    for level in range(processor.stateful().levels):
        stage = form(
            account.together(processor.id), processor.stateful, level, origins, shards, (name, processor.id)
        )
        origins = [f"{level}/{shard}" for shard in range(shards)]
        for way, each in dealt.items():
            came = each | f"{way} level {level}" >> live.together(stage)
            dealt[way] = came[live.NEXT]
            reports = Way(came[live.REPORTS], f"{processor.id} level {level}", tuple(origins))
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
