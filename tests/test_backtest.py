"""Backtests: figures that equal those worked out by hand from what was planted."""

import json
import math
import subprocess
from datetime import UTC, datetime, timedelta

import home_day
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

import rms_flows as rms
from rms_flows.backtest import Share, backtest, news, read_truth
from rms_flows.cli.app import app
from rms_flows.errors import DocumentError
from rms_flows.schema import REPORT

CSV = "kind,entity,start,end\n"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return home_day.generate(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def day(home):
    found = rms.run(home_day.FLOW, folder=home)
    return found, found.backtest(home / "labels.csv", rms.rules(home_day.RULES))


@pytest.fixture(scope="module")
def planted(home):
    return json.loads((home / "truth.json").read_text())["planted"]


def kinds(planted, *names):
    return [one for one in planted if one["kind"] in names]


def test_the_figures_of_the_day_are_those_worked_out_from_its_truth(day, planted):
    found, result = day
    false = len(kinds(planted, "mistyped"))  # all that is reported and nobody planted as an attack
    assert (result.score.precision.part, result.score.precision.whole) == (len(found) - false, len(found))
    assert sum(result.score.false.values()) == false
    assert {name for _, name in result.score.false} == {one["address"] for one in kinds(planted, "mistyped")}
    assert (result.score.recall.part, result.score.recall.whole) == (10, 10)
    single = len(kinds(planted, "overload", "guessed-log-in")) + 250  # the scan's connections
    beacon = 100  # evidence of the one report
    assert result.score.event_precision == Share(single + beacon, single + beacon + false)
    assert result.score.event_recall == Share(single + beacon, single + len(kinds(planted, "beacon")))


def test_time_to_detection_is_counted_from_the_start_of_the_incident(day, planted):
    _, result = day
    delays = {(one.incident.kind, one.incident.entity): one.delay for one in result.score.outcomes}
    assert delays["guessed-log-in", "203.0.113.5"] == timedelta()
    beacon = next(one for one in day[0].to_arrow().to_pylist() if one["rule.name"] == "Beacon")
    first = datetime.fromisoformat(kinds(planted, "beacon")[0]["time"])
    assert delays["beacon", "192.168.1.31"] == beacon["@timestamp"] - first


def test_the_reach_of_each_rule_is_told(day, home, planted):
    reach = {one.rule: one for one in day[1].score.rules}
    assert reach["Failed SSH log-in"].reach == "measured"
    guessed, mistyped = len(kinds(planted, "guessed-log-in")), len(kinds(planted, "mistyped"))
    assert reach["Failed SSH log-in"].precision == Share(guessed, guessed + mistyped)
    assert reach["Port scan"].reach == "thin"
    auth = rms.open(f"{home}/auth.log?year=2026").backtest(home_day.RULES, home / "labels.csv")
    known = {one.rule: (one.reach, one.why) for one in auth.score.rules}
    assert known["MQTT connect refused"][0] == "never evaluated"
    assert known["Connection attempt rejected"] == ("never evaluated", "no source has conn_state")
    refused = "title: R\nlogsource: {product: x}\ndetection: {a: {b|c: d}, condition: a}\n"
    again = rms.open(f"{home}/auth.log?year=2026").backtest(rms.rules(refused), home / "labels.csv")
    [rule] = again.score.rules
    assert (rule.reach, rule.id) == ("never evaluated", None)
    assert "Unknown modifier" in rule.why
    assert again.score.precision.value is None
    assert again.score.recall.part == 0


@given(st.integers(0, 2_000), st.integers(1, 2_000))
def test_wilsons_interval_is_where_the_score_test_turns(part, whole):
    part = min(part, whole)
    low, high = Share(part, whole).interval
    assert 0 <= low <= part / whole + 1e-12
    assert part / whole - 1e-12 <= high <= 1
    z = 1.959963984540054
    for bound in (low, high):
        if 1e-9 < bound < 1 - 1e-9:  # there the share observed is z deviations of the bound away
            deviation = math.sqrt(bound * (1 - bound) / whole)
            assert abs(part / whole - bound) == pytest.approx(z * deviation, rel=1e-6, abs=1e-9)
    assert Share(0, 0).interval == (0.0, 1.0)


def report(entity, at, *, rule="R", evidence=("e",), last=None):
    start = datetime(2026, 3, 14, tzinfo=UTC)
    time = start + timedelta(minutes=at)
    return {
        "@timestamp": time, "event.id": f"{rule}{entity}{at}", "rule.id": rule, "rule.name": rule, "rms.first": time,
        "rms.last": start + timedelta(minutes=at if last is None else last), "rms.count": len(evidence),
        "rms.evidence": list(evidence), "rms.request_source": entity,
    }  # fmt: skip


def test_a_report_belongs_where_entity_rule_and_time_agree(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text(
        "kind,entity,start,end,rules\n"
        "a,10.0.0.1,2026-03-14T00:10:00Z,2026-03-14T00:20:00Z,\n"
        "b,,2026-03-14T01:00:00,2026-03-14T01:10:00,R;S\n"
    )
    rows = [
        report("10.0.0.1", 10), report("10.0.0.1", 20), report("10.0.0.1", 9), report("10.0.0.1", 21),
        report("10.0.0.2", 15), report("10.0.0.1", 5, last=11), report("x", 65, rule="S"), report("x", 65, rule="T"),
    ]  # fmt: skip
    found = backtest(pa.Table.from_pylist(rows, REPORT), read_truth(path), [])
    assert found.score.precision == Share(4, 8)
    assert [one.reports for one in found.score.outcomes] == [3, 1]
    assert found.score.outcomes[0].delay == timedelta()
    assert found.score.outcomes[1].delay == timedelta(minutes=5)
    assert found.score.false_per_day == 0.0  # of no history nothing can be said


def test_what_was_missed_is_named_and_all_is_there_as_json_and_page(day, home, tmp_path):
    found, _ = day
    result = found.where({"rms.source": "hub-auth"}).backtest(home / "labels.csv")
    assert "missed: port-scan of 192.168.1.99 from 2026-03-14 16:30:45" in repr(result)
    whole = json.loads(result.to_json())
    assert whole == json.loads(json.dumps(result.to_dict()))
    assert whole["recall"]["part"] == sum(one["delay"] is not None for one in whole["incidents"])
    assert whole["false_reports"] == sum(one["reports"] for one in whole["false"])
    result.write_html(tmp_path / "b.html", title="Measured")
    page = (tmp_path / "b.html").read_text()
    assert "<title>Measured</title>" in page
    assert "missed" in page
    assert "<script" not in page
    assert result._repr_html_() in page.replace("\n", "")


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("a.csv", CSV + "a,b,2026-03-14,2026-03-13\n", r"a.csv:2: the interval: it ends before it starts; write kind"),
        ("a.csv", CSV + "a,b,soon,2026-03-13\n", r"a.csv:2: start: .*times as 2026-01-31T12:00:00Z"),
        ("a.csv", "kind,who\n", r"a.csv: no column of labels is called 'who'; use kind, entity, start, end, rules"),
        ("a.csv", CSV, r"a.csv: holds no incident; write lines of kind"),
        ("a.yaml", "truth: t\nincidents: []\n", r"a.yaml:2: incidents: .*; `rms schema Truth` says"),
    ],
)  # fmt: skip
def test_labels_that_are_none_are_refused_with_their_place(tmp_path, name, text, match):
    (tmp_path / name).write_text(text)
    with pytest.raises(DocumentError, match=match):
        read_truth(tmp_path / name)
    with pytest.raises(DocumentError, match=r"none.csv: can't be read"):
        read_truth(tmp_path / "none.csv")


def test_yaml_and_csv_say_the_same(tmp_path):
    (tmp_path / "t.csv").write_text(CSV + "a,b,2026-03-14T01:00:00Z,2026-03-14T02:00:00+00:00\n")
    (tmp_path / "t.yaml").write_text(
        "truth: t\nincidents: [{kind: a, entity: b, start: '2026-03-14T01:00:00', end: 2026-03-14T02:00:00Z}]\n"
    )
    assert read_truth(tmp_path / "t.csv") == read_truth(tmp_path / "t.yaml")


def test_a_report_is_new_only_if_nothing_was_reported_there_before():
    before = [report("a", 1, evidence=("e1",)), report("a", 2, evidence=("e2",))]
    after = [*before, report("a", 3, evidence=("e3",)), {**before[0], "event.id": "again"}]
    tables = [pa.Table.from_pylist(rows, REPORT) for rows in (after, before)]
    assert news(*tables)["event.id"].to_pylist() == ["Ra3", "again"]
    assert news(tables[1], tables[0]).num_rows == 0


def test_the_command_is_a_gate(home, tmp_path, monkeypatch):
    monkeypatch.chdir(home)
    known = tmp_path / "known.ndjson"
    rms.open("auth.log?year=2026").detect(home_day.RULES).save(known)
    base = ["backtest", str(home_day.RULES), "--in", "auth.log?year=2026", "--truth", "labels.csv", "-q"]
    run = CliRunner().invoke
    fine = run(app, [*base, "--min-precision", "0.9", "--known", str(known), "--max-new-reports", "0"])
    assert fine.exit_code == 0, fine.output
    assert "precision: 95.3% (102 of 107; 89.5% to 98.0%) of reports" in fine.output
    low = run(
        app,
        [*base, "--min-precision", "0.99", "--min-recall", "1", "--json", "--out", str(tmp_path / "b.html")],
    )
    assert low.exit_code == 1
    assert "rms: precision is 95.3% (102 of 107; 89.5% to 98.0%), at least 99.0% was asked for" in low.stderr
    assert "rms: recall is 30.0%" in low.stderr
    assert json.loads(low.stdout)["precision"]["whole"] == 107
    assert "<h2>Incidents</h2>" in (tmp_path / "b.html").read_text()
    known.write_text("".join(known.read_text().splitlines(keepends=True)[:-2]))
    more = run(app, [*base, "--known", str(known), "--max-new-reports", "1"])
    assert more.exit_code == 1
    assert "rms: 2 reports are new, at most 1 were allowed" in more.stderr
    asked = run(app, [*base, "--max-new-reports", "1"])
    assert asked.exit_code == 2
    assert "new compared with what?" in asked.stderr


def test_the_command_looks_at_a_period_only(home, monkeypatch):
    monkeypatch.chdir(home)
    base = [
        "backtest",
        str(home_day.RULES),
        "--in",
        "auth.log?year=2026",
        "--truth",
        "labels.csv",
        "-q",
        "--json",
    ]
    done = CliRunner().invoke(app, [*base, "--to", "2026-03-14T06:30:00Z"])
    whole = json.loads(done.stdout)
    assert 0 < whole["precision"]["whole"] < 107
    assert whole["days"] < 0.3


def test_a_page_of_a_backtest_opens_in_a_browser(day, tmp_path, chromium):
    day[1].write_html(tmp_path / "b.html")
    command = [
        chromium,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        f"--user-data-dir={tmp_path / 'p'}",
        "--dump-dom",
    ]
    command.append(f"file://{tmp_path / 'b.html'}")
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout  # noqa: S603
    assert shown.count("<tr>") > 18
