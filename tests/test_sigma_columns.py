"""Columns as values and codes, against the rows as Arrow gives them."""

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.sigma import columns

TEXT = st.sampled_from(["", "a", "A", "é", "ab", "long" * 60, "long" * 59 + "Long"])
KINDS = [
    (pa.string(), TEXT),
    (pa.large_string(), TEXT),
    (pa.dictionary(pa.int8(), pa.string()), TEXT),
    (pa.int64(), st.integers(-2, 2)),
    (pa.float64(), st.sampled_from([1.0, 2.5])),
    (pa.bool_(), st.booleans()),
    (pa.list_(pa.string()), st.lists(st.none() | st.sampled_from(["a", "b"]), max_size=3)),
    (pa.large_list(pa.int64()), st.lists(st.none() | st.integers(0, 2), max_size=3)),
    (pa.list_(pa.dictionary(pa.int32(), pa.string())), st.lists(st.none() | TEXT, max_size=3)),
    (pa.list_(pa.list_(pa.string())), st.lists(st.none() | st.lists(TEXT, max_size=2), max_size=2)),
    (pa.list_(pa.struct([("x", pa.int64())])), st.lists(st.none() | st.just({"x": 1}), max_size=2)),
]


@pytest.mark.parametrize(("kind", "value"), KINDS, ids=[str(kind) for kind, _ in KINDS])
@given(st.data())
def test_codes_lead_to_what_the_rows_hold(kind, value, data):
    rows = data.draw(st.lists(st.none() | value, min_size=1, max_size=20))
    column = pa.array(rows, kind)[data.draw(st.integers(0, len(rows) - 1)) :]
    encoded = columns.encode(column)
    known = [*columns.texts(encoded.values), None]
    plain = pa.array(column.to_pylist(), kind.value_type if pa.types.is_dictionary(kind) else kind)
    assert [known[code] for code in encoded.codes.tolist()] == columns.texts(plain)
    assert len(known) - 1 == len(encoded.values)


def test_lists_in_lists_count_as_their_elements():
    rows = [[["a"], [], None, ["b"]], [[]], None]
    assert columns.texts(pa.array(rows, pa.list_(pa.list_(pa.string())))) == [("a", "b"), None, None]
    misfits = pa.record_batch({"rms.misfit": pa.array(['{"k": [["a", [null]], 5], "j": [[]]}'])})
    assert columns.Misfits(misfits).fields == {"k": [(0, ("a", "5"))]}


def test_equal_texts_have_one_code():
    encoded = columns.encode(pa.array(["b", None, "a", "b", "a", None]))
    assert encoded.codes.tolist() == [0, 6, 2, 0, 2, 6]
    assert columns.encode(pa.array([["a"], ["a", None], ["a"], [], None])).codes.tolist() == [0, 1, 0, 2, 3]
