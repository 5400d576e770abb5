"""Bodies of bulk requests say what the rows say, however odd these are."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from any_rows import batches
from hypothesis import given

from rms_flows import schema
from rms_flows.io.elasticsearch.bodies import LINES, lines
from rms_flows.report.ecs import documents


def actions(batch: pa.RecordBatch, index: str = "events") -> list[tuple[dict, dict]]:
    made = lines(batch, index)
    assert made.schema == LINES
    pairs = [line.decode().split("\n") for line in made.column("line").to_pylist()]
    assert all(len(pair) == 3 and not pair[2] for pair in pairs)
    return [(json.loads(action), json.loads(document)) for action, document, _ in pairs]


@given(batches())
def test_every_row_is_two_lines_and_has_an_id_that_the_server_takes(batch):
    for action, _ in actions(batch):
        assert action["create"]["_id"]
        assert len(action["create"]["_id"].encode()) <= 512


@pytest.mark.parametrize(
    ("stamp", "index"),
    [
        ("2026-01-31T23:59:59.999999", "events-2026.01.31"),
        ("1969-12-31T23:59:59.999999", "events-1969.12.31"),
        (None, "events-undated"),
    ],
)
def test_an_observation_goes_to_the_index_of_its_day(stamp, index):
    time = None if stamp is None else datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    batch = pa.record_batch({"@timestamp": pa.array([time], schema.TIMESTAMP), "event.id": ["a"]})
    assert actions(batch)[0][0] == {"create": {"_index": index, "_id": "a"}}


def test_ids_that_can_be_none_are_made_from_what_is_there():
    long = "x" * 513
    batch = pa.record_batch(
        {"event.id": [None, None, "", long, long, "é" * 256], "message": ["a", "a", "b", "c", "d", "e"]}
    )
    ids = [action["create"]["_id"] for action, _ in actions(batch)]
    assert ids[0] == ids[1], "the same row has the same id"
    assert ids[3] == ids[4], "a long id is an id"
    assert len(set(ids)) == 4
    assert ids[5] == "é" * 256


def test_a_report_is_the_ecs_document_with_its_revision():
    rows = [
        {"event.id": "r1", "rule.id": "x", "rms.report_type": "sigma", "rms.revision": 3, "message": "odd"}
    ]
    batch = pa.RecordBatch.from_pylist(rows, schema.REPORT)
    [(action, document)] = actions(batch, "reports")
    assert action == {
        "index": {"_index": "reports", "_id": "r1", "version_type": "external_gte", "version": 3}
    }
    assert document == json.loads(documents(batch)[0])
