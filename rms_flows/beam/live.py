"""The live path in Beam: one reader for all sources, stateful stages by shard, sinks that acknowledge.

No GroupByKey, Reshuffle, Combine or side input, and no Flatten on the local runner: there none of them ever
fires behind an endless source. What is settled travels with each batch, as timers fire early there; a batch
of which nothing is left goes on as an empty one, for everybody behind to hear of time, and for the sinks to
acknowledge it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

import apache_beam as beam
import msgspec
import numpy as np
import pyarrow as pa
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam import account
from rms_flows.beam.reading import LIVE, Count, Live, Mark, live_of, mark_of, marked
from rms_flows.beam.sinks import unwanted
from rms_flows.correlate.match import NO_MATCHES, concatenated, shard_of
from rms_flows.io.line import ENDED
from rms_flows.io.position import NOT_BEGUN
from rms_flows.processors.contract import Given, Stateful

Function = Callable[[pa.RecordBatch], pa.RecordBatch]

KEYED: Final = beam.typehints.Tuple[int, pa.RecordBatch]


class ApplyLive(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Runs a function on each batch; an empty one goes on too.

    Args:
        stage: Name of the stage in the account.
        make: Gives the function.
        run: Id in `LIVE`.
    """

    def __init__(self, stage: str, make: Callable[[], Function], run: str) -> None:
        self._make = make
        self._rows, self._found = Count(run, stage, "rows"), Count(run, stage, "found")

    def setup(self) -> None:
        """Make the function."""
        self._run = self._make()

    def process(self, batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
        """Give the function's batch."""
        mark = mark_of(batch)
        found = self._run(batch) if batch.num_rows else batch
        self._rows.inc(batch.num_rows)
        self._found.inc(found.num_rows)
        yield marked(found, mark)


def apply(stage: str, make: Callable[[], Function], run: str) -> beam.ParDo:
    """Run a function on each batch; see `ApplyLive`."""
    return beam.ParDo(ApplyLive(stage, make, run)).with_output_types(pa.RecordBatch)


REPORTS: Final = "reports"
NEXT: Final = "next"
"""Tags of what is to be said, and of what goes to the next stage that keeps state."""


class SplitLive(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Batch → its reports (tag `REPORTS`) and its matches, for each shard of the first stage (tag `NEXT`).

    Args:
        stage: Name of the stage in the account.
        ready: Gives the processor's stateful half.
        way: Tells this way from others to the stages.
        shards: Of each stage.
        run: Id in `LIVE`.
    """

    def __init__(self, stage: str, ready: Callable[[], Stateful], way: str, shards: int, run: str) -> None:
        self._ready = ready
        self._way = way
        self._shards = shards
        words = ("rows", "found", "matches", "ungrouped")
        self._counters = [Count(run, stage, word) for word in words]

    def setup(self) -> None:
        """Load the rules."""
        self._stateful = self._ready()

    def process(self, batch: pa.RecordBatch) -> Iterator[TaggedOutput]:
        """Give one batch of reports, and one of matches for each shard of each stage."""
        mark = mark_of(batch)
        reports, matches, ungrouped = batch.slice(0, 0), NO_MATCHES, 0
        if batch.num_rows:
            reports, matches, ungrouped = self._stateful.split(batch)
        counts = (batch.num_rows, reports.num_rows, matches.num_rows, ungrouped)
        for counter, count in zip(self._counters, counts, strict=True):
            counter.inc(count)
        yield TaggedOutput(REPORTS, marked(reports, mark))
        to = msgspec.structs.replace(mark, origin=origin_of(self._way, mark.origin))
        yield from dealt(matches, to, self._shards)


def origin_of(way: str, origin: str) -> str:
    """Name who sends matches: a way, and the stage and shard with state that it comes from."""
    return f"{way} {origin}".rstrip()


def split(stage: str, ready: Callable[[], Stateful], way: str, shards: int, run: str) -> beam.ParDo:
    """Judge each batch; see `SplitLive`."""
    return _tagged(SplitLive(stage, ready, way, shards, run))


def together(stage: TogetherLive) -> beam.ParDo:
    """Keep state; see `TogetherLive`."""
    return _tagged(stage)


def _tagged(function: beam.DoFn) -> beam.ParDo:
    tags = {REPORTS: pa.RecordBatch, NEXT: KEYED}
    return beam.ParDo(function).with_output_types(pa.RecordBatch, **tags).with_outputs(*tags)


def dealt(matches: pa.RecordBatch, mark: Mark, shards: int) -> Iterator[TaggedOutput]:
    """Deal matches to the shards of the next stage; each gets a batch, maybe an empty one."""
    shard = shard_of(matches.column("group").to_numpy(), shards)
    for each in range(shards):
        here = matches.filter(pa.array(shard == each)) if len(shard) else matches
        yield TaggedOutput(NEXT, (each, marked(here, mark)))


class Memory(msgspec.Struct):
    """What a stage keeps in a shard: what each origin has settled, its last event, and the state."""

    settled: dict[str, int]
    latest: int
    ended: bool
    states: Any


_dump = msgspec.msgpack.Encoder().encode
_load = msgspec.msgpack.Decoder(Memory).decode


class TogetherLive(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """One stage that keeps state: (shard, matches) → reports (tag `REPORTS`), the next one's (tag `NEXT`).

    The state lies in `Live.memory`, for the same stage on other ways to go on with it. Matches of stages
    above pass through: on the local runner, what comes of two stages would wait for both to end.

    Args:
        stage: Name of the stage in the account.
        ready: Gives the processor's stateful half.
        number: Its level.
        origins: All that send to it; time goes on with the slowest.
        shards: Of each stage.
        run: Id in `LIVE`, and the processor's id, which tell what was said before a restart.
    """

    def __init__(
        self,
        stage: str,
        ready: Callable[[], Stateful],
        number: int,
        origins: Sequence[str],
        shards: int,
        run: tuple[str, str],
    ) -> None:
        self._stage = stage
        self._ready = ready
        self._number = number
        self._origins = tuple(origins)
        self._shards = shards
        self._run, self._processor = run

    def setup(self) -> None:
        """Load the rules."""
        self._stateful = self._ready()

    def process(self, element: tuple[int, pa.RecordBatch]) -> Iterator[TaggedOutput]:
        """Go on with one shard."""
        shard, matches = element
        memory = live_of(self._run, mark_of(matches)).memory
        place = (self._processor, self._number, shard)
        if place not in memory:
            memory[place] = self._begun(shard)
        yield from self._go_on(memory[place], shard, matches)

    def _go_on(self, known: Memory, shard: int, matches: pa.RecordBatch) -> Iterator[TaggedOutput]:
        mark = mark_of(matches)
        here = np.array(self._stateful.level_of)[matches.column("correlation").to_numpy()] == self._number
        passing, matches = matches.filter(pa.array(~here)), matches.filter(pa.array(here))
        before = self._settled(known)
        known.settled[mark.origin] = max(mark.settled, known.settled.get(mark.origin, NOT_BEGUN))
        known.latest = max(known.latest, mark.latest)
        settled = self._settled(known)
        given = Given()
        if matches.num_rows or settled > before:  # most batches tell neither: they wait for other origins
            given = self._step(known, matches, settled)
        self._count(given, matches.num_rows)
        mark = msgspec.structs.replace(mark, settled=settled, latest=known.latest)
        yield from self._sent(given, passing, mark, shard)

    def _settled(self, known: Memory) -> int:
        """Give what the slowest origin has settled."""
        return min(known.settled.get(origin, NOT_BEGUN) for origin in self._origins)

    def _step(self, known: Memory, matches: pa.RecordBatch, settled: int) -> Given:
        """Go on with the state; at the end of all origins, to its end."""
        until = NOT_BEGUN if settled == ENDED else settled
        known.states, given = self._stateful.step(known.states, matches, until)
        if settled == ENDED and not known.ended:
            known.ended = True
            known.states, last = self._stateful.end(known.states, known.latest)
            given = _added(given, last)
        return given

    def _begun(self, shard: int) -> Memory:
        since = LIVE[self._run].since.get(self._processor) if self._run in LIVE else None
        states = self._stateful.start(self._number, shard, self._shards, since)
        return Memory({}, NOT_BEGUN, ended=False, states=states)

    def _count(self, given: Given, rows: int) -> None:
        found = sum(one.num_rows for one in given.reports)
        inner = sum(one.num_rows for one in given.matches)
        for word, count in {**given.counts, "rows": rows, "found": found, "matches": inner}.items():
            Count(self._run, self._stage, word).inc(count)

    def _sent(self, given: Given, passing: pa.RecordBatch, mark: Mark, shard: int) -> Iterator[TaggedOutput]:
        reports = pa.Table.from_batches(given.reports).unify_dictionaries() if given.reports else None
        found = NO_MATCHES if reports is None else reports.combine_chunks().to_batches()[0]
        # What state gives may be new though the batch that set it off is not.
        to = msgspec.structs.replace(mark, warm=False, origin=f"{self._number}/{shard}")
        told = msgspec.structs.replace(to, settled=self._stateful.told(mark.settled))
        yield TaggedOutput(REPORTS, marked(found, told))
        if self._number + 1 < self._stateful.levels:
            yield from dealt(concatenated([passing, *given.matches]), to, self._shards)


class TogetherKept(TogetherLive):
    """The same with Beam's state, for runners that keep it."""

    MEMORY = ReadModifyWriteStateSpec("memory", BytesCoder())

    def process(
        self,
        element: tuple[int, pa.RecordBatch],
        memory: Any = beam.DoFn.StateParam(MEMORY),  # noqa: B008  as Beam asks
    ) -> Iterator[TaggedOutput]:
        """Go on with one shard."""
        shard, matches = element
        data = memory.read()
        known = self._begun(shard) if data is None else _load(data)
        known.states = known.states if data is None else self._stateful.read(known.states)
        yield from self._go_on(known, shard, matches)
        known.states = self._stateful.dump(known.states)
        memory.write(_dump(known))


def _added(a: Given, b: Given) -> Given:
    return Given([*a.reports, *b.reports], [*a.matches, *b.matches], a.counts + b.counts)


class WriteLive(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Appends batches to a sink and, when they are flushed, acknowledges them.

    What the sink refuses is a dead letter, flushed before its batch is acknowledged.

    Args:
        stage: Name of the stage in the account.
        run: Id in `LIVE`.
        sink: Id of the sink.
    """

    def __init__(self, stage: str, run: str, sink: str) -> None:
        self._run = run
        self._sink = sink
        self._rows, self._refused = Count(run, stage, "rows"), Count(run, stage, account.REFUSED)
        self._dead = Count(run, account.DEAD_LETTERS, "rows")
        self._given = Count(run, account.READER, "given")

    def start_bundle(self) -> None:
        """Begin without a batch to acknowledge."""
        self._flushed: list[Mark] = []
        self._live: Live | None = None

    def process(self, batch: pa.RecordBatch) -> None:
        """Append a batch, unless that was done before the start."""
        mark = mark_of(batch)
        live = self._live = live_of(self._run, mark)
        if batch.num_rows and not mark.warm:
            self._bury(live, live.sinks[self._sink].write(batch.replace_schema_metadata(None)))
            self._rows.inc(batch.num_rows)
        self._flushed.append(mark)

    def finish_bundle(self) -> None:
        """Flush, also the dead letters that come of it, then acknowledge."""
        live = self._live or LIVE.get(self._run)
        if live is None:
            return
        with live.working():
            self._bury(live, live.sinks[self._sink].flush())
            _buried(live.sinks[account.DEAD_LETTERS].flush())
            for mark in self._flushed:
                live.ledger.acknowledge(mark.feed, mark.number)
            self._given.inc(len(self._flushed))
            if live.over:  # nobody may come here again to write what is new
                live.ledger.write()

    def _bury(self, live: Live, refused: pa.RecordBatch | None) -> None:
        if refused is None or not refused.num_rows:
            return
        if self._sink == account.DEAD_LETTERS:
            _buried(refused)
        _buried(live.sinks[account.DEAD_LETTERS].write(refused))
        self._refused.inc(refused.num_rows)
        self._dead.inc(refused.num_rows)


def _buried(refused: pa.RecordBatch | None) -> None:
    """See that no dead letter is refused in its turn."""
    if refused is not None and refused.num_rows:
        raise unwanted("the stream's dead letters", refused)


def write(stage: str, run: str, sink: str) -> beam.ParDo:
    """Append batches to a sink; see `WriteLive`."""
    return beam.ParDo(WriteLive(stage, run, sink)).with_output_types(type(None))
