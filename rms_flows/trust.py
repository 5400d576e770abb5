"""Whom a gateway has confirmed, and what that says of what comes from there."""

from __future__ import annotations

from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.model import Trust
from rms_flows.schema import DICTIONARY, micros

TRUSTED, UNTRUSTED, UNKNOWN = VERDICTS = ("trusted", "untrusted", "unknown")
"""Of an event: it came while its probe was confirmed, it did not, or nobody has confirmed the probe."""

_NAMES: Final = pa.array(VERDICTS)


def judge(trust: Trust | None, times: pa.Array, received: pa.Array) -> pa.DictionaryArray:
    """Judge events by what the gateway had confirmed at their time.

    A probe that was stolen can date its events back, so what was received after the probe was revoked is not
    trusted either, where the time of reception is known.

    Args:
        trust: What is known of the probe.
        times: timestamp[us, UTC], when the events were.
        received: timestamp[us, UTC], when they reached us; null where nobody knows.

    Returns:
        For each event one of `VERDICTS`.
    """
    if trust is None or not (trust.fingerprint or trust.publicKey):
        indices = np.full(len(times), VERDICTS.index(UNKNOWN), np.int32)
        return pa.DictionaryArray.from_arrays(indices, _NAMES).cast(DICTIONARY)
    stamps = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    good = np.ones(len(times), np.bool_)
    if trust.validFrom is not None:
        good &= stamps >= micros(trust.validFrom)
    if trust.validTo is not None:
        good &= stamps < micros(trust.validTo)
    if trust.revokedAt is not None:
        end = micros(trust.revokedAt)
        known = received.is_valid().to_numpy(zero_copy_only=False)
        reached = received.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
        good &= (stamps < end) & (~known | (reached < end))
    indices = np.where(good, VERDICTS.index(TRUSTED), VERDICTS.index(UNTRUSTED)).astype(np.int32)
    return pa.DictionaryArray.from_arrays(indices, _NAMES).cast(DICTIONARY)
