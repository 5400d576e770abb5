"""The life of a run: list the work, prepare sinks, do it, check the books, commit; or leave all as it was."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rms_flows.beam import account
from rms_flows.beam.account import Account, words
from rms_flows.beam.pieces import STATE_SHARDS, Piece, Stage, shares
from rms_flows.beam.progress import Progress
from rms_flows.beam.workers import Crew
from rms_flows.decode.contract import Counts
from rms_flows.errors import FlowError
from rms_flows.flow import run_share, run_stages
from rms_flows.flow.plan import Plan
from rms_flows.flow.reconcile import reconcile
from rms_flows.flow.summary import Summary
from rms_flows.flow.survey import unreachable
from rms_flows.io.contract import Sink
from rms_flows.io.spill import Spill

Show = Callable[[Progress], None]

SHOW_EVERY = 0.25
"""Seconds between two calls of `progress`."""


def launch(plan: Plan, crew: Crew, *, progress: Show | None = None) -> Summary:
    """Run a plan to its end.

    Args:
        plan: What to run.
        crew: Who works.
        progress: Called in this process about four times a second.

    Raises:
        RmsError: It could not run to its end; the sinks hold what they held before.
    """
    began = time.monotonic()
    pieces = work(plan)
    _reads_not_what_it_writes(plan, pieces)
    watch = _Watch(began, sum(piece.weight for piece in pieces), progress)
    with (
        prepared([*(sink.sink for sink in plan.sinks), plan.dead_letters]),
        prepared([*plan.spills.values()], always=True),
    ):
        total = crew.run(partial(run_share, plan), shares(pieces, len(crew)), tell=watch.add)
        _run_together(plan, crew, total, len(pieces), watch)
        reconcile(plan, pieces, total)
        kept = {sink.id: sink.sink.commit() for sink in plan.sinks}
        plan.dead_letters.commit()
    watch.end()
    return summarize(plan, total, kept, seconds=time.monotonic() - began)


def work(plan: Plan) -> list[Piece]:
    """List the fragments of all sources, numbered in the order of the plan."""
    found = [
        (source.id, fragment)
        for source in plan.sources
        for fragment in source.source.fragments(source.request)
    ]
    return [Piece(number, source, fragment) for number, (source, fragment) in enumerate(found)]


def _run_together(plan: Plan, crew: Crew, total: Account, first: int, watch: _Watch) -> None:
    """Go through the processors that keep state, level by level; adds to the account."""
    for processor in plan.processors:
        if processor.id not in plan.spills:
            continue
        stateful, runs = processor.stateful(), plan.spills[processor.id]
        for level in range(stateful.levels):
            shards = range(STATE_SHARDS) if stateful.waits(level) else runs.shards(level)
            stages = [Stage(first + n, processor.id, level, shard) for n, shard in enumerate(shards)]
            first += len(stages)
            if stages:
                total.update(crew.run(partial(run_stages, plan), shares(stages, len(crew)), tell=watch.add))


def _reads_not_what_it_writes(plan: Plan, pieces: Sequence[Piece]) -> None:
    """Check that no input is a file that the run replaces, or lies in a folder that it writes."""
    sinks = [*(stage.sink for stage in plan.sinks), plan.dead_letters]
    targets = {Path(sink.uri.removeprefix("parquet:")).resolve(): sink.uri for sink in sinks}
    for read in sorted({piece.fragment.uri for piece in pieces}):
        path = Path(read).resolve()
        for place in (path, *path.parents):
            if place in targets:
                raise FlowError(
                    "the run would read what it writes",
                    where=read,
                    remedy="give --sink or --dead-letters another",
                )


@contextmanager
def prepared(sinks: Sequence[Sink | Spill], *, always: bool = False) -> Iterator[None]:
    """Prepare sinks in turn; whatever goes wrong, also Ctrl-C, abandon those that were, or `always`.

    Args:
        sinks: They commit inside, all of them.
        always: They are abandoned at the end as well.
    """
    ready: list[Sink | Spill] = []
    done = False
    try:
        for sink in sinks:
            sink.prepare()
            ready.append(sink)
        yield
        done = not always
    finally:
        for sink in ready if not done else ():
            sink.abandon()


class _Watch:
    """Adds up what workers tell and shows it now and then."""

    def __init__(self, began: float, total: float, show: Show | None) -> None:
        self._began = began
        self._total = total
        self._show = show
        self._rows, self._done = 0, 0.0
        self._shown = began

    def add(self, rows: int, done: float) -> None:
        self._rows += rows
        self._done += done
        now = time.monotonic()
        if self._show is not None and now - self._shown >= SHOW_EVERY:
            self._shown = now
            self._show(Progress(self._rows, now - self._began, self._done, self._total))

    def end(self) -> None:
        if self._show is not None:
            self._show(Progress(self._rows, time.monotonic() - self._began, self._total, self._total))


def summarize(plan: Plan, total: Account, kept: dict[str, int], *, seconds: float) -> Summary:
    """Turn the account of a run into what a person reads."""
    steps = {stage.id: stage.ready() for stage in plan.processors}
    processors = {
        name: {"rows": 0, "found": 0, **words(total, account.processor(name)), **(step.counts or {})}
        for name, step in steps.items()
    }
    for name in plan.spills:
        counts = words(total, account.together(name))
        processors[name]["found"] += counts["found"]
        processors[name] |= {word: counts[word] for word in ("late", "capped", "evicted") if counts[word]}
    for name, count in unreachable(plan, steps).items():
        processors[name] |= {"evaluated": processors[name]["evaluated"] - count, "unreachable": count}
    zero = dict.fromkeys(("fragments", "batches", *Counts.__slots__), 0)
    sources = {stage.id: {**zero, **words(total, account.source(stage.id))} for stage in plan.sources}
    dead = dict(words(total, account.DEAD))
    return Summary(
        seconds=seconds,
        batches=sum(counts.get("batches", 0) for counts in sources.values()),
        reports=sum(processors[name]["found"] for name, step in steps.items() if step.gives == "reports"),
        sources=sources,
        processors=processors,
        sinks=kept,
        outputs={stage.id: stage.sink.uri for stage in plan.sinks},
        dead_letters=dead,
        dead_letters_uri=plan.dead_letters.uri if dead else None,
        formats={
            stage.id: guessed
            for stage in plan.sources
            if (guessed := dict(words(total, account.formats(stage.id))))
        },
        notes=tuple(note for step in steps.values() for note in step.notes),
    )
