"""An archive has every event once, whatever was written when, and whenever a run was killed."""

from __future__ import annotations

import errno
import pickle
import shutil
import signal
from pathlib import Path
from resource import RLIMIT_FSIZE, setrlimit

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_steps import at_each_step, in_own_process

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io import parquet_sink
from rms_flows.io.parquet_fold import first_of_each
from rms_flows.io.parquet_sink import ParquetSink

HOUR = 3_600_000_000


def events(
    start: int, stop: int, *, source: str | None = "hub", every: int = HOUR, **more: object
) -> pa.RecordBatch:
    """Make events `start` to `stop`, one an hour since 1970."""
    count = stop - start
    columns = {
        "@timestamp": pa.array([n * every for n in range(start, stop)], pa.int64()).cast(schema.TIMESTAMP),
        "event.ingested": pa.nulls(count, schema.TIMESTAMP),
        "event.id": pa.array([f"id-{n}" for n in range(start, stop)], pa.string()),
        "event.dataset": pa.array(["system.cpu"] * count, pa.string()).dictionary_encode(),
        "rms.source": pa.array([source] * count, pa.string()).dictionary_encode(),
        "event.original": pa.array([b"\xff" * 3] * count, pa.binary()),
        "tags": pa.array([["a", "b"]] * count, schema.TEXTS),
        **{name: pa.array([value] * count) for name, value in more.items()},
    }
    return pa.record_batch(columns)


def archived(folder: Path, *parts: list[pa.RecordBatch]) -> int:
    sink = ParquetSink(folder)
    sink.prepare()
    for number, batches in enumerate(parts):
        writer = pickle.loads(pickle.dumps(sink)).part(f"{number:08d}-000")  # noqa: S301  as in a worker
        for batch in batches:
            writer.write(batch)
        writer.close()
    return sink.commit()


def held(folder: Path) -> list[str]:
    return sorted(ds.dataset(folder, partitioning="hive").to_table(columns=["event.id"])[0].to_pylist())


def names(start: int, stop: int) -> list[str]:
    return sorted(f"id-{n}" for n in range(start, stop))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_partitions_by_source_and_day(tmp_path: Path):
    assert (
        archived(tmp_path, [events(0, 48), events(48, 50, source="a/b ä")], [events(0, 1, source=None)]) == 51
    )
    assert sorted(str(p.relative_to(tmp_path)) for p in tmp_path.glob("*/*")) == [
        "rms.source=__HIVE_DEFAULT_PARTITION__/day=1970-01-01",
        "rms.source=a%2Fb%20%C3%A4/day=1970-01-03",
        "rms.source=hub/day=1970-01-01",
        "rms.source=hub/day=1970-01-02",
    ]
    table = ds.dataset(tmp_path, partitioning="hive").to_table().sort_by("@timestamp")
    assert set(table["rms.source"].to_pylist()) == {"hub", "a/b ä", None}
    assert table.schema.field("event.dataset").type == schema.DICTIONARY
    assert table.schema.field("tags").type == schema.TEXTS
    assert table["event.original"].to_pylist() == [b"\xff" * 3] * 51


def test_same_input_twice_changes_no_byte(tmp_path: Path):
    parts = ([events(0, 30), events(30, 40)], [events(40, 50, level=1)])
    assert archived(tmp_path, *parts) == 50
    before = bytes_of(tmp_path)
    assert archived(tmp_path, *parts) == 50
    assert bytes_of(tmp_path) == before


def test_another_input_of_the_same_source_and_day_takes_nothing_away(tmp_path: Path):
    archived(tmp_path, [events(0, 10)])
    archived(tmp_path, [events(10, 20)])
    assert held(tmp_path) == names(0, 20)


def test_input_that_has_grown(tmp_path: Path):
    archived(tmp_path, [events(0, 10)])
    assert archived(tmp_path, [events(0, 20, new=1)]) == 20
    assert held(tmp_path) == names(0, 20)
    assert len(bytes_of(tmp_path)) == 1


def test_part_of_an_old_file_is_replaced(tmp_path: Path):
    archived(tmp_path, [events(0, 10, version=1)])
    archived(tmp_path, [events(5, 12, version=2)])
    table = ds.dataset(tmp_path, partitioning="hive").to_table().sort_by("@timestamp")
    assert table["event.id"].to_pylist() == [f"id-{n}" for n in range(12)]
    assert table["version"].to_pylist() == [1] * 5 + [2] * 7


@given(runs=st.lists(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 6)), max_size=3), max_size=4))
@settings(max_examples=40, deadline=None)
def test_archive_is_the_union_of_all_runs(
    tmp_path_factory: pytest.TempPathFactory, runs: list[list[tuple[int, int]]]
):
    folder = tmp_path_factory.mktemp("any") / "archive"
    want: set[int] = set()
    for run in runs:
        archived(folder, *([events(start, start + count)] for start, count in run))
        want |= {n for start, count in run for n in range(start, start + count)}
        again = bytes_of(folder)
        archived(folder, *([events(start, start + count)] for start, count in run))
        assert bytes_of(folder) == again
    assert [n for path in folder.rglob("*.parquet") for n in [pq.read_metadata(path).num_rows] if not n] == []
    if want:
        assert held(folder) == sorted(f"id-{n}" for n in want)


def test_first_of_each_across_groups(tmp_path: Path):
    rng = np.random.default_rng(1)
    files, ids = [], []
    for number in range(6):
        values = [None if n == 0 else str(n) for n in rng.integers(0, 40, 20).tolist()]
        pq.write_table(pa.table({"event.id": values}), tmp_path / str(number))
        files.append(tmp_path / str(number))
        ids += values
    want = [name is None or name not in ids[:n] for n, name in enumerate(ids)]
    for group in (1, 50, 1_000):
        assert np.concatenate(list(first_of_each(files, group))).tolist() == want


def test_columns_that_come_later_begin_a_new_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet_sink, "_ROW_GROUP", 2)
    archived(tmp_path, [events(0, 2, a=1), events(2, 4), events(4, 6, b=2), events(6, 8, a=3)])
    assert len(bytes_of(tmp_path)) == 2
    tables = [pq.read_table(path, partitioning=None) for path in tmp_path.rglob("*.parquet")]
    whole = pa.concat_tables(tables, promote_options="default").sort_by("@timestamp")
    assert whole["a"].to_pylist() == [1, 1, None, None, None, None, 3, 3]
    assert whole["b"].to_pylist() == [None] * 4 + [2, 2, None, None]


def test_files_and_row_groups_are_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parquet_sink, "_ROW_GROUP", 4)
    monkeypatch.setattr(parquet_sink, "_FILE", 8)
    archived(tmp_path, [events(n, n + 4) for n in range(0, 20, 4)])
    found = [pq.ParquetFile(path).metadata for path in tmp_path.rglob("*.parquet")]
    assert sorted((meta.num_rows, meta.num_row_groups) for meta in found) == [(4, 1), (8, 2), (8, 2)]
    assert all(meta.row_group(0).column(0).statistics.has_min_max for meta in found)


@pytest.mark.parametrize(("name", "value"), [("_OPEN_FILES", 3), ("_BUFFER", 10)])
def test_a_part_of_many_days_keeps_few_files_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: int
):
    monkeypatch.setattr(parquet_sink, name, value)
    archived(tmp_path, [events(n, n + 10, every=24 * HOUR) for n in range(0, 40, 5)])
    assert held(tmp_path) == names(0, 45)


def test_part_that_is_tried_again_replaces_its_failed_attempt(tmp_path: Path):
    sink = ParquetSink(tmp_path)
    sink.prepare()
    sink.part("0").write(events(0, 5))  # killed before it closed
    for _ in range(2):
        writer = sink.part("1")
        writer.write(events(5, 8))
        writer.close()
    assert sink.commit() == 3
    assert held(tmp_path) == names(5, 8)


def test_abandoned_run_changes_nothing(tmp_path: Path):
    archived(tmp_path, [events(0, 5)])
    before = bytes_of(tmp_path)
    sink = ParquetSink(tmp_path)
    sink.prepare()
    writer = sink.part("0")
    writer.write(events(0, 9))
    writer.close()
    sink.abandon()
    assert bytes_of(tmp_path) == before


def test_row_without_time_is_refused(tmp_path: Path):
    sink = ParquetSink(tmp_path)
    sink.prepare()
    batch = events(0, 1).set_column(0, "@timestamp", pa.nulls(1, schema.TIMESTAMP))
    with pytest.raises(SinkError, match="an observation without @timestamp; an archive takes decoded events"):
        sink.part("0").write(batch)
    sink.abandon()


def test_damaged_file_of_the_archive_is_named(tmp_path: Path):
    archived(tmp_path, [events(0, 5)])
    path = next(tmp_path.rglob("*.parquet"))
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(SinkError, match=r"parquet: a file of the archive can't be read .*move it away"):
        archived(tmp_path, [events(0, 6)])


def test_foreign_file_of_the_archive_stays(tmp_path: Path):
    folder = tmp_path / "rms.source=hub" / "day=1970-01-01"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"x": [1]}), folder / "own.parquet")
    archived(tmp_path, [events(0, 5)])
    assert (folder / "own.parquet").exists()


def test_second_run_is_refused(tmp_path: Path):
    first = ParquetSink(tmp_path)
    first.prepare()
    with pytest.raises(SinkError, match="another run writes to it"):
        ParquetSink(tmp_path).prepare()
    first.abandon()
    assert list(tmp_path.iterdir()) == []


def test_target_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match="file: can't be written: "):
        ParquetSink(tmp_path / "file").prepare()


def fill(folder: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = ParquetSink(Path(folder))
    sink.prepare()
    setrlimit(RLIMIT_FSIZE, (100_000, 100_000))
    try:
        writer = sink.part("0")
        for n in range(0, 600_000, 60_000):
            writer.write(events(n, n + 60_000, every=1))
        writer.close()
    except SinkError as error:
        print(error)  # noqa: T201  the test reads it
        sink.abandon()


def test_disk_full(tmp_path: Path):
    archived(tmp_path, [events(0, 5)])
    before = bytes_of(tmp_path)
    assert "can't be written: File too large" in in_own_process("test_io_parquet_sink", "fill", str(tmp_path))
    assert bytes_of(tmp_path) == before


def grow(folder: Path) -> None:
    """Replace one file, cut another, add a third."""
    archived(folder, [events(0, 10), events(20, 60)], [events(70, 75, source="b")])


def unchanged(folder: Path) -> None:
    sink = ParquetSink(folder)
    sink.prepare()
    sink.abandon()


def kill(folder: str) -> None:
    old, want = Path(folder) / "old", Path(folder) / "want"
    archived(old, [events(0, 10)], [events(15, 30)], [events(30, 33, source="c")])
    shutil.copytree(old, want)
    grow(want)

    def begin(here: Path) -> None:
        shutil.copytree(old, here, dirs_exist_ok=True)

    def check(here: Path) -> None:
        assert {*held(here)} >= {*held(old)}  # also for a reader who comes before the next run
        unchanged(here)
        assert bytes_of(here) in (bytes_of(old), bytes_of(want))
        grow(here)
        assert bytes_of(here) == bytes_of(want)
        assert not (here / ".staging").exists()

    print(at_each_step(grow, check, Path(folder), begin))  # noqa: T201  the test reads it


def test_killed_at_any_step_then_run_again(tmp_path: Path):
    assert int(in_own_process("test_io_parquet_sink", "kill", str(tmp_path))) > 30


@pytest.mark.parametrize("step", range(9))
def test_disk_fails_while_committing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int):
    here, want = tmp_path / "here", tmp_path / "want"
    for folder in (here, want):
        archived(folder, [events(0, 10)], [events(15, 30)])
    before = bytes_of(here)
    archived(want, [events(0, 10), events(20, 60)])
    calls = iter(range(99))

    def fail(path: Path) -> None:
        if next(calls) == step:
            raise OSError(errno.EIO, str(path))

    with monkeypatch.context() as patch:
        patch.setattr(parquet_sink, "sync", fail)
        sink = ParquetSink(here)
        sink.prepare()
        writer = sink.part("0")
        writer.write(events(0, 10))
        writer.write(events(20, 60))
        writer.close()
        with pytest.raises(SinkError, match="here: can't be written: Input/output error; check the disk"):
            sink.commit()
        sink.abandon()
    unchanged(here)
    assert bytes_of(here) in (before, bytes_of(want))
    assert not (here / ".staging").exists()
