"""What rules spare a source changes nothing that they find."""

import weakref

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_sigma_plan import EXPRESSION, KEYWORD, LEAF, ROW, rules

from rms_flows import sigma
from rms_flows.io import parquet_groups
from rms_flows.io.contract import Late, Request
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.processors.contract import Search
from rms_flows.schema import ENVELOPE
from rms_flows.sigma.expression import Not
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.predicate import Present, Text


@pytest.fixture
def small_groups(monkeypatch):
    """Let few rows be a row group worth the trouble, and each column of text one with pages of texts."""
    monkeypatch.setattr(parquet_groups, "_BATCH", 8)
    monkeypatch.setattr(parquet_groups, "_LARGE", 0)
    monkeypatch.setattr(parquet_groups, "_A_VALUE", 0)
    monkeypatch.setattr(parquet_groups, "_STEP", 8)
    monkeypatch.setattr(parquet_groups, "_ROOM", 0)  # each 8 rows are a batch


def matches(plan, folder, request):
    source = ParquetSource(str(folder))
    found = []
    for part in source.fragments(request):
        for one in source.read(part, request):
            hits = plan.match(one.rows)
            ids = one.rows["event.id"].to_pylist()
            found += [
                (ids[row], rule) for rule, row in zip(hits.rule.tolist(), hits.row.tolist(), strict=True)
            ]
    return found


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(EXPRESSION | KEYWORD, st.none() | LEAF.filter(lambda leaf: getattr(leaf, "field", None))),
        min_size=1,
        max_size=5,
    ),
    st.lists(ROW, min_size=1, max_size=32),
    st.sampled_from([1, 1 << 20]),
)
def test_what_is_found_is_the_same_however_little_is_read(
    small_groups, both_searches, tmp_path_factory, pairs, rows, limit
):
    folder = tmp_path_factory.mktemp("search")
    size = len(rows)
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("a", "c.d")}
    lists = [[one] if isinstance(one := row["b"], str) else one for row in rows]
    table = pa.table(
        {
            "@timestamp": pa.array(range(size), pa.timestamp("us", tz="UTC")),
            "event.id": [str(n) for n in range(size)],
            "b": pa.array(lists, pa.list_(pa.string())),
            **columns,
        }
    )
    options = {"data_page_size": 8, "write_batch_size": 2, "dictionary_pagesize_limit": limit}
    pq.write_table(table, folder / "x.parquet", row_group_size=16, **options)
    loaded = rules(*(meaning for meaning, _ in pairs), routes=[route for _, route in pairs])
    plan, again = sigma.compile(loaded), sigma.compile(loaded)
    expected = matches(plan, folder, Request())
    assert plan.first is not None
    search = Search(plan.first, frozenset(ENVELOPE), again.search)
    late = Late(frozenset(), (lambda: search,))
    assert matches(again, folder, Request(again.columns, late=late)) == expected


def test_a_field_is_sought_where_a_rule_of_the_log_source_looks_at_it():
    here, there = Leaf("log", Text("is", "a")), Leaf("log", Text("is", "b"))
    asks = [Leaf("x", Present()), Leaf("y", Present()), Leaf("z", Present()), Leaf("x", Text("is", "v"))]
    plan = sigma.compile(rules(*asks, routes=[here, there, None, here]))
    assert plan.first >= {"log"}
    sought = plan.search(pa.record_batch({"log": ["a", "c", "a"]}))
    assert sought.rows("x").tolist() == [True, False, True]
    assert sought.rows("y") is None
    assert sought.rows("z").tolist() == [True] * 3
    assert sought.rows("none") is None


def test_a_text_is_sought_only_for_the_keywords_of_its_rows():
    here, there = Leaf("log", Text("is", "a")), Leaf("log", Text("is", "b"))
    keywords = [Leaf(None, Text("contains", word)) for word in ("evil", "odd")]
    plan = sigma.compile(rules(*keywords, routes=[here, there]))
    sought = plan.search(pa.record_batch({"log": ["a", "a", "b"]}))
    data = np.frombuffer(b"\x0c\0\0\0this is EVIL", np.uint8)

    assert sought.may_be_in("x", data, 0, 3)
    assert not sought.may_be_in("x", data, 2, 3)
    assert not sought.may_be_in("event.original", data, 0, 3)


def test_routes_that_are_keywords_spare_nothing():
    plan = sigma.compile(rules(Leaf("a", Present()), routes=[Leaf(None, Text("contains", "x"))]))
    assert plan.first is None


def test_a_negated_keyword_is_true_of_text_that_was_not_read():
    plan = sigma.compile(rules(Not(Leaf(None, Text("contains", "x")))))
    assert plan.match(pa.record_batch({"@timestamp": [0]})).row.tolist() == [0]


def test_rows_that_were_searched_for_are_routed_once_also_when_they_come_in_pieces(monkeypatch):
    """Guards against the routes of other rows, too: what is known is told by the memory of the columns."""
    here, there = Leaf("log", Text("is", "a")), Leaf("log", Text("is", "b"))
    plan = sigma.compile(rules(Leaf("x", Present()), Leaf("x", Present()), routes=[here, there]))
    rows = pa.record_batch({"log": ["a", "b", "c", "b", "b", "a"], "x": ["v"] * 6})
    others = pa.record_batch({"log": ["b", "a"], "x": ["v"] * 2})
    routings = []
    routed = plan._router.routed
    monkeypatch.setattr(
        plan._router, "routed", lambda scope: routings.append(scope.batch.num_rows) or routed(scope)
    )

    def found(batch):
        hits = plan.match(batch)
        return list(zip(hits.row.tolist(), hits.rule.tolist(), strict=True))

    plan.search(rows.select(["log"]))
    assert found(rows) == [(0, 0), (1, 1), (3, 1), (4, 1), (5, 0)]
    assert found(rows.slice(1, 3)) == [(0, 1), (2, 1)]
    assert found(rows.slice(4)) == [(0, 1), (1, 0)]
    assert routings == [6]
    assert found(others) == [(0, 1), (1, 0)]
    assert found(rows.slice(5)) == [(0, 0)]
    assert routings == [6, 2]


def test_a_plan_keeps_nothing_of_what_it_was_asked_about():
    """Guards the memory of JSON: all columns of a block lie in one piece, which a single one of them holds."""
    plan = sigma.compile(rules(Leaf("x", Present()), routes=[Leaf("log", Text("is", "a"))]))
    ends, text = np.arange(5, dtype=np.int32), np.frombuffer(b"abab", np.uint8).copy()
    gone = weakref.ref(text)
    log = pa.StringArray.from_buffers(4, pa.py_buffer(ends), pa.py_buffer(text))
    assert plan.match(pa.record_batch({"log": log, "x": log})).row.tolist() == [0, 2]
    del log, text
    assert gone() is None
