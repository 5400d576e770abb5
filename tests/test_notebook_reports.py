"""Reports in a notebook are those of `rms replay` and `rms stream`, id for id."""

import subprocess
import sys

import home_day
import pytest

import rms_flows as rms
from rms_flows import notebook
from rms_flows.errors import SinkError
from rms_flows.model import load_orchestrator
from rms_flows.replay import detect, replay
from rms_flows.report import read_reports
from rms_flows.stream import stream


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_day.generate(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def day(home):
    return rms.run(home_day.FLOW, folder=home)


def test_a_flow_reports_what_its_replay_and_its_stream_write(home, day, tmp_path):
    out = tmp_path / "out.ndjson"
    flow = load_orchestrator(home_day.FLOW)
    replay(flow, folder=home_day.FLOW.parent, data_folder=home, sinks={"repository": str(out)})
    assert day.complete
    assert day.to_arrow().to_pylist() == read_reports([str(out)]).to_pylist()
    assert day.save(tmp_path / "saved.ndjson") == len(day)
    assert (tmp_path / "saved.ndjson").read_bytes() == out.read_bytes()
    assert not (home / "reports.ndjson").exists()
    told = tmp_path / "told.ndjson"
    stream(flow, folder=home_day.FLOW.parent, data_folder=home, sinks={"repository": str(told)})
    streamed = {row["event.id"]: row for row in read_reports([str(told)]).to_pylist()}
    assert streamed == {row["event.id"]: row for row in day.to_arrow().to_pylist()}


def test_workers_and_periods_change_nothing_but_what_they_should(home, day):
    apart = rms.run(home_day.FLOW, folder=home, workers=2)
    assert apart.to_arrow().to_pylist() == day.to_arrow().to_pylist()
    noon = "2026-03-14T12:00:00Z"
    halves = [
        rms.run(home_day.FLOW, folder=home, end=noon),
        rms.run(home_day.FLOW, folder=home, start=noon),
    ]
    ids = [one.to_arrow()["event.id"].to_pylist() for one in (*halves, day)]
    assert sorted(ids[0] + ids[1]) == sorted(ids[2])


def test_rules_over_an_archive_report_what_rms_detect_writes(home, tmp_path):
    uri = f"{home}/auth.log?year=2026"
    detect([home_day.RULES], source=uri, sink=str(tmp_path / "out.ndjson"))
    found = rms.open(uri).detect(home_day.RULES)
    assert found.to_arrow().to_pylist() == read_reports([str(tmp_path / "out.ndjson")]).to_pylist()
    again = rms.open(uri).detect(rms.rules(home_day.RULES), workers=2)
    assert again.to_arrow().to_pylist() == found.to_arrow().to_pylist()


def test_an_archive_may_stand_for_a_source_of_a_flow(home, day):
    some = rms.open(f"{home}/auth.log?year=2026").where({"source.ip": "203.0.113.5"})
    found = some.run(home_day.FLOW, source="hub-auth", folder=home)
    auth = day.where({"rms.source": "hub-auth", "rms.request_source": "203.0.113.5"})
    assert len(auth) > 0
    assert set(auth.to_arrow()["event.id"].to_pylist()) == set(
        found.where({"rms.source": "hub-auth"}).to_arrow()["event.id"].to_pylist()
    )


def test_evidence_is_the_events_themselves(home, day):
    evidence = day.evidence().to_arrow()
    pairs = [(one["event.id"], event) for one in day.to_arrow().to_pylist() for event in one["rms.evidence"]]
    found = zip(evidence["rms.report"].to_pylist(), evidence["event.id"].to_pylist(), strict=True)
    assert sorted(found) == sorted(pairs)
    scan = day.where({"rule.name": "Port scan"}).evidence()
    assert {event["id.orig_h"] for event in scan} == {"192.168.1.99"}
    assert {event["rms.source"] for event in scan} == {"home-network"}
    assert len(day.where({"rule.name": "none"}).evidence()) == 0


def test_reports_are_filtered_in_the_words_of_sigma(day):
    high = day.where({"rule.level": ["high", "critical"]})
    assert set(high.to_arrow()["rule.level"].to_pylist()) == {"high"}
    tagged = day.where({"rule.tags": "attack.t1046"})
    assert {one["rule.name"] for one in tagged.to_arrow().to_pylist()} == {
        "Connection attempt rejected",
        "Port scan",
    }
    first = day.to_arrow()["@timestamp"][0].as_py()
    assert len(day.where(start=first, end=first.replace(year=2027))) == len(day)
    assert 0 < len(day.where(end="2026-03-14T06:00:00")) < len(day)


def test_representations_count_and_stay_short(day):
    lines = repr(day).splitlines()
    assert lines[0].startswith(f"{len(day)} threat reports (")
    assert "  250 Connection attempt rejected" in lines
    assert day._repr_html_().count("<tr>") == 21
    assert list(day.to_pandas().columns) == day.to_arrow().column_names
    nothing = day.where({"rule.name": "none"})
    assert (len(nothing), repr(nothing)) == (0, "0 threat reports")
    assert nothing.to_arrow().schema == day.to_arrow().schema


def test_dead_letters_are_kept_and_told(tmp_path):
    (tmp_path / "a.ndjson").write_text('{"@timestamp": "2026-03-14T01:00:00Z"}\n{\n')
    found = rms.open(tmp_path / "a.ndjson").detect(home_day.RULES)
    assert found.dead_letters["event.original"].to_pylist() == [b"{"]
    assert "1 records could not be processed, see dead_letters" in repr(found)


def test_refused_rules_are_told(tmp_path):
    rules = rms.rules("title: R\nlogsource: {product: x}\ndetection: {a: {b|c: d}, condition: a}\n")
    assert "0 rules; 1 refused" in repr(rules)
    assert "R: refused: Unknown modifier 'c'" in repr(rules)
    assert "Unknown modifier" in rules._repr_html_()
    (tmp_path / "a.ndjson").write_text('{"@timestamp": "2026-03-14T01:00:00Z"}\n')
    archive = rms.open(tmp_path / "a.ndjson")
    assert "1 rules refused" in repr(archive.detect(rules))
    assert [fate.fate for fate in rules.fates(archive)] == ["refused"]


def test_what_cannot_be_written_is_said(day, tmp_path):
    for write in (day.save, day.write_html):
        with pytest.raises(
            SinkError, match=r"none/r: can't be written \(No such file.*\); choose another path"
        ):
            write(tmp_path / "none" / "r")
    day.write_html(tmp_path / "r.html", title="A day")
    assert "<title>A day</title>" in (tmp_path / "r.html").read_text()


def test_the_public_face_is_exact_sorted_and_costs_nothing():
    assert rms.__all__ == sorted(rms.__all__)
    code = "import sys, rms_flows as rms; names = set(sys.modules); print([n for n in ('pyarrow', 'apache_beam', 'sigma', 'altair') if n in names]); [getattr(rms, n) for n in rms.__all__]; print('apache_beam' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout.split("\n")[:2] == ["[]", "False"]
    assert notebook.__all__ == rms.__all__
    assert all(getattr(rms, name) is getattr(notebook, name) for name in rms.__all__)
    with pytest.raises(AttributeError, match="no attribute 'opne'; it has Archive"):
        rms.opne  # noqa: B018


def test_text_of_rules_is_forgotten_with_them():
    rules = rms.rules("title: R\nlogsource: {product: x}\ndetection: {a: {b: d}, condition: a}\n")
    folder = rules.paths[0].parent
    assert folder.exists()
    del rules
    assert not folder.exists()
