"""Rows as JSON objects: column by column the same bytes as row by row."""

from base64 import b64encode

import msgspec
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from any_rows import batches
from hypothesis import example, given

from rms_flows import objects
from rms_flows.objects import json_lines, portions


def row_by_row(batch, constant):
    """Write each row as a dict, by another library."""

    def plain(column):
        if pa.types.is_timestamp(column.type):
            return pc.strftime(column, "%Y-%m-%dT%H:%M:%SZ").to_pylist()
        values = column.to_pylist()
        if pa.types.is_binary(column.type):
            return [None if one is None else b64encode(one).decode() for one in values]
        return values

    return [
        msgspec.json.encode(
            constant
            | {name: one for name, one in zip(batch.schema.names, row, strict=True) if one is not None}
        )
        for row in zip(*map(plain, batch.columns), strict=True)
    ]


@given(batches())
@example(pa.record_batch({"event.dataset": pa.array(["a\nb", None, "c"]).dictionary_encode()}))
@example(pa.record_batch({"a": [5.0, -0.0, 1e16, 1e-7, 123456789012345680.0, None]}))
def test_columns_give_the_bytes_of_rows(batch):
    """Guards against 5.0 that becomes 5, which readers take for another type, and against ids of other bytes."""
    for constant in ({}, {"event.kind": "alert"}):
        assert json_lines(batch, constant) == row_by_row(batch, constant)


def test_numbers_that_json_does_not_know_are_left_out():
    batch = pa.record_batch({"host.cpu.usage": [float("nan"), float("inf"), 0.5]})
    assert json_lines(batch) == [b"{}", b"{}", b'{"host.cpu.usage":0.5}']


@pytest.mark.parametrize(
    "column",
    [
        pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), pa.array(["x" * 2**20])),
        pa.DictionaryArray.from_arrays(pa.array([0] * 3_000, pa.int32()), pa.array([["x" * 2**20]])),
    ],
)
def test_a_batch_is_cut_where_arrow_would_wrap_around(column):
    """Guards against `take`, which gives offsets below zero where the texts taken have more than 2 GiB."""
    rows = pa.record_batch({"message": column})
    parts = [*portions(rows)]
    assert sum(part.num_rows for part in parts) == rows.num_rows
    assert max(part.num_rows for part in parts) * 2**20 * 6 < 2**31


@given(batches())
def test_what_is_cut_is_written_alike(batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(objects, "_ROOM", 20)
        assert json_lines(batch) == row_by_row(batch, {})
