"""The latest events of something that grows, in a notebook."""

import json
import time
from datetime import UTC, datetime, timedelta

import home_day
import pytest
import topics
from indexing import fill, index
from test_elasticsearch_doors import at

import rms_flows as rms
from rms_flows.errors import DocumentError, SourceError
from rms_flows.io.elasticsearch import tail as following


def line(number):
    return json.dumps({"@timestamp": 1_700_000_000 + number, "user.name": f"u{number}"}) + "\n"


def until(condition):
    end = time.monotonic() + 20
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)


def test_what_is_held_is_history_with_the_same_reports(tmp_path):
    lines = (home_day.generate(tmp_path / "home") / "auth.log").read_text().splitlines(keepends=True)
    growing = tmp_path / "auth.log"
    growing.write_text("".join(lines[:100]))
    with rms.tail(f"follow:{growing}?year=2026") as tail:
        assert len(tail.wait(100).to_arrow()) == 100
        before = tail.archive()
        with growing.open("a") as file:
            file.writelines(lines[100:])
        now = tail.wait(len(lines))
        assert len(before.to_arrow()) == 100  # it stays as it was
        found = now.detect(home_day.RULES)
    whole = rms.open(f"{growing}?year=2026").detect(home_day.RULES)
    assert len(found) > 100
    assert found.to_arrow()["event.id"].to_pylist() == whole.to_arrow()["event.id"].to_pylist()


def test_the_ring_is_bounded_and_the_earliest_go_first(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(map(line, range(50))))
    with rms.tail(f"follow:{path}", rows=30) as tail:
        assert tail.wait(50).to_arrow()["user.name"].to_pylist() == [f"u{n}" for n in range(20, 50)]
        with path.open("a") as file:
            file.write(line(50) + "{\n" + line(7))  # cut, and late
        latest = tail.wait(52)
        assert latest.to_arrow()["user.name"].to_pylist()[-2:] == ["u50", "u7"]
        assert len(latest.to_arrow()) == 30
        assert [event["user.name"] for event in tail.head(2)] == ["u50", "u49"]
        until(lambda: tail.dead)  # dead letters come behind the rows that they were decoded with
        assert "52 events came, the latest 30 are held, 1 records could not be decoded" in repr(tail)
    assert repr(tail).endswith("; stopped")
    assert len(tail.archive().to_arrow()) == 30


def test_only_events_from_a_time_on_count(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(map(line, range(50))))
    with rms.tail(f"follow:{path}", start=datetime.fromtimestamp(1_700_000_045, UTC)) as tail:
        assert tail.wait(5).to_arrow()["user.name"].to_pylist() == [f"u{n}" for n in range(45, 50)]


def test_a_file_that_is_cut_is_told_where_one_looks(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text("".join(map(line, range(9))))
    with rms.tail(f"follow:{path}") as tail:
        tail.wait(9)
        path.write_text("")
        until(lambda: "was cut" in repr(tail))
        with pytest.raises(SourceError, match="was cut or replaced while it was followed"):
            tail.archive()


def test_what_has_an_end_is_not_followed(tmp_path):
    (tmp_path / "a.ndjson").write_text(line(1))
    with pytest.raises(
        DocumentError, match=r"a.ndjson: has an end; follow a file with follow:FILE, or look at it"
    ):
        rms.tail(tmp_path / "a.ndjson")
    with pytest.raises(SourceError, match=r"can't be read \(No such file"):
        rms.tail(f"follow:{tmp_path / 'none.ndjson'}")


def test_an_index_is_followed(elasticsearch_node, monkeypatch):
    monkeypatch.setattr(following, "POLL", 0.2)
    monkeypatch.setattr(following, "MARGIN", 2_000)
    began = datetime.now(UTC) - timedelta(minutes=5)
    events = [
        {"@timestamp": (began + timedelta(seconds=n)).isoformat(), "event.id": f"e{n}", "user.name": f"u{n}"}
        for n in range(8)
    ]
    index(elasticsearch_node, "tail-notebook", {"properties": {"@timestamp": {"type": "date"}}})
    fill(elasticsearch_node, "tail-notebook", events[:5])
    with rms.tail(f"follow:{at(elasticsearch_node, 'tail-notebook')}") as tail:
        assert len(tail.wait(5, seconds=30).to_arrow()) == 5
        fill(elasticsearch_node, "tail-notebook", events[5:])
        held = tail.wait(8, seconds=30).to_arrow()
    assert sorted(held["user.name"].to_pylist()) == [f"u{n}" for n in range(8)]


def test_a_topic_is_followed(kafka_broker):
    topic = topics.create(kafka_broker, "tail", 2)
    topics.produce(kafka_broker, topic, [(n % 2, line(n).encode(), 0) for n in range(6)])
    with rms.tail(topics.uri(kafka_broker, topic), start="2023-11-14T22:13:20Z") as tail:
        assert len(tail.wait(6, seconds=30).to_arrow()) == 6
        topics.produce(kafka_broker, topic, [(1, line(6).encode(), 0)])
        held = tail.wait(7, seconds=30).to_arrow()
        assert topics.committed(kafka_broker, "rms", topic) == {}
    assert sorted(held["user.name"].to_pylist()) == [f"u{n}" for n in range(7)]
