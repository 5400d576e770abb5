"""What nobody looks at is not read, and whatever matters is: sought rows, sought texts, all forms of columns."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows.io import parquet_groups
from rms_flows.io.contract import Late, Request
from rms_flows.io.parquet_pages import Texts, chunks, distinct, opened
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.processors.contract import Search

ROWS = 20_000
SMALL = {"data_page_size": 50_000, "dictionary_pagesize_limit": 100_000}


class Wants:
    """Wants some rows of columns, and texts with a word."""

    def __init__(self, rows: dict[str, np.ndarray], word: bytes = b"\xff\xff") -> None:
        self._rows, self._word = rows, word

    def rows(self, column: str) -> np.ndarray | None:
        return self._rows.get(column)

    def may_be_in(self, column: str, texts: np.ndarray, start: int, end: int) -> bool:
        return self._word in texts.tobytes()


def request(
    *wants: Wants, always: frozenset[str] = frozenset(), first: frozenset[str] = frozenset()
) -> Request:
    searches = tuple(lambda one=one: Search(first, always, lambda _: one) for one in wants)
    return Request(None, late=Late(frozenset(), searches))


def table(rows: int = ROWS) -> pa.Table:
    numbers = np.arange(rows).tolist()
    return pa.table(
        {
            "@timestamp": pa.array(numbers, pa.timestamp("us", tz="UTC")),
            "event.id": pa.array([str(n) for n in numbers]),
            "few": pa.array([None if n % 3 else f"v{n % 100}" for n in numbers]),
            "long": pa.array([None if n % 5 == 0 else f"{n:07}" * 30 for n in numbers]),
            "number": pa.array(numbers, pa.int64()),
            "none": pa.nulls(rows, pa.string()),
            "must": pa.array([f"{n:07}" * 30 for n in numbers]),
            "s": pa.array([{"few": f"v{n % 7}"} for n in numbers]),
        },
        schema=pa.schema(
            [
                ("@timestamp", pa.timestamp("us", tz="UTC")),
                ("event.id", pa.string()),
                ("few", pa.string()),
                ("long", pa.string()),
                ("number", pa.int64()),
                ("none", pa.string()),
                pa.field("must", pa.string(), nullable=False),
                ("s", pa.struct([("few", pa.string())])),
            ]
        ),
    )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("late")
    pq.write_table(table(), folder / "a.parquet", row_group_size=10_000, **SMALL)
    return folder


def read(folder: Path, asked: Request) -> dict[str, list[object]]:
    source = ParquetSource(str(folder))
    batches = [one.rows for part in source.fragments(asked) for one in source.read(part, asked)]
    names = dict.fromkeys(name for batch in batches for name in batch.schema.names)
    return {
        name: [
            value
            for batch in batches
            for value in (
                batch.column(name).to_pylist() if name in batch.schema.names else [None] * batch.num_rows
            )
        ]
        for name in names
    }


def test_what_nobody_wants_is_not_read(archive: Path) -> None:
    found = read(archive, request(Wants({})))
    assert {"few", "none"}.isdisjoint(found)
    assert set(found["long"]) == {None}
    assert found["number"] == [str(n) for n in range(ROWS)]  # it becomes text, which may be what a word is in
    assert found["s.few"] == [f"v{n % 7}" for n in range(ROWS)]


def test_what_is_named_comes_whole(archive: Path) -> None:
    found = read(archive, request(Wants({}), always=frozenset({"few"}), first=frozenset({"long"})))
    assert found["few"] == table()["few"].to_pylist()
    assert found["long"] == table()["long"].to_pylist()


def test_rows_that_are_wanted_come_and_few_others(archive: Path) -> None:
    wanted = np.zeros(10_000, dtype=bool)
    wanted[[17, 9_999]] = True
    found = read(archive, request(Wants({"long": wanted, "few": wanted, "must": wanted})))
    whole = table()
    assert found["few"] == whole["few"].to_pylist()
    assert found["must"] == whole["must"].to_pylist()  # left to Arrow
    for row in (17, 9_999, 10_017, 19_999):
        assert found["long"][row] == whole["long"][row].as_py()
    others = sum(value is not None for value in found["long"])
    assert 0 < others < ROWS // 2
    assert all(a in {None, b} for a, b in zip(found["long"], whole["long"].to_pylist(), strict=True))


def test_texts_that_are_wanted_come(archive: Path) -> None:
    found = read(archive, request(Wants({}, b"0012346")))
    assert found["long"][12_346] is not None
    assert found["long"][100] is None
    assert "few" not in found
    assert read(archive, request(Wants({}, b"v99")))["few"] == table()["few"].to_pylist()


def test_what_one_of_several_wants_is_read(archive: Path) -> None:
    every = np.ones(10_000, dtype=bool)
    found = read(archive, request(Wants({}), Wants({"few": every}), Wants({"long": every})))
    whole = table()
    assert (found["few"], found["long"]) == (whole["few"].to_pylist(), whole["long"].to_pylist())


def test_nothing_is_spared_where_rows_are_dead_letters(tmp_path: Path) -> None:
    """Rows without a time don't reach the search, so what it says would be of other rows."""
    whole = table(10_000)
    times = pa.array([None, *range(1, 10_000)], pa.timestamp("us", tz="UTC"))
    pq.write_table(whole.set_column(0, "@timestamp", times), tmp_path / "a.parquet")
    found = read(tmp_path, request(Wants({})))
    assert found["few"] == whole["few"].to_pylist()[1:]


def taken(texts: Texts, rows: int, step: int) -> list[str | None]:
    """Take all rows, some at a time; those of earlier pieces must not change when others are read."""
    pieces = []
    for start in range(0, rows, step):
        count = min(step, rows - start)
        assert texts.read(start + count)
        pieces.append(texts.take(count))
    for piece in pieces:
        piece.validate(full=True)
    assert texts.size == 0
    return [value for piece in pieces for value in piece.to_pylist()]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.none() | st.sampled_from(["", "é", "a" * 9]) | st.text("xyz", max_size=4), min_size=1, max_size=80
    ),
    st.lists(st.booleans(), min_size=80, max_size=80),
    st.sampled_from([1, 40, 1 << 20]),
    st.sampled_from(["none", "zstd"]),
    st.sampled_from([8, 24, 80]),
)
def test_pages_of_codes_and_of_texts_give_the_rows_that_matter(
    tmp_path_factory, rows, mask, limit, codec, step
):
    path = tmp_path_factory.mktemp("pages") / "a.parquet"
    options = {"data_page_size": 16, "write_batch_size": 5, "dictionary_pagesize_limit": limit}
    pq.write_table(pa.table({"a": pa.array(rows, pa.string())}), path, compression=codec, **options)
    meta, wanted = pq.read_metadata(path), np.array(mask)
    with opened(str(path)) as file:
        ((_, chunk, _),) = chunks(meta, 0, {"a"})
        assert distinct(file, chunk) is not None
        some = Texts(file, chunk, lambda _texts, start, end: bool(wanted[start:end].any()))
        everything = Texts(file, chunk, lambda *_: True)
    assert taken(everything, len(rows), step) == rows
    for row, (value, expected) in enumerate(zip(taken(some, len(rows), step), rows, strict=True)):
        assert value == expected or (value is None and not wanted[row])


def test_broken_pages_are_left_to_arrow_or_read_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    text = pa.array([None if n % 4 == 0 else f"{n % 40}" * 3 for n in range(200)])
    options = {"data_page_size": 64, "write_batch_size": 10, "dictionary_pagesize_limit": 60}
    pq.write_table(pa.table({"a": text}), path, compression="none", **options)
    whole, rng, meta = path.read_bytes(), np.random.default_rng(0), pq.read_metadata(path)
    size = meta.row_group(0).column(0).total_compressed_size
    ((_, chunk, _),) = chunks(meta, 0, {"a"})
    for _ in range(2_000):
        broken = bytearray(whole)
        for place in rng.integers(4, 4 + size, 3).tolist():
            broken[place] = int(rng.integers(256))
        path.write_bytes(broken)
        with opened(str(path)) as file:
            distinct(file, chunk)
            texts = Texts(file, chunk, lambda *_: True)
        if texts.read(104):
            pieces = [texts.take(104)]
            pieces += [texts.take(96)] if texts.read(200) else []
            for found in pieces:
                held = found.buffers()[2]
                assert sum(len(value) for value in found.cast(pa.binary()).to_pylist() if value) <= len(held)


def test_row_groups_that_are_large_come_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_groups, "_BATCH", 3 * parquet_groups._STEP)
    pq.write_table(table(), tmp_path / "a.parquet")
    asked, source = request(Wants({"few": np.ones(ROWS, dtype=bool)})), ParquetSource(str(tmp_path))
    found = [one.rows for part in source.fragments(asked) for one in source.read(part, asked)]
    assert [batch.num_rows for batch in found] == [12_288, 7_712]
    assert [v for batch in found for v in batch["few"].to_pylist()] == table()["few"].to_pylist()


def test_batches_of_long_texts_are_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the memory of who reads: a row group of 65,536 rows may have 150 MB of text."""
    monkeypatch.setattr(parquet_groups, "_ROOM", 300_000)
    whole = table()
    pq.write_table(whole, tmp_path / "a.parquet")
    for wanted in (np.ones(ROWS, dtype=bool), np.arange(ROWS) < ROWS // 2):
        asked, source = request(Wants({"long": wanted})), ParquetSource(str(tmp_path))
        found = [one.rows for part in source.fragments(asked) for one in source.read(part, asked)]
        assert [batch.num_rows for batch in found[:2]] == [4_096, 4_096]
        assert sum(batch.num_rows for batch in found) == ROWS
        assert [v for batch in found for v in batch["event.id"].to_pylist()] == whole["event.id"].to_pylist()
        texts = [v for batch in found for v in batch["long"].to_pylist()]
        assert all(v == w for v, w, m in zip(texts, whole["long"].to_pylist(), wanted, strict=True) if m)


def test_a_page_that_is_broken_behind_rows_that_are_out_is_left_to_arrow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards against a batch that is cut short, or rows twice, when we give up in the midst of a column."""
    monkeypatch.setattr(parquet_groups, "_ROOM", 300_000)
    read_on = Texts.read
    monkeypatch.setattr(Texts, "read", lambda self, end: read_on(self, end) and end <= 10_000)
    whole = table()
    pq.write_table(whole, tmp_path / "a.parquet")
    found = read(tmp_path, request(Wants({"long": np.ones(ROWS, dtype=bool)})))
    assert found["long"] == whole["long"].to_pylist()


def test_bytes_are_counted_once_however_a_row_group_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Guards progress and the account of a run: each slice of a column would count its whole dictionary."""
    whole = table()
    words = pa.array([f"{n % 2_000:0100}" for n in range(ROWS)])
    pq.write_table(whole.set_column(2, "few", words), tmp_path / "a.parquet")
    every = np.ones(ROWS, dtype=bool)
    counted = []
    for room in (1 << 30, 300_000):
        monkeypatch.setattr(parquet_groups, "_ROOM", room)
        asked, source = request(Wants({"few": every, "long": every})), ParquetSource(str(tmp_path))
        found = [one.counts.bytes for part in source.fragments(asked) for one in source.read(part, asked)]
        counted.append((len(found), sum(found)))
    (few, expected), (many, bytes_) = counted
    assert (few, many) == (1, 5)
    assert expected <= bytes_ < 1.01 * expected  # each piece begins with an offset of its own
