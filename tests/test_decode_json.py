import pytest
from decoding import run

from rms_flows.decode.json_lines import JsonDecoder


def stamped(rest):
    return b'{"@timestamp": "2026-01-01T00:00:00Z", %s}' % rest


@pytest.mark.parametrize(
    ("record", "kind", "reason"),
    [
        (b"{", "json", "not JSON: Expecting property name .* expected one JSON object a record"),
        (b'{"a": 1} x', "json", "not JSON: Extra data"),
        (b'["a"]', "json", r"expected a JSON object, not \[\"a\"\]"),
        (b"17", "json", "expected a JSON object, not 17"),
        (stamped(b'"a": 1, "a": 2'), "duplicate-key", "the key 'a' comes twice in one object"),
        (stamped(b'"a.b": 1, "a": {"b": 2}'), "duplicate-key", "two keys give the field 'a.b'"),
        (stamped(b'"a": NaN'), "json", "NaN is not JSON"),
        (stamped(b'"a": "\\ud800"'), "json", "half of a surrogate pair"),
        (
            stamped(b'"a": ' + b'{"a": ' * 70 + b"1" + b"}" * 70),
            "json",
            "nested too deep; expected at most 64 levels",
        ),
        (stamped(b'"a": ' + b"[" * 100_000 + b"]" * 100_000), "json", "nested too deep"),
        (b'{"a": 1}', "timestamp", "no time: expected it in @timestamp or timestamp"),
        (b'{"ts": "soon"}', "timestamp", "'soon' is no time"),
        (b'{"ts": {"a": 1}}', "timestamp", "no time"),
    ],
)
def test_bad_records_are_dead_letters_that_say_why(record, kind, reason):
    good = stamped(b'"n": 1')
    got = run(b"\n".join([good, record, good]), format="json")
    assert got.counts.rows == 2
    assert got.reasons == {kind: 1}
    assert got.dead[0]["event.original"] == record
    assert __import__("re").search(reason, got.dead[0]["error.message"])


@pytest.mark.parametrize(
    ("stamp", "time"),
    [
        (b'"2026-01-01T01:00:00+01:00"', "2026-01-01 00:00:00+00:00"),
        (b"1767225600", "2026-01-01 00:00:00+00:00"),
        (b"1767225600123", "2026-01-01 00:00:00.123000+00:00"),
        (b'"1767225600.5"', "2026-01-01 00:00:00.500000+00:00"),
        (b"0", "1970-01-01 00:00:00+00:00"),
        (b'"2100-01-01T00:00:00Z"', "2100-01-01 00:00:00+00:00"),
    ],
)
def test_stamps_in_the_forms_that_probes_send(stamp, time):
    got = run(b'{"@timestamp": %s}' % stamp, format="json")
    assert [str(value) for value in got.rows["@timestamp"].to_pylist()] == [time]


def test_the_time_column_is_declared():
    data = b'{"@timestamp": "2026-01-01T00:00:00Z", "when": "07/05/2023, 12:00:00"}'
    got = run(data, time_column="when", date_order="month-first")
    assert str(got.rows["@timestamp"][0].as_py()) == "2023-07-05 12:00:00+00:00"
    assert run(data, time_column="when").reasons == {"timestamp": 1}  # the order is declared, never guessed


def test_nested_objects_become_dotted_names_and_empty_ones_vanish():
    got = run(stamped(b'"a": {"b": {"c": "x"}, "d": {}}, "e": null'))
    assert got.rows["a.b.c"].to_pylist() == ["x"]
    assert got.rows["e"].to_pylist() == [None]
    assert "a.d" not in got.rows.schema.names


def test_ten_megabytes_in_one_line_are_a_record_or_a_dead_letter():
    record = stamped(b'"a": "%s"' % (b"x" * 10_000_000))
    assert run(record + b"\n" + record).counts.rows == 2
    got = run(record + b"\n" + stamped(b'"n": 1'), max_record=1_000_000, format="json")
    assert got.counts.rows == 1
    assert set(got.reasons) == {"too-long"}
    assert b"".join(dead["event.original"] for dead in got.dead) == record
    assert "set max_record= higher" in got.dead[0]["error.message"]


def test_documents_over_many_lines_and_in_arrays_are_read():
    pretty = b'{\n  "@timestamp": "2026-01-01T00:00:00Z",\n  "n": 1\n}\n'
    assert run(pretty * 3).counts.rows == 3
    assert run(b"[" + b",".join([pretty] * 3) + b"]").counts.rows == 3


def test_no_document_speaks_in_our_name():
    """Trust, misfits and what a report says of attacker and asset are ours to say."""
    got = run(stamped(b'"rms.misfit": "x", "rms": {"trust": "trusted", "request_source": "1.1.1.1"}'))
    row = got.rows.to_pylist()[0]
    assert row["rms.trust"] is None
    assert "rms.misfit" not in row
    assert "rms.request_source" not in row
    assert row["document.rms.request_source"] == "1.1.1.1"


@pytest.mark.parametrize("fast", [False, True])
def test_names_without_end_are_dead_letters_and_fill_no_memory(monkeypatch, fast):
    """A key made up for each value: columns times rows would be gigabytes, and a repository's mapping would burst."""
    monkeypatch.setattr(JsonDecoder, "_fast", fast)
    made_up = b"\n".join(stamped(b'"k%d": {"x": 1}' % n) for n in range(30_000))
    got = run(made_up, format="json")
    assert got.counts.rows == 1_999  # one field is the time
    assert got.reasons == {"too-many-fields": 28_001}
    assert "a field more than the 2,000" in got.dead[0]["error.message"]
    assert (
        run(made_up, format="json", columns=frozenset({"k1.x"})).counts.rows == 1_999
    )  # whatever a flow needs
