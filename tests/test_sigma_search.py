"""What rules spare a source changes nothing that they find."""

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
    st.lists(ROW, min_size=1, max_size=16),
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
    pq.write_table(table, folder / "x.parquet", row_group_size=8, **options)
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
