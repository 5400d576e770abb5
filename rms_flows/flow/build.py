"""A flow's document becomes a plan: places opened, processors made, the columns that each source gives."""

from __future__ import annotations

import itertools
import pickle
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache, partial
from pathlib import Path
from urllib.parse import quote
from zoneinfo import ZoneInfo

from rms_flows.annotate import FILLED, annotator
from rms_flows.confirm import Confirmed
from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError, FlowError
from rms_flows.flow.confirmed import Probed, Sources, behind, probed_by
from rms_flows.flow.plan import Plan, ProcessorStage, SinkStage, SourceStage
from rms_flows.io import open_sink, open_source, uri
from rms_flows.io.contract import Late, Request, Sink, Window
from rms_flows.io.spill import Spill
from rms_flows.model import Orchestrator, ProcessorEntry, SinkEntry, Source, microseconds
from rms_flows.processors import Step, make
from rms_flows.processors.contract import Search
from rms_flows.report.build import EVENT_COLUMNS
from rms_flows.schema import ENVELOPE, MISFIT
from rms_flows.sigma.expression import Look
from rms_flows.trust import UNKNOWN, UNTRUSTED


@dataclass(frozen=True, slots=True)
class Choices:
    """What a person chose for one run.

    Args:
        start: First time to judge.
        end: First time not to judge.
        sources: Source id → URI instead of the archive.
        sinks: Sink id → URI instead of the document's.
        dead_letters: URI of a file.
        endless: Sources may have no end.
        pushdown: Sources may leave out what no processor looks for.
        adding: Sinks that are files keep what they hold.
        rejudge: What archives say of whom to believe is judged anew, as far as it can be.
    """

    start: datetime | None = None
    end: datetime | None = None
    sources: Mapping[str, str] = field(default_factory=dict)
    sinks: Mapping[str, str] = field(default_factory=dict)
    dead_letters: str | None = None
    endless: bool = False
    pushdown: bool = True
    adding: bool = False
    rejudge: bool = False


def build(flow: Orchestrator, folder: Path, data_folder: Path, choices: Choices) -> Plan:
    """Turn a document into a plan; nothing is read or written yet.

    Args:
        flow: The document.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources and sinks begin.
        choices: For this run; paths in it begin in the working directory.

    Raises:
        DocumentError: A processor, a parameter, a URI or an id is unknown or wrong.
        FlowError: Dead letters have nowhere to go.
    """
    _known(choices.sources, [source.id for source in flow.sources], "source")
    _known(choices.sinks, [sink.id for sink in flow.sinks], "sink")
    run = next(_RUNS)
    probed = probed_by(flow, folder)
    sources = behind(flow, probed)
    processors = [_processor(entry, folder, run, sources[entry.id]) for entry in flow.in_order()]
    steps = {stage.id: stage.ready() for stage in processors}
    _apart(flow, steps, data_folder, choices)
    _within_sight(flow, steps)
    window = Window.of(choices.start, choices.end)
    windows = _windows(flow, steps, window)
    needs = _needs(flow, steps)
    looks = _looks(flow, processors, choices)
    sparing = choices.pushdown and not choices.rejudge  # which may look at verdicts that are to be
    late = _late(flow, processors, steps, needs) if sparing else {}
    requests = {
        one.id: Request(
            _judging(needs[one.id]) if choices.rejudge else needs[one.id],
            windows[one.id],
            lateness=microseconds(one.lateness) if choices.endless else None,
            looks_for=looks[one.id],
            late=late.get(one.id),
        )
        for one in flow.sources
    }
    dead_letters = _dead_letters(flow, data_folder, choices)
    beside = _on_disk(dead_letters)
    return Plan(
        sources=_opened(flow, data_folder, choices, requests, probed),
        processors=tuple(replace(stage, window=windows[stage.id]) for stage in processors),
        sinks=tuple(SinkStage(one.id, one.inputs, _sink(one, data_folder, choices)) for one in flow.sinks),
        dead_letters=dead_letters,
        window=window,
        spills={name: Spill(beside, name) for name, step in steps.items() if step.stateful is not None},
    )


def _windows(flow: Orchestrator, steps: Mapping[str, Step], window: Window) -> dict[str, Window]:
    """Give each source and processor the period of which what it gives matters, along the graph."""
    windows = dict.fromkeys([*(source.id for source in flow.sources), *steps], window)
    for entry in reversed(flow.in_order()):
        own, stateful = windows[entry.id], steps[entry.id].stateful
        reach = own if stateful is None else stateful.reach(own.start, own.end)
        for name in entry.inputs:
            known = windows[name]
            windows[name] = Window(
                None if known.start is None or reach.start is None else min(known.start, reach.start),
                None if known.end is None or reach.end is None else max(known.end, reach.end),
            )
    return windows


Looking = Callable[[], Sequence[Look] | None]


def _looks(
    flow: Orchestrator, processors: Sequence[ProcessorStage], choices: Choices
) -> dict[str, Looking | None]:
    """Give what the processors behind each source look for; None where something takes all of it.

    In a stream the time of all events tells what is late.
    """
    whole = {name for sink in flow.sinks for name in sink.inputs}
    found: dict[str, Looking | None] = {}
    for source in flow.sources:
        behind = tuple(one.ready for one in processors if source.id in one.inputs)
        open_ = not choices.pushdown or choices.rejudge or choices.endless or source.id in whole
        found[source.id] = None if open_ else partial(_looked_for, behind)
    return found


def _looked_for(steps: Sequence[Callable[[], Step]]) -> Sequence[Look] | None:
    found: list[Look] = []
    for ready in steps:
        looks = ready().looks_for
        if looks is None:
            return None
        found += looks
    return found or None


def _known(chosen: Mapping[str, str], ids: list[str], what: str) -> None:
    for name in chosen:
        if name not in ids:
            raise DocumentError(
                f"the flow has no {what} {name!r}",
                where=f"--{what}",
                remedy=f"it has {', '.join(ids) or 'none'}",
            )


def _apart(flow: Orchestrator, steps: Mapping[str, Step], folder: Path, choices: Choices) -> None:
    """Check that no two sinks write to one place, and that an archive gets nothing but observations."""
    places: dict[Path, str] = {}
    uris = {sink.id: choices.sinks.get(sink.id) for sink in flow.sinks}
    for sink in flow.sinks:
        chosen = uris[sink.id]
        address = uri.split(chosen or sink.uri, Path() if chosen else folder)
        other = places.setdefault(Path(address.path).resolve(), sink.id)
        if other != sink.id:
            raise DocumentError(
                f"the sinks {other!r} and {sink.id!r} write to one place",
                where=address.uri,
                remedy="name two",
            )
        reports = [name for name in sink.inputs if name in steps and steps[name].gives == "reports"]
        if address.scheme == "parquet" and reports:
            raise DocumentError(
                f"an archive keeps observations, and {reports[0]!r} gives threat reports",
                where=sink.id,
                remedy="write reports to a file of JSON lines",
            )
    if choices.dead_letters is not None:
        place = Path(uri.split(choices.dead_letters, Path()).path).resolve()
        if place in places:
            raise DocumentError(
                f"dead letters and the sink {places[place]!r} go to one place",
                where=choices.dead_letters,
                remedy="name another file with --dead-letters",
            )


def _within_sight(flow: Orchestrator, steps: Mapping[str, Step]) -> None:
    """Check that no processor looks only at columns that the one before it dropped: it would find nothing."""
    for entry in flow.in_order():
        looks = (steps[entry.id].columns or frozenset()) - {*EVENT_COLUMNS, MISFIT}  # what reports take over
        for name in entry.inputs:
            keeps = steps[name].keeps if name in steps else None
            if looks and keeps is not None and looks.isdisjoint(keeps | ENVELOPE.keys()):
                raise DocumentError(
                    f"{entry.id!r} looks at {', '.join(sorted(looks)[:3])}, which {name!r} does not keep",
                    where=flow.orchestrator,
                    remedy=f"let {name!r} keep it, or put {entry.id!r} before it",
                )


def _opened(
    flow: Orchestrator,
    folder: Path,
    choices: Choices,
    requests: Mapping[str, Request],
    probed: Probed,
) -> tuple[SourceStage, ...]:
    """Open the places of all sources."""
    group = f"rms.{flow.orchestrator}"
    return tuple(
        _source(one, folder, choices, requests[one.id], group, probed.get(one.id)) for one in flow.sources
    )


def _source(
    source: Source, folder: Path, choices: Choices, request: Request, group: str, probes: Confirmed | None
) -> SourceStage:
    chosen = choices.sources.get(source.id)
    place = chosen or (source.live if choices.endless else None) or source.archive
    if place is None:
        raise DocumentError(
            f"the source {source.id!r} has no archive to replay",
            remedy=f"give it archive:, or --source {source.id}=URI",
        )
    opened = open_source(
        place,
        base=Path() if chosen else folder,
        options=replace(_options(source), probes=probes),
        confined=not chosen,
        endless=choices.endless,
        group=f"{group}.{source.id}",
    )
    lateness = microseconds(source.lateness)
    idle = microseconds(source.idle) if opened.endless else None
    known = partial(annotator, source, probes, rejudge=choices.rejudge)
    return SourceStage(source.id, opened, request, known, lateness, idle)


def _judging(needs: frozenset[str] | None) -> frozenset[str] | None:
    return None if needs is None else needs | {"probe.sequence"}  # see `annotate.rejudged`


def _options(source: Source) -> Options:
    defaults = Options()
    return Options(
        format=source.format,
        dataset=source.dataset,
        year=source.year,
        timezone=ZoneInfo(source.timezone) if source.timezone else None,
        date_order=source.date_order,
        time_column=source.time_column,
        delimiter=source.delimiter,
        keep_original=source.keep_original,
        max_record=source.max_record or defaults.max_record,
        max_ahead=microseconds(source.max_ahead),
        swapped_roles=source.swapped_roles,
        trust=source.trust,
        probe=source.id,
        quarantined=_verdicts(source, "quarantine"),
        refused=_verdicts(source, "refuse"),
    )


def _verdicts(source: Source, policy: str) -> frozenset[str]:
    policies = {UNTRUSTED: source.untrusted, UNKNOWN: source.unknown}
    return frozenset(verdict for verdict, own in policies.items() if own == policy)


def _processor(entry: ProcessorEntry, folder: Path, run: int, sources: Sources) -> ProcessorStage:
    parameters = pickle.dumps(entry.parameters)
    return ProcessorStage(
        entry.id, entry.inputs, partial(_step, run, entry.processor, entry.id, parameters, folder, sources)
    )


_RUNS = itertools.count()


@lru_cache(maxsize=256)
def _step(_run: int, name: str, manifest_id: str, parameters: bytes, folder: Path, sources: Sources) -> Step:
    """Make a step once a run and process: rules take seconds to load, and may change between runs."""
    step = make(name, manifest_id, pickle.loads(parameters), folder)  # noqa: S301  pickled above, in this run
    return step if step.stateful is None else replace(step, stateful=step.stateful.expecting(dict(sources)))


def _sink(sink: SinkEntry, folder: Path, choices: Choices) -> Sink:
    chosen = choices.sinks.get(sink.id)
    base = Path() if chosen else folder
    return open_sink(chosen or sink.uri, base=base, confined=not chosen, adding=choices.adding)


def _dead_letters(flow: Orchestrator, folder: Path, choices: Choices) -> Sink:
    """Open where dead letters go: as told, else beside the first sink on this machine."""
    if choices.dead_letters is not None:
        return open_sink(choices.dead_letters, base=Path(), empty=False, adding=choices.adding)
    for sink in flow.sinks:
        chosen = choices.sinks.get(sink.id)
        if uri.split(chosen or sink.uri, Path()).scheme in uri.REMOTE:
            continue
        place = (
            (chosen or sink.uri).partition("?")[0].removeprefix("parquet:").removeprefix("file:").rstrip("/")
        )
        stem = Path(place)
        while stem.suffix in {".gz", ".zst", ".ndjson", ".jsonl", ".json"}:
            stem = stem.with_suffix("")
        beside = str(stem.with_name(f"{stem.name}.dead-letters.ndjson"))
        base = Path() if chosen else folder
        return open_sink(beside, base=base, confined=not chosen, empty=False, adding=choices.adding)
    raise FlowError(
        "dead letters have nowhere to go",
        where=flow.orchestrator,
        remedy="give the flow a sink that is a file, or --dead-letters FILE",
    )


def _on_disk(sink: Sink) -> Path:
    """Give the file of a sink, or where on this machine things may lie that belong to one on others."""
    remote = uri.split(sink.uri, Path()).scheme in uri.REMOTE
    return Path(tempfile.gettempdir(), quote(sink.uri, safe="")) if remote else Path(sink.uri).resolve()


def _needs(flow: Orchestrator, steps: Mapping[str, Step]) -> dict[str, frozenset[str] | None]:
    """Work out which columns of each source something behind it looks at; None is all of them."""
    names = [*(source.id for source in flow.sources), *(entry.id for entry in flow.processors)]
    needs: dict[str, frozenset[str] | None] = dict.fromkeys(names, frozenset())

    def add(name: str, columns: frozenset[str] | None) -> None:
        known = needs[name]
        needs[name] = None if known is None or columns is None else known | columns

    for sink in flow.sinks:
        for name in sink.inputs:
            add(name, None)
    for entry in reversed(flow.in_order()):
        step = steps[entry.id]
        behind = frozenset() if step.gives == "reports" else needs[entry.id]
        for name in entry.inputs:
            add(name, step.columns)
            add(name, behind)
    return needs


def _late(
    flow: Orchestrator,
    processors: Sequence[ProcessorStage],
    steps: Mapping[str, Step],
    needs: Mapping[str, frozenset[str] | None],
) -> dict[str, Late | None]:
    """Work out for each source what tells which values of its columns nobody behind it looks at."""
    kept = {name for sink in flow.sinks for name in sink.inputs}
    found: dict[str, Late | None] = {}
    for source in flow.sources:
        always: list[frozenset[str] | None] = [None] if source.id in kept else [FILLED]
        searches = []
        for stage in processors:
            step = steps[stage.id]
            if source.id not in stage.inputs:
                continue
            if step.gives == "reports" and step.search and step.search.first.isdisjoint(FILLED):
                searches.append(partial(_search, stage.ready))
            else:
                always += [step.columns, frozenset() if step.gives == "reports" else needs[stage.id]]
        named = [columns for columns in always if columns is not None]
        spares = searches and len(named) == len(always)
        found[source.id] = Late(frozenset().union(*named), tuple(searches)) if spares else None
    return found


def _search(ready: Callable[[], Step]) -> Search:
    search = ready().search
    assert search is not None  # noqa: S101  asked when the plan was made
    return search
