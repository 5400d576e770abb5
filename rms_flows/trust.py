"""Whom a gateway has confirmed, and what that says of what comes from there."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.model import Key, Trust
from rms_flows.schema import DICTIONARY, micros

TRUSTED, UNTRUSTED, UNKNOWN = VERDICTS = ("trusted", "untrusted", "unknown")
"""Of an event: it came while its probe was confirmed, it did not, or nobody has confirmed the probe."""

FORGED: Final = -1
"""Instead of the number of a key: none that is known made the signature."""

_NAMES: Final = pa.array(VERDICTS)
_EVER, _NEVER = -(2**63), 2**63 - 1
_ALWAYS: Final = Key()


def judge(trust: Trust | None, times: pa.Array, received: pa.Array) -> pa.DictionaryArray:
    """Judge events by what the gateway had confirmed at their time, by whichever key that was.

    A probe that was stolen can date its events back, so what was received after the probe was revoked is not
    trusted either, where the time of reception is known.

    Args:
        trust: What is known of the probe.
        times: timestamp[us, UTC], when the events were.
        received: timestamp[us, UTC], when they reached us; null where nobody knows.

    Returns:
        For each event one of `VERDICTS`.
    """
    keys = () if trust is None else trust.known_keys
    rows = np.zeros(len(times), np.int64)
    if not keys:
        return _verdicts(np.full(len(times), VERDICTS.index(UNKNOWN)))
    good = np.zeros(len(times), np.bool_)
    for key in keys:
        good |= _covered([key], rows, times, received)
    return _verdicts(np.where(good, VERDICTS.index(TRUSTED), VERDICTS.index(UNTRUSTED)))


def judge_signed(
    keys: Sequence[Key | None], which: np.ndarray, times: pa.Array, received: pa.Array
) -> pa.DictionaryArray:
    """Judge signed events, each by the key that it was signed with, as `judge` does.

    Args:
        keys: What was confirmed; None where no key is known.
        which: Shape (events,), int64: the number of the key of each, or `FORGED`.
        times: timestamp[us, UTC], when the events were.
        received: timestamp[us, UTC], when they reached us; null where nobody knows.

    Returns:
        For each event one of `VERDICTS`.
    """
    good = _covered(keys, which, times, received)
    unknown = np.array([key is None for key in keys] + [False])[which]  # FORGED is the last
    judged = np.where(good & (which != FORGED), VERDICTS.index(TRUSTED), VERDICTS.index(UNTRUSTED))
    return _verdicts(np.where(unknown, VERDICTS.index(UNKNOWN), judged))


def _covered(
    keys: Sequence[Key | None], which: np.ndarray, times: pa.Array, received: pa.Array
) -> np.ndarray:
    """Do for many what `Key.covers` does for one."""
    bounds = [
        (_bound(key.validFrom, _EVER), _bound(key.validTo, _NEVER), _bound(key.revokedAt, _NEVER))
        for key in (one or _ALWAYS for one in (*keys, None))  # FORGED is the last
    ]
    begins, ends, revoked = np.array(bounds, np.int64)[which].T
    stamps = times.cast(pa.int64()).to_numpy(zero_copy_only=False)
    reached = received.cast(pa.int64()).fill_null(_EVER).to_numpy(zero_copy_only=False)
    good: np.ndarray = (stamps >= begins) & (stamps < np.minimum(ends, revoked)) & (reached < revoked)
    return good


def _bound(moment: datetime | None, missing: int) -> int:
    return missing if moment is None else micros(moment)


def _verdicts(codes: np.ndarray) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(codes.astype(np.int32), _NAMES).cast(DICTIONARY)
