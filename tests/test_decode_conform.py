import json

import numpy as np
import pyarrow as pa
import pytest
from decoding import run
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode.conform import conform
from rms_flows.decode.contract import Options
from rms_flows.decode.kinds import FLOAT, INTEGER, LIST, NULL, PLAIN
from rms_flows.schema import DICTIONARY, TEXTS, TIMESTAMP


def typed(name, texts, kind=None):
    kinds = {} if kind is None else {name: np.full(len(texts), 1 + kind, np.uint8)}
    got = conform({name: pa.array(texts, pa.string())}, kinds, Options())
    misfits = got.misfits.to_pylist() if got.misfits is not None else [None] * len(texts)
    return got.columns[name], [None if m is None else json.loads(m)[name] for m in misfits]


@pytest.mark.parametrize(
    ("text", "kind", "value", "misfit"),
    [
        ("80", INTEGER, 80, None),
        ("80", PLAIN, 80, None),
        ("80.0", FLOAT, 80, None),
        ("80.5", FLOAT, None, 80.5),
        ("http", PLAIN, None, "http"),
        ("0x50", PLAIN, None, "0x50"),
        ("080", PLAIN, None, "080"),
        ("9223372036854775807", INTEGER, 2**63 - 1, None),
        ("9223372036854775808", INTEGER, None, 2**63),
        ("[80]", LIST, None, [80]),
        (None, NULL, None, None),
    ],
)
def test_a_number_is_kept_or_kept_as_it_came(text, kind, value, misfit):
    values, misfits = typed("source.port", [text], kind)
    assert values.type == pa.int64()
    assert values.to_pylist() == [value]
    assert misfits == [misfit]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_read_exactly(number):
    values, misfits = typed("host.cpu.usage", [json.dumps(number)], FLOAT)
    assert values.to_pylist() == [number]
    assert misfits == [None]


@pytest.mark.parametrize("text", ["NaN", "Infinity", "1e", "", " 1", "1_0", "\u0661"])
def test_what_json_would_not_call_a_number_is_none(text):
    values, misfits = typed("host.cpu.usage", [text], PLAIN)
    assert values.to_pylist() == [None]
    assert misfits == [text]


def test_numbers_in_unlisted_names_stay_text_as_written():
    assert typed("EventID", ["4703", "1.50"], FLOAT)[0].to_pylist() == ["4703", "1.50"]


def test_lists_are_lists_only_where_the_schema_says_so():
    values, misfits = typed("tags", ['["a",1,true,null]', '[["a"]]', '[{"a":1}]'], LIST)
    assert values.type == TEXTS
    assert values.to_pylist() == [["a", "1", "true"], None, None]
    assert misfits == [None, [["a"]], [{"a": 1}]]
    values, misfits = typed("answers", ["[1.50]"], LIST)
    assert values.to_pylist() == [None]
    assert misfits == [[1.5]]


def test_one_value_is_a_list_of_one():
    assert typed("tags", ["a"], PLAIN)[0].to_pylist() == [["a"]]
    assert typed("tags", ["a", None])[0].to_pylist() == [["a"], None]


def test_words_of_few_kinds_are_dictionaries():
    assert typed("event.action", ["a", "b", "a"])[0].type == DICTIONARY


def test_stamps_of_other_fields_are_read_too():
    values, misfits = typed("event.created", ["2026-01-01T00:00:00Z", "soon"], PLAIN)
    assert values.type == TIMESTAMP
    assert values.is_valid().to_pylist() == [True, False]
    assert misfits == [None, "soon"]


def test_numbers_within_misfits_stay_as_written():
    got = run(b'{"@timestamp": 1, "answers": [1.50, {"a" : 1e3}]}', format="json")
    assert got.rows["rms.misfit"].to_pylist() == ['{"answers":[1.50,{"a":1e3}]}']
    assert got.counts.misfits == 1
