"""Pages taken apart by our own loops, against Arrow: the same values, or left to Arrow."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows.io import parquet_kernel
from rms_flows.io.contract import Request
from rms_flows.io.parquet_pages import dictionaries
from rms_flows.io.parquet_source import ParquetSource

ROWS = st.lists(
    st.tuples(st.one_of(st.none(), st.sampled_from(["", "a", "é", "long" * 9])), st.integers(1, 40)),
    max_size=30,
).map(lambda runs: [value for value, times in runs for _ in range(times)])


def written(path: Path, columns: dict[str, pa.Array], **options) -> pq.FileMetaData:
    pq.write_table(pa.table(columns), path, **options)
    return pq.read_metadata(path)


@settings(max_examples=60)
@given(ROWS, st.sampled_from(["none", "snappy", "gzip", "zstd"]), st.sampled_from([1, 64, 1 << 20]))
def test_all_rows_come_as_arrow_reads_them(tmp_path_factory, rows, codec, page):
    path = tmp_path_factory.mktemp("pages") / "a.parquet"
    text = pa.array(rows, pa.string())
    options = {"compression": codec, "data_page_size": page, "write_batch_size": 7}
    meta = written(path, {"a": text, "b": text.fill_null("-")}, **options)
    for group in range(meta.num_row_groups):
        found = dictionaries(str(path), meta, group, {"a", "b"})
        assert found.keys() == {"a", "b"}
        for name, column in found.items():
            column.validate(full=True)
            assert column.to_pylist() == pq.read_table(path)[name].to_pylist()


def test_many_values_have_wide_codes(tmp_path):
    rng = np.random.default_rng(0)
    numbers = rng.integers(0, 9_000, 30_000)
    text = pa.array([None if n % 7 == 0 else str(n) for n in numbers.tolist()])
    meta = written(tmp_path / "a.parquet", {"a": text, "b": pa.array([str(n) for n in numbers.tolist()])})
    found = dictionaries(str(tmp_path / "a.parquet"), meta, 0, {"a", "b"})
    assert found["a"].to_pylist() == text.to_pylist()
    assert found["b"].to_pylist() == [str(n) for n in numbers.tolist()]
    assert found["a"].null_count == text.null_count


def test_a_column_that_must_have_values_has_no_levels(tmp_path):
    schema = pa.schema([pa.field("a", pa.string(), nullable=False)])
    pq.write_table(pa.table({"a": ["x", "y", "x"]}, schema=schema), tmp_path / "a.parquet")
    found = dictionaries(str(tmp_path / "a.parquet"), pq.read_metadata(tmp_path / "a.parquet"), 0, {"a"})
    assert found["a"].to_pylist() == ["x", "y", "x"]


@pytest.mark.parametrize(
    ("column", "options"),
    [
        (pa.array(["a", "b"]), {"use_dictionary": False}),
        (pa.array([f"{n:05}" for n in range(9_000)]), {"dictionary_pagesize_limit": 1_000}),  # it gave up
        (pa.array(["a", "b"]), {"compression": "lz4"}),
        (pa.array(["a", "b"]), {"data_page_version": "2.0"}),
        (pa.array([["a"], None]), {}),
        (pa.array([{"b": "a"}]), {}),
        (pa.array([1, 2]), {}),
    ],
)
def test_what_is_not_as_expected_is_left_to_arrow(tmp_path, column, options):
    path = tmp_path / "a.parquet"
    meta = written(path, {"a": column}, **options)
    names = {meta.schema.column(0).path, "a"}
    assert dictionaries(str(path), meta, 0, names) == {}


def test_a_column_without_values_is_not_read(tmp_path):
    meta = written(tmp_path / "a.parquet", {"a": pa.nulls(5, pa.string())})
    (tmp_path / "a.parquet").write_bytes(b"")
    assert dictionaries(str(tmp_path / "a.parquet"), meta, 0, {"a"})["a"].to_pylist() == [None] * 5


def test_broken_bytes_are_left_to_arrow_or_read_within_bounds(tmp_path):
    """Whatever stands in the file: no crash, and no code beyond the dictionary."""
    path = tmp_path / "a.parquet"
    text = pa.array(["a", None, "bc", "bc", None, "d"] * 50)
    meta = written(path, {"a": text}, compression="none")
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    size = meta.row_group(0).column(0).total_compressed_size
    for _ in range(2_000):
        broken = bytearray(whole)
        for place in rng.integers(4, 4 + size, 3).tolist():
            broken[place] = int(rng.integers(256))
        path.write_bytes(broken)
        for column in dictionaries(str(path), meta, 0, {"a"}).values():
            column.indices.validate(full=True)
            assert len(column) == len(text)
            codes = column.indices.drop_null().to_numpy()
            assert ((codes >= 0) & (codes < max(len(column.dictionary), 1))).all()


def test_a_header_that_is_cut_or_nested_too_deeply():
    for header in (b"", b"\x15", b"\x15\x80", b"\x1c" * 20, b"\x19\x00", b"\x18\xff\x01", b"\x05\x00"):
        numbers = np.zeros(parquet_kernel.NUMBERS, np.int64)
        assert parquet_kernel.header(np.frombuffer(header, np.uint8), 0, numbers) == parquet_kernel.BAD


def test_batches_of_large_row_groups_are_those_of_small_ones(tmp_path):
    rows = 20_000
    numbers = np.arange(rows)
    table = pa.table(
        {
            "@timestamp": pa.array(numbers, pa.timestamp("us", tz="UTC")),
            "event.id": pa.array([f"{n}" for n in numbers.tolist()]),
            "a": pa.array([None if n % 3 else f"v{n % 100}" for n in numbers.tolist()]),
            "n": pa.nulls(rows, pa.string()),
        }
    )
    found = []
    for size in (rows, 1_000):
        folder = tmp_path / str(size)
        folder.mkdir()
        pq.write_table(table, folder / "a.parquet", row_group_size=size)
        source = ParquetSource(str(folder))
        read = [one.rows for part in source.fragments(Request()) for one in source.read(part, Request())]
        found.append(
            {
                name: [value for batch in read for value in batch.column(name).to_pylist()]
                for name in ("@timestamp", "event.id", "a", "n")
            }
        )
    assert found[0] == found[1]
    assert found[0]["a"] == table["a"].to_pylist()
