"""The compiled JSON loops against msgspec: what they accept they decode alike, and they never accept more."""

import json
import weakref

import msgspec
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rms_flows.decode import json_slow
from rms_flows.decode.json_columns import Memory
from rms_flows.decode.json_kernel import DEPTH
from rms_flows.decode.json_scan import Scanner
from rms_flows.decode.kinds import LIST

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT
)
LONG = st.lists(
    st.sampled_from(["\\", "\\\\", '"', "x", "y" * 31, "z" * 64, "\n", "/", "\u00e9", "\u20ac", "u0041"]),
    max_size=60,
).map("".join)
KEY = st.text(st.characters(codec="ascii", exclude_characters="."), max_size=6)
VALUE = st.recursive(
    SCALAR, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEY, inner, max_size=3), max_leaves=8
)
DOCUMENT = st.dictionaries(KEY, VALUE, max_size=5)


def flat(value, prefix=None):
    for key, inner in value.items():
        name = key if prefix is None else f"{prefix}.{key}"
        if isinstance(inner, dict):
            yield from flat(inner, name)
        else:
            yield name, inner


def check(records):
    scanned = Scanner().scan(records)
    kept = [record for record, slow in zip(records, scanned.slow, strict=True) if not slow]
    for row, record in enumerate(kept):
        expected = dict(flat(msgspec.json.decode(record)))
        for name, column in scanned.columns.items():
            text, value = column.text[row].as_py(), expected.pop(name, None)
            if value is None:
                assert text is None
            elif isinstance(value, str):
                assert text == value
            else:
                assert type(msgspec.json.decode(text)) is type(value)
                assert msgspec.json.decode(text) == value
                assert (column.kinds[row] == LIST + 1) == isinstance(value, list)
        assert not any(value is not None for value in expected.values())
    for name, column in scanned.columns.items():
        column.text.validate(full=True)
        assert len(column.text) == len(kept), name
    return scanned


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(DOCUMENT, st.booleans(), st.sampled_from([None, 1])), min_size=1, max_size=6))
def test_what_is_accepted_is_decoded_as_msgspec_decodes_it(documents):
    check(
        [
            json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode()
            for value, ascii_only, indent in documents
        ]
    )


@settings(deadline=None, max_examples=500)
@given(DOCUMENT, st.data())
def test_a_changed_byte_is_never_accepted_where_msgspec_refuses(document, data):
    record = bytearray(json.dumps(document).encode())
    record[data.draw(st.integers(0, len(record) - 1))] = data.draw(st.integers(0, 127))
    try:
        record.decode()
    except UnicodeDecodeError:  # the driver keeps such records from every decoder
        return
    check([bytes(record), b'{"after": 1}'])


@settings(deadline=None, max_examples=500)
@given(st.lists(LONG, min_size=1, max_size=4), st.booleans(), st.data())
def test_strings_longer_than_a_block_with_backslashes_at_its_edges(texts, ascii_only, data):
    """Guards the carry: a run of backslashes that ends behind the 64 bytes that are compared at once."""
    record = json.dumps({str(i): text for i, text in enumerate(texts)}, ensure_ascii=ascii_only)
    assert not check([record.encode(), b'{"after": 1}']).slow[1]
    place = data.draw(st.integers(0, len(record) - 1))
    changed = record[:place] + data.draw(st.sampled_from('\\"u0\n{')) + record[place + 1 :]
    check([changed.encode(), b'{"after": 1}'])


@pytest.mark.parametrize("length", [1, 7, 8, 9, 62, 63, 64, 65, 127, 128, 129, 200])
def test_keys_around_the_width_of_a_block_are_told_apart(length):
    """Guards the comparison of keys, which reads whole blocks: only the key itself may count."""
    keys = ["k" * (length - 1) + last for last in "abc"] + ["k" * length]
    scanned = check([json.dumps({key: i for i, key in enumerate(keys)}).encode()] * 2)
    assert not scanned.slow.any()
    assert list(scanned.columns) == keys


@settings(deadline=None, max_examples=500)
@given(st.text('{}[]":,\\ue0+-.1ntrfalsu \n', max_size=24))
@example('{"a":01}')
@example('{"a":-}')
@example('{"a":1.}')
@example('{"a":"\\x"}')
@example('{"a":1}}')
@example('{"a":1,}')
def test_text_made_of_json_marks(text):
    check([text.encode(), b'{"after": [1]}'])


@pytest.mark.parametrize(
    "record",
    [
        b'{"a": 1, "a": 2}',  # the later would win in silence
        b'{"a.b": 1, "a": {"b": 2}}',  # two keys of one flat name
        b'{"a": -0}',
        b'{"a": 1e3}',
        b'{"a": "\\ud83d\\ude00"}',
        b'{"a": "\x00"}',
        b'{"a": "\x01"}',
        b'{"a": 12345678901234567890}',
        b'{"a": -9223372036854775809}',
        b"{}",
        b"",
        b"[]",
        b'{"a": [}',
        b'{"a": {}}',
        b'{"a": 1',
        b'{"a": ' + b'{"a": ' * (DEPTH + 1) + b"1" + b"}" * (DEPTH + 2),
    ],
)
def test_what_is_not_surely_right_goes_the_slow_way(record):
    assert Scanner().scan([record]).slow.all()


def test_a_slow_record_leaves_no_trace_in_its_neighbors():
    scanned = check([b'{"a": "x", "b": "y"}', b'{"a": "lost", "b": }', b'{"b": "z"}'])
    assert scanned.slow.tolist() == [False, True, False]
    assert scanned.columns["a"].text.to_pylist() == ["x", None]


@pytest.mark.parametrize("cut", [b"", b" ", b'{"a": 1,', b'{"a":'])
def test_a_record_that_ends_early_does_not_run_into_the_next(cut):
    assert check([cut, b'{"b": 2}']).slow.tolist() == [True, False]


def test_only_wanted_columns_are_built():
    scanned = Scanner(frozenset({"a.b"})).scan([b'{"a": {"b": 1, "c": 2}, "d": 3}'])
    assert list(scanned.columns) == ["a.b"]


def test_keys_of_one_object_are_not_those_of_another():
    scanned = check([b'{"a": {"x": 1}, "b": {"x": 2}, "x": 3}'])
    assert {name: column.text.to_pylist() for name, column in scanned.columns.items()} == {
        "a.x": ["1"],
        "b.x": ["2"],
        "x": ["3"],
    }


def test_a_table_of_keys_that_is_full_costs_speed_and_no_row():
    scanner = Scanner()
    records = [json.dumps({f"key{block}_{i}": i for i in range(1_000)}).encode() for block in range(20)]
    slow = np.concatenate([scanner.scan([record]).slow for record in records])
    assert not slow[:16].any()
    assert slow[16:].all()


def test_strings_longer_than_a_word_at_every_alignment():
    # Trap: eight bytes at a time may step over a quote or a backslash that stands at the edge of a word.
    check(
        [
            json.dumps({"k" * pad: "x" * n + mark + "y" * n}).encode()
            for pad in range(1, 9)
            for n in range(20)
            for mark in '"\\\né'
        ]
    )


def test_columns_get_memory_whatever_the_last_block_was_like():
    """Rows of a megabyte, then many small ones; columns by the hundred at once; more of them than there may be."""
    scanner = Scanner()
    large = [b'{"a": "%s", "b": 1}' % (b"x" * 1_000_000)] * 2
    small = [b'{"a": "%d", "b": %d}' % (n, n) for n in range(5_000)]
    grown = [b'{"c": "%s"}' % (b"y" * (n * n // 300)) for n in range(2_000)]
    many = [
        b"{%s}" % b",".join(b'"k%d": "%s"' % (key, b"z" * key) for key in range(n)) for n in range(1, 300)
    ]
    beyond = [b'{"key%d": 1}' % n for n in range(6_000)]
    for block in (small, large, small, grown, many, small, large, beyond, small):
        scanned, slow = scanner.scan(block), json_slow.read(block, None, None)
        if block is beyond:
            assert scanned.slow.all()
            continue
        assert not scanned.slow.any()
        assert scanned.columns.keys() == slow.columns.keys()
        for name, column in scanned.columns.items():
            column.text.validate(full=True)
            assert column.text.equals(slow.columns[name].text), name
            assert (column.kinds == slow.columns[name].kinds).all(), name


def test_memory_is_taken_again_when_nobody_has_it_and_let_go_when_it_has_become_too_small():
    """The traps: a batch whose values change while it lies in a window; four blocks of memory that nobody uses."""
    memory = Memory()
    one = memory.take(100)
    part, gone = one[10:20], weakref.ref(one)
    del one
    other = memory.take(100)
    assert not np.shares_memory(part, other)
    del part
    again = memory.take(90)
    assert again is gone()
    del again, other
    memory.take(1_000)
    assert gone() is None


def test_only_columns_that_were_asked_for_are_made():
    scanner = Scanner(frozenset({"b", "c.d"}))
    for block in ([b'{"a": 1, "b": 2}'], [b'{"a": 3, "c": {"d": "x"}}'], [b'{"b": 4, "a": [5]}']):
        slow = json_slow.read(block, frozenset({"b", "c.d"}), None)
        scanned = scanner.scan(block)
        assert {name: column.text.to_pylist() for name, column in scanned.columns.items()} == {
            name: column.text.to_pylist() for name, column in slow.columns.items()
        }
        assert "a" in scanned.names
