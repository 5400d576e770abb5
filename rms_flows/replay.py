"""Replay: the door into the corridor for what lies in archives and files.

`replay` runs an orchestrator, `detect` Sigma rules over one source, `archive` turns a source into Parquet.
All three are one flow with the same promise: the same input gives the same output, id for id, however often
and with however many workers; an attempt that fails or is killed leaves what was there before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from pydantic import ValidationError

from rms_flows.beam.progress import Progress
from rms_flows.beam.workers import Crew
from rms_flows.errors import DocumentError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.launch import launch
from rms_flows.flow.summary import Summary
from rms_flows.io.elasticsearch.pushdown import Pushed
from rms_flows.io.elasticsearch.source import ElasticsearchSource
from rms_flows.model import Orchestrator, ProcessorEntry, SinkEntry, Source
from rms_flows.sigma.pipelines import resolve

__all__ = ["Crew", "Progress", "Summary", "archive", "detect", "detection", "replay"]

HERE = Path()
"""Where paths begin that a person types."""

ROOT = Path("/")


def replay(  # noqa: PLR0913  each parameter is a choice that a person makes
    orchestrator: Orchestrator,
    *,
    folder: Path,
    data_folder: Path | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int | Crew = 1,
    sources: Mapping[str, str] | None = None,
    sinks: Mapping[str, str] | None = None,
    dead_letters: str | None = None,
    pushdown: bool = True,
    rejudge: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run an orchestrator over its archives.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin; the document's folder.
        data_folder: Where relative paths of sources and sinks begin; `folder` unless told.
        start: Judge events from this time on; None for all.
        end: Judge events before this time; None for all.
        workers: Processes that work at once, or a crew that was started earlier; 1 works in this one.
        sources: Source id → URI to read instead of the archive.
        sinks: Sink id → URI to write instead.
        dead_letters: URI for records that can't be processed; unless told, beside the first sink that is a
            file or folder: `reports.dead-letters.ndjson` beside `reports.ndjson`.
        pushdown: Sources that can search leave out what no processor looks for; the reports are the same.
        rejudge: Judge anew, by what is confirmed now, whom archives say to believe (`rms.trust`).
        progress: Called in this process about four times a second.

    Raises:
        DocumentError: An override names no source or sink.
        SourceError: A source can't be read.
        SinkError: A sink can't be written.
        RuleError: A processor's rules can't be loaded at all.
        FlowError: The flow can't be built, a worker died, or rows went missing.
    """
    choices = Choices(
        start, end, sources or {}, sinks or {}, dead_letters, pushdown=pushdown, rejudge=rejudge
    )
    with _staffed(workers) as crew:
        return launch(build(orchestrator, folder, data_folder or folder, choices), crew, progress=progress)


@contextmanager
def _staffed(workers: int | Crew) -> Iterator[Crew]:
    """Give the crew that is there, or one for the time of a run."""
    if isinstance(workers, Crew):
        yield workers
        return
    with Crew(workers) as crew:
        yield crew


def detect(  # noqa: PLR0913  each parameter is a choice that a person makes
    rules: Sequence[Path],
    *,
    source: str,
    sink: str,
    pipelines: Sequence[Path] = (),
    routes: Sequence[Path] = (),
    routing: bool = True,
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int | Crew = 1,
    dead_letters: str | None = None,
    pushdown: bool = True,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run Sigma rules over one source: a replay without a document; paths begin in the working directory.

    `pipelines`, `routes` and `routing` are those of `sigma.load`, the rest those of `replay`.
    """
    flow = detection(rules, pipelines, routes, routing=routing)
    choices = Choices(start, end, {"input": source}, {"reports": sink}, dead_letters, pushdown=pushdown)
    with _staffed(workers) as crew:
        return launch(build(flow, ROOT, HERE, choices), crew, progress=progress)


def explain(
    rules: Sequence[Path],
    *,
    source: str,
    pipelines: Sequence[Path] = (),
    routes: Sequence[Path] = (),
    routing: bool = True,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Pushed:
    """Tell what `detect` would ask of the source; raises DocumentError for one that can't search."""
    flow = detection(rules, pipelines, routes, routing=routing)
    choices = Choices(start, end, {"input": source}, {}, None)
    [stage] = build(flow, ROOT, HERE, choices).sources
    if not isinstance(stage.source, ElasticsearchSource):
        raise DocumentError(
            "can't search, so all of it is read",
            where=stage.source.uri,
            remedy="only elasticsearch: leaves out what no rule looks for",
        )
    return stage.source.explain(stage.request)


def detection(
    rules: Sequence[Path], pipelines: Sequence[Path], routes: Sequence[Path], *, routing: bool
) -> Orchestrator:
    """Give the flow that runs Sigma rules over one source, called `input`."""
    return Orchestrator(
        orchestrator="detect",
        sources=(Source(id="input"),),
        processors=(
            ProcessorEntry(
                id="sigma",
                processor="sigma",
                inputs=("input",),
                parameters={
                    "rules": _absolute(rules),
                    "pipelines": _absolute([resolve(path) for path in pipelines]),
                    "routes": _absolute(routes),
                    "routing": routing,
                },
            ),
        ),
        sinks=(SinkEntry(id="reports", inputs=("sigma",), uri="reports.ndjson"),),
    )


def _absolute(paths: Sequence[Path]) -> list[str]:
    return [str(path.absolute()) for path in paths]


def archive(  # noqa: PLR0913  each parameter is a choice that a person makes
    source: str,
    target: str,
    *,
    name: str = "events",
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int | Crew = 1,
    dead_letters: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Turn one source into a Parquet archive, `name` being its id; paths begin in the working directory."""
    try:
        known = Source(id=name)
    except ValidationError as error:
        raise DocumentError(
            f"{name!r} can't be the id of a source: {error.errors()[0]['msg']}",
            where="--id",
            remedy="choose another",
        ) from None
    flow = Orchestrator(
        orchestrator="archive",
        sources=(known,),
        sinks=(SinkEntry(id=f"{name}.archive", inputs=(name,), uri=target),),
    )
    choices = Choices(start, end, {name: source}, {f"{name}.archive": target}, dead_letters)
    with _staffed(workers) as crew:
        return launch(build(flow, HERE, HERE, choices), crew, progress=progress)
