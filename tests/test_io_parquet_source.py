"""Parquet files, ours and others', come back as observations with all their rows and stable ids."""

from __future__ import annotations

import json
import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_io_parquet_sink import HOUR, archived, events

from rms_flows import schema
from rms_flows.decode.contract import Counts, Decoded
from rms_flows.errors import SourceError
from rms_flows.io import parquet_sink, parquet_source
from rms_flows.io.contract import Request, Window
from rms_flows.io.parquet_source import ParquetSource


def everything(source: ParquetSource, request: Request = Request()) -> list[Decoded]:  # noqa: B008  frozen
    source = pickle.loads(pickle.dumps(source))  # noqa: S301  as in a worker
    fragments = pickle.loads(pickle.dumps(source.fragments(request)))  # noqa: S301  as in a worker
    found = []
    for fragment in fragments:
        parts = list(source.read(fragment, request))
        assert sum(part.counts.framed for part in parts) == fragment.rows
        assert all(part.counts.balanced() for part in parts)
        assert all(part.rows.num_rows <= 65_536 for part in parts)
        for part in parts:
            assert part.rows.schema.names[: len(schema.ENVELOPE)] == list(schema.ENVELOPE)
            assert all(part.rows.schema.field(name).type == kind for name, kind in schema.ENVELOPE.items())
            assert part.dead.schema == schema.DEAD_LETTER
        found += parts
    return found


def rows(source: ParquetSource, request: Request = Request()) -> list[dict[str, Any]]:  # noqa: B008  frozen
    return [row for part in everything(source, request) for row in part.rows.to_pylist()]


def test_archive_comes_back_as_it_was_written(tmp_path: Path):
    batch = events(0, 24, source="a/b ä", text="x", level=1)
    archived(tmp_path, [batch])
    found = rows(ParquetSource(str(tmp_path)))
    for row, was in zip(sorted(found, key=lambda row: row["@timestamp"]), batch.to_pylist(), strict=True):
        assert row.pop("rms.origin").endswith(f".parquet#{was['@timestamp'].hour}")  # it had none
        assert row == {"rms.trust": None, **was, "level": "1"}


def test_text_comes_as_dictionaries_but_not_ids(tmp_path: Path):
    archived(tmp_path, [events(0, 3, text="x")])
    kinds = everything(ParquetSource(str(tmp_path)))[0].rows.schema
    assert kinds.field("text").type == schema.DICTIONARY
    assert kinds.field("event.id").type == pa.string()


def test_columns_are_projected_and_the_envelope_always_comes(tmp_path: Path):
    archived(tmp_path, [events(0, 3, a="x", b="y")])
    request = Request(frozenset({"a", "none"}))
    assert everything(ParquetSource(str(tmp_path)), request)[0].rows.schema.names == [*schema.ENVELOPE, "a"]


@pytest.mark.parametrize(
    ("window", "want"),
    [
        (Window(), 48),
        (Window(start=24 * HOUR), 24),
        (Window(end=24 * HOUR), 24),
        (Window(end=24 * HOUR + 1), 28),
        (Window(start=23 * HOUR, end=24 * HOUR), 4),
        (Window(start=23 * HOUR + 1), 24),
        (Window(start=100 * HOUR), 0),
    ],
)
def test_what_lies_outside_the_window_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, window: Window, want: int
):
    monkeypatch.setattr(parquet_sink, "_ROW_GROUP", 4)
    archived(tmp_path / "archive", [events(n, n + 4) for n in range(0, 48, 4)])
    for source in (tmp_path / "archive", tmp_path / "plain"):
        if source.name == "plain":  # statistics alone, in another unit
            whole = pa.Table.from_batches([events(0, 48)])
            times = whole["@timestamp"].cast(pa.timestamp("ns"))
            source.mkdir()
            pq.write_table(whole.set_column(0, "@timestamp", times), source / "f.parquet", row_group_size=4)
            want = {24: 24, 48: 48, 4: 4, 0: 0}[want] if window.end != 24 * HOUR + 1 else 28
        fragments = ParquetSource(str(source)).fragments(Request(window=window))
        assert sum(fragment.rows or 0 for fragment in fragments) == want
    read = rows(ParquetSource(str(tmp_path / "plain")), Request(window=window))
    assert {row["event.id"] for row in read} >= {
        f"id-{n}" for n in range(48) if window.start is None or n * HOUR >= window.start
        if window.end is None or n * HOUR < window.end
    }  # fmt: skip


def test_partition_is_pruned_without_opening_the_file(tmp_path: Path):
    archived(tmp_path, [events(0, 48)])
    first = next(tmp_path.glob("*/day=1970-01-01/*"))
    first.write_bytes(b"broken")
    assert len(rows(ParquetSource(str(tmp_path)), Request(window=Window(start=24 * HOUR)))) == 24


def test_one_big_file_is_several_fragments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    whole = pa.Table.from_batches([events(0, 100)])
    pq.write_table(whole, tmp_path / "f.parquet", row_group_size=4)
    source = ParquetSource(str(tmp_path / "f.parquet"))
    assert [fragment.rows for fragment in source.fragments(Request())] == [32, 32, 32, 4]
    monkeypatch.setattr(parquet_source, "_ROWS", 10)
    assert [fragment.rows for fragment in source.fragments(Request())][:3] == [8, 8, 8]
    assert [row["event.id"] for row in rows(source)] == [f"id-{n}" for n in range(100)]


def test_folders_globs_and_what_is_hidden(tmp_path: Path):
    for name in ("b/2.parquet", "a/1.parquet", ".staging/3.parquet", "b/_tmp/4.parquet"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.Table.from_batches([events(int(name[-9]), int(name[-9]) + 1)]), tmp_path / name)
    (tmp_path / "a/readme.txt").write_text("x")
    (tmp_path / "b/folder.parquet").mkdir()
    names = [
        ("", ["1", "2"]),
        ("*/*.parquet", ["1", "2"]),
        ("b", ["2"]),
        ("**/2.parquet", ["2"]),
        ("?", ["1", "2"]),
    ]
    for pattern, want in names:
        found = rows(ParquetSource(str(tmp_path / pattern)))
        assert [row["event.id"] for row in found] == [f"id-{n}" for n in want]


def foreign(path: Path, **columns: Any) -> ParquetSource:
    pq.write_table(pa.table(columns), path, row_group_size=2)
    return ParquetSource(str(path), dataset="own.data")


def test_foreign_file_gets_an_envelope_and_ids_of_its_content(tmp_path: Path):
    stamps = pa.array([1, 2, 3], pa.timestamp("ms"))
    found = rows(foreign(tmp_path / "a.parquet", **{"@timestamp": stamps, "x": pa.array([1, 2, 3])}))
    assert [row["@timestamp"].microsecond for row in found] == [1000, 2000, 3000]
    assert [row["rms.origin"] for row in found] == ["a.parquet#0", "a.parquet#1", "a.parquet#2"]
    assert {row["event.dataset"] for row in found} == {"own.data"}
    assert [row["x"] for row in found] == ["1", "2", "3"]
    ids = [row["event.id"] for row in found]
    again = foreign(tmp_path / "moved.parquet", **{"@timestamp": stamps, "x": pa.array([1, 2, 3])})
    assert [row["event.id"] for row in rows(again)] == ids
    late = Request(window=Window(start=3_000))
    assert [row["event.id"] for row in rows(again, late)] == ids[2:]
    other = foreign(tmp_path / "other.parquet", **{"@timestamp": stamps, "x": pa.array([1, 2, 4])})
    assert not {row["event.id"] for row in rows(other)} & {*ids}
    assert len({*ids}) == 3


def test_rows_without_id_among_others_get_one(tmp_path: Path):
    for name in ("a", "b"):
        stamps = pa.array([1, 2], pa.timestamp("us"))
        foreign(
            tmp_path / f"{name}.parquet", **{"@timestamp": stamps, "event.id": ["own", None], "x": [name] * 2}
        )
    ids = [row["event.id"] for row in rows(ParquetSource(str(tmp_path)))]
    assert ids[::2] == ["own", "own"]
    assert len({*ids}) == 3


def test_structs_come_under_dotted_names(tmp_path: Path):
    host = pa.array(
        [{"name": "hub", "os": {"kernel": "6"}}, None],
        pa.struct({"name": "string", "os": pa.struct({"kernel": "string"})}),
    )
    source = foreign(
        tmp_path / "f.parquet", **{"@timestamp": pa.array([1, 2], pa.timestamp("us")), "host": host}
    )
    assert [(row["host.name"], row["host.os.kernel"]) for row in rows(source)] == [("hub", "6"), (None, None)]
    batch = everything(source, Request(frozenset({"host.os.kernel"})))[0].rows
    assert batch.schema.names == [*schema.ENVELOPE, "host.os.kernel"]


def test_text_in_structs_across_small_row_groups(tmp_path: Path):
    numbers = range(90)
    inner = [{"text": f"v{n % 7}", "b": {"c": None if n % 4 else f"{n}"}} for n in numbers]
    table = pa.table({"@timestamp": pa.array(numbers, pa.timestamp("us")), "a": inner})
    pq.write_table(table, tmp_path / "x.parquet", row_group_size=10)
    found = rows(ParquetSource(str(tmp_path / "x.parquet")))
    assert [row["a.text"] for row in found] == [one["text"] for one in inner]
    assert [row["a.b.c"] for row in found] == [one["b"]["c"] for one in inner]


def test_values_get_the_type_of_their_name_and_misfits_are_kept(tmp_path: Path):
    source = foreign(
        tmp_path / "f.parquet",
        when=pa.array(["2023-05-01T00:00:00Z", "2023-05-01 00:00:01"]),
        **{
            "source.port": pa.array(["80", "http"]),
            "source.bytes": pa.array([1.0, 2.0]),
            "destination.bytes": pa.array([1.5, 2.0]),
            "host.cpu.usage": pa.array([1, 2], pa.int8()),
            "tags": pa.array(["a", None]).dictionary_encode(),
            "host.name": pa.array(["a", "b"], pa.large_string()),
        },
    )
    parts = everything(ParquetSource(source.path, time_column="when"))
    found = [row for part in parts for row in part.rows.to_pylist()]
    assert found[0]["@timestamp"] == datetime(2023, 5, 1, tzinfo=UTC)
    assert [row["source.port"] for row in found] == [80, None]
    assert [row["source.bytes"] for row in found] == [1, 2]
    assert [row["destination.bytes"] for row in found] == [None, 2]
    assert [row["host.cpu.usage"] for row in found] == [1.0, 2.0]
    assert [row["tags"] for row in found] == [["a"], None]
    misfits = [json.loads(row["rms.misfit"]) for row in found if row["rms.misfit"]]
    assert misfits == [{"destination.bytes": "1.5"}, {"source.port": "http"}]
    assert sum(part.counts.misfits for part in parts) == 2


def test_columns_of_any_type_are_kept(tmp_path: Path):
    columns = {
        "decimal": pa.array(["1.50", None]).cast(pa.decimal128(5, 2)),
        "date": pa.array([0, 1], pa.date32()),
        "flag": pa.array([True, None]),
        "utf8": pa.array([b"abc", None], pa.binary()),
        "bytes": pa.array([b"\xff", b""], pa.binary()),
        "list": pa.array([[1, 2], None]),
        "structs": pa.array([[{"a": 1}], []]),
        "map": pa.array([[("k", 1)], None], pa.map_(pa.string(), pa.int64())),
        "tags": pa.array([[1], None]),
        "related.ip": pa.array([[["x"]], None]),
        "nothing": pa.nulls(2),
        "process.pid": pa.array([2**40, None], pa.uint64()),
        "large": pa.array(["a", None], pa.large_string()).dictionary_encode(),
        "event.duration": pa.array([1, None], pa.duration("us")),
    }
    source = foreign(
        tmp_path / "f.parquet", **{"@timestamp": pa.array([1, 2], pa.timestamp("us"))}, **columns
    )
    parts = everything(source)
    first, second = [row for part in parts for row in part.rows.to_pylist()]
    for part in parts:
        kinds = {field.name: field.type for field in part.rows.schema}
        for name, kind in kinds.items():
            want = schema.field_type(name)
            assert kind == want or (want == pa.string() and kind == schema.DICTIONARY)
    texts = {"decimal": "1.50", "date": "1970-01-01", "flag": "true", "utf8": "abc", "large": "a"}
    assert {name: first[name] for name in texts} == texts
    assert (first["tags"], first["process.pid"], first["event.duration"]) == (["1"], 2**40, 1)
    assert json.loads(first["rms.misfit"]) == {
        "bytes": "/w==", "list": [1, 2], "structs": [{"a": 1}], "map": [["k", 1]], "related.ip": [["x"]]
    }  # fmt: skip
    assert second["date"] == "1970-01-02"


def test_row_without_time_is_a_dead_letter(tmp_path: Path):
    source = foreign(
        tmp_path / "f.parquet", **{"@timestamp": ["2023-05-01T00:00:00Z", "soon", None], "x": ["a", "b", "c"]}
    )
    parts = everything(source)
    total = Counts()
    for part in parts:
        total.rows, total.dead = total.rows + part.counts.rows, total.dead + part.counts.dead
    assert (total.rows, total.dead) == (1, 2)
    letters = [row for part in parts for row in part.dead.to_pylist()]
    assert [row["rms.origin"] for row in letters] == ["f.parquet#1", "f.parquet#2"]
    assert [row["event.original"] for row in letters] == [b'{"@timestamp":"soon","x":"b"}', b'{"x":"c"}']
    assert letters[0]["error.message"].startswith("no time in column '@timestamp'; expected a timestamp")
    assert sum(part.reasons.get("timestamp", 0) for part in parts) == 2


@given(cut=st.integers(0, 3_000))
@settings(max_examples=25, deadline=None)
def test_file_that_is_cut_is_refused(tmp_path_factory: pytest.TempPathFactory, cut: int):
    path = tmp_path_factory.mktemp("cut") / "f.parquet"
    pq.write_table(pa.Table.from_batches([events(0, 100)]), path)
    data = path.read_bytes()
    path.write_bytes(data[: min(cut, len(data) - 1)])
    with pytest.raises(
        SourceError, match=r"f\.parquet: can't be read as Parquet: .*; it is empty, cut off or no"
    ):
        ParquetSource(str(path)).fragments(Request())


def test_file_whose_middle_is_broken_is_refused(tmp_path: Path):
    path = tmp_path / "f.parquet"
    rng = np.random.default_rng(1)
    table = pa.Table.from_batches([events(0, 100)]).append_column(
        "x", pa.array(rng.random(100)).cast(pa.string())
    )
    pq.write_table(table, path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[300 : len(data) // 2] = bytes(len(data) // 2 - 300)
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"f\.parquet: can't be read"):
        everything(ParquetSource(str(path)))


def test_no_such_file_no_files_and_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for path in (tmp_path / "none.parquet", tmp_path, tmp_path / "*.parquet"):
        with pytest.raises(SourceError, match=r"no Parquet file there; name a \.parquet file, a folder"):
            ParquetSource(str(path)).fragments(Request())
    pq.write_table(pa.Table.from_batches([events(0, 1)]), tmp_path / "f.parquet")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(pq, "ParquetFile", refuse)  # root may read everything
    with pytest.raises(
        SourceError, match=r"f\.parquet: can't be read: Permission denied; check the path, the"
    ):
        ParquetSource(str(tmp_path / "f.parquet")).fragments(Request())


def test_no_time_column(tmp_path: Path):
    source = foreign(tmp_path / "f.parquet", a=[1], b=[2])
    with pytest.raises(SourceError, match="no column '@timestamp', there are a, b; name the column"):
        source.fragments(Request())
    with pytest.raises(SourceError, match="no column 'c', there are a, b"):
        ParquetSource(source.path, time_column="c").fragments(Request())


def test_empty_file_has_no_fragments(tmp_path: Path):
    pq.write_table(pa.Table.from_batches([events(0, 1)]).slice(1), tmp_path / "f.parquet")
    assert ParquetSource(str(tmp_path)).fragments(Request()) == []
