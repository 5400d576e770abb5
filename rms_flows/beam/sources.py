"""Fragments of archives as a Beam source."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.pvalue import TaggedOutput

import rms_flows.beam.coder  # noqa: F401  registers how batches are coded
from rms_flows.beam import account, progress
from rms_flows.beam.parts import with_part
from rms_flows.beam.pieces import Piece
from rms_flows.decode.contract import Decoded
from rms_flows.io.contract import Request, Source

Sources = Mapping[str, tuple[Source, Request]]

_NOTHING = TaggedOutput("nothing", None)
"""What nobody takes: Beam holds what came last until the next comes, so a batch is gone while one is read."""


def read(pipeline: beam.Pipeline, pieces: Sequence[Piece], sources: Sources) -> beam.pvalue.DoOutputsTuple:
    """Read all pieces.

    Args:
        pipeline: What the graph grows from.
        pieces: What to read, in this order.
        sources: Source id → the source and what the flow needs of it.

    Returns:
        Batches under the tag `account.source(id)`, dead letters under `account.DEAD`.
    """
    tags = [*map(account.source, sources), account.DEAD]
    return (
        pipeline
        | "Pieces" >> beam.Create(pieces, reshuffle=False)
        | "Read"
        >> beam.ParDo(ReadPieces(sources))
        .with_output_types(pa.RecordBatch, **dict.fromkeys(tags, pa.RecordBatch))
        .with_outputs(*tags)
    )


class ReadPieces(beam.DoFn):  # type: ignore[misc]  # Beam has no types
    """Piece → batches of its source (tag `account.source(id)`) and dead letters (tag `account.DEAD`)."""

    def __init__(self, sources: Sources) -> None:
        self._sources = dict(sources)

    def process(self, piece: Piece) -> Iterator[TaggedOutput]:
        """Read one fragment to its end."""
        stage = account.source(piece.source)
        source, request = self._sources[piece.source]
        left = piece.weight
        for decoded in source.read(piece.fragment, request):
            _count(stage, decoded)
            if decoded.guessed is not None:
                Metrics.counter(account.formats(piece.source), decoded.guessed).inc()
            done = min(left, decoded.counts.bytes)
            left -= done
            progress.advance(decoded.rows.num_rows, done)
            if decoded.rows.num_rows:
                yield TaggedOutput(stage, with_part(decoded.rows, piece.number))
            if decoded.dead.num_rows:
                yield TaggedOutput(account.DEAD, with_part(decoded.dead, piece.number))
            del decoded  # its memory may be free when the next is read
            yield _NOTHING
        progress.advance(0, left)
        Metrics.counter(stage, "fragments").inc()


def _count(stage: str, decoded: Decoded) -> None:
    counts = decoded.counts
    for word in counts.__slots__:
        Metrics.counter(stage, word).inc(getattr(counts, word))
    Metrics.counter(stage, "batches").inc()
    for reason, dead in decoded.reasons.items():
        Metrics.counter(account.DEAD, reason).inc(dead)
