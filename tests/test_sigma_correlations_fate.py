"""What becomes of correlations on a source, what is remarked on them, and the commands that say so."""

import json
import re
from functools import partial
from pathlib import Path

import pytest
from correlating import APART, COUNT, IDS, INNER, correlation, load_in
from test_cli import run

from rms_flows import sigma
from rms_flows.sigma.lint import lint

SECOND = 1_000_000


@pytest.fixture
def load(tmp_path):
    return partial(load_in, tmp_path)


@pytest.fixture
def fate(load):
    def fate(*documents, columns):
        found = sigma.fates(load(*documents), columns)
        return {one.rule: (one.fate, one.lacks) for one in found if one.correlates is not None}

    return fate


@pytest.mark.parametrize(
    ("said", "columns", "outcome", "lacks"),
    [
        ({}, ["fa"], "evaluated", ()),
        ({}, ["fb"], "unreachable", ("fa",)),
        ({"group_by": "g"}, ["fa"], "unreachable", ("g",)),
        ({"rules": ["a", "b"]}, ["fa"], "evaluated", ("fb",)),
        ({"type": "value_count", "field": "x"}, ["fa"], "unreachable", ("x",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": None}, ["fa"], "unreachable", ("fb",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": {"gte": 1}}, ["fa"], "evaluated", ("fb",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": {"gte": 2}}, ["fa"], "unreachable", ("fb",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": "a and not b"}, ["fa"], "evaluated", ("fb",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": "a and not b"}, ["fb"], "unreachable", ("fa",)),
        ({"type": "temporal", "rules": ["a", "b"], "condition": "a or b"}, ["fb"], "evaluated", ("fa",)),
        ({"type": "temporal_ordered", "rules": ["a", "b"], "condition": None}, ["fa"], "unreachable", ("fb",)),
        ({"type": "flatline", "condition": None}, ["fb"], "unreachable", ("fa",)),
        ({"group_by": "@timestamp"}, ["fa"], "evaluated", ()),
    ],
)  # fmt: skip
def test_a_source_that_lacks_fields(fate, said, columns, outcome, lacks):
    whole = {key: value for key, value in {**COUNT, **said}.items() if value is not None}
    assert fate(*APART, correlation(**whole), columns=columns) == {"T": (outcome, lacks)}


def test_a_source_that_lacks_fields_of_a_chain(fate):
    outer = correlation("Outer", type="temporal", rules=["inner", "b"], group_by="g", timespan="1h")
    chain = [*APART, INNER, outer]
    assert fate(*chain, columns=["fa", "fb", "g", "h"])["Outer"] == ("evaluated", ())
    assert fate(*chain, columns=["fa", "fb", "g"]) == {
        "Inner": ("unreachable", ("h",)), "Outer": ("unreachable", ("h",))
    }  # fmt: skip


REMARKS = {
    "fine": ({"group_by": "g"}, []),
    "ungrouped": ({}, ["ungrouped: no group-by: events of all hosts"]),
    "always": ({"group_by": "g", "condition": {"gte": 1}}, ["threshold: each match fulfills the condition"]),
    "more than none": ({"group_by": "g", "condition": {"gt": 0.5}}, ["threshold: each match fulfills"]),
    "all but": ({"group_by": "g", "condition": {"neq": 2}}, []),
    "never": ({"group_by": "g", "condition": {"gt": 5, "lt": 6}}, ["threshold: no number fulfills"]),
    "exactly": ({"group_by": "g", "condition": {"gte": 5, "lte": 5}}, []),
    "never a sum": (
        {"type": "value_sum", "condition": {"gt": 5, "lt": 5, "field": "x"}}, ["threshold: no number fulfills"]
    ),
    "a sum": ({"type": "value_sum", "condition": {"gt": 5, "lt": 6, "field": "x"}}, []),
    "any sum": ({"type": "value_sum", "condition": {"gte": 1, "field": "x"}}, []),
    "too many": (
        {"group_by": "g", "type": "temporal", "rules": ["a", "b"], "condition": {"gte": 3}}, ["threshold: no number"]
    ),
    "alone": ({"group_by": "g", "type": "temporal", "condition": None}, ["threshold: one rule is always together"]),
    "alias": ({"group_by": "g", "aliases": {"k": {"a": "x"}}}, ["unused: neither group-by nor field names the alias `k`"]),
}  # fmt: skip


@pytest.mark.parametrize("name", REMARKS)
def test_what_an_author_should_look_at(tmp_path, name):
    said, expected = REMARKS[name]
    whole = {key: value for key, value in {**COUNT, **said}.items() if value is not None}
    about = {"author": "A", "level": "low", "id": IDS["c"]}
    (tmp_path / "r.yml").write_text(json.dumps({**correlation(**whole), **about}))
    found = [f"{one.check}: {one.message}" for one in lint([tmp_path])]
    assert len(found) == len(expected)
    assert all(one.startswith(start) for one, start in zip(found, expected, strict=True))


def test_an_author_who_says_nothing_of_it(tmp_path):
    (tmp_path / "r.yml").write_text(json.dumps(correlation(**COUNT, group_by="g")))
    assert [one.message.split(":")[0] for one in lint([tmp_path])] == ["no author", "no level", "no id"]


def test_the_commands(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    documents = [*APART, correlation("Many", **COUNT), correlation("None", **{**COUNT, "rules": ["x"]}),
                 correlation("Both", type="temporal", rules=["a", "b"], timespan="1m")]  # fmt: skip
    Path("r.yml").write_text("---\n".join(json.dumps(one) + "\n" for one in documents))
    Path("e.ndjson").write_text('{"@timestamp": "2026-01-01T00:00:00Z", "fa": "a"}\n')

    def rms(*arguments):
        return run(monkeypatch, capsys, "rules", *arguments)[1]

    out = rms("lint", "r.yml")
    assert out.endswith("3 rules and 2 correlations can be evaluated, 1 are refused\n")
    assert "r.yml:9: None: refused: `correlation.rules` names 'x', and no rule" in out
    found = json.loads(rms("lint", "r.yml", "--json"))
    assert found["evaluated"] == 5
    assert found["correlations"][0] == {"where": "r.yml:7", "rule": "Many", "type": "event_count"}
    assert "3 rules and 2 correlations, 1 refused, ready in" in rms("compile", "r.yml")
    assert json.loads(rms("compile", "r.yml", "--json"))["evaluated"] == 5
    out = rms("coverage", "r.yml", "--in", "e.ndjson", "-q")
    assert "r.yml:7: Many: event_count: evaluated" in out
    assert re.search("r.yml:11: Both: temporal: unreachable: lacks fb\n", out)
    assert "2 rules and correlations evaluated" in out.replace("\n", " ")
    found = json.loads(rms("coverage", "r.yml", "--in", "e.ndjson", "--json"))
    assert (found["evaluated"], found["unreachable"], found["refused"], found["correlations"]) == (2, 3, 1, 2)
