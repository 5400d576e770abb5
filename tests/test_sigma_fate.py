"""What becomes of rules on a source that lacks fields."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sigma_plan import EXPRESSION, FIELDS, ROW, batch, rules

from rms_flows import sigma
from rms_flows.flow.survey import coverage
from rms_flows.sigma.expression import Not
from rms_flows.sigma.expression import Test as Leaf
from rms_flows.sigma.fate import settled
from rms_flows.sigma.predicate import Text

RULES = """\
title: Door
id: 00000000-0000-4000-8000-000000000001
logsource: {product: acme}
detection: {s: {door: open}, n: {badge: null}, condition: s and n}
---
title: Window
id: 00000000-0000-4000-8000-000000000002
logsource: {product: zeek, service: conn}
detection: {s: {window: open, door: shut}, condition: s}
---
title: Not said
id: 00000000-0000-4000-8000-000000000003
logsource: {product: zeek, service: dns}
detection: {s: {window: open}, condition: not s}
---
title: Broken
logsource: {product: acme}
detection: {s: {"a|re": "("}, condition: s}
"""
ROWS = [
    {"@timestamp": "2026-01-01T00:00:00Z", "event.dataset": "zeek.conn", "door": "open"},
    {"@timestamp": "2026-01-01T00:00:01Z", "event.dataset": "zeek.conn", "door": None},
    {"@timestamp": "2026-01-01T00:00:02Z", "event.dataset": "acme", "door": ["open"]},
]


@settings(deadline=None, max_examples=300)
@given(EXPRESSION, st.lists(ROW, min_size=1, max_size=6), st.sets(st.sampled_from(FIELDS)))
def test_what_is_settled_by_absent_fields_is_so_for_each_event(node, rows, present):
    rows = [{name: value if name in present else None for name, value in row.items()} for row in rows]
    verdict = settled(node, present)
    found = sigma.compile(rules(node)).match(batch(rows, "misfit")).row.tolist()
    if verdict is not None:
        assert found == (list(range(len(rows))) if verdict else [])


@pytest.fixture
def loaded(tmp_path):
    (tmp_path / "rules.yml").write_text(RULES)
    return sigma.load([tmp_path / "rules.yml"])


def test_fates_name_what_is_lacking(loaded):
    found = {fate.rule: fate for fate in sigma.fates(loaded, ["door"])}
    assert [(name, fate.fate, fate.lacks) for name, fate in found.items()] == [
        ("Door", "evaluated", ("badge",)),
        ("Window", "unreachable", ("window",)),
        ("Not said", "evaluated", ("window",)),
        ("Broken", "refused", ()),
    ]
    assert "regular expression" in found["Broken"].reason
    assert [fate.everywhere for fate in found.values()] == [True, False, False, False]


@pytest.mark.parametrize("form", ["ndjson", "parquet"])
def test_coverage_counts_events_and_reads_no_column_of_parquet_that_it_does_not_need(
    tmp_path, loaded, form, monkeypatch
):
    source = tmp_path / f"events.{form}"
    if form == "ndjson":
        source.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        rows = [{**row, "door": str(row["door"])} for row in ROWS]
        pq.write_table(pa.Table.from_pylist(rows), source)
        asked = set()
        whole = pq.ParquetFile.iter_batches
        monkeypatch.setattr(
            pq.ParquetFile, "iter_batches", lambda *a, **k: asked.update(k["columns"]) or whole(*a, **k)
        )
    found = coverage(loaded, str(source))
    assert found.rows == len(ROWS)
    assert found.events == {
        "product: acme": 3, "product: zeek, service: conn": 2, "product: zeek, service: dns": 0
    }  # fmt: skip
    assert [fate.fate for fate in found.fates] == ["evaluated", "unreachable", "evaluated", "refused"]
    if form == "parquet":
        assert asked == {"@timestamp", "event.dataset"}


def test_a_field_that_only_ever_held_what_does_not_fit_is_there(tmp_path):
    (tmp_path / "events.ndjson").write_text(json.dumps({"source.port": "http", "@timestamp": 0}) + "\n")
    both = rules(Leaf("source.port", Text("is", "http")), Not(Leaf("gone", Text("is", "x"))))
    found = coverage(both, str(tmp_path / "events.ndjson"))
    assert [fate.fate for fate in found.fates] == ["evaluated", "evaluated"]
