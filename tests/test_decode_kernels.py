"""The compiled loops beside JSON's: lines and ids found while bytes are read, and what needs room."""

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode import driver, framing, hash_kernel, identity, line_kernel
from rms_flows.decode.contract import Context
from rms_flows.decode.json_lines import FORMAT as JSON
from rms_flows.decode.json_lines import JsonDecoder
from rms_flows.decode.json_scan import Scanner
from rms_flows.decode.line_marks import Marks
from rms_flows.decode.records import Records


def test_hashes_are_those_of_xxhash_at_every_length_around_its_blocks():
    made = np.random.default_rng(7)
    parts = [made.bytes(size) for size in [*range(241, 1400), 2047, 2048, 2049, 5000, 9999]]
    seeds = made.integers(0, 2**64, len(parts), np.uint64)
    records = Records.of(parts)
    found = hash_kernel.hashed(records.data, records.starts, records.ends, seeds)
    expected = [xxhash.xxh3_128_hexdigest(part, int(seed)) for part, seed in zip(parts, seeds, strict=True)]
    assert [row.tobytes().decode() for row in found] == expected


def looked(data, sizes, offset, first):
    marks, padded, at = Marks(offset, first), np.frombuffer(data + bytes(64), np.uint8), 0
    for size in sizes * len(data):
        if at < len(data):
            marks.look(padded, at, min(at + size, len(data)))
            at += size
    return marks.records(padded)


@given(
    st.lists(
        st.sampled_from(["", "a", "é" * 3, "x" * 70, "y" * 300, "z" * 500 + "é", "\r", "k" * 241 + "\r"])
    ),
    st.lists(st.integers(1, 400), min_size=1, max_size=4),
    st.integers(0, 2**40),
)
def test_lines_their_ids_and_what_is_not_ascii_do_not_depend_on_pieces(lines, sizes, offset):
    data = "".join(line + "\n" for line in lines).encode()
    records = looked(data, sizes, offset, 17)
    expected = data.split(b"\n")[:-1]
    assert list(records) == expected
    assert records.wide.tolist() == [not line.isascii() for line in expected]
    ids = looked(data, [len(data) + 1], offset, None)
    plain = identity.digits(
        Records.of([line.removesuffix(b"\r") for line in expected]), offset + ids.starts, 17
    )
    assert records.digits.tolist() == plain.tolist()


@given(
    st.lists(
        st.text(max_size=70).map(str.encode)
        | st.binary(max_size=6)
        | st.sampled_from(
            [b"\xed\xa0\x80", b"\xe0\x9f\xbf", b"\xf4\x90\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xc1\xbf", b"\xc2"]
        )
    ),
    st.integers(0, 70),
)
def test_what_is_utf_8_is_so_to_python_too(parts, before):
    """Also where a character is cut off at the end of a record, and its rest begins the next."""
    data = b"a" * before + b"".join(parts)
    records = Records(
        np.frombuffer(data + bytes(64), np.uint8), np.array([0, before]), np.array([before + 1, len(data)])
    )
    if len(data) <= before:
        return
    suspect = np.ones(2, np.bool_)
    line_kernel.no_text(records.data, records.starts, records.ends, suspect)
    assert suspect.tolist() == [not text(data[: before + 1]), not text(data[before:])]


def text(data):
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_more_lines_than_there_is_room_for():
    records = looked(b"\n" * 20_000, [20_000], 0, 1)
    assert records.starts.tolist() == list(range(20_000))


@pytest.mark.parametrize("piece", [1, 7, 64, 100_000])
def test_frames_and_ids_do_not_depend_on_pieces_and_blocks(monkeypatch, piece):
    """Guards the lines that stand across two pieces or two frames; memory is used again for each frame."""
    monkeypatch.setattr(framing, "PIECE", piece)
    data = b"".join(
        json.dumps({"@timestamp": 1_700_000_000 + i, "text": "é" * (i % 7) + "x" * (i * 37 % 900)}).encode()
        + (b"\r\n" if i % 3 else b"\n")
        for i in range(300)
    )
    known = []
    for block in (300, 5_000, 10_000_000):
        monkeypatch.setattr(framing, "BLOCK", block)
        monkeypatch.setattr(framing, "LARGEST", block)
        monkeypatch.setattr(JsonDecoder, "_fast", True)
        found = [
            one.rows.select(["event.id", "rms.origin", "text"]).to_pylist()
            for one in driver.decode(driver.Text(io.BytesIO(data)), Context("x"), JSON)
        ]
        known.append([row for rows in found for row in rows])
    assert len(known[0]) == 300
    assert known[0] == known[1] == known[2]


def test_a_frame_of_large_records_grows_to_as_many_rows_as_a_batch_should_have(monkeypatch):
    monkeypatch.setattr(framing, "BLOCK", 10_000)
    monkeypatch.setattr(framing, "ROWS", 100)
    monkeypatch.setattr(framing, "LARGEST", 60_000)
    line = b"x" * 499 + b"\n"
    sizes = [len(frame.records) for frame in framing.frames(io.BytesIO(line * 1_000), "lines", 1_000_000)]
    assert sizes[0] == 20
    assert set(sizes[1:-1]) == {100}
    monkeypatch.setattr(framing, "ROWS", 1_000)
    sizes = [len(frame.records) for frame in framing.frames(io.BytesIO(line * 1_000), "lines", 1_000_000)]
    assert max(sizes) == 120


def test_columns_grow_where_values_get_longer_and_new_keys_come():
    """Guards what is copied when a column has no room: values that were there, of this record and before."""
    scanner = Scanner()
    for block in range(3):
        records = [
            json.dumps(
                {"a": "x" * (i * i % 7_000), f"new{i // 20 + block}": "\n" * i, "b": [i] * (i % 50), "c": i}
            ).encode()
            for i in range(400)
        ]
        scanned = scanner.scan(records)
        assert not scanned.slow.any()
        values = [json.loads(record) for record in records]
        for name, column in scanned.columns.items():
            column.text.validate(full=True)
            for text, value in zip(column.text.to_pylist(), values, strict=True):
                here = value.get(name)
                assert text == (json.dumps(here) if isinstance(here, (int, list)) else here)


def test_a_record_that_breaks_in_the_middle_takes_back_what_it_had_written():
    good = b'{"a": "1", "n": null, "b": "2"}'
    scanned = Scanner().scan([good, b'{"a": "lost", "n": null, "b": "lost", "c": tru}', good])
    assert scanned.slow.tolist() == [False, True, False]
    assert {name: column.text.to_pylist() for name, column in scanned.columns.items()} == {
        "a": ["1", "1"],
        "n": [None, None],
        "b": ["2", "2"],
    }
    assert scanned.columns["n"].text.null_count == 2


def test_processors_without_wide_vectors_give_the_same(tmp_path):
    """The way for processors that can't squeeze a block, and have no vectors of 64 bytes."""
    program = """
import json
from rms_flows.decode.json_scan import Scanner
from rms_flows.decode.simd import SQUEEZES
assert not SQUEEZES
texts = ['a' * i + mark * (1 + i % 5) + 'z' * (i % 67) for i in range(140)
         for mark in ('"', '\\\\', '\\n', 'é', '\\t\\\\"')]
for ascii_only in (True, False):
    scanned = Scanner().scan([json.dumps({'k': text, 'n': 1}, ensure_ascii=ascii_only).encode() for text in texts])
    assert not scanned.slow.any()
    assert scanned.columns['k'].text.to_pylist() == texts
"""
    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", program],
        env={
            **os.environ,
            "NUMBA_CPU_NAME": "generic",
            "NUMBA_CPU_FEATURES": "",
            "NUMBA_CACHE_DIR": str(tmp_path),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@given(st.lists(st.integers(0, 1 << 40) | st.integers(0, 1_100), max_size=40), st.text(max_size=9))
def test_origins_are_names_and_numbers_whatever_their_length(numbers, name):
    numbers = sorted(numbers)
    made = identity.origins(name, np.array(numbers, np.int64))
    made.validate(full=True)
    assert made.to_pylist() == [f"{name}#{number}" for number in numbers]


def test_a_frame_of_long_events_has_rows_enough():
    """Rows per batch that what follows needs, of events as long as those of Windows: 3.2 kB."""
    event = b'{"@timestamp": "2026-01-01T00:00:00Z", "text": "%s"}\n' % (b"x" * 3_150)
    found = framing.frames(io.BytesIO(event * 12_000), "lines", 1 << 20, passing=True)
    sizes = [len(frame.records) for frame in found]
    assert min(sizes[1:-1]) >= 3_500, sizes
