"""Tests of rules as data: events beside a rule, true and false."""

import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from rms_flows.errors import DocumentError
from rms_flows.flow.cases import run_cases
from tests.test_cli import run

RULES = Path(__file__).parent.parent / "datasets" / "rules"
RULE = """title: T
id: 8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0b
logsource: {product: x}
detection: {s: {a|contains: evil}, f: {b: 1}, condition: s and not f}
"""
EVENT = '{"@timestamp": "2026-01-01T00:00:00Z", "a": "an evil deed", "b": %d}\n'


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("r").mkdir()
    Path("r/a.yml").write_text(RULE)
    return Path("r")


@pytest.fixture
def rms(monkeypatch, capsys):
    return lambda *arguments: run(monkeypatch, capsys, *arguments)


def problems(folder):
    return [(case.name, case.problem) for case in run_cases([folder]).cases]


def test_the_rules_that_come_with_the_project_pass():
    tested = run_cases([RULES])
    assert len(tested.cases) == 15
    assert not tested.failed
    assert not tested.without


def test_each_event_is_a_case_and_a_wrong_verdict_says_why(folder):
    (folder / "a.true.ndjson").write_text(EVENT % 0 + EVENT % 1)
    (folder / "a.false.json").write_text(EVENT % 1 + EVENT % 0)
    assert problems(folder) == [
        ("a.true.ndjson #1", None),
        ("a.true.ndjson #2", "no match: 1 of 2 selections true; `b: 1` is true"),
        ("a.false.json #1", None),
        ("a.false.json #2", "match: 2 of 2 selections true (T)"),
    ]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "the file holds no event"),
        ("\n\n", "the file holds no event"),
        ("\x00\x01", "a.true.x: the format can't be guessed"),
        (EVENT % 0 + "{]\n", "the record is no event: "),
    ],
)
def test_a_file_without_the_events_it_should_hold_is_no_test_that_passes(folder, content, problem):
    (folder / "a.true.x").write_text(content)
    assert problem in str(problems(folder))


def test_a_refused_rule_with_tests_fails(folder):
    (folder / "a.yml").write_text(RULE.replace("condition: s", "condition: nothing"))
    (folder / "a.true.ndjson").write_text(EVENT % 0)
    ((_, problem),) = problems(folder)
    assert problem.startswith("the rule is refused: ")


def test_a_file_of_several_rules_is_true_where_one_is(folder):
    other = RULE.replace("1d0b", "1d0c").replace("evil", "other")
    (folder / "a.yml").write_text(RULE + "---\n" + other)
    (folder / "a.true.ndjson").write_text(EVENT % 0)
    assert problems(folder) == [("a.true.ndjson #1", None)]


def test_events_whose_rule_was_renamed_are_told(folder):
    (folder / "b.true.ndjson").write_text(EVENT % 0)
    with pytest.raises(DocumentError, match=r"b.true.ndjson: no rule lies beside .* name the rule b.yml"):
        run_cases([folder])


def test_a_name_with_wildcards_is_a_name(folder):
    (folder / "a.yml").rename(folder / "a[1]*.yml")
    (folder / "a[1]*.true.ndjson").write_text(EVENT % 0)
    (folder / "a1x.yml").write_text(RULE.replace("1d0b", "1d0c"))
    assert problems(folder) == [("a[1]*.true.ndjson #1", None)]


def test_routing_counts_as_in_a_run(folder):
    (folder / "a.yml").write_text(RULE.replace("product: x", "product: zeek"))
    event = EVENT % 0
    (folder / "a.true.ndjson").write_text(event.replace("{", '{"event.dataset": "system.auth", ', 1))
    assert problems(folder)[0][1] == "no match: the event is not of its log source (product: zeek)"
    assert not run_cases([folder], tables=None).failed


def test_the_command_counts_writes_junit_and_exits_with_1(folder, rms):
    assert rms("rules", "test", "r")[0] == 2  # there are no tests, which is no success
    (folder / "a.true.ndjson").write_text(EVENT % 0 + EVENT % 1)
    (folder / "b.yml").write_text(RULE.replace("1d0b", "1d0c"))
    code, out, _ = rms("rules", "test", "r", "--junit", "j.xml")
    assert code == 1
    assert out.splitlines() == [
        "r/a.yml: a.true.ndjson #2: no match: 1 of 2 selections true; `b: 1` is true",
        "2 events beside 1 rule file: 1 right, 1 wrong; 1 rule file without a test",
    ]
    root = ET.parse("j.xml").getroot()  # noqa: S314 - our own file
    assert (root.get("tests"), root.get("failures")) == ("2", "1")
    assert [case.find("failure") is not None for case in root.iter("testcase")] == [False, True]
    (folder / "a.true.ndjson").write_text(EVENT % 0)
    assert rms("rules", "test", "r")[0] == 0
    code, _, err = rms("rules", "test", "r", "--junit", "none/j.xml")
    assert (code, err) == (
        2,
        "rms: none/j.xml: can't be written (No such file or directory); choose another --junit\n",
    )
