import codecs
import gzip
import io
import json
import zlib

import numpy as np
import pyarrow as pa
import pytest
from decoding import run
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows import decode as decoding_room
from rms_flows.decode import FORMATS, driver, json_lines
from rms_flows.decode.contract import Context, Format, Parsed
from rms_flows.decode.framing import Frame
from rms_flows.decode.json_lines import JsonDecoder
from rms_flows.decode.records import Records
from rms_flows.envelope import Observed, Signer
from rms_flows.errors import DecodeError
from rms_flows.schema import DEAD_LETTER, ENVELOPE

LINE = b'{"@timestamp": "2026-01-01T00:00:%02dZ", "n": %d}\n'


def lines(count):
    return b"".join(LINE % (n % 60, n) for n in range(count))


def test_batches_begin_with_the_envelope():
    got = run(lines(3), "folder-less.log")
    assert got.rows.schema.names[: len(ENVELOPE)] == list(ENVELOPE)
    assert [got.rows.schema.field(name).type for name in ENVELOPE] == list(ENVELOPE.values())
    assert got.rows["rms.origin"].to_pylist() == [f"folder-less.log#{n}" for n in range(3)]
    assert got.rows["event.ingested"].null_count == 3


def test_ids_stay_when_a_file_is_moved_renamed_or_grows():
    short, long = run(lines(5), "a.log"), run(lines(9), "b.log")
    assert short.rows["event.id"].to_pylist() == long.rows["event.id"].to_pylist()[:5]


def test_equal_records_at_two_places_are_two_events():
    got = run(LINE % (1, 1) * 3)
    assert len(set(got.rows["event.id"].to_pylist())) == 3


def test_ids_have_not_changed_since_the_first_release():
    """They are in archives and reports that were published; a change of the hash would double everything."""
    assert run(lines(2)).rows["event.id"].to_pylist() == GOLDEN


GOLDEN = ["0809d19c857e200e5af7e0a2ab1b01f8", "e85293890f0764707857e2eb22a0a7bb"]


def test_own_ids_fold_duplicates_and_part_conflicts():
    first = b'{"@timestamp": "2026-01-01T00:00:00Z", "event": {"id": "x"}, "n": 1}\n'
    other = first.replace(b'"n": 1', b'"n": 2')
    got = run(first + first + other + lines(1))
    assert got.counts.rows == 3
    assert got.counts.duplicates == 1
    assert got.counts.conflicts == 1
    ids = got.rows["event.id"].to_pylist()
    assert ids[0] == "x"
    assert len(set(ids)) == 3


@pytest.mark.parametrize(
    "recode",
    [
        lambda text: codecs.BOM_UTF8 + text.encode(),
        lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
        lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    ],
)
def test_byte_order_marks_are_understood(recode):
    text = '{"@timestamp": "2026-01-01T00:00:00Z", "name": "Zoë"}\n'
    assert run(recode(text)).rows["name"].to_pylist() == ["Zoë"]


def test_utf16_cut_in_the_middle_of_a_character_is_told():
    data = codecs.BOM_UTF16_LE + lines(2).decode().encode("utf-16-le")[:-3]
    got = run(data)
    assert got.counts.rows == 1
    assert sum(got.reasons.values()) == 1


def test_bytes_that_are_no_text_are_dead_letters_with_their_bytes():
    latin = '{"@timestamp": "2026-01-01T00:00:00Z", "name": "Zoë"}'.encode("latin-1")
    got = run(lines(1) + latin + b"\n" + lines(1))
    assert got.counts.rows == 2
    assert got.reasons == {"encoding": 1}
    assert got.dead[0]["event.original"] == latin
    assert "0xeb" in got.dead[0]["error.message"]
    assert got.dead[0]["rms.origin"] == "input.log#1"
    assert pa.Table.from_pylist(got.dead, DEAD_LETTER).num_rows == 1


class Broken:
    def __init__(self, data, error):
        self.stream, self.error = io.BytesIO(data), error

    def read(self, size):
        block = self.stream.read(size)
        if not block:
            raise self.error
        return block


@pytest.mark.parametrize("error", [OSError("gone"), EOFError("end"), zlib.error("bad")])
def test_a_stream_that_breaks_gives_its_rows_and_a_dead_letter(error):
    got = run(b"", stream=Broken(lines(2) + b'{"@time', error))
    assert got.counts.rows == 2
    assert got.reasons == {"broken-input": 1}
    assert got.dead[0]["event.original"] == b'{"@time'


def test_an_input_without_bytes_gives_nothing():
    assert run(b"").counts.framed == 0


def test_blank_lines_are_counted():
    got = run(b"\n" + lines(1) + b"\n  \n")
    assert (got.counts.framed, got.counts.rows, got.counts.blank) == (4, 1, 3)


def test_content_of_no_format_is_an_error_that_lists_the_formats():
    with pytest.raises(
        DecodeError, match=r"can't be guessed from content that begins with b'\\x7fELF.*format=.*zeek"
    ):
        run(b"\x7fELF\x02\x01\x01" * 50, "binary")


def test_an_unknown_format_is_an_error_that_lists_the_formats():
    with pytest.raises(DecodeError, match="no format is called 'xml'; the formats are csv"):
        run(b"<a/>", format="xml")


def test_a_decoder_that_loses_a_record_is_caught(monkeypatch):
    class Losing:
        def __init__(self, _context):
            pass

        def parse(self, records):
            return Parsed({"@timestamp": pa.array([0], ENVELOPE["@timestamp"])}, record=np.array([0]))

    broken = Format("losing", "", "lines", lambda head: 0, Losing)
    monkeypatch.setattr(decoding_room, "FORMATS", {**FORMATS, "losing": broken})
    with pytest.raises(DecodeError, match="records went missing in decoding losing"):
        run(b"a\nb\n", format="losing")


def test_original_bytes_are_kept_when_asked_for():
    got = run(lines(2), keep_original=True)
    assert got.rows["event.original"].to_pylist() == lines(2).splitlines()


def test_a_dataset_is_declared_where_the_format_does_not_know_it():
    got = run(lines(1) + LINE.replace(b"{", b'{"event.dataset": "own", ') % (1, 1), dataset="mine")
    assert got.rows["event.dataset"].to_pylist() == ["mine", "own"]


def test_only_the_columns_that_are_needed_are_made():
    got = run(lines(3), columns=frozenset({"n"}))
    assert set(got.rows.schema.names) == {*ENVELOPE, "n"}
    assert set(run(lines(3), columns=frozenset({"x"})).rows.schema.names) == set(ENVELOPE)


keys = st.sampled_from(["a", "b", "a.b", "source.port", "tags", "é"])
leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5)
)
values = st.recursive(
    leaves, lambda v: st.lists(v, max_size=3) | st.dictionaries(keys, v, max_size=3), max_leaves=5
)
stamps = st.sampled_from(["2026-01-01T00:00:00Z", 1767225600, "1767225600.5", "never", None])
docs = st.lists(st.tuples(stamps, st.dictionaries(keys, values, max_size=4)), min_size=1, max_size=8)


@settings(deadline=None, max_examples=60)
@given(docs, st.booleans(), st.binary(max_size=6))
def test_compiled_loops_and_the_slow_way_give_the_same_rows(monkeypatch_module, docs, spaced, junk):
    separators = (", ", " : ") if spaced else (",", ":")
    written = [json.dumps({"@timestamp": time, **doc}, separators=separators).encode() for time, doc in docs]
    data = b"\n".join([*written, junk.replace(b"\n", b"")])
    monkeypatch_module.setattr(JsonDecoder, "_fast", False)
    slow = run(data, format="json")
    monkeypatch_module.setattr(JsonDecoder, "_fast", True)
    fast = run(data, format="json")
    assert slow.counts == fast.counts
    assert slow.dead == fast.dead
    assert slow.rows.schema.names == fast.rows.schema.names
    assert slow.rows.to_pylist() == fast.rows.to_pylist()


@pytest.fixture(scope="module")
def monkeypatch_module():
    with pytest.MonkeyPatch.context() as patch:
        yield patch


def test_large_inputs_are_scanned_by_compiled_loops(monkeypatch):
    monkeypatch.setattr(JsonDecoder, "_fast", False)
    monkeypatch.setattr(json_lines, "ENOUGH", 1_000)
    got = run(lines(200))
    assert JsonDecoder._fast
    assert got.rows["n"].to_pylist() == [str(n) for n in range(200)]


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(deadline=None, max_examples=40)
@given(data=st.binary(max_size=200) | st.text(max_size=120).map(str.encode))
def test_no_bytes_make_a_decoder_raise_or_lose_a_record(name, data):
    """`run` asserts the account of every batch."""
    run(data, format=name)


MUTABLE = {
    "json": lines(4),
    "syslog": b"Mar 27 13:06:56 hub sshd[1]: Failed password for root from 10.0.0.1 port 22 ssh2\n<34>1 2026-01-01T00:00:00Z h a 1 - - x\n",
    "zeek": b"#separator \\x09\n#fields\tts\tuid\tid.orig_h\n#types\ttime\tstring\taddr\n1.5\tC1\t10.0.0.1\n",
    "csv": b'timestamp,value,"no te"\n2026-01-01 00:00:00,1,"a, b"\n',
    "iotac": b'[{"id":"1","_timestamp":"2026-01-01T00:00:00Z","dataSourceID":"s","value":{"type":"x","requestSource":"1.1.1.1","measurement":[{"Name":"a","Value":1}]}}]\n',
    "metricbeat": b'{"@timestamp":"2026-01-01T00:00:00Z","metricset":{"name":"cpu"},"system":{"cpu":{"total":{"pct":1.5},"cores":2}}}\n',
    "mosquitto": b"1679930000: Client x disconnected, not authorised.\n",
    "home-assistant": b"2021-12-12 12:32:19 WARNING (MainThread) [a.b] Login attempt\n  File x\n",
    "windows": b'{"@timestamp":"2026-01-01T00:00:00Z","Channel":"Security","EventID":1}\n',
    "suricata": b'{"timestamp":"2026-01-01T00:00:00.1+0000","event_type":"alert","src_ip":"1.1.1.1","proto":"TCP"}\n',
    "probe": Signer(bytes(32), "hub").line(
        1, Observed("system.cpu", {"host.cpu.usage": 0.5, "tags": ["a"]}, 0)
    ),
    "zeek-json": b'{"ts":1.5,"uid":"C","id_orig_h":"1.1.1.1","@stream":"conn"}\n',
}


@pytest.mark.parametrize("name", sorted(FORMATS))
@settings(deadline=None, max_examples=60)
@given(data=st.data())
def test_damaged_records_become_rows_or_dead_letters(name, data):
    """Bytes flipped, cut out and doubled in records that are nearly right reach deeper than random ones."""
    content = bytearray(MUTABLE[name] * 2)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content) - 1))
        content[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    run(bytes(content), format=name, year=2026)


def test_examples_of_formats_are_read_whole_and_guessed():
    for name, content in MUTABLE.items():
        got = run(content, year=2026)
        assert got.format == name
        assert not got.dead, name
        assert got.counts.rows


def test_gzip_of_the_same_bytes_gives_the_same_ids():
    plain = run(lines(3)).rows["event.id"].to_pylist()
    with gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(lines(3)))) as stream:
        assert run(b"", stream=stream).rows["event.id"].to_pylist() == plain


def test_text_gives_its_head_again_when_the_stream_breaks_behind_it():
    text = driver.Text(Broken(b"abc", OSError("x")))
    assert text.head == b"abc"
    assert text.read(10) == b"abc"
    with pytest.raises(OSError, match="x"):
        text.read(10)


def test_a_raw_record_that_another_collector_kept_is_bytes():
    got = run(b'{"@timestamp": "2026-01-01T00:00:00Z", "event": {"original": "a \\u00e9"}}\n' * 2)
    assert got.rows["event.original"].to_pylist() == ["a \u00e9".encode()] * 2


def framed(*records, archived):
    frame = Frame(Records.of(records), 0, origins=pa.array([f"logs/{n}" for n in range(len(records))]))
    return driver.Inlet(Context("logs", archived=archived), json_lines.FORMAT).take(frame)


def test_records_with_names_are_known_by_them():
    got = framed(
        LINE % (1, 1), LINE % (1, 1), b"{}", b'{"@timestamp": 0, "event": {"id": "own"}}', archived=False
    )
    assert got.rows["rms.origin"].to_pylist() == ["logs/0", "logs/1", "logs/3"]
    assert len({*got.rows["event.id"].to_pylist()}) == 3
    assert got.rows["event.id"][2].as_py() == "own"
    assert got.dead["rms.origin"].to_pylist() == ["logs/2"]
    assert got.counts.duplicates == got.counts.conflicts == 0


OWN = (
    b'{"@timestamp":"2026-01-01T00:00:00Z","event.id":"i","rms.source":"hub","rms.trust":"trusted",'
    b'"event.ingested":"2026-01-01T00:00:01Z","rms.origin":"a.log#1","rms.misfit":"{\\"source.port\\":1.5}",'
    b'"rms.late":true,"event.original":"AP8=","rms.other":"x"}'
)


def test_what_we_archived_keeps_its_envelope_and_nothing_else_does():
    got = framed(
        OWN,
        b'{"@timestamp":"2026-01-01T00:00:00Z","source.port":"x","event.original":"no base64"}',
        archived=True,
    )
    [row, other] = got.rows.to_pylist()
    assert (row["rms.source"], row["rms.trust"], row["rms.origin"]) == ("hub", "trusted", "a.log#1")
    assert row["event.ingested"].isoformat() == "2026-01-01T00:00:01+00:00"
    assert (row["event.id"], row["rms.late"], row["event.original"]) == ("i", True, b"\x00\xff")
    assert (row["rms.misfit"], other["rms.misfit"]) == ('{"source.port":1.5}', '{"source.port":"x"}')
    assert (other["rms.source"], other["rms.origin"], other["event.original"]) == (
        None,
        "logs/1",
        b"no base64",
    )
    assert row["document.rms.other"] == "x"
    assert got.counts.misfits == 2
    [row] = framed(OWN, archived=False).rows.to_pylist()
    assert (row["rms.source"], row["rms.trust"], row["rms.origin"]) == (None, None, "logs/0")
    assert (row["document.rms.trust"], row["event.original"]) == ("trusted", b"AP8=")
