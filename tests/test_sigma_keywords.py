"""Which rules' keywords may be in a column, told by its bytes, against a search of each text."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sigma_plan import rules

from rms_flows import sigma
from rms_flows.sigma import keywords as keywords_module
from rms_flows.sigma import scope
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.fold import fold
from rms_flows.sigma.keywords import Keywords
from rms_flows.sigma.predicate import Present, Regex, Text, Wildcards
from rms_flows.sigma.scope import Memory

WORD = st.text("aB-k\u212aéÉ", min_size=1, max_size=3)
NO_ROWS = np.empty(0, dtype=np.intp)
TEXTS = st.lists(st.none() | st.text("aBbAk-K\u212aéÉ", max_size=12), max_size=6)


def keyword(word, *, cased=False, how="contains"):
    return Leaf(None, Text(how, word if cased else fold(word), cased))


@given(
    st.lists(st.tuples(WORD, st.booleans(), st.sampled_from([None, 0, 1, 2])), max_size=6),
    TEXTS,
    st.sampled_from([pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())]),
    st.integers(0, 15),
)
def test_what_is_left_out_has_no_keyword(asked, texts, kind, wanted):
    keywords = Keywords((keyword(word, cased=cased), route) for word, cased, route in asked)
    groups = {route: number for number, route in enumerate(dict.fromkeys(route for *_, route in asked))}
    column = pa.array([None, "-", *texts], kind).slice(2)
    found = keywords.groups_in_column(column, wanted)
    assert found & ~wanted == 0
    for word, cased, route in asked:
        true = any((word in text) if cased else (fold(word) in fold(text)) for text in texts if text)
        if true and wanted >> groups[route] & 1:
            assert found >> groups[route] & 1


def test_most_columns_are_left_out():
    keywords = Keywords([(keyword("mimikatz"), None), (keyword("evil", how="is"), 3)])
    assert keywords.groups_in_column(pa.array(["calc.exe", None, "", "é"]), 3) == 0
    assert keywords.groups_in_column(pa.array(["MimiKatz", "no evil"]), 3) == 3
    assert keywords.groups_in_column(pa.array([["a"], ["mimikatz"]]), 3) == 1
    assert keywords.groups_in_column(pa.array(["mimikatz"] * 2)[:0], 3) == 0
    assert keywords.groups_in_column(pa.array([None], pa.string()), 3) == 0


@pytest.fixture
def searched(monkeypatch):
    """List what is searched: the groups that are asked for, and bytes."""
    found = []
    plain = Keywords.groups_in
    monkeypatch.setattr(
        Keywords, "groups_in", lambda *given: found.append((given[2], len(given[1]))) or plain(*given)
    )
    return found


@pytest.mark.parametrize("small", [0, 4_096])
def test_columns_without_keywords_are_searched_at_once(monkeypatch, searched, small):
    """Guards against two searches for each of hundreds of columns of which none has anything."""
    monkeypatch.setattr(scope, "SMALL_BATCH", small)
    monkeypatch.setattr(scope, "_TOGETHER", 600)
    plan = sigma.compile(rules(keyword("evil")))
    columns = {f"f{n}": pa.array(["fine", None, "good"]) for n in range(40)}
    assert len(plan.match(pa.record_batch(columns))) == 0
    together = -(-40 // (600 // columns["f0"].nbytes))
    assert len(searched) == together
    assert sum(size for _, size in searched) == 40 * len("finegood")
    searched.clear()
    found = plan.match(pa.record_batch(columns | {"f7": pa.array(["fine", "no EVIL", None])}))
    assert found.row.tolist() == [1]
    alone = 600 // columns["f0"].nbytes
    assert len(searched) <= together + alone + 1, "those apart from it are left out at once"


def test_large_columns_are_not_copied_to_be_searched(monkeypatch, searched):
    monkeypatch.setattr(scope, "SMALL_BATCH", 0)
    monkeypatch.setattr(scope, "_LITTLE", 20)
    plan = sigma.compile(rules(keyword("evil")))
    large = pa.array(["x" * 50, "fine"])
    batch = pa.record_batch({"a": ["fine", ""], "b": large, "c": ["", "good"]})
    assert len(plan.match(batch)) == 0
    assert sorted(size for _, size in searched) == [8, 54]


def test_of_a_slice_of_lists_no_more_is_copied_than_it_has():
    """Guards against all lists of an archive searched for each batch of them."""
    keywords = Keywords([(keyword("evil"), None)])
    lists = pa.array([["evil"] * 9, ["fine"], ["evil"] * 9]).slice(1, 1)
    assert keywords.groups_in_column(lists, 1) == 0


def test_what_is_got_ready_does_not_change_with_each_batch(monkeypatch):
    """Guards against tables made anew whenever another log source has one row in sixteen."""
    made = []
    plain = keywords_module.Scanner
    monkeypatch.setattr(
        keywords_module, "Scanner", lambda *given, **named: made.append(1) or plain(*given, **named)
    )
    monkeypatch.setattr(scope, "SMALL_BATCH", 0)
    names = "abcdefgh"
    routes = [Leaf("log", Text("is", name)) for name in names]
    plan = sigma.compile(rules(*(keyword(f"{name}{name}") for name in names), routes=routes))
    for turn in range(8):
        logs = [name for place, name in enumerate(names) for _ in range(1 + 40 * (place == turn))]
        batch = pa.record_batch(
            {"log": logs + ["z"] * 20, "x": [f"{one}{one}" for one in logs] + ["zz"] * 20}
        )
        assert len(plan.match(batch)) == len(logs)
    assert len(made) <= 3


@pytest.mark.parametrize("predicate", [Regex("a+"), Present(), Text("is", ""), Wildcards(r"(?s)\A.\z", "")])
def test_what_needs_no_literal_may_be_anywhere(predicate):
    keywords = Keywords([(Leaf(None, predicate), 0), (keyword("x"), 1)])
    assert keywords.groups_in_column(pa.array(["-"]), 3) == 1
    assert keywords.groups_in_column(pa.array([""]), 2) == 0


def test_rules_of_more_log_sources_than_there_are_groups_share_them():
    keywords = Keywords((keyword(f"<{route}>"), route) for route in range(70))
    routed = np.eye(70, dtype=bool)
    masks = keywords.rows_of_groups(routed)
    assert len(masks) == 64
    assert np.flatnonzero(masks[1]).tolist() == [1, 65]
    assert keywords.groups_in_column(pa.array(["<65>"]), (1 << 64) - 1) == 2


def test_what_one_log_source_looks_at_is_no_hit_of_another(both_searches):
    """Only rows of a log source whose keyword is there are judged; the rest has no keyword, be it known or not."""
    routes = [Leaf("log", Text("is", "a")), Leaf("log", Text("is", "b"))]
    plan = sigma.compile(rules(keyword("evil"), keyword("odd"), routes=routes))
    batch = pa.record_batch({"log": ["a", "b", "a", "b"], "x": ["evil", "fine", "odd", "evil"]})
    for _ in range(2):
        found = plan.match(batch)
        assert list(zip(found.rule.tolist(), found.row.tolist(), strict=True)) == [(0, 0)]


def test_of_rules_of_few_events_only_these_are_searched(searched, both_searches):
    """Guards against a short keyword of one event in thousands that slows down the search of all the others."""
    routes = [Leaf("log", Text("is", "a")), Leaf("log", Text("is", "b"))]
    plan = sigma.compile(rules(keyword("evil deed"), keyword("od"), routes=routes))
    texts = ["fine od"] * 50 + ["an od", "evil deed od"] + ["fine"] * 50 + ["evil deed"]
    batch = pa.record_batch({"log": ["a"] * 50 + ["b", "b"] + ["a"] * 51, "x": texts, "y": ["-"] * 103})
    found = plan.match(batch)
    assert list(zip(found.rule.tolist(), found.row.tolist(), strict=True)) == [(1, 50), (1, 51), (0, 102)]
    if scope.SMALL_BATCH == 0:
        assert {size for wanted, size in searched if wanted == 2} == {
            len("an odevil deed od--bb"),  # all columns at once, then each
            len("an odevil deed od"),
            len("--"),
            len("bb"),
        }


def test_a_dictionary_that_comes_again_is_searched_once(monkeypatch):
    keywords = Keywords([(keyword("evil"), None)])
    memory = Memory({}, keywords)
    column = pa.array(["evil", "fine", None]).dictionary_encode()
    assert memory.keyword_groups("x", column, 1, 0, NO_ROWS) == 1
    monkeypatch.setattr(Keywords, "groups_in_column", lambda *_: pytest.fail("searched again"))
    assert memory.keyword_groups("x", column.slice(1), 1, 0, NO_ROWS) == 1
