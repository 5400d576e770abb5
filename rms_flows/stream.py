"""Stream: the door into the corridor for what comes bit by bit, with the reports of a replay, id for id.

The stages are those of `replay`. What was read is committed to a file of positions once every sink has it on
disk; a start goes back from there to the first event that can still matter, brings its state up to date, and
goes on. So a stream may be killed at any time: nothing is lost, and what is said twice has one id.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rms_flows.beam import account
from rms_flows.beam.cluster import Cluster
from rms_flows.beam.ledger import WRITE_EVERY, Known, Ledger, Place, load_packs
from rms_flows.beam.load import load
from rms_flows.beam.seen import Seen, seen
from rms_flows.errors import DocumentError
from rms_flows.flow import live as graph
from rms_flows.flow.build import Choices, build
from rms_flows.flow.kept import keep
from rms_flows.flow.plan import Plan
from rms_flows.flow.renewal import Renewal, packs
from rms_flows.flow.streamed import Streamed, summarize, whole
from rms_flows.io.contract import Log, Sink
from rms_flows.io.elasticsearch.sink import ElasticsearchSink
from rms_flows.io.kafka.sink import KafkaSink
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.io.line import Feed, Lined
from rms_flows.io.live import Reading
from rms_flows.io.log_sink import LogSink
from rms_flows.io.ndjson_sink import NdjsonSink
from rms_flows.io.position import NOT_BEGUN
from rms_flows.model import Orchestrator

if TYPE_CHECKING:
    from rms_flows.beam.reading import Live

__all__ = ["Streamed", "stream"]

COMMITTED: Final = "committed"
Watch = Callable[[Callable[[], Seen]], AbstractContextManager[None]]
"""Is given how to look at a stream; what it gives surrounds the run."""

PLACES: Final = ("earliest", "latest", COMMITTED)
"""Where a topic can begin, besides a time."""


@dataclass(slots=True)
class Pace:
    """How a stream goes.

    Args:
        rows: Rows of a batch at most.
        rate: Rows a second; None goes as fast as it can.
        bundle: Seconds after which what was found is flushed and acknowledged.
        shards: Of each stage that keeps state.
        commit: Seconds between two writes of the positions.
        renew: Seconds between two looks at the rules' files.
        stopped: Whether `stop` was called.
    """

    rows: int = 10_000
    rate: float | None = None
    bundle: float = 1.0
    shards: int = graph.SHARDS
    commit: float = WRITE_EVERY
    renew: float = 5.0
    stopped: bool = False

    def stop(self) -> None:
        """End the stream after the batch that is under way; from a signal handler or another thread."""
        self.stopped = True


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a stream that is told again.

    Args:
        until: Source → where it ends.
        logs: Sink → what its rows are appended to, open.
    """

    until: Mapping[str, Place]
    logs: Mapping[str, Log]


def stream(  # noqa: PLR0913  each parameter is a choice that a person makes
    orchestrator: Orchestrator,
    *,
    folder: Path,
    data_folder: Path | None = None,
    positions: Path | None = None,
    sources: Mapping[str, str] | None = None,
    sinks: Mapping[str, str] | None = None,
    dead_letters: str | None = None,
    pace: Pace | None = None,
    begin: str | datetime = COMMITTED,
    cluster: Cluster | None = None,
    say: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> Streamed:
    """Run an orchestrator as a stream over what its sources hold, to their end or until it is stopped.

    Where there are positions, rules are renewed when their files change: the stream ends as if it were
    stopped, and goes on at once with the new ones, from where all sinks are. What can't be used is said, and
    the rules of before stay.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources and sinks begin; `folder` unless told.
        positions: File of what is committed, made at the first commit; None begins anew each time.
        sources: Source id → URI to read instead of the archive.
        sinks: Sink id → URI to write instead; files of JSON lines, which are appended to.
        dead_letters: URI for records that can't be processed, and for events that came too late.
        pace: How it goes.
        begin: Where sources of Kafka begin for which there are no positions: `earliest`, `latest`, a time, or
            `committed`, where their group is.
        cluster: The Flink to run it on; None runs it on the local engine.
        say: Called with what a person should know, at the start and when rules change; from any thread.
        watch: Is given how to look at the stream, from any thread, and surrounds its run.

    Raises:
        RmsError: As `replay`; what was committed stays.
    """
    choices = Choices(None, None, sources or {}, sinks or {}, dead_letters, endless=True)
    if cluster is not None:  # its workers may be in another folder
        folder, data_folder = folder.resolve(), (data_folder or folder).resolve()
        positions = None if positions is None else positions.resolve()
    make = partial(build, orchestrator, folder, data_folder or folder, choices)
    plan = make()
    places = [*(one.source for one in plan.sources), *(one.sink for one in plan.sinks), plan.dead_letters]
    for said in dict.fromkeys(one.said for one in places if isinstance(one, KafkaSource | KafkaSink)):
        say(said)
    job, pace = f"rms-{orchestrator.orchestrator}", pace or Pace()
    done: list[Streamed] = []
    renewal: Renewal | None = None
    while True:
        if positions is not None:
            renewal = Renewal(plan, make, say, pace.renew, renewal)
            keep(plan, folder, positions, [one["packs"] for one in load_packs(positions)])
        done.append(
            run(plan, positions, pace, begin=begin, cluster=cluster, job=job, watch=watch, renewal=renewal)
        )
        if pace.stopped or renewal is None or renewal.next is None:
            return whole(done)
        plan, cluster = renewal.next, cluster and replace(cluster, savepoint=None)
        named = ", ".join(f"{name} is {pack[:12]}" for name, pack in packs(plan).items())
        say(f"the rules have changed; {named} from here on")


def run(  # noqa: PLR0913  likewise
    plan: Plan,
    positions: Path | None,
    pace: Pace,
    *,
    fault: Callable[[], None] | None = None,
    begin: str | datetime = COMMITTED,
    cluster: Cluster | None = None,
    job: str = "rms",
    watch: Watch | None = None,
    renewal: Renewal | None = None,
    span: Span | None = None,
) -> Streamed:
    """Run a plan as a stream, until there is another; see `stream` and, for `fault`, `io.live.Reading`.

    Where there is a `span`, it ends there, and tells nobody how far it is but the positions.
    """
    load()
    from rms_flows.beam.reading import LIVE  # noqa: PLC0415

    began = time.monotonic()
    name = uuid.uuid4().hex
    here = cluster is None or cluster.workers is None
    make = partial(opened, plan, positions, replace(pace), begin)
    build = partial(
        graph.corridor,
        plan=plan,
        run=name,
        shards=pace.shards,
        bundle=pace.bundle,
        make=None if here else make,
    )

    def over() -> bool:
        return pace.stopped or (renewal is not None and renewal.due())

    with ExitStack() as stack:
        live = opened(plan, positions, pace, begin, fault, over, span) if here else None
        if live is not None:
            LIVE[name] = live
            stack.callback(LIVE.pop, name)
            stack.callback(live.close)
            if watch is not None:
                stack.enter_context(watch(partial(seen, live)))
        if renewal is not None:
            stack.enter_context(renewal.watching())
        if cluster is None:
            from rms_flows.beam import runner  # noqa: PLC0415

            total = runner.run(build)
        else:
            from rms_flows.beam import flink  # noqa: PLC0415

            total = flink.run(build, cluster, f"{job}-{name}", live, over)
        if live is not None:
            live.ledger.write()
            live.reading.close()
    return summarize(plan, total, time.monotonic() - began, stopped=pace.stopped)


def opened(
    plan: Plan,
    positions: Path | None,
    pace: Pace,
    begin: str | datetime,
    fault: Callable[[], None] | None = None,
    over: Callable[[], bool] | None = None,
    span: Span | None = None,
) -> Live:
    """Open what the steps of a stream work on: where it goes on, what it reads, its sinks."""
    from rms_flows.beam.reading import Live  # noqa: PLC0415

    logs = _logs(plan) if span is None else span.logs
    with ExitStack() as stack:
        for log in logs.values():  # first: who held a file may have written positions until then
            log.open()
            stack.callback(log.close)
        ledger = _ledger(plan, positions, pace, begin)
        settled = ledger.settled()
        since = {} if settled == NOT_BEGUN else needed(plan, settled)[1]
        rows = pace.rows if pace.rate is None else min(pace.rows, max(1, int(pace.rate * pace.bundle)))
        reading = Reading(feeds(plan, ledger, span), rows=rows, rate=pace.rate, fault=fault)
        live = Live(reading, ledger, logs, since, over or (lambda: pace.stopped), close=stack.pop_all().close)
    live.processors = [stage.id for stage in plan.processors]
    return live


def _ledger(plan: Plan, positions: Path | None, pace: Pace, begin: str | datetime) -> Ledger:
    """Open the positions, with those of sources that begin."""
    lateness = {source.id: source.lateness for source in plan.sources}
    owed = graph.owed(plan, pace.shards)
    begins = {one.id: one.source.begins for one in plan.sources if isinstance(one.source, Lined)}
    ledger = Ledger(positions, owed, lateness, lambda line: needed(plan, line)[0], pace.commit, begins)
    _begin(plan, ledger, begin)
    ledger.judged_by(packs(plan))
    return ledger


def _begin(plan: Plan, ledger: Ledger, begin: str | datetime) -> None:
    """Find out where sources begin for which there are no positions."""
    for stage in plan.sources:
        source = stage.source
        if isinstance(source, Lined) and ledger.known[stage.id] == Known.at(source.begins):
            found = source.first(begin)
            ledger.begin(stage.id, found.first, Place(found.committed, found.settled))
    ledger.write()


def feeds(plan: Plan, ledger: Ledger, span: Span | None = None) -> list[Feed]:
    """Say where to begin to read each source: where events can still matter for what is not certain."""
    settled = ledger.settled()
    line = settled if settled == NOT_BEGUN else needed(plan, settled)[0]
    found = []
    for source in plan.sources:
        known = ledger.known[source.id]
        start = known.before(line, source.lateness)
        feed = Feed(
            source.id,
            source.source,
            source.request,
            source.lateness,
            start,
            known.place.position,
            known.place.settled,
            source.idle,
            line,
            partial(ledger.committed, source.id),
        )
        if span is not None:
            until = span.until[source.id]
            feed = replace(feed, idle=None, acknowledged=None, until=until.position, ends=until.settled)
        found.append(feed)
    return found


def needed(plan: Plan, settled: int) -> tuple[int, dict[str, int]]:
    """Look along the graph where so much is settled in all sources, microseconds.

    Returns:
        The time from which on events of the sources still matter, and for each processor that keeps state the
        time from which on its reports do: they were not told yet, or matter for a processor behind it.
    """
    clocks = dict.fromkeys([source.id for source in plan.sources], settled)
    lines = dict(clocks)
    for processor in plan.processors:
        clock = lines[processor.id] = min(clocks[name] for name in processor.inputs)
        clocks[processor.id] = processor.stateful().told(clock) if processor.id in plan.spills else clock
    for processor in reversed(plan.processors):
        line = lines[processor.id]
        if processor.id in plan.spills:
            line = processor.stateful().needed(line)
        for name in processor.inputs:
            lines[name] = min(lines[name], line)
    return min(lines.values()), {name: lines[name] for name in plan.spills}


def _logs(plan: Plan) -> dict[str, Log]:
    found = {stage.id: _log(stage.sink) for stage in plan.sinks}
    return {**found, account.DEAD_LETTERS: _log(plan.dead_letters)}


def _log(sink: Sink) -> Log:
    """Open as a log what a replay would replace."""
    if isinstance(sink, ElasticsearchSink | KafkaSink):
        return sink.log()
    if not isinstance(sink, NdjsonSink) or sink.uri.endswith((".gz", ".zst")):
        raise DocumentError(
            "a stream appends to files of JSON lines, to Kafka and to Elasticsearch only",
            where=sink.uri,
            remedy="name one that ends in .ndjson with --sink ID=FILE",
        )
    return LogSink(sink.path, sink.form)
