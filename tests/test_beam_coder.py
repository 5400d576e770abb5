"""Batches cross between workers as Arrow, whole and small."""

from __future__ import annotations

import pickle

import pyarrow as pa
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows import schema
from rms_flows.beam.coder import RecordBatchCoder

CODER = RecordBatchCoder()


def big(rows: int = 100_000) -> pa.RecordBatch:
    return pa.record_batch(
        {
            "@timestamp": pa.array(range(rows), schema.TIMESTAMP),
            "event.id": pa.array([f"event-{row}" for row in range(rows)]),
            "rms.source": pa.array(["a", "b"] * (rows // 2)).dictionary_encode(),
            "user.name": pa.array([f"user-{row}" for row in range(rows)]).dictionary_encode(),
            "tags": pa.array([["x", None], None] * (rows // 2), schema.TEXTS),
        }
    )


def test_a_slice_costs_what_it_holds():
    piece = big().slice(5_000, 10)
    assert len(CODER.encode(piece)) < 3_000
    assert len(pickle.dumps(piece)) > 1_000_000, "pickle has learnt it; is the coder still needed?"


def test_metadata_schema_and_values_come_back():
    piece = big(1_000).slice(3, 500).replace_schema_metadata({"rms.part": "7"})
    back = CODER.decode(CODER.encode(piece))
    assert back.schema.equals(piece.schema, check_metadata=True)
    assert back.to_pylist() == piece.to_pylist()
    back.validate(full=True)


def test_an_unused_word_of_a_dictionary_stays_behind_and_the_type_stays():
    words = pa.DictionaryArray.from_arrays(
        pa.array([9_999, None], pa.int32()), [f"w{n}" for n in range(10_000)]
    )
    back = CODER.decode(CODER.encode(pa.record_batch({"w": words})))
    assert back.column("w").to_pylist() == ["w9999", None]
    assert back.schema.field("w").type == words.type
    assert len(back.column("w").dictionary) == 1


@settings(max_examples=50, deadline=None)
@given(
    st.lists(
        st.tuples(st.none() | st.text(), st.none() | st.binary(), st.none() | st.booleans()), max_size=40
    ),
    st.integers(0, 40),
    st.integers(0, 40),
)
def test_any_slice_comes_back(rows, start, length):
    text, raw, flag = ([row[n] for row in rows] for n in range(3))
    batch = pa.record_batch(
        {
            "text": pa.array(text, pa.string()),
            "word": pa.array(text, pa.string()).dictionary_encode(),
            "raw": pa.array(raw, pa.binary()),
            "flag": pa.array(flag, pa.bool_()),
        }
    ).slice(start, length)
    back = CODER.decode(CODER.encode(batch))
    assert back.schema.equals(batch.schema)
    assert back.to_pylist() == batch.to_pylist()


def test_a_batch_can_be_no_key():
    assert not CODER.is_deterministic()
    assert RecordBatchCoder() == CODER
    assert hash(CODER) == hash(RecordBatchCoder())
