"""What several readers send to one process behind them: by a step with one key, so that it has one place."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, Final

import apache_beam as beam
import pyarrow as pa
from apache_beam.coders import BytesCoder
from apache_beam.pvalue import TaggedOutput
from apache_beam.transforms.userstate import ReadModifyWriteStateSpec

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam.live import KEYED
from rms_flows.beam.reading import LIVE, Live, Mark, attended, mark_of, renewed
from rms_flows.beam.share import Several
from rms_flows.errors import FlowError

SENT: Final = beam.typehints.Tuple[int, beam.typehints.Tuple[int, int, pa.RecordBatch]]
"""The one key; on which way it comes, for which shard, and the batch."""


GATHER: Final = "Gather"
"""Name of the step."""


class Send(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Readies what comes on a way, a batch or one for a shard, to be gathered."""

    def __init__(self, way: int, *, keyed: bool) -> None:
        self._way, self._keyed = way, keyed

    def process(self, element: Any) -> Iterator[tuple[int, tuple[int, int, pa.RecordBatch]]]:
        """Give it the one key."""
        shard, batch = element if self._keyed else (0, element)
        yield 0, (self._way, shard, batch)


class Gather(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Gives what was sent on its way again, under the tag `way(number)`, where the positions are kept.

    Args:
        run: Id in `LIVE`.
        several: Makes what the steps behind it work on.
        keyed: Of each way whether batches on it are for shards.
    """

    ONE = ReadModifyWriteStateSpec("one", BytesCoder())  # with state a runner deals elements by their key

    def __init__(self, run: str, several: Several, keyed: Sequence[bool]) -> None:
        self._run, self._several = run, several
        self._keyed = tuple(keyed)

    def process(
        self,
        element: tuple[int, tuple[int, int, pa.RecordBatch]],
        _one: Any = beam.DoFn.StateParam(ONE),  # noqa: B008  as Beam asks
    ) -> Iterator[TaggedOutput]:
        """Note that a batch has come, and give it."""
        _, (number, shard, batch) = element
        _arrived(self._live(mark_of(batch)), mark_of(batch))
        yield TaggedOutput(way(number), (shard, batch) if self._keyed[number] else batch)

    def _live(self, mark: Mark) -> Live:
        """Give what the steps work on, made anew for an attempt of the job that is new to this process."""
        assert mark.sent is not None  # noqa: S101  there are several readers
        known = LIVE.get(self._run)
        live = renewed(self._run, mark.sent.attempt, partial(self._several.writer, mark.sent.attempt))
        if live is not known:
            args = (self._run, self._several.count)
            threading.Thread(target=attended, args=args, daemon=True, name=attended.__name__).start()
        if mark.sent.begun != live.begun:
            raise FlowError(
                f"a reader began where {mark.sent.begun} was settled, its sinks where {live.begun} was",
                where=str(self._several.positions),
                remedy="see that all machines have one file there; then it passes as the job starts again",
            )
        return live


def _arrived(live: Live, mark: Mark) -> None:
    """Note the first that comes of a batch."""
    sent = mark.sent
    assert sent is not None  # noqa: S101  likewise
    if mark.number > live.arrived.get(sent.feed, 0):
        live.arrived[sent.feed] = mark.number
        kind = type(live.ledger.known[sent.feed].place.position)
        live.ledger.issue(sent.feed, mark.number, kind.of(sent.position), mark.settled, idle=sent.idle)
    live.heard[live.ledger.reader_of(sent.feed)] = time.monotonic()
    live.ledger.write_when_due()


def way(number: int) -> str:
    """Name the tag of what comes on a way."""
    return f"way {number}"


def gathered(
    run: str, several: Several, ways: Sequence[tuple[str, beam.PCollection, bool]]
) -> list[beam.PCollection]:
    """Have what comes on some ways go on in one process.

    Args:
        run: Id in `LIVE`.
        several: See `Gather`.
        ways: Of each its name, what comes, and whether that is for shards.
    """
    sent = [
        batches | f"{name} sent" >> beam.ParDo(Send(number, keyed=keyed)).with_output_types(SENT)
        for number, (name, batches, keyed) in enumerate(ways)
    ]
    tags = {way(number): KEYED if keyed else pa.RecordBatch for number, (_, _, keyed) in enumerate(ways)}
    step = beam.ParDo(Gather(run, several, [keyed for _, _, keyed in ways]))
    found = (
        sent
        | "Sent" >> beam.Flatten()
        | GATHER >> step.with_output_types(pa.RecordBatch, **tags).with_outputs(*tags)
    )
    return [found[tag] for tag in tags]
