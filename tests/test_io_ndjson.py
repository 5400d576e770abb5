"""The lines of a file depend on the rows alone; what is there stays whole whatever happens."""

from __future__ import annotations

import gzip
import json
import os
import pickle
import random
import resource
import signal
from pathlib import Path

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from killed_steps import at_each_step, in_own_process

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io import merge, ndjson_sink
from rms_flows.io.merge import Runs
from rms_flows.io.ndjson_sink import NdjsonSink, json_lines

Row = tuple[int, str, int, str]


def reports(rows: list[Row]) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [
            {"@timestamp": time, "event.id": name, "rms.revision": revision, "message": text}
            for time, name, revision, text in rows
        ],
        pa.schema([schema.REPORT.field(n) for n in ("@timestamp", "event.id", "rms.revision", "message")]),
    )


def written(path: Path, parts: dict[str, list[pa.RecordBatch]]) -> int:
    sink = NdjsonSink(path)
    sink.prepare()
    for name, batches in parts.items():
        writer = pickle.loads(pickle.dumps(sink)).part(name)  # noqa: S301  as in a worker
        for batch in batches:
            writer.write(batch)
        writer.close()
    return sink.commit()


def test_sorted_by_time_and_id_and_folded_to_the_highest_revision(tmp_path: Path):
    out = tmp_path / "out.ndjson"
    batch = reports([(5, "b", 1, "x"), (5, "a", 1, "x"), (1, "z", 1, "old"), (2, "z", 3, "new")])
    assert written(out, {"0": [batch]}) == 3
    rows = [json.loads(line) for line in out.read_bytes().splitlines()]
    assert [(row["event.id"], row["rms.revision"]) for row in rows] == [("z", 3), ("a", 1), ("b", 1)]
    assert rows[0]["@timestamp"] == "1970-01-01T00:00:00.000002Z"
    assert list(tmp_path.iterdir()) == [out]


rows_of = st.lists(
    st.tuples(
        st.integers(-3, 3), st.sampled_from(["", "a", "b", "é", "\U0001f600"]), st.integers(0, 2), st.text()
    ),
    max_size=12,
)


@given(rows=rows_of, seed=st.integers(0, 9), cut=st.integers(1, 5), limit=st.sampled_from([1, merge.LIMIT]))
@settings(max_examples=60, deadline=None)
def test_same_bytes_however_rows_are_split(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Row], seed: int, cut: int, limit: int
):
    out = tmp_path_factory.mktemp("any")
    mixed = random.Random(seed).sample(rows, len(rows))  # noqa: S311  seeded
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ndjson_sink, "Runs", lambda folder, kind: Runs(folder, kind, limit))
        split = {str(n): [reports(mixed[n : n + cut])] for n in range(0, len(mixed), cut)}
        assert written(out / "one", {"0": [reports(rows)]}) == written(out / "many", split)
    assert (out / "one").read_bytes() == (out / "many").read_bytes()
    # Against the definition, in plain Python.
    best: dict[str, tuple[int, bytes, int]] = {}
    keyed = zip(rows, json_lines(reports(rows)), strict=True)
    kept = []
    for (time, name, revision, _), line in keyed:
        if name:
            best[name] = min(best.get(name, (1, b"", 0)), (-revision, line, time))
        else:
            kept.append((time, name, line))
    kept += [(time, name, line) for name, (_, line, time) in best.items()]
    assert (out / "one").read_bytes() == b"".join(line + b"\n" for _, _, line in sorted(kept))


def test_rows_without_id_are_sorted_by_their_bytes_and_all_kept(tmp_path: Path):
    letters = pa.RecordBatch.from_pylist(
        [
            {"rms.origin": origin, "error.type": "json", "event.original": b"\xff{"}
            for origin in ("f:2", "f:1", "f:1")
        ],
        schema.DEAD_LETTER,
    )
    assert written(tmp_path / "dead", {"0": [letters]}) == 3
    lines = (tmp_path / "dead").read_text().splitlines()
    assert lines[0] == '{"rms.origin":"f:1","error.type":"json","event.original":"/3s="}'
    assert [json.loads(line)["rms.origin"] for line in lines] == ["f:1", "f:1", "f:2"]


def test_nothing_found_replaces_what_was_there(tmp_path: Path):
    out = tmp_path / "out.ndjson"
    out.write_text("old\n")
    assert written(out, {}) == 0
    assert out.read_bytes() == b""
    sink = NdjsonSink(out, empty=False)
    sink.prepare()
    assert sink.commit() == 0
    assert list(tmp_path.iterdir()) == []


def test_part_that_is_tried_again_replaces_its_failed_attempt(tmp_path: Path):
    out = tmp_path / "out"
    sink = NdjsonSink(out)
    sink.prepare()
    sink.part("0").write(reports([(1, "lost", 1, "x")]))  # killed before it closed
    for _ in range(2):
        writer = sink.part("1")
        writer.write(reports([(1, "", 1, "x")]))
        writer.close()
    assert sink.commit() == 1


def test_compressed_to_the_same_bytes(tmp_path: Path):
    batch = reports([(n, str(n), 1, "x") for n in range(100)])
    for name in ("a", "a.gz", "b.gz", "a.zst", "b.zst"):
        written(tmp_path / name, {"0": [batch]})
    plain = (tmp_path / "a").read_bytes()
    assert gzip.decompress((tmp_path / "a.gz").read_bytes()) == plain
    with (tmp_path / "a.zst").open("rb") as file:
        assert zstandard.ZstdDecompressor().stream_reader(file).read() == plain
    for end in ("gz", "zst"):
        assert (tmp_path / f"a.{end}").read_bytes() == (tmp_path / f"b.{end}").read_bytes()


def test_abandoned_run_leaves_what_was_there(tmp_path: Path):
    out = tmp_path / "out"
    out.write_text("old")
    sink = NdjsonSink(out)
    sink.prepare()
    sink.part("0").write(reports([(1, "a", 1, "x")]))
    sink.abandon()
    sink.abandon()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


def test_link_stays_a_link(tmp_path: Path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real" / "out")
    written(tmp_path / "out", {})
    assert (tmp_path / "out").is_symlink()
    assert (tmp_path / "real" / "out").read_bytes() == b""


@pytest.mark.parametrize("target", ["/dev/null", "/tmp"])  # noqa: S108  nothing is written there
def test_what_is_no_file_is_never_replaced(target: str):
    with pytest.raises(SinkError, match=f"{target}: is not a regular file; name a file to be written"):
        NdjsonSink(target).prepare()


def test_second_run_is_refused(tmp_path: Path):
    first, second = NdjsonSink(tmp_path / "out"), NdjsonSink(tmp_path / "out")
    first.prepare()
    with pytest.raises(SinkError, match="another run writes to it"):
        second.prepare()
    assert first.commit() == 0


def test_part_that_comes_after_the_run_ended_is_refused(tmp_path: Path):
    sink = NdjsonSink(tmp_path / "out")
    sink.prepare()
    late = pickle.loads(pickle.dumps(sink))  # noqa: S301  as in a worker
    sink.abandon()
    with pytest.raises(SinkError, match="can't be written: No such file or directory"):
        late.part("0")


def fill(folder: str) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    sink = NdjsonSink(Path(folder) / "out")
    sink.prepare()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    try:
        writer = sink.part("0")
        for n in range(100):
            writer.write(reports([(n, f"{n}-{i}", 1, "x" * 50) for i in range(100)]))
    except SinkError as error:
        print(error)  # noqa: T201  the test reads it
        sink.abandon()


def test_disk_full(tmp_path: Path):
    (tmp_path / "out").write_text("old")
    said = in_own_process("test_io_ndjson", "fill", str(tmp_path))
    assert "out: can't be written: File too large; raise the limit of file sizes" in said
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "old")]


def begin(folder: Path) -> None:
    (folder / "out").write_text("old")


def run_once(folder: Path) -> None:
    written(folder / "out", {"0": [reports([(1, "a", 1, "x")])]})


def whole_after_next_run(folder: Path) -> None:
    out = folder / "out"
    new = b"".join(line + b"\n" for line in json_lines(reports([(1, "a", 1, "x")])))
    assert out.read_bytes() in {b"old", new}
    run_once(folder)
    assert out.read_bytes() == new
    assert list(folder.iterdir()) == [out]


def kill(folder: str) -> None:
    print(at_each_step(run_once, whole_after_next_run, Path(folder), begin))  # noqa: T201  the test reads it


def test_killed_at_any_step_then_run_again(tmp_path: Path):
    assert int(in_own_process("test_io_ndjson", "kill", str(tmp_path))) > 10


def test_no_rights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "open", refuse)  # root may write everywhere
    with pytest.raises(SinkError, match="can't be written: Permission denied; give this user the right"):
        NdjsonSink(tmp_path / "out").prepare()


def test_memory_does_not_grow_with_rows(tmp_path: Path):
    runs = Runs(tmp_path / "runs", pa.schema([("n", pa.int64()), ("line", pa.binary())]), 4 << 20)
    line = b"x" * 1000
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with runs:
        for n in range(60_000):
            runs.put(((n * 7919) % 60_000, line))
        order = [n for n, _ in runs.merged()]
    assert order == list(range(60_000))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base < 50_000  # kB, of 60 MB


@given(
    st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from("abcdef"), st.integers(1, 3), st.sampled_from("xy"))
    ),
    st.integers(1, 5),
)
def test_runs_that_add_leave_what_one_run_leaves(tmp_path_factory, rows, runs):
    folder = tmp_path_factory.mktemp("adding")
    written(folder / "whole.ndjson", {"one": [reports(rows)]})
    for number in (*range(runs), 0):  # the first once more: it changes nothing
        sink = NdjsonSink(folder / "parts.ndjson", adding=True)
        sink.prepare()
        part = sink.part("one")
        part.write(reports(rows[number::runs]))
        part.close()
        sink.commit()
    assert (folder / "parts.ndjson").read_bytes() == (folder / "whole.ndjson").read_bytes()


@pytest.mark.parametrize("name", ["dead.ndjson", "dead.ndjson.gz", "dead.ndjson.zst"])
def test_of_equal_lines_without_an_id_one_that_adds_keeps_one(tmp_path, name):
    rows = [{"rms.origin": f"a#{n}", "error.type": "json"} for n in (1, 2)]
    for some in (rows, rows[:1], rows[1:]):
        sink = NdjsonSink(tmp_path / name, adding=True)
        sink.prepare()
        part = sink.part("one")
        part.write(pa.RecordBatch.from_pylist(some))
        part.close()
        kept = sink.commit()
        assert kept == 2


def test_one_that_adds_leaves_alone_what_no_run_wrote(tmp_path):
    (tmp_path / "notes.ndjson").write_text('{"event.id":"a"}\nremember the milk\n')
    sink = NdjsonSink(tmp_path / "notes.ndjson", adding=True)
    sink.prepare()
    with pytest.raises(SinkError, match=r"notes.ndjson:2: holds what no run wrote .*; move the file away"):
        sink.commit()
    sink.abandon()
    assert (tmp_path / "notes.ndjson").read_text().endswith("milk\n")
