"""The repository keeps each document once, whatever is written how often and in which order, and loses none."""

from __future__ import annotations

import json
import pickle
import random
import uuid
from pathlib import Path

import hypothesis.strategies as st
import pyarrow as pa
import pytest
import repository
from corridor_fakes import rows_of
from hypothesis import HealthCheck, given, settings

from rms_flows import schema
from rms_flows.errors import DocumentError, SinkError
from rms_flows.io import open_sink
from rms_flows.io.elasticsearch import bulk
from rms_flows.io.elasticsearch.cluster import Answer, Cluster


def written(sink, *batches) -> pa.RecordBatch:
    """Write batches as one part of a run; give what was refused."""
    sink.prepare()
    part = sink.part("0")
    refused = [part.write(batch) for batch in batches]
    refused.append(part.close())
    sink.commit()
    return pa.Table.from_batches(refused).combine_chunks()


def report(name: str, revision: int, **changes) -> dict:
    return {
        "event.id": name,
        "rms.revision": revision,
        "rule.id": "r",
        "rms.report_type": "sigma",
        "rms.count": revision,
        **changes,
    }


def reports(*rows: dict) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(list(rows), schema.REPORT)


def test_observations_are_there_once_however_often_they_are_written(elasticsearch_node):
    sink = repository.sink(elasticsearch_node, "sink-twice")
    batch = rows_of(3, 1_000)
    for _ in range(2):
        assert written(sink, batch, batch.slice(500)).num_rows == 0
    found = repository.documents(elasticsearch_node, "sink-twice-1970.01.01")
    assert found.keys() == {*batch["event.id"].to_pylist()}
    assert found["3-7"]["host.cpu.usage"] == batch["host.cpu.usage"][7].as_py()
    assert sink.commit() == 1_000


def test_an_observation_that_is_there_is_left_as_it_is(elasticsearch_node):
    sink = repository.sink(elasticsearch_node, "sink-left")
    for message in ("first", "second"):
        assert written(sink, pa.record_batch({"event.id": ["a"], "message": [message]})).num_rows == 0
    assert repository.documents(elasticsearch_node, "sink-left-*")["a"]["message"] == "first"


def test_events_go_to_the_index_of_their_day(elasticsearch_node):
    batches = [rows_of(hour, 10) for hour in (0, 23, 24, 49)]
    written(repository.sink(elasticsearch_node, "sink-day"), *batches)
    for day, count in (("1970.01.01", 20), ("1970.01.02", 10), ("1970.01.03", 10)):
        assert len(repository.documents(elasticsearch_node, f"sink-day-{day}")) == count


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 5)), max_size=4), max_size=4))
def test_of_a_report_the_highest_revision_stays_in_whatever_order_they_come(elasticsearch_node, batches):
    index = f"sink-revisions-{uuid.uuid4().hex}"
    sink = repository.sink(elasticsearch_node, index)
    written(sink, *(reports(*(report(*one) for one in batch)) for batch in batches))
    best: dict[str, int] = {}
    for name, revision in (one for batch in batches for one in batch):
        best[name] = max(revision, best.get(name, 0))
    found = repository.documents(elasticsearch_node, f"{index}*")
    assert {name: one["rms.count"] for name, one in found.items()} == best
    assert sink.commit() == len(best)


def test_what_people_add_is_theirs(elasticsearch_node):
    """The way of the documentation: a document of its own, which a run that finds the report again leaves."""
    sink = repository.sink(elasticsearch_node, "sink-people")
    written(sink, reports(report("r1", 1)))
    here = repository.cluster(elasticsearch_node)
    theirs = {"rms.status": "closed", "rms.assignee": "ann", "rms.notes": "a test"}
    here.call("PUT", "/sink-people.people/_doc/r1", theirs)
    written(sink, reports(report("r1", 2)))
    assert repository.documents(elasticsearch_node, "sink-people.people") == {"r1": theirs}
    assert repository.documents(elasticsearch_node, "sink-people")["r1"]["rms.revision"] == 2
    assert sink.commit() == 1, "theirs is not counted"


def test_a_refused_document_is_a_dead_letter_with_its_bytes_and_the_reason(elasticsearch_node):
    here = repository.cluster(elasticsearch_node)
    here.call("PUT", "/sink-refused-undated", {"mappings": {"properties": {"n": {"type": "long"}}}})
    rows = {
        "event.id": ["a", "b", "c"],
        "rms.source": ["hub"] * 3,
        "rms.origin": ["f#1", "f#2", "f#3"],
        "n": ["1", "many", "3"],
    }
    sink = repository.sink(elasticsearch_node, "sink-refused")
    refused = written(sink, pa.record_batch(rows))
    assert refused.schema == schema.DEAD_LETTER
    [letter] = refused.to_pylist()
    assert (letter["rms.source"], letter["rms.origin"], letter["error.type"]) == ("hub", "f#2", "refused")
    assert "refused the document with 400 ([1:" in letter["error.message"]
    assert 'For input string: "many"' in letter["error.message"]
    assert json.loads(letter["event.original"]) == {
        "event.id": "b",
        "rms.source": "hub",
        "rms.origin": "f#2",
        "n": "many",
    }
    assert repository.documents(elasticsearch_node, "sink-refused-undated").keys() == {"a", "c"}


def test_a_report_with_a_field_that_reports_do_not_have_is_refused(elasticsearch_node):
    sink = repository.sink(elasticsearch_node, "sink-strict")
    odd = reports(report("r1", 1)).append_column("odd", pa.array([["x"]]).cast(pa.list_(pa.string())))
    refused = written(sink, odd, reports(report("r2", 1)))
    assert "dynamic introduction of [odd] within [_doc] is not allowed" in refused["error.message"][0].as_py()
    assert repository.documents(elasticsearch_node, "sink-strict").keys() == {"r2"}


def test_bodies_are_bounded_and_every_row_is_in_one(elasticsearch_node, monkeypatch):
    """Rows of very different length, so that cuts fall everywhere; each body is cut as it should be."""
    monkeypatch.setattr(bulk, "BODY", 10_000)
    monkeypatch.setattr(bulk, "ROWS", 64)
    sent: list[tuple[int, int]] = []
    real = bulk._body

    def body(rows: pa.RecordBatch) -> bytes:
        made = real(rows)
        sent.append((rows.num_rows, len(made)))
        return made

    monkeypatch.setattr(bulk, "_body", body)
    chance = random.Random(5)  # noqa: S311  seeded
    rows = {
        "event.id": [f"e{n}" for n in range(500)],
        "text": ["x" * chance.choice([1, 100, 3_000, 9_999, 30_000]) for _ in range(500)],
    }
    batch = pa.record_batch(rows)
    assert (
        written(
            repository.sink(elasticsearch_node, "sink-bodies"), batch.slice(0, 1), batch.slice(1)
        ).num_rows
        == 0
    )
    found = repository.documents(elasticsearch_node, "sink-bodies-undated")
    assert {name: one["text"] for name, one in found.items()} == dict(zip(*rows.values(), strict=True))
    assert all(size <= 10_000 or rows == 1 for rows, size in sent)
    assert len(sent) < 500


def test_a_document_that_is_too_large_is_refused_alone(elasticsearch_node, tmp_path):
    """More than `http.max_content_length`, 100 MB, is refused as a whole body."""
    rows = {"event.id": ["small", "large", "last"], "text": ["x", "y" * 110_000_000, "z"]}
    refused = written(repository.sink(elasticsearch_node, "sink-large"), pa.record_batch(rows))
    assert refused.num_rows == 1
    assert "413" in refused["error.message"][0].as_py()
    assert len(refused["event.original"][0].as_buffer()) > 110_000_000
    assert repository.documents(elasticsearch_node, "sink-large-undated").keys() == {"small", "last"}


def test_it_crosses_to_workers(elasticsearch_node):
    sink = repository.sink(elasticsearch_node, "sink-pickled")
    sink.prepare()
    assert written(pickle.loads(pickle.dumps(sink)), rows_of(0, 5)).num_rows == 0  # noqa: S301  ours
    assert sink.commit() == 5


def test_a_red_index_is_told_before_work_begins(elasticsearch_node):
    here = repository.cluster(elasticsearch_node)
    nowhere = {"settings": {"index.routing.allocation.require._name": "nobody"}}
    here.call("PUT", "/sink-red", nowhere, {"wait_for_active_shards": "0", "timeout": "1s"})
    try:
        with pytest.raises(
            SinkError, match=r"the index sink-red is red: .*; mend it \(GET _cluster/allocation"
        ):
            repository.sink(elasticsearch_node, "sink-red").prepare()
    finally:
        here.call("DELETE", "/sink-red")


def test_an_index_that_turns_red_while_it_is_written_ends_the_run(elasticsearch_node, monkeypatch):
    for asked in (bulk._BRIEFLY, bulk._EACH):
        monkeypatch.setitem(asked, "timeout", "100ms")
    here = repository.cluster(elasticsearch_node)
    nowhere = {"settings": {"index.routing.allocation.require._name": "nobody"}}
    here.call("PUT", "/sink-redder-1970.01.01", nowhere, {"wait_for_active_shards": "0", "timeout": "1s"})
    sink = repository.sink(elasticsearch_node, "sink-redder")
    sink.__dict__["_cluster"] = repository.Cluster(elasticsearch_node, sink.uri, SinkError, patience=1)
    try:
        with pytest.raises(
            SinkError, match=r"sink-redder: a part of its data is not available .*; mend the red index"
        ):
            written(sink, rows_of(0, 5))
    finally:
        here.call("DELETE", "/sink-redder-1970.01.01")


def test_only_ecs_documents_are_kept():
    with pytest.raises(DocumentError, match="the repository keeps ECS documents, not 'iotac'; take as= off"):
        open_sink("elasticsearch:///a?as=iotac", base=Path())
    assert (
        open_sink("elasticsearch://es1/a?as=ecs", base=Path(), confined=True).uri
        == "elasticsearch://es1:9200/a"
    )


@pytest.mark.parametrize("reason", ["timed out while waiting for a dynamic mapping update", "another"])
def test_new_fields_that_a_busy_cluster_has_no_time_for_are_tried_again(
    elasticsearch_node, monkeypatch, reason
):
    call, answers = Cluster.call, []

    def busy(self, method, path, *rest, **options):
        if path == "/_bulk" and not answers:
            failed = {"create": {"status": 500, "error": {"type": "mapper_exception", "reason": reason}}}
            answers.append(failed)
            return Answer(200, json.dumps({"errors": True, "items": [failed]}).encode())
        return call(self, method, path, *rest, **options)

    monkeypatch.setattr(Cluster, "call", busy)
    sink = repository.sink(elasticsearch_node, "sink-busy")
    batch = pa.record_batch({"event.id": ["a"], "message": ["x"]})
    if reason == "another":
        with pytest.raises(SinkError, match=r"refuses a call with 500 \(another\)"):
            written(sink, batch)
        return
    assert written(sink, batch).num_rows == 0
    assert repository.documents(elasticsearch_node, "sink-busy-*").keys() == {"a"}
    assert answers
