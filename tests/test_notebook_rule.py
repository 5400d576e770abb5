"""A rule that is being written."""

import home_day
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

import rms_flows as rms
from rms_flows.errors import DocumentError, RuleError, SinkError
from rms_flows.io.memory import MemorySource
from rms_flows.model import load_orchestrator
from rms_flows.notebook.archive import Archive
from rms_flows.replay import replay
from rms_flows.report import read_reports
from rms_flows.schema import TIMESTAMP

FAILED = (home_day.RULES / "ssh_failed_log_in.yml").read_text()
TWO = """
title: Two
logsource: {category: any}
detection:
  a: {x: '1', y: '1'}
  b: {z: ['1', '2']}
  condition: a and not b
"""


@pytest.fixture(scope="module")
def auth(tmp_path_factory):
    return rms.open(f"{home_day.generate(tmp_path_factory.mktemp('home'))}/auth.log?year=2026")


def archive(rows):
    columns = {name: pa.array([row[n] for row in rows], pa.string()) for n, name in enumerate("xyz")}
    known = {
        "@timestamp": pa.array(range(len(rows)), pa.int64()).cast(TIMESTAMP),
        "event.id": pa.array([f"e{row:04d}" for row in range(len(rows))]),
    }
    return Archive(MemorySource([pa.record_batch({**known, **columns})]))


@pytest.mark.parametrize(
    ("change", "shown"),
    [
        (("outcome: f", "outcome|contain: f"), "    event.outcome|contain: failure\n     |                   ^^^^^^^\n"),
        (("selection and", "selection andd"), "  condition: selection andd attempt\n     |                        ^^^^\n"),
        (("selection and", "selction and"), "  condition: selction and attempt\n     |              ^^^^^^^^\n"),
        (("level: low", "level: lo"), "level: lo\n     |        ^^"),
        (("  attempt:", "attempt:"), r"line 16: no YAML: "),
        (("detection:", "detected:"), "line 1: Sigma rule must have a detection definitions"),
    ],
)  # fmt: skip
def test_errors_are_underlined_where_they_stand(change, shown):
    with pytest.raises(RuleError) as caught:
        rms.rule(FAILED.replace(*change))
    assert shown in str(caught.value)
    assert caught.value._render_traceback_() == [f"RuleError: {caught.value}"]


def test_an_error_in_a_correlation_is_underlined_too():
    text = FAILED + "---\n" + (home_day.RULES / "ssh_guessing.yml").read_text()
    assert len(rms.rule(text)) == 2
    for change, mark in (
        (("10m", "10x"), "'10x'"),
        (("[ssh_failed_log_in]", "[ssh_failed]"), "'ssh_failed'"),
    ):
        with pytest.raises(RuleError, match=rf"^line \d\d: `correlation\.\w+` .*{mark}[^^]*\n *\| +\^+\n"):
            rms.rule(text.replace(*change))


def test_it_tells_why_an_event_is_one_or_is_not(auth):
    rule = rms.rule(FAILED)
    event = {"process.name": "sshd", "event.outcome": "success", "event.action": "ssh_login"}
    why = rule.explain(event)
    assert not why.match
    assert "✗ event.outcome: 'failure'   event.outcome is success" in repr(why)
    assert "✗" in why._repr_html_()
    assert "span style" in why._repr_html_()
    assert rule.explain({**event, "event.outcome": "FAILURE"}).match
    assert rule.explain(rule.hits(auth)).match
    assert rule.explain(rule.hits(auth).events()).match
    for nothing in (rule.hits(auth.where({"user.name": "nobody"})), rms.Events(pa.table({}))):
        with pytest.raises(DocumentError, match="event: there is no event; give one"):
            rule.explain(nothing)
    with pytest.raises(DocumentError, match=r"event: is no event: .*; write field: value"):
        rule.explain({"@timestamp": "yesterday"})


def test_hits_are_what_a_run_reports(auth):
    rule = rms.rule(FAILED)
    found = rule.hits(auth, limit=10)
    evidence = auth.detect(rule).evidence()
    assert len(found) == len(evidence) == 102
    assert len(found.seen) == len(found.to_pandas()) == 10
    whole = found.events()
    assert set(whole.to_arrow()["event.id"].to_pylist()) == set(found.to_arrow()["event.id"].to_pylist())
    assert set(found.to_arrow().column_names) < set(whole.to_arrow().column_names)
    assert repr(found) == "102 of 182 events, the first 10 to look at"
    assert found[0]["event.outcome"] == "failure"
    assert len(rule.misses(auth, near=False)) == 182 - 102


cells = st.sampled_from([None, "0", "1", "2"])


@given(st.lists(st.tuples(cells, cells, cells), min_size=1, max_size=40))
def test_a_near_miss_would_be_a_hit_with_one_item_the_other_way(rows):
    def true(x, y, z):
        return x and y and not z

    rule, source = rms.rule(TWO), archive(rows)
    items = [(x == "1", y == "1", z in {"1", "2"}) for x, y, z in rows]
    labels = ("a > x: '1'", "a > y: '1'", "b > z: '1', '2'")
    expected = dict.fromkeys(labels, 0)
    near = set()
    for number, one in enumerate(items):
        if not true(*one):
            for item, label in enumerate(labels):
                if true(*(value is not (at == item) for at, value in enumerate(one))):
                    expected[label] += 1
                    near.add(f"e{number:04d}")
    found = rule.misses(source)
    assert dict(found.by) == {label: count for label, count in expected.items() if count}
    assert len(found) == len(near)
    if near:
        assert set(found.to_arrow()["event.id"].to_pylist()) == near
        assert set(found.to_arrow()["rms.failed"].to_pylist()) <= set(labels)
    assert len(rule.hits(source)) == sum(true(*one) for one in items)


def test_what_a_change_adds_and_removes_is_told_by_entity_day_and_item(auth):
    old = rms.rule(FAILED)
    new = rms.rule(
        FAILED.replace("event.outcome: failure", "event.outcome: failure\n    user.name: [root, admin]")
    )
    found = new.compare(old, auth)
    users = [event["user.name"] for event in old.hits(auth, limit=1_000).events()]
    gone = sum(user not in {"root", "admin"} for user in users)
    assert (found.count("added"), found.count("removed"), found.same) == (0, gone, len(users) - gone)
    counted = found.by_entity_and_day().to_pylist()
    assert sum(row["reports"] for row in counted) == gone
    assert {row["because"] for row in counted} == {"selection > user.name: 'root', 'admin'"}
    assert {str(row["day"]) for row in counted} == {"2026-03-14"}
    assert repr(found).startswith(f"0 added, {gone} removed, 0 changed, {len(users) - gone} the same\n")
    assert "removed" in found._repr_html_()
    back = old.compare(new, auth)
    assert (back.count("added"), back.count("removed")) == (gone, 0)
    assert set(back.to_arrow()["because"].to_pylist()) == {"selection > user.name: 'root', 'admin'"}
    assert old.compare(old, auth).to_pandas().empty


def test_what_stays_but_says_something_else_is_changed(auth):
    found = rms.rule(FAILED.replace("level: low", "level: high")).compare(rms.rule(FAILED), auth)
    assert (found.count("changed"), found.same) == (102, 0)
    assert set(found.to_arrow()["what"].to_pylist()) == {"rule.level"}


def test_correlations_are_compared_by_group_and_anchor(auth):
    text = FAILED + "---\n" + (home_day.RULES / "ssh_guessing.yml").read_text()
    strict = rms.rule(text.replace("gte: 8", "gte: 50"))
    found = strict.compare(rms.rule(text), auth)
    assert found.count("removed") + found.count("changed") > 0
    assert {row["rule"] for row in found.to_arrow().to_pylist()} == {"SSH log-ins guessed"}
    with pytest.raises(
        RuleError, match=r"SSH log-ins guessed: a correlation speaks of several events; ask this of"
    ):
        strict.hits(auth)


def test_where_no_item_alone_made_the_difference_that_is_said():
    old = rms.rule(TWO)
    new = rms.rule(TWO.replace("a and not b", "1 of them"))
    found = new.compare(old, archive([("0", "0", "0"), ("0", "0", "1"), ("1", "1", "1"), ("1", "1", "0")]))
    assert [row["because"] for row in found.to_arrow().to_pylist()] == [
        "several items together",
        "b > z: '1', '2'",
    ]


def test_what_is_saved_is_the_text_and_reports_the_same(auth, tmp_path):
    text = "# mine\r\n" + FAILED.replace("\n", "\r\n")
    rule = rms.rule(text)
    saved = rule.save(tmp_path / "rules.yml")
    assert saved.read_bytes() == text.encode()
    flow = tmp_path / "flow.yaml"
    flow.write_text(
        "orchestrator: f\n"
        f"sources: [{{id: input, archive: '{auth.uri}', year: 2026}}]\n"
        "processors: [{id: sigma, processor: sigma, inputs: [input], parameters: {rules: [rules.yml]}}]\n"
        "sinks: [{id: out, inputs: [sigma], uri: out.ndjson}]\n"
    )
    replay(load_orchestrator(flow), folder=tmp_path, sources={"input": f"{auth.uri}?year=2026"})
    written = read_reports([str(tmp_path / "out.ndjson")])
    assert written.to_pylist() == auth.detect(rule).to_arrow().to_pylist()
    with pytest.raises(SinkError, match=r"can't be written \(No such file.*; choose another path"):
        rule.save(tmp_path / "none" / "r.yml")


def test_its_representation_is_its_text_with_what_lint_remarks():
    rule = rms.rule(TWO)
    assert "title: Two" in repr(rule)
    assert any(one.check == "missing" for one in rule.remarks())
    assert "missing: " in repr(rule)
    assert "missing: " in rule._repr_html_()


def test_several_rules_are_no_rule(tmp_path):
    with pytest.raises(DocumentError, match=r"holds 2 rules; use rms\.rules for several"):
        rms.rule(TWO + "---" + TWO.replace("Two", "Three"))
    (tmp_path / "two.yml").write_text(TWO)
    assert np.array_equal(rms.rule(tmp_path / "two.yml").text, TWO)
