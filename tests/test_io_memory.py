"""The twins in memory keep the contract of sources and sinks."""

from __future__ import annotations

import pickle

import pyarrow as pa
import pytest

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io.contract import Request
from rms_flows.io.memory import MemorySink, MemorySource


def test_source_gives_all_rows_with_an_envelope():
    batches = [pa.record_batch({"n": list(range(100_000))}), pa.record_batch({"n": [1]})]
    source = MemorySource(batches)
    fragments = source.fragments(Request())
    assert [fragment.rows for fragment in fragments] == [100_000, 1]
    found = [part for fragment in fragments for part in source.read(fragment, Request())]
    assert [part.rows.num_rows for part in found] == [65_536, 34_464, 1]
    assert all(part.counts.balanced() for part in found)
    assert all(part.rows.schema.names == [*schema.ENVELOPE, "n"] for part in found)


def reports(*rows: tuple[int, str | None, int]) -> pa.RecordBatch:
    names = ["@timestamp", "event.id", "rms.revision"]
    wanted = pa.schema([schema.REPORT.field(name) for name in names])
    return pa.RecordBatch.from_pylist([dict(zip(names, row, strict=True)) for row in rows], wanted)


def test_sink_folds_and_sorts():
    sink = MemorySink("folds")
    sink.prepare()
    for name, batch in [
        ("1", reports((2, "b", 1), (9, None, 1), (9, None, 1))),
        ("0", reports((2, "a", 1), (1, "b", 2))),
    ]:
        writer = pickle.loads(pickle.dumps(sink)).part(name)  # noqa: S301  as Beam does
        writer.write(batch)
        writer.close()
    sink.part("2").write(reports((5, "lost", 1)))
    assert sink.commit() == 4
    assert sink.table["event.id"].to_pylist() == ["b", "a", None, None]
    assert sink.table["rms.revision"].to_pylist() == [2, 1, 1, 1]
    sink.prepare()
    assert sink.commit() == 0
    assert sink.table.num_rows == 0


def test_sink_of_rows_without_ids():
    sink = MemorySink("plain")
    sink.prepare()
    writer = sink.part("0")
    writer.write(pa.record_batch({"n": [2, 1]}))
    writer.close()
    assert sink.commit() == 2


def test_abandoned_run_leaves_what_was_there():
    sink = MemorySink("abandoned")
    with pytest.raises(SinkError, match=r"nothing may be written yet; call prepare\(\) first"):
        sink.part("0")
    sink.prepare()
    with pytest.raises(SinkError, match="memory:abandoned: another run writes to it; wait for its end"):
        sink.prepare()
    sink.abandon()
    assert sink.table.num_rows == 0


def test_copy_in_another_process_is_refused():
    gone = pickle.dumps(MemorySink("gone"))
    with pytest.raises(
        SinkError, match="memory:gone: is in another process; use one worker, or write to a file"
    ):
        pickle.loads(gone)  # noqa: S301  as in a worker
