"""A file that grows: the events that it has when it is whole, as they come."""

import os
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows.decode.contract import Options
from rms_flows.errors import DecodeError, DocumentError, SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.io.files import FileSource
from rms_flows.io.follow import FollowSource

LINE = '{{"@timestamp": "2026-01-01T00:00:{:02d}Z", "message": "{}"}}\n'
TEXT = "".join(LINE.format(n, "é" * n) for n in range(40)).encode()


def events(batches):
    return [row for batch in batches for row in batch.to_pylist()]


def until_quiet(reading):
    """Give what comes until there is nothing new."""
    while True:
        one = next(reading)
        if not one.rows.num_rows and not one.dead.num_rows:
            return
        yield one


@given(st.lists(st.integers(0, len(TEXT)), max_size=6), st.booleans())
@settings(max_examples=60)
def test_it_gives_what_the_whole_file_gives_wherever_the_writer_paused(tmp_path_factory, cuts, declared):
    path = tmp_path_factory.mktemp("follow") / "log.ndjson"
    path.write_bytes(b"")
    source = FollowSource(str(path), Options(format="json" if declared else None))
    [fragment] = source.fragments(Request())
    reading = source.read(fragment, Request())
    found = []
    for begin, end in zip([0, *sorted(cuts)], [*sorted(cuts), len(TEXT)], strict=True):
        with path.open("ab") as file:
            file.write(TEXT[begin:end])
        found += [one.rows for one in until_quiet(reading)]
        whole = TEXT[:end].count(b"\n")
        assert sum(one.num_rows for one in found) == whole, "a line is read once its line feed is there"
    whole = FileSource(str(path)).read(fragment, Request())
    assert events(found) == events(one.rows for one in whole)


def test_what_is_no_record_is_a_dead_letter_as_it_comes(tmp_path):
    path = tmp_path / "log.ndjson"
    path.write_bytes(TEXT[: TEXT.index(b"\n") + 1] + b"{broken\n")
    source = FollowSource(str(path))
    reading = source.read(*source.fragments(Request()), Request())
    [one] = until_quiet(reading)
    assert (one.rows.num_rows, one.dead["event.original"].to_pylist()) == (1, [b"{broken"])


@pytest.mark.parametrize("fault", ["cut", "replaced", "gone"])
def test_a_file_that_is_cut_replaced_or_gone_is_an_error(tmp_path, fault):
    path = tmp_path / "log.ndjson"
    path.write_bytes(TEXT)
    source = FollowSource(str(path))
    reading = source.read(*source.fragments(Request()), Request())
    list(until_quiet(reading))
    if fault == "cut":
        os.truncate(path, 10)
    else:
        path.unlink()
    if fault == "replaced":
        path.write_bytes(TEXT)
    message = {"gone": r"log\.ndjson: can't be read \(No such file"}
    with pytest.raises(
        SourceError, match=message.get(fault, r"follow:.*log\.ndjson: was cut or replaced .* new one")
    ):
        next(reading)


def test_bad_ones_are_refused(tmp_path):
    (tmp_path / "a.ndjson.gz").write_bytes(b"")
    with pytest.raises(SourceError, match=r"can't be read \(No such file"):
        FollowSource(str(tmp_path / "none")).fragments(Request())
    for bad in (tmp_path, tmp_path / "a.ndjson.gz"):
        with pytest.raises(SourceError, match="is no plain file that can grow; name a file of lines"):
            FollowSource(str(bad)).fragments(Request())
    with pytest.raises(
        DocumentError, match="never ends, and only a stream reads such a source; name it without follow:"
    ):
        open_source("follow:auth.log", base=tmp_path)
    with pytest.raises(
        DocumentError, match="'parquet' can't be followed; a file of lines can, and elasticsearch:"
    ):
        open_source("follow:parquet:archive", base=tmp_path, endless=True)
    (tmp_path / "odd").write_bytes(b"\x00\x01\n")
    source = FollowSource(str(tmp_path / "odd"))
    with pytest.raises(DecodeError, match="the format can't be guessed"):
        next(source.read(*source.fragments(Request()), Request()))


def test_the_uri_opens_it_with_its_options(tmp_path):
    source = open_source("follow:auth.log?format=syslog&year=2026", base=tmp_path, endless=True)
    assert isinstance(source, FollowSource)
    assert (source.endless, Path(source.path), source.options.year) == (True, tmp_path / "auth.log", 2026)
