import io
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode import framing
from rms_flows.decode.framing import documents_are_lines, frames


class Chunks:
    """A stream that gives its bytes in pieces of some sizes, and may break."""

    def __init__(self, data, sizes, error=None):
        self.data, self.sizes, self.error, self.at = data, sizes, error, 0

    def read(self, _size):
        size = self.sizes[self.at % len(self.sizes)]
        self.at += 1
        piece, self.data = self.data[:size], self.data[size:]
        if not piece and self.error:
            raise self.error
        return piece


def cut(stream, kind="lines", longest=1 << 20):
    found = list(frames(stream, kind, longest))
    records = [record for frame in found for record in frame.records]
    offsets = np.concatenate([frame.offsets for frame in found]).tolist() if found else []
    torn = [torn for frame in found for torn in frame.torn]
    return records, offsets, torn, sum(frame.size for frame in found)


@given(st.lists(st.binary(max_size=12).filter(lambda b: b"\n" not in b and b"\r" not in b)), st.booleans(),
       st.lists(st.integers(1, 9), min_size=1))  # fmt: skip
def test_lines_do_not_depend_on_how_a_stream_comes_in_pieces(lines, ended, sizes):
    data = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    records, offsets, torn, size = cut(Chunks(data, sizes))
    expected = data.split(b"\n")
    if expected[-1] == b"":
        expected.pop()
    assert records == expected
    assert size == len(data)
    assert not torn
    assert all(data[at : at + len(record)] == record for at, record in zip(offsets, records, strict=True))


def test_carriage_returns_are_no_part_of_a_line():
    assert cut(io.BytesIO(b"a\r\nb\nc\r"))[0] == [b"a", b"b", b"c"]


@given(st.lists(st.integers(0, 30), max_size=8), st.lists(st.integers(1, 9), min_size=1))
def test_too_long_lines_are_torn_whole_and_the_rest_is_read(lengths, sizes):
    lines = [bytes([65 + at % 26]) * length for at, length in enumerate(lengths)]
    data = b"".join(line + b"\n" for line in lines)
    records, _, torn, size = cut(Chunks(data, sizes), longest=10)
    assert records == [line for line in lines if len(line) <= 10]
    assert b"".join(t.data for t in torn) == b"".join(line for line in lines if len(line) > 10)
    assert all(len(t.data) <= 10 and t.kind == "too-long" for t in torn)
    assert size == len(data)


@pytest.mark.parametrize("kind", ["lines", "documents"])
def test_a_stream_that_breaks_gives_what_came_before_and_one_torn_record(kind):
    records, _, torn, _ = cut(Chunks(b'{"a": 1}\n{"b": 2}\n{"c"', [5], OSError("cut off")), kind)
    assert records == [b'{"a": 1}', b'{"b": 2}']
    assert [t.kind for t in torn] == ["broken-input"]
    assert torn[0].data.endswith(b'{"c"')
    assert "cut off" in torn[0].reason


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
documents = st.lists(st.dictionaries(st.text(max_size=3), json_values, max_size=3), max_size=5)


@given(
    documents,
    st.sampled_from([None, 1]),
    st.sampled_from(["\n", " ", "\n\n"]),
    st.lists(st.integers(1, 9), min_size=1),
)
def test_documents_over_many_lines_are_found_whatever_stands_in_their_strings(values, indent, between, sizes):
    data = between.join(json.dumps(value, indent=indent, ensure_ascii=False) for value in values).encode()
    records, offsets, torn, _ = cut(Chunks(data, sizes), "documents")
    assert [json.loads(record) for record in records] == values
    assert not torn
    assert all(data[at : at + len(record)] == record for at, record in zip(offsets, records, strict=True))


@given(documents, st.sampled_from([None, 2]), st.lists(st.integers(1, 9), min_size=1))
def test_documents_in_one_array_are_records(values, indent, sizes):
    data = json.dumps(values, indent=indent).encode()
    assert [json.loads(record) for record in cut(Chunks(data, sizes), "documents")[0]] == values


def test_parts_of_a_document_that_is_too_long_are_no_documents():
    """Or who writes a long one could plant events."""
    inner = b'{"@timestamp": "2026-01-01T00:00:00Z"}'
    whole = b'{"a": [' + b",\n".join([inner] * 50) + b"]}"
    for sizes in ([7], [10_000]):
        records, _, torn, size = cut(
            Chunks(b'{"b": 1}\n' + whole + b'\n{"c": 1}', sizes), "documents", longest=200
        )
        assert inner not in records
        assert b'{"b": 1}' in records
        assert {one.kind for one in torn} == {"too-long"}
        assert size == len(whole) + 18


def test_what_stands_between_documents_is_a_record_and_not_lost():
    assert cut(io.BytesIO(b'{"a":1} oops {"b":2} {"c":'), "documents")[0] == [
        b'{"a":1}',
        b"oops",
        b'{"b":2}',
        b'{"c":',
    ]


@pytest.mark.parametrize(
    ("head", "lines"),
    [
        (b'{"a": 1}\n{"b":', True),
        (b'{"a": \n{"b": 1}\n', True),  # a record cut in half at the start must not swallow the file
        (b'{\n "a": {"b": 1},\n "c": 2\n}\n', False),
        (b'[\n{"a": 1},\n{"b": 2}\n]', False),
        (b'"{\\"a\\": 1}"\n"{}"\n', True),
        (b'{"a": 1}', True),
    ],
)
def test_json_is_taken_for_lines_only_where_lines_are_documents(head, lines):
    assert documents_are_lines(head) is lines


def test_a_frame_has_at_most_the_rows_of_a_batch():
    found = list(frames(io.BytesIO(b"x\n" * 70_000), "lines", 100))
    assert [len(frame.records) for frame in found] == [framing.MOST, 70_000 - framing.MOST]
    assert found[1].offsets[0] == 2 * framing.MOST
