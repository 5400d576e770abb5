"""A backtest from the rules' files to the figures."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import pyarrow as pa

from rms_flows.backtest import ENTITY_COLUMNS, Backtest, backtest, read_truth
from rms_flows.beam.progress import Progress
from rms_flows.errors import FlowError
from rms_flows.flow.build import Choices
from rms_flows.flow.gather import gather
from rms_flows.flow.plan import SourceStage
from rms_flows.flow.survey import coverage
from rms_flows.flow.window import within
from rms_flows.io.contract import Request, Window
from rms_flows.replay import HERE, ROOT, detection
from rms_flows.sigma import load


def run(  # noqa: PLR0913  each parameter is a choice that a person makes
    rules: Sequence[Path],
    *,
    source: str,
    truth: Path,
    pipelines: Sequence[Path] = (),
    routes: Sequence[Path] = (),
    routing: bool = True,
    period: tuple[datetime | None, datetime | None] = (None, None),
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> Backtest:
    """Run rules over labelled history and measure them.

    Args:
        rules: Files, folders or archives of rules.
        source: URI of the history; paths begin in the working directory.
        truth: File of labels.
        pipelines: What maps the rules.
        routes: Tables of routes besides ours.
        routing: Whether rules look only at the events of their log sources.
        period: First time that is judged, and first that no longer is.
        workers: Processes that work at once.
        progress: Called about four times a second.

    Raises:
        RmsError: As `replay.detect`; or the labels are none.
        FlowError: It was stopped before its end.
    """
    labels = read_truth(truth)
    flow = detection(rules, pipelines, routes, routing=routing)
    choices = Choices(*period, {"input": source})
    found = gather(flow, folder=ROOT, data_folder=HERE, choices=choices, workers=workers, progress=progress)
    if found.summary is None:
        raise FlowError(
            "the run was stopped, so there is nothing to measure", where=source, remedy="let it end"
        )
    stage = found.sources["input"]
    known = load(rules, pipelines, routing=routing, routes=routes)
    return backtest(
        found.reports, labels, _events(stage, Window.of(*period)), [coverage(known, stage.source)]
    )


def _events(stage: SourceStage, window: Window) -> Iterator[pa.RecordBatch]:
    """Give the history of the period, as the corridor sees it."""
    request, known, keep = Request(frozenset(ENTITY_COLUMNS), window), stage.annotator(), within(window)
    for fragment in stage.source.fragments(request):
        for decoded in stage.source.read(fragment, request):
            yield keep(known(decoded.rows))
