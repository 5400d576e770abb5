"""Some rows of many, each with the same chance, in one pass."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pyarrow as pa

from rms_flows.notebook.events import united


def sampled(batches: Iterable[pa.RecordBatch], rows: int, seed: int) -> pa.Table:
    """Keep the rows that draw the lowest lots.

    Args:
        batches: Of any columns.
        rows: How many to keep, at most.
        seed: The same gives the same rows of the same batches.
    """
    random, lots = np.random.default_rng(seed), np.empty(0)
    kept = pa.table({})
    for batch in batches:
        drawn = np.concatenate([lots, random.random(batch.num_rows)])
        chosen = np.sort(np.argsort(drawn, kind="stable")[:rows])
        old, new = chosen[chosen < len(lots)], chosen[chosen >= len(lots)] - len(lots)
        parts = kept.take(pa.array(old, pa.int64())).combine_chunks().to_batches() if len(old) else []
        kept = united([*parts, batch.take(pa.array(new, pa.int64()))])
        lots = drawn[chosen]
    return kept
