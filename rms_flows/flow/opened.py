"""What the steps of a stream work on, opened: where it goes on, what it reads, its sinks."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rms_flows.beam import account
from rms_flows.beam.ledger import WRITE_EVERY, Known, Ledger, Place
from rms_flows.beam.share import Followed, Several, of_attempt
from rms_flows.errors import DocumentError
from rms_flows.flow import live as graph
from rms_flows.flow.plan import Plan
from rms_flows.flow.renewal import packs
from rms_flows.io.contract import Log, Sink
from rms_flows.io.elasticsearch.sink import ElasticsearchSink
from rms_flows.io.kafka.sink import KafkaSink
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.io.line import Feed, Lined
from rms_flows.io.live import Reading
from rms_flows.io.log_sink import LogSink
from rms_flows.io.ndjson_sink import NdjsonSink
from rms_flows.io.position import NOT_BEGUN, At, Position
from rms_flows.io.share import Share

if TYPE_CHECKING:
    from rms_flows.beam.reading import Live


SLOWEST: Final = 60.0
"""Seconds for an event of one of several readers at most: else others would think that it is lost."""


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

    with ExitStack() as stack:
        logs = _opened(_logs(plan), stack) if span is None else span.logs
        ledger = _ledger(plan, positions, pace)
        _begin(plan, ledger, begin)
        ledger.judged_by(packs(plan))
        reading = _reading(feeds(plan, ledger, span), pace, fault=fault)
        live = Live(
            reading,
            ledger,
            logs,
            _since(plan, ledger),
            over or (lambda: pace.stopped),
            close=stack.pop_all().close,
        )
    live.processors = [stage.id for stage in plan.processors]
    return live


def several(plan: Plan, positions: Path | None, pace: Pace, begin: str | datetime, readers: int) -> Several:
    """Say how the processes of a stream with several readers open what their steps work on.

    Raises:
        DocumentError: There are no positions, by which they find together, or no topics, which they share.
    """
    if positions is None:
        raise DocumentError("several readers need a file of positions", remedy="name one, or have one reader")
    if not _shared(plan):
        raise DocumentError(
            "several readers share the partitions of topics, and no source is a topic of Kafka",
            where=", ".join(source.source.uri for source in plan.sources),
            remedy="write --parallelism 1",
        )
    if pace.rate is not None and pace.rate * SLOWEST < readers:
        raise DocumentError(
            f"several readers give {readers / SLOWEST:.2g} events a second at least",
            where=f"--rate {pace.rate:g}",
            remedy="have one reader, or a higher rate",
        )
    of_one = pace if pace.rate is None else replace(pace, rate=pace.rate / readers)
    return Several(
        readers,
        positions,
        partial(_begun, plan, positions, pace, begin),
        partial(_reader, plan, positions, of_one),
        partial(_writer, plan, positions, pace, readers),
    )


def _shared(plan: Plan) -> list[str]:
    """Name the sources whose parts several readers can share."""
    return [source.id for source in plan.sources if isinstance(source.source, KafkaSource)]


def _begun(plan: Plan, positions: Path, pace: Pace, begin: str | datetime, attempt: int) -> None:
    """Write where sources begin for which there are no positions, for several readers to begin there."""
    _begin(plan, _ledger(plan, positions, pace, attempt=attempt), begin)


def _reader(plan: Plan, positions: Path, pace: Pace, share: Share, attempt: int) -> Live:
    """Open what one of several readers works on."""
    from rms_flows.beam.reading import Live  # noqa: PLC0415

    shared = _shared(plan)
    ledger = Followed(positions, graph.owed(plan, pace.shards), _begins(plan), shared, share, attempt)
    own = [
        replace(feed, share=share) if feed.id in shared else feed
        for feed in feeds(plan, ledger)
        if feed.id in shared or share.number == 0
    ]
    reading = _reading(own, pace, others=ledger.others)
    return Live(reading, ledger, {}, attempt=attempt, begun=ledger.settled())


def _writer(plan: Plan, positions: Path, pace: Pace, readers: int, attempt: int) -> Live:
    """Open what is behind several readers."""
    from rms_flows.beam.reading import Live  # noqa: PLC0415

    with ExitStack() as stack:
        logs = _opened(_logs(plan), stack)
        of_attempt(positions, attempt)
        ledger = _ledger(plan, positions, pace, dict.fromkeys(_shared(plan), readers), attempt)
        ledger.judged_by(packs(plan))
        return Live(
            Reading([]),
            ledger,
            logs,
            _since(plan, ledger),
            close=stack.pop_all().close,
            attempt=attempt,
            begun=ledger.settled(),
        )


def _opened(logs: dict[str, Log], stack: ExitStack) -> dict[str, Log]:
    """Open sinks, before the positions are read: who held a file may have written them until then."""
    for log in logs.values():
        log.open()
        stack.callback(log.close)
    return logs


def _reading(own: Sequence[Feed], pace: Pace, **more: Any) -> Reading:
    rows = pace.rows if pace.rate is None else min(pace.rows, max(1, int(pace.rate * pace.bundle)))
    return Reading(own, rows=rows, rate=pace.rate, **more)


def _since(plan: Plan, ledger: Ledger) -> dict[str, int]:
    settled = ledger.settled()
    return {} if settled == NOT_BEGUN else needed(plan, settled)[1]


def _ledger(
    plan: Plan, positions: Path | None, pace: Pace, readers: Mapping[str, int] = {}, attempt: int = 0
) -> Ledger:
    lateness = {source.id: source.lateness for source in plan.sources}
    return Ledger(
        positions,
        graph.owed(plan, pace.shards),
        lateness,
        lambda line: needed(plan, line)[0],
        pace.commit,
        _begins(plan),
        readers,
        attempt,
    )


def _begins(plan: Plan) -> dict[str, At]:
    lined = [(one.id, one.source) for one in plan.sources]
    return {name: one.begins if isinstance(one, Lined) else Position() for name, one in lined}


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
