"""What the tests of decoders share: decode bytes to one table and one account."""

from __future__ import annotations

import io
from collections import Counter
from dataclasses import fields
from typing import NamedTuple

import pyarrow as pa

from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Counts, Options


class Result(NamedTuple):
    rows: pa.Table
    dead: list[dict]
    counts: Counts
    reasons: Counter
    format: str | None


def run(data: bytes, name: str = "input.log", columns=None, stream=None, **options) -> Result:
    counts, reasons, rows, dead, known = Counts(), Counter(), [], [], None
    context = Context(name, Options(**options), columns)
    for known, decoded in decode(stream or io.BytesIO(data), context):  # noqa: B007  the last one is given
        assert decoded.counts.balanced()
        assert decoded.counts.rows == decoded.rows.num_rows
        assert decoded.counts.dead == decoded.dead.num_rows == sum(decoded.reasons.values())
        for field in fields(Counts):
            setattr(counts, field.name, getattr(counts, field.name) + getattr(decoded.counts, field.name))
        reasons.update(decoded.reasons)
        rows.append(pa.Table.from_batches([decoded.rows]))
        dead += decoded.dead.to_pylist()
    table = pa.concat_tables(rows, promote_options="permissive") if rows else pa.table({})
    return Result(table, dead, counts, reasons, known and known.name)
