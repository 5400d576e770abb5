"""Events that are decoded and yet not let in: of clocks that run ahead, of probes not confirmed."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Failure, Options, Parsed
from rms_flows.trust import FORGED, UNKNOWN, judge, judge_signed


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


def judge_rows(parsed: Parsed, ingested: pa.Array, options: Options) -> None:
    """Add to what is known of rows whom to believe, where the input's document says whom it is of.

    Args:
        parsed: Of a block of records.
        ingested: timestamp[us, UTC], shape (records,): when each reached us; null where nobody knows.
        options: What is known of the probe, or who knows it.
    """
    times = parsed.columns.get("@timestamp")
    stopped = options.quarantined | options.refused
    if times is None or not (stopped or parsed.signed is not None or options.probes is not None):
        return  # who puts on what is known of the source judges, too
    received = ingested.take(pa.array(_record(parsed)))
    if parsed.signed is not None:
        keys, which = parsed.signed
        parsed.known["rms.trust"] = judge_signed(keys, which, times, received)
        return
    trust = options.trust
    if options.probes is not None:
        trust, sure = options.probes.of(options.probe or "")
        parsed.unsure = 0 if sure else len(times)
    parsed.known["rms.trust"] = judge(trust, times, received)


def without_strangers(parsed: Parsed, ingested: pa.Array, options: Options) -> Parsed:
    """Turn what comes of a probe that is not trusted into failures, where the source's document says so.

    Quarantined are records with their bytes, so that they can be read again once the probe is confirmed; of
    refused ones it is kept that they came, and no byte of what they say.

    Args:
        parsed: Of a block of records, which are judged.
        ingested: timestamp[us, UTC], shape (records,): when each reached us; null where nobody knows.
        options: What is to be done.
    """
    stopped = options.quarantined | options.refused
    if not stopped or "rms.trust" not in parsed.known:
        return parsed
    record, times = _record(parsed), parsed.columns["@timestamp"]
    received = ingested.take(pa.array(record))
    found = parsed.known["rms.trust"].to_pylist()
    which = np.zeros(len(found), np.int64) if parsed.signed is None else parsed.signed[1]

    def failure(row: int) -> Failure:
        verdict = found[row]
        reason = _untrusted(times[row], received[row])
        why = _UNKNOWN if verdict == UNKNOWN else _FORGED if which[row] == FORGED else reason
        return Failure(int(record[row]), verdict, why, kept=verdict not in options.refused)

    return _without(parsed, np.array([one not in stopped for one in found], np.bool_), failure)


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
        parsed.signed and (parsed.signed[0], parsed.signed[1][kept]),
        parsed.conflicts,
        parsed.unsure,
    )


def _ahead(time: pa.Scalar, received: pa.Scalar) -> str:
    return (
        f"the event says {_iso(time)} and was received at {_iso(received)}; "
        "set the clock of the probe, or raise max_ahead"
    )


_FORGED = "the envelope is not signed with the key of the probe; see publicKey in its `trust:`"
_UNKNOWN = (
    "no gateway has confirmed the probe; put its fingerprint or key into `trust:` of the source, "
    "or where its `probes:` says; an envelope needs the publicKey"
)


def _untrusted(time: pa.Scalar, received: pa.Scalar) -> str:
    reached = f" (received at {_iso(received)})" if received.is_valid else ""
    return (
        f"the probe was not confirmed at {_iso(time)}{reached}; "
        "see validFrom, validTo and revokedAt in `trust:` of the source"
    )


def _iso(time: pa.Scalar) -> str:
    return str(time.as_py().isoformat(timespec="seconds"))
