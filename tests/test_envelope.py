"""What a probe signs: any change is noticed, and writing the same anew is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.envelope import Observed, Signer, Verifier, canonical, generate, public_text, read, stamp
from rms_flows.errors import DocumentError

KEY = generate()
SIGNER, VERIFIER = Signer(KEY, "hub"), Verifier(public_text(KEY))
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(texts, values, max_size=4)
times = st.integers(0, 4_000_000_000_000_000)


@given(payloads, st.integers(1, 2**63), times, texts)
def test_what_was_signed_is_read_and_verified(payload, sequence, time, kind):
    line = SIGNER.line(sequence, Observed(kind, payload, time))
    assert b"\n" not in line
    assert read(line) == ("hub", sequence, time, kind, payload)
    assert VERIFIER.signed(line)


@given(payloads, st.booleans(), st.randoms())
def test_writing_it_anew_breaks_no_signature(payload, ascii_, random):
    """Guards against brokers and databases that parse JSON and write it with blanks, escapes, another order."""
    members = json.loads(SIGNER.line(7, Observed("x", payload, 0)))
    order = list(members)
    random.shuffle(order)
    again = json.dumps({name: members[name] for name in order}, indent=2, ensure_ascii=ascii_).encode()
    assert VERIFIER.signed(again)


@given(payloads, st.data())
def test_any_other_content_is_noticed(payload, data):
    line = SIGNER.line(7, Observed("x", payload, 0))
    members = json.loads(line)
    name = data.draw(st.sampled_from(sorted(members)))
    other = {"payload": {**payload, "new": 1}, "sequence": 8, "signature": members["signature"][::-1]}
    changed = {**members, name: other.get(name, members[name] if name in other else f"{members[name]}!")}
    assert not VERIFIER.signed(json.dumps(changed).encode())
    assert not VERIFIER.signed(json.dumps({**members, "more": 1}).encode())


@given(st.binary(max_size=200))
def test_bytes_of_any_kind_are_neither_signed_nor_an_accident(line):
    assert not VERIFIER.signed(line)
    with pytest.raises(ValueError, match="no envelope: "):
        read(line)


def test_what_is_no_envelope_says_why():
    good = json.loads(SIGNER.line(1, Observed("x", {}, 0)))
    for change, said in [
        ({"more": 1}, "expected an object with @timestamp, kind, payload, probe, sequence, signature"),
        ({"probe": 1}, "probe, kind and @timestamp have to be texts"),
        ({"payload": []}, "payload an object"),
        ({"sequence": 0}, "the sequence 0 is no number from 1 on"),
        ({"sequence": True}, "the sequence True is no number"),
        ({"@timestamp": "2026-01-31T12:00:00"}, "'2026-01-31T12:00:00' is no time with a zone"),
    ]:
        with pytest.raises(ValueError, match=f"no envelope: .*{said}"):
            read(json.dumps({**good, **change}).encode())
    with pytest.raises(ValueError, match="no envelope: nested too deep"):
        read(b"[" * 100_000)


def test_another_key_signs_for_nobody_else():
    line = Signer(generate(), "hub").line(1, Observed("x", {}, 0))
    assert not VERIFIER.signed(line)


@pytest.mark.parametrize("text", ["", "ed25519:", "ed25519:AAAA", "rsa:" + 43 * "A" + "=", "ed25519:%%%"])
def test_what_is_no_public_key_is_refused(text):
    with pytest.raises(
        DocumentError, match=r"^hub: .* is no public key of a probe; write ed25519:BASE64, as `rms"
    ):
        Verifier(text, "hub")


def test_times_are_written_with_microseconds():
    assert stamp(1_767_225_600_000_001) == "2026-01-01T00:00:00.000001Z"


def test_what_json_has_no_way_to_say_is_not_signed():
    """Guards against `NaN`, which many readers refuse, and half of a surrogate pair."""
    with pytest.raises(ValueError, match="not JSON compliant"):
        canonical({"a": float("nan")})
    with pytest.raises(ValueError, match="surrogates"):
        canonical({"a": "\ud800"})
