"""Remarks on rules: each is about something that a reader of the rule would not see."""

import json
from pathlib import Path

import pytest

from rms_flows.sigma.lint import CHECKS, lint
from tests.test_cli import run

ARCHIVE = "sigmahq-rules-8eaafff1f.tar.gz"
HEAD = {"title": "T", "author": "A", "level": "low", "logsource": {"product": "windows"}}
IDS = [f"8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d{i:02d}" for i in range(30)]


def remarks(folder, *detections, text=None, **more):
    for number, one in enumerate(detections):
        rule = {**HEAD, "id": IDS[number], "detection": {"condition": "s", **one}, **more}
        (folder / f"{number:02}.yml").write_text(json.dumps({k: v for k, v in rule.items() if v is not None}))
    if text is not None:
        (folder / "text.yml").write_text(text)
    return [(one.check, one.message) for one in lint([folder])]


FOUND = {
    "contains": ({"f|contains": "*x"}, "idle-wildcard", "the `*` at the beginning changes nothing"),
    "contains at the end": ({"f|contains": "x*"}, "idle-wildcard", "the `*` at the end changes nothing"),
    "startswith": ({"f|startswith": "x*"}, "idle-wildcard", "`f|startswith: 'x*'`: the `*` at the end"),
    "endswith": ({"f|endswith": "*x"}, "idle-wildcard", "the `*` at the beginning"),
    "keyword": (["*x"], "idle-wildcard", "`keyword: '*x'`: the `*` at the beginning"),
    "double": ({"f": "a**b"}, "idle-wildcard", "two `*` in a row are one"),
    "regex": ({"f|re": r"^C:\\a\.exe"}, "plain-regex", r"is `f|startswith|cased: 'C:\a.exe'`"),
    "regex around": ({"f|re": ".*abc.*"}, "plain-regex", "is `f|contains|cased: 'abc'`"),
    "regex at the end": ({"f|re|i": "abc$"}, "plain-regex", "is `f|endswith: 'abc'`"),
    "regex whole": ({"f|re": "(?i)^abc$"}, "plain-regex", "is `f: 'abc'`"),
    "repeated": ({"f": ["Ab", "x", "aB"]}, "repeated-value", "`f: 'aB'` says what 'Ab' says"),
    "kelvin": ({"f": ["K", "\u212a"]}, "repeated-value", "says what 'K' says"),
    "case": ({"event.outcome|cased": "Failure"}, "case", "ECS keeps event.outcome in lower case"),
    "case of a regex": ({"event.outcome|re": "^F[a-z]+$"}, "case", "ECS keeps event.outcome in lower case"),
    "tab": ({"Image|endswith": "\temp.exe"}, "escape", r"holds \t: YAML reads"),
    "escaped wildcard": ({"Image|contains": "\\Users\\*\\x"}, "escape", "the wildcard is escaped"),
    "two backslashes": ({"Image|contains": "C:\\\\\\\\x"}, "escape", "asks for two backslashes in a row"),
}
"""Selection → check and message."""


@pytest.mark.parametrize("name", FOUND)
def test_what_an_author_should_look_at(tmp_path, name):
    selection, check, message = FOUND[name]
    ((found, told),) = remarks(tmp_path, {"s": selection})
    assert found == check
    assert message in told


FINE = {
    "exists": {"f": "*"},
    "inner wildcards": {"f|contains": "a*b", "g|startswith": "*a", "h|endswith": "a*"},
    "startswith with a wildcard before": {"f|startswith": "*x"},
    "a wildcard that counts": {"f": "*x*"},
    "regexes": {"f|re": ["a.c", r"\d", "a|b", "[ab]", "^$", r"\bx", "a{2}", "(a)"]},
    "cased values may differ by case": {"f|cased": ["Ab", "aB"]},
    "cased in lower case": {"event.outcome|cased": "failure", "other|cased": "Failure"},
    "regex class": {"event.outcome|re|i": "^F.*x", "event.type|re": r"^\S+ \D"},
    "a share": {"Image|startswith": "\\\\\\\\server\\x"},
    "an asterisk in a command": {"CommandLine|contains": "del \\*.\\*"},
    "an address": {"c-uri|contains": "/x\\?y="},
    "lengths of base64": {"f|base64offset|contains": ["Ab", "aB"]},
}


@pytest.mark.parametrize("name", FINE)
def test_what_is_meant_is_left_alone(tmp_path, name):
    assert remarks(tmp_path, {"s": FINE[name]}) == []


def test_who_wrote_it_and_how_bad_it_is(tmp_path):
    found = remarks(tmp_path, {"s": {"a": 1}}, author=None, level=None, id=None)
    assert [check for check, _ in found] == ["missing"] * 3
    assert [message.split(":")[0] for _, message in found] == ["no author", "no level", "no id"]


def test_two_rules_that_detect_the_same(tmp_path):
    one, other = {"s": {"a": ["1", "2"]}}, {"x": {"a": ["2", "1"]}, "condition": "x"}
    ((check, message),) = remarks(tmp_path, one, other)
    assert (check, message) == ("twin", f"detects exactly what {tmp_path}/00.yml:1 does; keep one")


def test_a_detection_that_nothing_asks_for(tmp_path):
    ((check, message),) = remarks(tmp_path, {"s": {"a": 1}, "filter": {"b": 1}})
    assert (check, message) == ("unused", "the condition doesn't name `filter`; use it or delete it")


@pytest.mark.parametrize(
    ("condition", "told"),
    [
        ("s and filter", True),
        ("s and 1 of filter*", True),
        ("s and not filter", False),
        ("s and not 1 of filter*", False),
        ("not (not filter)", True),
        ("not (s or filter)", False),
    ],
)
def test_a_filter_that_is_asked_for(tmp_path, condition, told):
    found = remarks(tmp_path, {"s": {"a": 1}, "filter": {"b": 1}, "condition": condition})
    assert [check for check, _ in found if check != "unused"] == ["positive-filter"] * told


@pytest.mark.parametrize(
    ("condition", "told"), [("only", True), ("not only", False), ("only and not x", False)]
)
def test_a_filter_document_that_lets_through_what_it_names(tmp_path, condition, told):
    one = {"title": "F", "logsource": {"product": "windows"}}
    one["filter"] = {"rules": "any", "only": {"b": 1}, "x": {"c": 1}, "condition": condition}
    found = remarks(tmp_path, {"s": {"a": 1}}, text=json.dumps(one))
    assert [check for check, _ in found] == ["positive-filter"] * told


def test_a_field_in_a_case_that_no_other_rule_writes(tmp_path):
    many = [{"s": {"Image": str(number)}} for number in range(20)]
    ((check, message),) = remarks(tmp_path, *many, {"s": {"image": "x"}})
    assert (check, message) == ("field-case", "`image`: nearly all rules write `Image`, and case counts")


@pytest.mark.datasets
def test_what_it_finds_in_the_rules_of_sigmahq(datasets):
    """Few and right: a linter that cries wolf is switched off."""
    found = [(one.check, Path(one.file).name) for one in lint([datasets / ARCHIVE])]
    assert ("field-case", "win_sshd_openssh_server_listening_on_socket.yml") in found
    assert len(found) < 60


@pytest.fixture
def rms(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    remarks(tmp_path, {"s": {"f|contains": "*x"}})
    return lambda *arguments: run(monkeypatch, capsys, "rules", "lint", *arguments)


def test_the_command(rms):
    code, out, _ = rms(".")
    assert code == 0
    assert out.splitlines() == [
        "00.yml:1: T: idle-wildcard: `f|contains: '*x'`: the `*` at the beginning changes nothing; leave it out",
        f"     1 idle-wildcard: {CHECKS['idle-wildcard']}",
        "1 rules can be evaluated, 0 are refused",
    ]
    assert rms(".", "--strict")[0] == 1
    assert rms(".", "--strict", "--ignore", "idle-wildcard")[0] == 0
    found = json.loads(rms(".", "--json")[1])
    assert (found["evaluated"], found["refused"], found["remarks"][0]["check"]) == (1, [], "idle-wildcard")
    code, _, err = rms(".", "--ignore", "none")
    assert code == 2
    assert "no check is called 'none'; there are missing, twin" in err.replace("\n", " ")
