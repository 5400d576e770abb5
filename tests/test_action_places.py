"""Reports are read back from wherever a flow's sinks put them, as they were."""

from pathlib import Path

import pytest
import repository
import topics
from acting import NOON, lines, report, table

from rms_flows.action.reading import open_reports, read
from rms_flows.io import open_sink
from rms_flows.io.contract import Window
from rms_flows.report.read import tabled

ROWS = [report(f"r{number}", number, **{"rms.evidence": ["e1", "e2"]}) for number in range(5)]
NEWER = [report("r3", 3, **{"rms.revision": 9, "rms.count": 9})]


def put(uri, *runs):
    for rows in runs:
        sink = open_sink(uri, base=Path(), adding=True)
        sink.prepare()
        part = sink.part("0")
        for batch in table(*rows).to_batches():
            part.write(batch)
        part.close()
        sink.commit()


def found(uri, since=None):
    got = read(open_reports(uri, Path()), Window(start=since))
    assert got.dead == []
    return got.reports


def as_written(reports):
    wanted = table(*(NEWER[0] if row["event.id"] == "r3" else row for row in ROWS))
    assert reports.to_pylist() == wanted.to_pylist()


@pytest.mark.parametrize("name", ["a.ndjson", "a.ndjson.gz", "a.ndjson.zst"])
def test_files(tmp_path, name):
    put(str(tmp_path / name), ROWS, NEWER)
    as_written(found(str(tmp_path / name)))


def test_revisions_in_a_file_that_a_stream_appended(tmp_path):
    """Guards against an id made anew where two lines have one: to observations that is a conflict."""
    path = tmp_path / "a.ndjson"
    path.write_bytes(lines(*ROWS) + lines(*NEWER) + lines(*ROWS[:2]))
    as_written(found(str(path)))


def test_topics(kafka_broker, kafka_client):
    topic = topics.create(kafka_broker, "act", 2)
    put(f"kafka://{kafka_broker}/{topic}", ROWS, NEWER)
    as_written(found(f"kafka://{kafka_broker}/{topic}"))


def test_a_topic_as_iotac_has_reports(kafka_broker):
    topic = topics.create(kafka_broker, "act")
    put(f"kafka://{kafka_broker}/{topic}?as=iotac", ROWS)
    known = found(f"kafka://{kafka_broker}/{topic}")
    assert known.select(["event.id", "rule.level", "rms.group"]).to_pylist() == [
        {"event.id": row["event.id"], "rule.level": "high", "rms.group": row["rms.group"]} for row in ROWS
    ]


def test_indices(elasticsearch_node):
    uri = repository.uri(elasticsearch_node, "act-reports")
    put(uri, ROWS, NEWER)
    repository.cluster(elasticsearch_node).call("POST", "/act-reports/_refresh")
    as_written(found(uri))
    since = int((NOON.timestamp() + 3) * 1e6)
    assert found(uri, since)["event.id"].to_pylist()[-2:] == ["r3", "r4"]


def test_observations_are_no_reports(tmp_path):
    path = tmp_path / "events.ndjson"
    path.write_text('{"@timestamp": "2026-03-01T12:00:00Z", "event.id": "e", "message": "x"}\n')
    got = read(open_reports(str(path), Path()), Window())
    assert got.reports.num_rows == 0
    assert "JSON, but no threat report; expected ECS or IoTAC threat reports" in got.dead[0]["error.message"]


def test_documents_that_are_none_are_named_and_keep_no_others_back():
    good = lines(ROWS[0]).strip()
    bad = [
        b'{"@timestamp": null, "event.id": "x", "rms.report_type": "t"}',
        b'{"@timestamp": "soon", "event.id": "x", "rms.report_type": "t"}',
        b'{"@timestamp": 5, "event.id": "x", "rms.report_type": "t"}',
        b'{"@timestamp": "2026-03-01T12:00:00Z", "event.id": "x", "rms.report_type": "t", "rule.tags": {"a": 1}}',
        b"[]",
        b"\xff",
    ]
    reports, faults = tabled([bad[0], good, *bad[1:], good])
    assert reports.num_rows == 2
    assert sorted(faults) == [0, 2, 3, 4, 5, 6]
    assert (
        faults[0]
        == "no threat report: @timestamp is null; expected ECS or IoTAC threat reports as a run writes them"
    )
