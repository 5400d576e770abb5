"""Events that are decoded and yet not let in: of clocks that run ahead, of probes not confirmed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Failure, Options, Parsed
from rms_flows.trust import UNKNOWN, judge


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
    record = _record(parsed)
    received = ingested.take(pa.array(record))
    ahead = pc.greater(pc.subtract(times.cast(pa.int64()), received.cast(pa.int64())), most)
    kept = pc.fill_null(pc.invert(ahead), True)

    def failure(row: int) -> Failure:
        return Failure(int(record[row]), "future", _ahead(times[row], received[row]))

    return _without(parsed, kept.to_numpy(zero_copy_only=False), failure)


def without_strangers(parsed: Parsed, ingested: pa.Array, options: Options) -> Parsed:
    """Turn what comes of a probe that is not trusted into failures, where the source's document says so.

    Quarantined are records with their bytes, so that they can be read again once the probe is confirmed; of
    refused ones it is kept that they came, and no byte of what they say.

    Args:
        parsed: Of a block of records.
        ingested: timestamp[us, UTC], shape (records,): when each reached us; null where nobody knows.
        options: What is known of the probe, and what is to be done.
    """
    times = parsed.columns.get("@timestamp")
    stopped = options.quarantined | options.refused
    if times is None or not stopped:
        return parsed
    record = _record(parsed)
    received = ingested.take(pa.array(record))
    found = verdicts(parsed, ingested, options).to_pylist()
    own = parsed.known.get("rms.trust", pa.nulls(len(found))).to_pylist()

    def failure(row: int) -> Failure:
        verdict = found[row]
        why = (
            _UNKNOWN if verdict == UNKNOWN else _FORGED if own[row] else _untrusted(times[row], received[row])
        )
        return Failure(int(record[row]), verdict, why, kept=verdict not in options.refused)

    return _without(parsed, np.array([one not in stopped for one in found], np.bool_), failure)


def verdicts(parsed: Parsed, ingested: pa.Array, options: Options) -> pa.Array:
    """Judge each row: by what the decoder found out itself, else by what is known of the probe.

    Args:
        parsed: Of a block of records.
        ingested: timestamp[us, UTC], shape (records,): when each reached us; null where nobody knows.
        options: What is known of the probe, or of several.

    Returns:
        Of each row one of `trust.VERDICTS`.
    """
    times, received = parsed.columns["@timestamp"], ingested.take(pa.array(_record(parsed)))
    found = judge(options.trust, times, received).cast(pa.string())
    sources = parsed.known.get("rms.source")
    if sources is not None:
        for name in sources.unique().to_pylist():
            own = judge((options.probes or {}).get(name), times, received).cast(pa.string())
            found = pc.if_else(pc.equal(sources, name), own, found)
    return pc.coalesce(parsed.known.get("rms.trust", pa.nulls(len(found), pa.string())), found)


def _record(parsed: Parsed) -> np.ndarray:
    if parsed.record is not None:
        return parsed.record
    return np.arange(len(next(iter(parsed.columns.values()), ())))


def _without(parsed: Parsed, kept: np.ndarray, failure: Callable[[int], Failure]) -> Parsed:
    """Leave out rows; a record of several rows goes with the first that does."""
    if kept.all():
        return parsed
    record = _record(parsed)
    lost, rows = np.unique(record[~kept], return_index=True)
    failures = [failure(int(row)) for row in np.flatnonzero(~kept)[rows].tolist()]
    kept = ~np.isin(record, lost)
    mask = pa.array(kept)
    return Parsed(
        {name: column.filter(mask) for name, column in parsed.columns.items()},
        {name: kinds[kept] for name, kinds in parsed.kinds.items()},
        record[kept],
        [*parsed.failures, *failures],
        parsed.blank,
        {name: column.filter(mask) for name, column in parsed.known.items()},
    )


def _ahead(time: pa.Scalar, received: pa.Scalar) -> str:
    return (
        f"the event says {_iso(time)} and was received at {_iso(received)}; "
        "set the clock of the probe, or raise max_ahead"
    )


_FORGED = "the envelope is not signed with the key of the probe; see publicKey in its `trust:`"
_UNKNOWN = "no gateway has confirmed the probe; put its fingerprint or key into `trust:` of the source"


def _untrusted(time: pa.Scalar, received: pa.Scalar) -> str:
    reached = f" (received at {_iso(received)})" if received.is_valid else ""
    return (
        f"the probe was not confirmed at {_iso(time)}{reached}; "
        "see validFrom, validTo and revokedAt in `trust:` of the source"
    )


def _iso(time: pa.Scalar) -> str:
    return str(time.as_py().isoformat(timespec="seconds"))
