"""Bodies of bulk requests say what the rows say, however odd these are."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import hypothesis.strategies as st
import pyarrow as pa
import pytest
from hypothesis import example, given

from rms_flows import schema
from rms_flows.io.elasticsearch.bodies import LINES, lines, objects
from rms_flows.io.ndjson_sink import json_lines
from rms_flows.report.ecs import documents

TEXT = st.text(
    st.characters(exclude_categories=["Cs"]) | st.sampled_from('"\\\n\t\x00\x1f\x7f/é\u2028'), max_size=8
)
STAMP = st.datetimes(datetime(1, 1, 1), datetime(9999, 12, 31)).map(lambda one: one.replace(tzinfo=UTC))  # noqa: DTZ001
COLUMNS = {
    "@timestamp": STAMP,
    "event.id": TEXT,
    "event.dataset": TEXT,
    "event.original": st.binary(max_size=5),
    "host.ip": st.lists(TEXT, max_size=3),
    "source.port": st.integers(-(2**63), 2**63 - 1),
    "host.cpu.usage": st.floats(allow_nan=False, allow_infinity=False),
    "rms.late": st.booleans(),
    "rms.measurement": st.lists(st.fixed_dictionaries({"name": TEXT, "value": st.floats(0, 1)}), max_size=2),
    'od"d\\': TEXT,
}


@st.composite
def batches(draw):
    rows = draw(st.integers(1, 5))
    names = draw(st.lists(st.sampled_from(sorted(COLUMNS)), unique=True, min_size=1))
    columns = {
        name: pa.array(draw(st.lists(st.none() | COLUMNS[name], min_size=rows, max_size=rows))).cast(
            schema.field_type(name)
        )
        for name in names
    }
    batch = pa.record_batch(columns)
    start = draw(st.integers(0, rows))
    return batch.slice(start) if draw(st.booleans()) else batch


@given(batches())
@example(pa.record_batch({"event.dataset": pa.array(["a\nb", None, "c"]).dictionary_encode()}))
def test_an_object_says_what_json_lines_says(batch):
    assert [json.loads(one) for one in objects(batch, {}).to_pylist()] == list(
        map(json.loads, json_lines(batch))
    )


@given(batches())
def test_a_constant_stands_before_the_rows_own(batch):
    written = objects(batch, {"event.kind": "alert"}).to_pylist()
    assert all(json.loads(one).pop("event.kind") == "alert" for one in written)
    assert all(one.startswith('{"event.kind":"alert"') for one in written)


def test_numbers_that_json_does_not_know_are_left_out():
    batch = pa.record_batch({"host.cpu.usage": [float("nan"), float("inf"), 0.5]})
    assert objects(batch, {}).to_pylist() == ["{}", "{}", '{"host.cpu.usage":0.5}']


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
