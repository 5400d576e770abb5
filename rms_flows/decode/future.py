"""Events that are said to have happened after they were received: clocks that are wrong, or lies."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Failure, Parsed


def without_future(parsed: Parsed, ingested: pa.Array, most: int) -> Parsed:
    """Turn what is too far ahead of its reception into failures: one such stamp would make all others late.

    Args:
        parsed: Of a block of records.
        ingested: timestamp[us, UTC], shape (records,): when each reached us; null where nobody knows.
        most: Microseconds that an event may be ahead.
    """
    times = parsed.columns.get("@timestamp")
    if times is None or not len(times):
        return parsed
    record = np.arange(len(times)) if parsed.record is None else parsed.record
    received = ingested.take(pa.array(record))
    ahead = pc.greater(pc.subtract(times.cast(pa.int64()), received.cast(pa.int64())), most)
    kept = pc.fill_null(pc.invert(ahead), True)
    if kept.true_count == len(kept):
        return parsed
    mask = kept.to_numpy(zero_copy_only=False)
    lost = np.flatnonzero(~mask).tolist()
    failures = [Failure(int(record[row]), "future", _reason(times[row], received[row])) for row in lost]
    return Parsed(
        {name: column.filter(kept) for name, column in parsed.columns.items()},
        {name: kinds[mask] for name, kinds in parsed.kinds.items()},
        record[mask],
        [*parsed.failures, *failures],
        parsed.blank,
    )


def _reason(time: pa.Scalar, received: pa.Scalar) -> str:
    return (
        f"the event says {_iso(time)} and was received at {_iso(received)}; "
        "set the clock of the probe, or raise max_ahead"
    )


def _iso(time: pa.Scalar) -> str:
    return str(time.as_py().isoformat(timespec="seconds"))
