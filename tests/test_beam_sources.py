"""What Beam reads by the piece."""

import weakref

import apache_beam as beam
import numpy as np
import pyarrow as pa

from rms_flows.beam import account
from rms_flows.beam.pieces import Piece
from rms_flows.beam.runner import run
from rms_flows.beam.sources import read
from rms_flows.decode.contract import Counts, Decoded
from rms_flows.io.contract import Fragment, Request
from rms_flows.schema import NO_DEAD_LETTERS

GONE: list[bool] = []


class Watched:
    """Tells of each batch whether the one before is gone when it is made."""

    def read(self, _fragment, _request):
        before = None
        for number in range(5):
            GONE.append(before is None or before() is None)
            data = np.full(1_000, number)
            before = weakref.ref(data)
            column = pa.Int64Array.from_buffers(pa.int64(), 1_000, [None, pa.py_buffer(data)])
            decoded = Decoded(
                pa.record_batch({"n": column}), NO_DEAD_LETTERS, Counts(framed=1_000, rows=1_000, bytes=8_000)
            )
            del column, data
            yield decoded
            del decoded


TOTALS: list[int] = []


class Total(beam.DoFn):
    def process(self, batch):
        TOTALS.append(int(batch["n"].to_numpy().sum()))


def test_a_batch_is_gone_when_the_next_is_read():
    """Guards the memory of a run: Beam holds the last output of a step until there is another."""

    def build(pipeline):
        found = read(pipeline, [Piece(0, "a", Fragment("f"))], {"a": (Watched(), Request())})
        _ = found[account.source("a")] | beam.ParDo(Total())

    counted = run(build)
    assert TOTALS == [0, 1_000, 2_000, 3_000, 4_000]
    assert counted[account.source("a"), "batches"] == 5
    assert GONE == [True] * 5
