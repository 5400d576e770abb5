"""Correlations as documents: what each kind says, and what it means."""

import json
import pickle
import re
from functools import partial
from pathlib import Path

import pytest
import yaml
from correlating import COUNT, IDS, INNER, RULES, correlation, load_in, rule, told
from sigma.collection import SigmaCollection

from rms_flows import sigma
from rms_flows.correlate.spec import (
    Baseline,
    Bound,
    Key,
)
from rms_flows.sigma import pack

PAGE = (Path(__file__).parents[1] / "docs/correlations.md").read_text(encoding="utf-8")
SECOND = 1_000_000


@pytest.fixture
def load(tmp_path):
    return partial(load_in, tmp_path)


@pytest.fixture
def one(load):
    def one(*, among=RULES, pipeline=None, **said):
        loaded = load(*among, correlation(**said), pipeline=pipeline)
        assert loaded.refused == ()
        return loaded.correlations[-1]

    return one


KINDS = {
    "event_count": ({"condition": {"gte": 3}}, {"bounds": (Bound("gte", 3),)}),
    "value_count": (
        {"condition": {"field": ["x", "y"], "gt": 10, "lte": 20}},
        {"bounds": (Bound("gt", 10), Bound("lte", 20)), "fields": ("x", "y")},
    ),
    "value_sum": (
        {"condition": {"field": "x", "lt": 1.5}},
        {"bounds": (Bound("lt", 1.5),), "fields": ("x",)},
    ),
    "value_avg": (
        {"condition": {"neq": "1e1"}, "field": "x"},
        {"bounds": (Bound("neq", 10),), "fields": ("x",)},
    ),
    "value_median": (
        {"condition": {"eq": -2.0, "field": ["x"]}},
        {"bounds": (Bound("eq", -2),), "fields": ("x",)},
    ),
    "value_percentile": (
        {"condition": {"field": "x", "percentile": 99.5, "gt": 1}},
        {"bounds": (Bound("gt", 1),), "fields": ("x",), "percentile": 99.5},
    ),
    "temporal": ({"rules": ["a", "b"]}, {}),
    "temporal_ordered": ({"rules": ["b", "a"], "condition": {"gte": 2}}, {}),
    "flatline": ({"group_by": "g", "keys": ["k"]}, {"group_by": ("g",), "keys": (Key(("k",)),)}),
    "new_terms": ({"group_by": "g", "field": "x"}, {"group_by": ("g",), "fields": ("x",)}),
    "baseline": (
        {"condition": {"gte": 6}, "field": "x", "baseline": {"season": "1d", "slots": 24}},
        {
            "bounds": (Bound("gte", 6),),
            "fields": ("x",),
            "baseline": Baseline("deviation", 86_400 * SECOND, 24, 20),
        },
    ),
}


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind(one, kind):
    written, meant = KINDS[kind]
    found = one(**{"type": kind, "rules": "a", "timespan": "1m", **written})
    names = [written.get("rules", "a")] if written.get("rules", "a") == "a" else written["rules"]
    defaults = {"bounds": (), "fields": (), "percentile": None, "presence": None, "keys": None}
    defaults |= {"baseline": None, "group_by": ()}
    assert found.kind == kind
    assert [source.name for source in found.inputs] == list(names)
    assert [source.id for source in found.inputs] == [IDS[name] for name in names]
    assert found.timespan == 60 * SECOND
    assert {key: getattr(found, key) for key in defaults} == {**defaults, **meant}
    assert (found.suppress, found.generate, found.level, found.author) == (None, False, "medium", None)


def test_what_messages_need(load):
    about = {"author": "Ann", "level": "high", "tags": ["attack.t1110"], "id": IDS["c"].replace("3", "9")}
    loaded = load(rule("a"), {**correlation("Brute force", **COUNT), **about})
    (found,) = loaded.correlations
    assert (found.title, found.author, found.level, found.tags) == (
        "Brute force", "Ann", "high", ("attack.t1110",)
    )  # fmt: skip
    assert found.id == about["id"]
    assert found.where == f"{loaded.rules[0].file}:11"


def test_one_without_id_gets_one_of_its_content(load):
    first, second = load(rule("a"), correlation(**COUNT), correlation("U", **COUNT)).correlations
    assert first.id != second.id
    assert first.id == load(rule("a"), correlation(**COUNT)).correlations[0].id
    assert first.meaning == second.meaning


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5m", 300),
        ("2h", 7200),
        ("1d", 86_400),
        ("1w", 604_800),
        ("1M", 2_629_746),
        ("1y", 31_556_952),
    ],
)
def test_units_of_a_timespan(one, text, seconds):
    found = one(**{**COUNT, "timespan": text, "suppress": text})
    assert (found.timespan, found.suppress) == (seconds * SECOND, seconds * SECOND)


def test_keys_with_a_time_from_which_they_count(one):
    found = one(
        type="flatline",
        rules=["a"],
        group_by=["g", "h"],
        timespan="1h",
        keys=[
            {"g": "x", "h": 1},
            {"g": "y", "h": "2", "valid-from": "2026-01-01T01:00:00.5+01:00"},
            {"g": "z", "h": "2", "valid-from": "2026-01-01"},
        ],
    )
    begin = 1_767_225_600 * SECOND
    assert found.keys == (
        Key(("x", "1")), Key(("y", "2"), begin + SECOND // 2), Key(("z", "2"), begin)
    )  # fmt: skip


def test_times_that_yaml_reads_itself(tmp_path):
    file = tmp_path / "r.yml"
    file.write_text(
        yaml.safe_dump(rule("a")) + "---\ntitle: T\ncorrelation:\n  {type: flatline, rules: a, group-by: g,"
        " timespan: 1h, keys: [{g: x, valid-from: 2026-01-01}, {g: y, valid-from: 2026-01-01T00:00:00Z}]}\n"
    )
    (found,) = sigma.load([file]).correlations
    assert [key.valid_from for key in found.keys] == [1_767_225_600 * SECOND] * 2


def test_aliases_give_each_rule_its_field(one):
    found = one(
        type="temporal", rules=["a", "b", "c"], group_by=["g", "h"], timespan="1m",
        aliases={"g": {"a": "x", IDS["b"]: "y"}},
    )  # fmt: skip
    assert [source.group for source in found.inputs] == [("x", "h"), ("y", "h"), ("g", "h")]
    assert found.group_by == ("g", "h")


def mapped(mapping, *conditions):
    step = {"id": "m", "type": "field_name_mapping", "mapping": mapping}
    return {"name": "p", "priority": 1, "transformations": [
        {**step, **({"rule_conditions": list(conditions)} if conditions else {})}
    ]}  # fmt: skip


def test_a_pipeline_maps_fields_as_it_maps_the_rules(one):
    said = {
        "type": "value_count", "rules": ["a", "b"], "group_by": ["g", "k"], "field": "x", "timespan": "1m",
        "condition": {"gt": 1}, "aliases": {"k": {"a": "g", "b": "h"}},
    }  # fmt: skip
    pipeline = mapped({"g": "group", "h": ["host", "other"], "x": "value", "f": "field"})
    found = one(**said, pipeline=pipeline)
    assert [source.group for source in found.inputs] == [("group", "group"), ("group", "host")]
    assert (found.group_by, found.fields) == (("g", "k"), ("value",))


def test_a_pipeline_maps_each_rule_by_its_own_conditions(load):
    other = rule("b", logsource={"product": "q"})
    said = {"type": "temporal", "rules": ["a", "b"], "group_by": "g", "timespan": "1m"}
    only = mapped({"g": "group"}, {"type": "logsource", "product": "q"})
    found = load(rule("a"), other, correlation(**said), pipeline=only).correlations[0]
    assert [source.group for source in found.inputs] == [("g",), ("group",)]
    count = {**said, "type": "value_count", "field": "g", "group_by": [], "condition": {"gt": 1}}
    reason = told(load(rule("a"), other, correlation(**count), pipeline=only))["T"]
    assert (
        "is g in events of 'a' and group in those of 'b', but a correlation looks at the same in all; write"
        in reason
    )


def test_a_pipeline_of_fields_does_not_reach_what_correlations_give(load):
    outer = correlation(
        "Outer", type="event_count", rules="inner", group_by="g", timespan="1h", condition={"gte": 2}
    )
    loaded = load(rule("a"), INNER, outer, pipeline=mapped({"g": "group"}))
    assert [one.inputs[0].group for one in loaded.correlations] == [("group", "h"), ("g",)]


def test_a_field_that_a_pipeline_refuses(load):
    refusing = {"name": "p", "priority": 1, "transformations": [{
        "id": "r", "type": "detection_item_failure", "message": "not here",
        "field_name_conditions": [{"type": "include_fields", "fields": ["g"]}],
    }]}  # fmt: skip
    reason = told(load(rule("a"), correlation(**COUNT, group_by="g"), pipeline=refusing))["T"]
    assert re.search(
        "a pipeline refuses g in events of 'A': .*not here; name fields that the pipeline knows", reason
    )


def test_meaning_is_of_what_is_detected(one):
    base = {"type": "temporal", "rules": ["a", "b"], "group_by": "g", "timespan": "1m"}
    first = one(**base).meaning
    assert re.fullmatch("[0-9a-f]{32}", first)
    assert one(title="other", **base).meaning == first
    renamed = [rule("a", id=None, name="z"), rule("b")]
    assert one(among=renamed, **{**base, "rules": ["z", "b"]}).meaning == first
    assert one(**{**base, "rules": ["b", "a"]}).meaning == first
    assert one(**base, condition="a and b").meaning == first
    changes = [
        {"timespan": "2m"}, {"group_by": ["g", "h"]}, {"rules": ["a", "c"]}, {"suppress": "1h"}, {"condition": {"gte": 1}},
        {"type": "temporal_ordered"}, {"condition": "a and not b"}, {"condition": "b and not a"}, {"condition": "a or b"},
        {"aliases": {"g": {"a": "x"}}}, {"type": "event_count", "condition": {"gte": 2}},
        {"type": "event_count", "condition": {"gte": 2, "lt": 9}}, {"type": "value_count", "condition": {"gte": 2, "field": "x"}},
        {"type": "value_percentile", "condition": {"gte": 2, "field": "x", "percentile": 1}},
        {"type": "value_percentile", "condition": {"gte": 2, "field": "x", "percentile": 2}},
        {"type": "flatline"}, {"type": "flatline", "keys": ["x"]}, {"type": "flatline", "keys": ["x", "y"]},
        {"type": "flatline", "keys": "sources", "group_by": "rms.source"}, {"type": "flatline", "keys": ["sources"], "group_by": "rms.source"},
        {"type": "flatline", "keys": [{"g": "x", "valid-from": "2026-01-01"}]}, {"type": "new_terms", "field": "x"},
        {"type": "baseline", "field": "x", "condition": {"gt": 1}},
        {"type": "baseline", "field": "x", "condition": {"gt": 1}, "baseline": {"least": 3}},
    ]  # fmt: skip
    meanings = [one(**{**base, **change}).meaning for change in changes]
    assert len({first, *meanings}) == len(changes) + 1
    two = {**base, "type": "event_count", "condition": {"gte": 2, "lt": 9}}
    assert one(**{**two, "condition": {"lt": 9.0, "gte": "2"}}).meaning == one(**two).meaning
    keys = {**base, "type": "flatline"}
    assert one(**keys, keys=["x", "y"]).meaning == one(**keys, keys=["y", "x"]).meaning
    ordered = {**base, "type": "temporal_ordered"}
    assert one(**ordered).meaning != one(**{**ordered, "rules": ["b", "a"]}).meaning
    assert (
        one(**base, condition="b and not a").meaning
        == one(**{**base, "rules": ["b", "a"]}, condition="b and not a").meaning
    )


def test_meaning_follows_the_rules(load):
    first = load(rule("a"), correlation(**COUNT)).correlations[0].meaning
    assert load(rule("a", "other"), correlation(**COUNT)).correlations[0].meaning != first
    assert (
        load(rule("a", name="z", title="Z"), correlation(**{**COUNT, "rules": "z"})).correlations[0].meaning
        == first
    )


def test_who_is_silent(load):
    inner = {**COUNT, "rules": ["a", "b"]}
    loaded = load(
        *RULES,
        {**correlation("Inner", "inner", **inner), "id": "00000000-0000-4000-8000-000000000009"},
        correlation("Loud", **{**COUNT, "rules": ["b"]}, generate=True),
        correlation("Outer", **{**COUNT, "rules": ["inner"]}),
        correlation("Refused", **{**COUNT, "rules": ["c", "nobody"]}),
    )
    assert loaded.silent == {IDS["a"], "00000000-0000-4000-8000-000000000009"}


def test_filters_are_for_rules_alone(load):
    narrow = {
        "title": "F", "logsource": {"product": "p"},
        "filter": {"rules": ["a", "t"], "s": {"x": 1}, "condition": "not s"},
    }  # fmt: skip
    whole, filtered = (load(rule("a"), correlation(name="t", **COUNT), *more) for more in ([], [narrow]))
    assert whole.rules[0].meaning != filtered.rules[0].meaning
    assert whole.correlations[0].meaning != filtered.correlations[0].meaning
    assert filtered.refused == ()


def test_they_travel_in_packs_and_to_workers(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "r.yml").write_text(
        "\n---\n".join(re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL))
    )
    first = sigma.load([folder])
    assert len(first.correlations) > 8
    assert sigma.load([folder]) == first == pack.read(pack.place([folder]))
    assert pickle.loads(pickle.dumps(first)) == first  # noqa: S301 - our own bytes


def test_a_change_of_the_spec_is_another_pack(tmp_path, monkeypatch):
    copied = tmp_path / "spec.py"
    copied.write_text("# changed")
    before = pack.place([])
    monkeypatch.setattr(pack.spec, "__file__", str(copied))
    assert pack.place([]) != before


def test_every_example_of_the_page_can_be_evaluated(load):
    blocks = re.findall(r"^```yaml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    documents = [document for block in blocks for document in yaml.safe_load_all(block)]
    loaded = load(*documents)
    assert loaded.refused == ()
    kinds = {one.kind for one in loaded.correlations}
    assert kinds == KINDS.keys() - {"value_avg", "value_median"}
    assert len(loaded.rules) == 4


def test_pysigma_reads_what_is_of_sigma_alike(load):
    """Its types, references and spans are the standard; ours may only be wider."""
    documents = [
        *RULES,
        correlation("one", **COUNT, group_by="g"),
        correlation("two", type="temporal", rules=["a", "b"], timespan="2h", condition="a and not b"),
        correlation(
            "three", type="value_avg", rules=["a"], timespan="1M", condition={"field": "x", "lt": 0.5}
        ),
    ]
    theirs = {one.title: one for one in SigmaCollection.from_dicts(json.loads(json.dumps(documents)))}
    for one in load(*documents).correlations:
        other = theirs[one.title]
        assert one.kind == other.type.name.lower()
        assert one.timespan == other.timespan.seconds * SECOND
        assert [source.id for source in one.inputs] == [str(ref.rule.id) for ref in other.referenced_rules]
        assert one.group_by == tuple(other.group_by or ())
