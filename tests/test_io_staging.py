"""One run at a time owns a staging folder, a killed run's is free again, and nothing is left behind."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from killed_steps import in_own_process

from rms_flows.errors import RmsError, SinkError
from rms_flows.io.contract import Request
from rms_flows.io.ndjson_sink import NdjsonSink
from rms_flows.io.parquet_sink import ParquetSink
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.io.staging import Staging, publish, writing

HOLD = """
import sys
import tempfile
from pathlib import Path
from rms_flows.io.staging import Staging
staging = Staging(Path(sys.argv[1]), "out")
staging.take()
staging.clear()
(staging.parts / "half").write_text("x")
print("held", flush=True)
sys.stdin.read()
"""


def test_life(tmp_path: Path):
    staging = Staging(tmp_path / ".out.staging", "out")
    staging.take()
    staging.clear()
    (staging.parts / "a").write_text("a")
    staging.release()
    staging.release()
    assert list(tmp_path.iterdir()) == []


def test_copy_in_a_worker_writes_but_does_not_release(tmp_path: Path):
    staging = Staging(tmp_path / ".out.staging", "out")
    staging.take()
    staging.clear()
    copy = pickle.loads(pickle.dumps(staging))  # noqa: S301  what crosses to workers
    assert copy.parts == staging.parts
    copy.release()
    assert staging.parts.is_dir()
    staging.release()


def test_second_run_is_refused_and_a_killed_one_is_free_again(tmp_path: Path):
    folder = tmp_path / ".out.staging"
    with subprocess.Popen(  # noqa: S603  our own words
        [sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        staging = Staging(folder, "out")
        with pytest.raises(SinkError, match=r"out: another run writes to it \(lock .*\); wait for"):
            staging.take()
        other.kill()
        other.wait()
    old = next(folder.glob("run-*"))
    staging.take()
    assert (old / "half").exists()
    staging.clear()
    assert not old.exists()
    staging.release()
    assert list(tmp_path.iterdir()) == []


def test_lock_file_that_went_while_it_was_taken_is_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    staging = Staging(tmp_path / ".out.staging", "out")
    real, calls = os.fstat, []

    def fstat(handle: int) -> os.stat_result:
        if not calls:
            (tmp_path / ".out.staging" / "lock").unlink()
        calls.append(handle)
        return real(handle)

    monkeypatch.setattr(os, "fstat", fstat)
    staging.take()
    assert len(calls) == 2
    with pytest.raises(SinkError, match="another run writes"):
        Staging(tmp_path / ".out.staging", "out").take()
    staging.release()


def test_parts_before_prepare(tmp_path: Path):
    with pytest.raises(SinkError, match=r"out: nothing may be written yet; call prepare\(\) first"):
        _ = Staging(tmp_path / "s", "out").parts


def test_path_through_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SinkError, match=r"can't be written: Not a directory; a part of the path is a file"):
        Staging(tmp_path / "file" / "x" / ".staging", "out").take()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (errno.ENOSPC, "No space left on device; free some space or write to another disk"),
        (errno.EACCES, "Permission denied; give this user the right to write there"),
        (errno.EROFS, "Read-only file system; the disk is mounted read-only"),
        (errno.EIO, "Input/output error; check the disk and the path"),
    ],
)
def test_what_the_system_says_becomes_a_message(code: int, message: str):
    with pytest.raises(SinkError, match=f"^out: can't be written: {message}"), writing("out"):
        raise OSError(code, "whatever")


def test_publish_replaces(tmp_path: Path):
    (tmp_path / "new").write_text("new")
    (tmp_path / "out").write_text("old")
    publish(tmp_path / "new", tmp_path / "out")
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("out", "new")]


def test_lock_is_free_again_when_the_disk_is_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def full(**_: object) -> str:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    staging = Staging(tmp_path / ".out.staging", "out")
    staging.take()
    with pytest.raises(SinkError, match="out: can't be written: No space left on device"):
        staging.clear()
    assert list(tmp_path.iterdir()) == []


def denied(folder: str) -> None:
    if os.getuid() == 0:
        os.setuid(65_534)  # root may write and read everywhere
    for attempt in (
        lambda: NdjsonSink(f"{folder}/out").prepare(),
        lambda: ParquetSink(f"{folder}/archive").prepare(),
        lambda: ParquetSource(f"{folder}/f.parquet").fragments(Request()),
    ):
        try:
            attempt()
        except RmsError as error:
            print(error)  # noqa: T201  the test reads it


@pytest.mark.parametrize("closed", ["folder", "path to it"])
def test_no_rights(closed: str):
    with tempfile.TemporaryDirectory() as top:
        folder = Path(top) / "folder"
        folder.mkdir()
        (folder / "f.parquet").write_text("x")
        (folder / "f.parquet").chmod(0)
        folder.chmod(0o555)
        Path(top).chmod(0o755 if closed == "folder" else 0)
        said = in_own_process("test_io_staging", "denied", str(folder)).splitlines()
        Path(top).chmod(0o755)
        folder.chmod(0o755)
        remedies = ["give this user the right", "give this user the right", "check the path, the rights"]
        for name, line, remedy in zip(["out", "archive", "f.parquet"], said, remedies, strict=True):
            assert line.startswith(f"{folder}/{name}: can't be ")
            assert f": Permission denied; {remedy}" in line
        assert [path.name for path in folder.iterdir()] == ["f.parquet"]
