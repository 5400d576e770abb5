"""The sink that keeps what a run found so far."""

import os
import signal
import subprocess
import sys

import pyarrow as pa
import pytest

from rms_flows.errors import SinkError
from rms_flows.io.gathering import GatheringSink


def batch(*ids):
    return pa.record_batch({"event.id": pa.array(ids), "level": pa.array(ids).dictionary_encode()})


def test_what_is_written_can_be_read_at_once_and_stays_when_the_run_is_abandoned(tmp_path):
    sink = GatheringSink(tmp_path)
    sink.prepare()
    part = sink.part("b")
    part.write(batch("1", "2"))
    assert [one.num_rows for one in sink.batches()] == [2]
    part.write(batch("3"))
    sink.part("a").write(batch("4"))
    sink.abandon()
    found = pa.Table.from_batches(sink.batches())
    assert found["event.id"].to_pylist() == ["4", "1", "2", "3"]
    assert found["level"].to_pylist() == ["4", "1", "2", "3"]


def test_a_part_that_is_written_again_replaces_the_first_attempt(tmp_path):
    sink = GatheringSink(tmp_path)
    for ids in (("1", "2"), ("3",)):
        part = sink.part("a")
        part.write(batch(*ids))
        part.close()
    assert sink.commit() == 1


def test_a_part_of_nothing_leaves_nothing(tmp_path):
    part = GatheringSink(tmp_path).part("a")
    part.write(batch().slice(0, 0))
    part.close()
    assert list(tmp_path.iterdir()) == []


def test_what_a_killed_process_wrote_before_is_found(tmp_path):
    code = f"""
import os, signal, pathlib, pyarrow as pa
from rms_flows.io.gathering import GatheringSink
part = GatheringSink(pathlib.Path({str(tmp_path)!r})).part("a")
for number in range(50):
    part.write(pa.record_batch({{"event.id": [str(number)]}}))
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)  # noqa: S603  our own
    assert done.returncode == -signal.SIGKILL
    sink = GatheringSink(tmp_path)
    assert sink.commit() == 50
    [path] = tmp_path.iterdir()
    for size in range(path.stat().st_size, 0, -97):  # cut anywhere: what is whole before the cut is found
        os.truncate(path, size)
        assert sink.commit() <= 50


def test_a_folder_that_is_gone_is_an_error_that_names_it(tmp_path):
    with pytest.raises(SinkError, match=r"none/a.arrows: can't be written: .*check the disk and the path"):
        GatheringSink(tmp_path / "none").part("a").write(batch("1"))
