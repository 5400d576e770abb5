"""Messages of Kafka as records of one frame, each with its place and the time at which it was received."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from rms_flows.decode import identity
from rms_flows.decode.framing import Frame, Torn
from rms_flows.decode.records import Records
from rms_flows.io.kafka.client import NO_TIME, Messages, Spot
from rms_flows.schema import TIMESTAMP


@dataclass(frozen=True, slots=True)
class Framed:
    """A frame of messages of several partitions, one partition after the other.

    Args:
        frame: For the decoder; what can't be a record is torn.
        spots: The partitions.
        ends: int64, shape (spots,): the number of records up to the end of each.
    """

    frame: Frame
    spots: Sequence[Spot]
    ends: np.ndarray

    def rows(self, record: np.ndarray) -> dict[Spot, slice]:
        """Tell which rows are whose.

        Args:
            record: int64, shape (rows,): the record that each came of, rising.
        """
        stops = np.searchsorted(record, self.ends).tolist()
        return {
            spot: slice(start, stop)
            for spot, start, stop in zip(self.spots, [0, *stops], stops, strict=False)
            if start < stop
        }


def framed(polled: Mapping[Spot, Messages], longest: int, *, lines: bool) -> Framed:
    """Put messages together.

    Args:
        polled: What came.
        longest: Most bytes of a record.
        lines: They are lines, whose ends don't belong to them.
    """
    spots = sorted(polled)
    values = [value for spot in spots for value in polled[spot].values]
    kept = [value for value in values if value is not None and len(value) <= longest]
    of = np.repeat(np.arange(len(spots)), [len(polled[spot].values) for spot in spots])
    origins = pa.concat_arrays(
        [identity.origins(str(spot), np.array(polled[spot].offsets, np.int64), "@") for spot in spots]
    )
    ingested = _received([stamp for spot in spots for stamp in polled[spot].stamps])
    torn: list[Torn] = []
    if len(kept) < len(values):
        good = np.array([value is not None and len(value) <= longest for value in values])
        torn = [_torn(value, longest) for value in values if value is None or len(value) > longest]
        order = pa.array(np.concatenate([np.flatnonzero(good), np.flatnonzero(~good)]))
        origins, ingested, of = origins.take(order), ingested.take(order), of[good]
    records = Records.of(kept)
    if lines:
        _strip(records)
    size = sum(len(value or b"") for value in values)
    return Framed(
        Frame(records, 0, torn, size, origins, ingested),
        spots,
        np.searchsorted(of, np.arange(1, len(spots) + 1)),
    )


def _received(stamps: Sequence[int]) -> pa.Array:
    times = np.array(stamps, np.int64)
    return pa.array(times * 1_000, pa.int64(), mask=times == NO_TIME).cast(TIMESTAMP)


def _torn(value: bytes | None, longest: int) -> Torn:
    if value is None:
        reason = "the message has no value: it says that its key is deleted, and tells of no event"
        return Torn(0, b"", "tombstone", reason)
    reason = f"the message is longer than {longest:,} bytes; set max_record= higher if that is right"
    return Torn(0, value, "too-long", reason)


def _strip(records: Records) -> None:
    """Take line feeds and returns off the ends."""
    for byte in b"\n\r":
        inside = records.ends > records.starts
        ends = inside & (records.data[records.ends - 1] == byte)
        records.ends = records.ends - ends
