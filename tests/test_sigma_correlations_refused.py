"""Correlations that can't be evaluated: what each is told; and what they refer to, in whichever order."""

import datetime as dt
import itertools
import re
from functools import partial

import msgspec
import pytest
import yaml
from correlating import COUNT, IDS, INNER, RULES, correlation, load_in, rule, told
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows import sigma
from rms_flows.correlate.spec import (
    MAX_INPUTS,
    Input,
)
from rms_flows.sigma.draft import KINDS
from rms_flows.sigma.load import read

SECOND = 1_000_000


@pytest.fixture
def load(tmp_path):
    return partial(load_in, tmp_path)


WRONG = {
    "no mapping": (None, "`correlation` is missing; expected a mapping of type, rules"),
    "no kind": ({"type": None}, "`correlation.type` is missing; expected one of event_count, value_count"),
    "kind": ({"type": "event_cont"}, r"`correlation.type` is 'event_cont'; .*\(was 'event_count' meant\?\)"),
    "kind of a kind": ({"type": 3}, "`correlation.type` is 3; expected one of event_count"),
    "key": ({"timespam": "1m"}, r"the unknown key 'timespam' \(was 'timespan' meant\?\); known here are type"),
    "key of another kind": ({"keys": ["x"]}, "`correlation` has the unknown key 'keys'; known here are"),
    "field of a count": ({"condition": {"gte": 1, "field": "x"}}, "has the unknown key 'field'; known here are gt"),
    "no timespan": ({"timespan": None}, "`correlation.timespan` is missing; expected a number above 0 and a unit"),
    "timespan": ({"timespan": "5min"}, "`correlation.timespan` is '5min'; expected .* as in 30s, 5m, 1h"),
    "number": ({"timespan": 60}, "`correlation.timespan` is 60; expected a number above 0 and a unit"),
    "nothing": ({"timespan": "0s"}, "`correlation.timespan` is '0s'; expected a number above 0"),
    "long": ({"timespan": "101y"}, "`correlation.timespan` is '101y'; expected at most 100y"),
    "very long": ({"timespan": "9" * 5000 + "s"}, "`correlation.timespan` is '999.*; expected a number above 0"),
    "suppress": ({"suppress": "1x"}, "`correlation.suppress` is '1x'; expected a number above 0 and a unit"),
    "no condition": ({"condition": None}, "`correlation.condition` is missing; expected bounds of the number that"),
    "text": ({"condition": "a"}, "`correlation.condition` is 'a'; expected bounds of the number that event_count"),
    "no bound": ({"condition": {}}, "`correlation.condition` has no bound; give at least one of gt, gte, lt"),
    "order": ({"condition": {"ge": 1}}, r"has the unknown key 'ge' \(was 'gte' meant\?\); known here are gt, gte"),
    "not a number": ({"condition": {"gt": "x"}}, "`correlation.condition.gt` is 'x'; expected a finite number"),
    "infinite": ({"condition": {"gt": float("inf")}}, "`correlation.condition.gt` is inf; expected a finite"),
    "nan": ({"condition": {"gt": float("nan")}}, "`correlation.condition.gt` is nan; expected a finite number"),
    "true": ({"condition": {"gt": True}}, "`correlation.condition.gt` is True; expected a finite number"),
    "big": ({"condition": {"gt": 2**53 + 1}}, "is 9007199254740993; expected a number that a double holds"),
    "huge": ({"condition": {"gt": 10**400}}, "expected a number that a double holds exactly"),
    "more than count": ({"condition": {"gte": 100_001}}, "condition.gte` is 100001, but of the events of a window"),
    "as many as count": ({"condition": {"gt": 100_000}}, "gt` is 100000, but .* the last 100,000 are counted; ask"),
    "exactly more": ({"condition": {"lt": 9e9, "eq": 1e6}}, "condition.eq` is 1000000.*; ask for fewer in a shorter"),
    "no rules": ({"rules": None}, "`correlation.rules` is missing; expected names or ids of rules"),
    "empty": ({"rules": []}, r"`correlation.rules` is \[\]; expected names or ids of rules"),
    "rules": ({"rules": ["a", 1]}, r"`correlation.rules` is \['a', 1\]; expected names or ids of rules"),
    "twice": ({"rules": ["a", IDS["a"]]}, "`correlation.rules` names 'a' twice, and an event counts once; name it"),
    "unknown": ({"rules": ["aa"]}, r"names 'aa', and no rule that is loaded has this name or id \(was 'a' meant"),
    "far": ({"rules": ["zzz"]}, r"names 'zzz', and no rule that is loaded has this name or id; load the rule's"),
    "many": ({"rules": [f"r{n}" for n in range(MAX_INPUTS + 1)]}, "names 63 rules, more than the 62 .*; correlate"),
    "group-by": ({"group_by": ["g", 1]}, "`correlation.group-by` is 1; expected the name of a field, or a list"),
    "group twice": ({"group_by": ["g", "g"]}, "`correlation.group-by` names 'g' twice; name it once"),
    "generate": ({"generate": "yes"}, "`correlation.generate` is 'yes'; expected true or false"),
    "aliases": ({"aliases": ["g"]}, r"`correlation.aliases` is \['g'\]; expected a mapping of aliases"),
    "alias": ({"aliases": {"g": "x"}}, "`correlation.aliases.g` is 'x'; expected a mapping of rules to fields"),
    "alias field": ({"aliases": {"g": {"a": 1}}}, "`correlation.aliases.g.a` is 1; expected the name of a field"),
    "alias of nobody": ({"aliases": {"g": {"x": "y"}}}, "`correlation.aliases.g` names 'x', and no rule that is"),
    "alias of another": (
        {"aliases": {"g": {"b": "y"}}}, "`correlation.aliases.g` names 'b', which `correlation.rules` doesn't; add"
    ),
    "no field": ({"type": "value_count"}, "`correlation.field` is missing; expected the field whose values"),
    "fields": ({"type": "value_sum", "field": ["x", "y"]}, r"`correlation.field` is \['x', 'y'\]; expected one field"),
    "no fields": ({"type": "value_count", "field": []}, r"`correlation.field` is \[\]; expected at least one field"),
    "field twice": (
        {"type": "value_sum", "field": "x", "condition": {"gt": 1, "field": "y"}},
        "`field` stands in `correlation` and in `correlation.condition`; keep the one in the condition",
    ),
    "no percentile": ({"type": "value_percentile", "field": "x"}, "`correlation.percentile` is missing; expected a"),
    "percentile": (
        {"type": "value_percentile", "condition": {"gt": 1, "field": "x", "percentile": 101}},
        "`correlation.condition.percentile` is 101; expected a number from 0 to 100",
    ),
    "ordered": (
        {"type": "temporal_ordered", "rules": ["a", "b"], "condition": "a and b"},
        "is 'a and b', but what a boolean condition says has no order; leave it out",
    ),
    "ordered some": (
        {"type": "temporal_ordered", "rules": ["a", "b"], "condition": {"gte": 1}},
        "temporal_ordered asks for another number of rules than all; leave it out",
    ),
    "absence": ({"type": "temporal", "condition": "not a"}, "'not a', which is true where no rule matches: .*flatline"),
    "or absence": (
        {"type": "temporal", "rules": ["a", "b"], "condition": "a or not b"}, "which is true where no rule matches"
    ),
    "either": (
        {"type": "temporal", "rules": ["a", "b"], "condition": "(a and not b) or (b and not a)"},
        "asks for 'a' and excludes it too, .*; write one correlation for each case",
    ),
    "grammar": ({"type": "temporal", "condition": "a and"}, "is 'a and', which can't be read: .*; join names of"),
    "deep": ({"type": "temporal", "condition": "not " * 9999 + "a"}, "which can't be read: nested too deep; join"),
    "not in rules": (
        {"type": "temporal", "condition": "a and b"}, "names 'b', which `correlation.rules` doesn't.*; write it there"
    ),
    "not in the condition": (
        {"type": "temporal", "rules": ["a", "b"], "condition": "a"}, "doesn't name the rule 'b'; use it there or"
    ),
    "no such name": (
        {"type": "temporal", "rules": None, "condition": "a and d"}, "names 'd', and no rule that is loaded has"
    ),
    "keys without group": ({"type": "flatline", "condition": ..., "keys": ["x"]}, "but there is no `correlation.group-by`"),
    "sources by host": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": "sources"},
        r"`correlation.keys` expects the sources, but `correlation.group-by` is g; group by rms.source alone",
    ),
    "a word": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": "all"},
        r"is 'all'; expected a list of keys, or the word sources",
    ),
    "no keys": ({"type": "flatline", "condition": ..., "group_by": "g", "keys": []}, r"is \[\]; expected a list of keys"),
    "a key": (
        {"type": "flatline", "condition": ..., "group_by": ["g", "h"], "keys": ["x"]},
        r"`correlation.keys\[0\]` is 'x'; expected a mapping of g, h, for a group has them all",
    ),
    "half a key": (
        {"type": "flatline", "condition": ..., "group_by": ["g", "h"], "keys": [{"g": "x"}]},
        r"`correlation.keys\[0\].h` is missing; expected the value as text",
    ),
    "key of a key": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": [{"g": "x", "i": 1}]},
        r"`correlation.keys\[0\]` has the unknown key 'i'; known here are g, valid-from",
    ),
    "value of a key": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": [1.5]},
        r"`correlation.keys\[0\]` is 1.5; expected the value as text",
    ),
    "same key": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": ["1", 1]},
        r"`correlation.keys\[1\]` is 1, which comes twice; keep one",
    ),
    "time of a key": (
        {"type": "flatline", "condition": ..., "group_by": "g", "keys": [{"g": "x", "valid-from": "soon"}]},
        r"`correlation.keys\[0\].valid-from` is 'soon'; expected a time as in 2026-01-31",
    ),
    "flatline with bounds": ({"type": "flatline"}, "has the unknown key 'condition'; known here are"),
    "never new": (
        {"type": "new_terms", "condition": ..., "group_by": "g", "field": "g"},
        "names 'g', which is in `correlation.group-by` too and so is never new to its group; name it in one",
    ),
    "no baseline": ({"type": "baseline", "field": "x", "baseline": 3}, "`correlation.baseline` is 3; expected a mapping"),
    "baseline key": ({"type": "baseline", "baseline": {"slot": 3}}, r"unknown key 'slot' \(was 'slots' meant\?\)"),
    "method": ({"type": "baseline", "baseline": {"method": "x"}}, "method` is 'x'; expected one of deviation, regul"),
    "slots": (
        {"type": "baseline", "baseline": {"slots": 0}}, "`correlation.baseline.slots` is 0; expected a whole number from 1"
    ),
    "slots alone": ({"type": "baseline", "baseline": {"slots": 3}}, "has 3 slots of no season; say how long a `season`"),
    "least": ({"type": "baseline", "baseline": {"least": 1.5}}, "`correlation.baseline.least` is 1.5; expected a whole"),
    "regular season": (
        {"type": "baseline", "baseline": {"method": "regularity", "season": "1d"}}, "has a season, but regularity looks at"
    ),
    "regular field": (
        {"type": "baseline", "field": "x", "baseline": {"method": "regularity"}}, "is 'x', but regularity looks at times"
    ),
    "deviation of nothing": ({"type": "baseline"}, "`correlation.field` is missing; expected the field"),
}  # fmt: skip
"""Changes of `COUNT` (`...` takes a key out) → what the author is told."""


@pytest.mark.parametrize("name", WRONG)
def test_one_that_can_not_be_evaluated(load, name):
    change, told = WRONG[name]
    said = change and {key: value for key, value in {**COUNT, **change}.items() if value is not ...}
    document = correlation(**said) if said else {"title": "T", "correlation": None}
    loaded = load(*RULES, document)
    assert loaded.correlations == ()
    assert len(loaded.rules) == 3
    ((title, reason),) = [(one.title, one.reason) for one in loaded.refused]
    assert title == "T"
    assert re.search(told, reason), reason


@pytest.mark.parametrize(
    "condition", [{"gte": 100_000}, {"gt": 99_999}, {"lt": 10**6}, {"neq": 10**6, "gt": 1}]
)
def test_a_count_that_events_of_a_window_can_reach(load, condition):
    assert len(load(*RULES, correlation(**{**COUNT, "condition": condition})).correlations) == 1


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": "x"}, "identifier must be an UUID"),
        ({"title": None}, "must have a title"),
        ({"level": "worst"}, "'worst' is not a valid Sigma rule level"),
    ],
)
def test_what_all_documents_have_is_checked_by_pysigma(load, change, told):
    document = {**correlation(**COUNT), **change}
    (refused,) = load(*RULES, {key: value for key, value in document.items() if value is not None}).refused
    assert told in refused.reason


def refusal(tmp_path, text):
    (tmp_path / "r.yml").write_text(text)
    return [one.reason for one in read([tmp_path / "r.yml"])[0].refused]


def test_an_order_twice_is_a_key_twice(tmp_path):
    text = "title: T\ncorrelation: {type: event_count, rules: a, timespan: 1m, condition: {gt: 1, gt: 2}}"
    (reason,) = refusal(tmp_path, text)
    assert "Duplicate key 'gt'" in reason


def test_a_document_that_grows_when_it_is_unfolded(tmp_path):
    lines = ["x0: &x0 [a, a]", *(f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * 9)}]" for n in range(1, 9))]
    (reason,) = refusal(tmp_path, "\n".join(["title: T", *lines, "correlation: {type: *x8}"]))
    assert "billion laughs" in reason


def test_a_rule_whose_keys_have_no_order_has_an_id(load):
    """Guards against one document that ends the whole run."""
    loaded = load({**rule("d"), 1: "x"}, {**rule("e"), dt.date(2026, 1, 1): "x"})
    assert [one.title for one in loaded.rules] == ["D", "E"]


def test_the_order_of_documents_does_not_matter(tmp_path):
    documents = [
        correlation("outer", type="temporal_ordered", rules=["inner", "b"], group_by="g", timespan="1h"),
        correlation("inner", "inner", **COUNT, group_by="g"),
        *RULES,
    ]
    meanings = set()
    for order in itertools.permutations(range(3)):
        folder = tmp_path / "".join(map(str, order))
        folder.mkdir()
        parts = [documents[:1], documents[1:2], documents[2:]]
        for place, number in enumerate(order):
            (folder / f"{place}.yml").write_text(yaml.safe_dump_all(parts[number]))
        loaded = read([folder])[0]
        assert loaded.refused == ()
        meanings.add(frozenset((one.title, one.meaning) for one in loaded.correlations))
        outer = next(one for one in loaded.correlations if one.title == "outer")
        inner = next(one for one in loaded.correlations if one.title == "inner")
        assert outer.inputs == (Input("inner", inner.id, ("g",)), Input("b", IDS["b"], ("g",)))
    assert len(meanings) == 1


def test_a_name_goes_before_an_id(load):
    other = rule("b", name=IDS["a"])
    loaded = load(rule("a"), other, correlation(**{**COUNT, "rules": [IDS["a"]]}))
    assert loaded.correlations[0].inputs == (Input(IDS["a"], IDS["b"]),)
    loaded = load(rule("a", name=None), correlation(**{**COUNT, "rules": [IDS["a"].upper()]}))
    assert loaded.correlations[0].inputs == (Input(IDS["a"], IDS["a"]),)


def test_a_name_that_two_rules_have(load):
    reason = told(load(*RULES, rule("d", name="a"), correlation(**COUNT)))["T"]
    assert re.search(
        r"'a', which is the name of 2 rules \(.*yml:1 and .*yml:\d+\); refer to it by its id", reason
    )
    reason = told(load(*RULES, correlation("U", "a", **{**COUNT, "rules": "b"}), correlation(**COUNT)))["T"]
    assert "which is the name of 2 rules" in reason


def test_a_rule_that_is_refused(load):
    bad = rule("d", detection={"s": {"f|re": "("}, "condition": "s"})
    middle = correlation("Middle", "middle", **{**COUNT, "rules": ["a", "d"]})
    outer = correlation("Outer", **{**COUNT, "rules": ["middle"]})
    found = told(load(outer, middle, rule("a"), bad))
    assert re.search(r"names 'd', which is refused \(.*rules.yml:\d+\); mend that one first", found["Middle"])
    assert re.search(r"names 'middle', which is refused \(.*yml:\d+\); mend that one first", found["Outer"])
    found = told(load(correlation("Outer", **{**COUNT, "rules": ["x"]}), correlation("Bad", "x", type="no")))
    assert re.search(r"names 'x', which is refused \(.*rules.yml:\d+\); mend", found["Outer"])


def test_an_id_that_is_taken(load):
    found = told(load(*RULES, {**correlation(**COUNT), "id": IDS["b"]}, correlation("U", **COUNT)))
    assert re.search(rf"the id {IDS['b']} is taken by .*rules.yml:\d+; give it an id of its own", found["T"])
    assert found.keys() == {"T"}
    own = IDS["c"].replace("3", "9")
    found = told(load(*RULES, *[{**correlation(title, **COUNT), "id": own} for title in "UV"]))
    assert found.keys() == {"V"}


def test_correlations_that_go_in_a_circle(load):
    def over(name, *rules):
        return correlation(name, name, **{**COUNT, "rules": list(rules)})

    loaded = load(rule("a"), over("x", "y"), over("y", "a", "z"), over("z", "x"), over("w", "y"), over("self", "self"),
                  over("fine", "a"))  # fmt: skip
    found = told(loaded)
    assert [one.title for one in loaded.correlations] == ["fine"]
    assert found["x"].startswith(
        "`correlation.rules` goes in a circle: x → y → z → x; a correlation can't need"
    )
    assert "z → x → y → z" in found["z"]
    assert "y → z → x → y" in found["w"]
    assert "self → self" in found["self"]


def test_a_long_chain(load):
    chain = [
        correlation(f"c{n}", f"c{n}", **{**COUNT, "rules": [f"c{n - 1}" if n else "a"]}) for n in range(800)
    ]
    loaded = load(*reversed(chain), rule("a"))
    assert len(loaded.correlations) == 800
    assert len({one.meaning for one in loaded.correlations}) == 800
    assert [one.title for one in loaded.correlations] == [f"c{n}" for n in range(800)], (
        "what is needed comes first"
    )
    assert {one.fate for one in sigma.fates(loaded, ["f"])} == {"evaluated"}
    assert {one.fate for one in sigma.fates(loaded, [])} == {"unreachable"}


def test_what_a_chain_can_group_by(load):
    new = correlation("New", "new", type="new_terms", rules="a", group_by="g", field="x", timespan="1d")
    outer = {"type": "value_count", "timespan": "1h", "condition": {"gte": 2}}
    fine = [
        correlation(**outer, rules="inner", group_by="g", field="h"),
        correlation(**outer, rules="new", group_by="g", field="x"),
        correlation(**outer, rules="inner", group_by="k", field="h", aliases={"k": {"inner": "g"}}),
    ]
    loaded = load(rule("a"), INNER, new, *fine)
    assert loaded.refused == ()
    assert [one.inputs[0].group for one in loaded.correlations[2:]] == [("g",)] * 3
    bad = [
        correlation("group", **outer, rules="inner", group_by="i", field="h"),
        correlation("field", **outer, rules="inner", group_by="g", field="i"),
        correlation("none", **outer, rules="bare", field="i"),
    ]
    found = told(load(rule("a"), INNER, correlation("Bare", "bare", **COUNT), *bad))
    assert re.search(r"`correlation.group-by` is 'i', but what the correlation 'inner' gives has g, h; add it to the"
                     r" group-by of .*yml:\d+, or leave it out here", found["group"])  # fmt: skip
    assert (
        "`correlation.field` is 'i', but what the correlation 'inner' gives has g, h; add" in found["field"]
    )
    assert "gives has no field, for it has no group-by; add" in found["none"]


JUNK = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.dates(),
        st.sampled_from(
            ["a", "b", "g", "1m", "a and not b", "event_count", "temporal", "baseline", "x" * 300, ""]
        ),
    ),
    lambda part: (
        st.lists(part, max_size=3) | st.dictionaries(st.sampled_from(["a", "gte", "g", 1]), part, max_size=3)
    ),
    max_leaves=5,
)
KEYS = ("type", "rules", "group-by", "timespan", "condition", "aliases", "generate", "suppress", "keys", "field",
        "percentile", "baseline")  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from(KINDS),
    st.dictionaries(st.sampled_from(KEYS), JUNK, max_size=4),
    st.dictionaries(st.sampled_from(["title", "id", "name", "level", "tags", "author", 1]), JUNK, max_size=2),
)
def test_whatever_stands_there_it_is_evaluated_or_refused(tmp_path_factory, kind, said, about):
    """Guards against one document that ends the whole run, and against a pack that can't be written."""
    document = {"title": "T", "correlation": {**COUNT, "type": kind, **said}, **about}
    loaded = load_in(tmp_path_factory.mktemp("r"), rule("a"), document, rule("b"))
    assert len(loaded.rules) == 2
    assert len(loaded.correlations) + len(loaded.refused) == 1
    assert all(one.reason for one in loaded.refused)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(loaded), type=sigma.RuleSet) == loaded
