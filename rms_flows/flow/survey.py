"""What a source has to offer to rules: its columns."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from msgspec import structs

from rms_flows.beam.progress import Progress
from rms_flows.flow.plan import Plan
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Source
from rms_flows.processors import Step
from rms_flows.schema import MISFIT
from rms_flows.sigma import Fate, Rule, RuleSet, compile, fates  # noqa: A004 - as in re.compile
from rms_flows.sigma.expression import And


@dataclass(frozen=True, slots=True)
class Coverage:
    """What rules find on a source to work on.

    Args:
        fates: What becomes of each rule, by file and line.
        events: Log source, as people write it → events that its rules look at.
        rows: Events of the source.
    """

    fates: Sequence[Fate]
    events: Mapping[str, int]
    rows: int


def coverage(
    rules: RuleSet, source: str | Source, *, progress: Callable[[Progress], None] | None = None
) -> Coverage:
    """Tell the fate of each rule on a source, and how many events of its log source there are.

    Parquet says in its footers which columns there are, and only those that tell log sources apart are read;
    other sources are read through.

    Args:
        rules: What would run.
        source: URI, whose paths begin in the working directory, or a source that is open.
        progress: Called after each batch that is read.

    Raises:
        SourceError: The source can't be read.
    """
    opened = open_source(source, base=Path()) if isinstance(source, str) else source
    known = opened.columns()
    routes = {rule.logsource: rule for rule in rules.rules}
    plan = compile(RuleSet(tuple(map(_looking, routes.values())), ()))
    names: set[str] = set()
    counts = np.zeros(len(routes), dtype=np.int64)
    rows = 0
    for batch in _read(opened, Request(None if known is None else plan.columns), progress):
        rows += batch.num_rows
        counts += np.bincount(plan.match(batch).rule, minlength=len(routes))
        if known is None:
            names.update(_filled(batch))
    events = dict(zip(routes, counts.tolist(), strict=True))
    return Coverage(fates(rules, names if known is None else known), events, rows)


def _looking(rule: Rule) -> Rule:
    """Make a rule that is true of the events that a rule looks at."""
    return structs.replace(rule, detection=And(()) if rule.route is None else rule.route, route=None)


def _read(
    source: Source, request: Request, progress: Callable[[Progress], None] | None
) -> Iterator[pa.RecordBatch]:
    began = time.monotonic()
    fragments = source.fragments(request)
    total = float(sum(fragment.size or 0 for fragment in fragments))
    rows, done = 0, 0.0
    for fragment in fragments:
        for decoded in source.read(fragment, request):
            rows += decoded.rows.num_rows
            if progress is not None:
                progress(Progress(rows, time.monotonic() - began, done, total))
            yield decoded.rows
        done += fragment.size or 0


def _filled(batch: pa.RecordBatch) -> Iterable[str]:
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if column.null_count == len(column):
            continue
        if name == MISFIT:
            for text in column.drop_null().unique().to_pylist():
                yield from json.loads(text)
        else:
            yield name


def unreachable(plan: Plan, steps: dict[str, Step]) -> dict[str, int]:
    """Count for each processor the rules that can't be true for want of columns, where these are known."""
    known: dict[str, frozenset[str] | None] = {stage.id: stage.source.columns() for stage in plan.sources}
    counts = {}
    for stage in plan.processors:
        columns = _joined([known[name] for name in stage.inputs])
        known[stage.id] = None if columns is None else columns | steps[stage.id].adds
        count = steps[stage.id].unreachable
        if count is not None and columns is not None:
            counts[stage.id] = count(columns)
    return counts


def _joined(known: Sequence[frozenset[str] | None]) -> frozenset[str] | None:
    there = [columns for columns in known if columns is not None]
    return frozenset[str]().union(*there) if len(there) == len(known) else None
