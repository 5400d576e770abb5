"""What flows make of envelopes: observations, and whom to believe them; a silent probe is reported."""

import json

import probing
import pyarrow as pa
import pytest
from decoding import run
from hypothesis import given
from hypothesis import strategies as st
from probing import SILENT

from rms_flows import replay
from rms_flows.confirm import Confirmed, Memory, open_trust
from rms_flows.decode import FORMATS
from rms_flows.decode.contract import Context, Options
from rms_flows.decode.driver import Inlet
from rms_flows.decode.framing import Frame
from rms_flows.decode.records import Records
from rms_flows.envelope import Observed, Signer, generate, public_text
from rms_flows.errors import DocumentError, SourceError
from rms_flows.model import DataSourceManifest, Trust, load_orchestrator
from rms_flows.schema import TIMESTAMP

KEYS = {name: generate() for name in ("attic", "cellar")}
TRUST = {name: Trust(publicKey=public_text(key)) for name, key in KEYS.items()}
BEGIN = 1_767_225_600_000_000
SECOND = 1_000_000


def envelope(probe, number, kind="system.cpu", second=None, **payload):
    time = BEGIN + (number if second is None else second) * SECOND
    return Signer(KEYS[probe], probe).line(number, Observed(kind, payload, time))


def forged(line, old, new):
    assert old in line
    return line.replace(old, new)


def test_envelopes_become_observations():
    lines = [envelope("attic", n, **{"host.cpu.usage": n / 10, "tags": ["a"]}) for n in (1, 2)]
    found = run(b"\n".join(lines), trust=TRUST["attic"])
    assert found.format == "probe"
    first = found.rows.to_pylist()[0]
    assert first["@timestamp"].isoformat() == "2026-01-01T00:00:01+00:00"
    known = ("event.dataset", "agent.id", "probe.sequence", "host.cpu.usage", "tags", "rms.trust")
    assert [first[name] for name in known] == ["system.cpu", "attic", 1, 0.1, ["a"], "trusted"]
    wanted = run(b"\n".join(lines), columns=frozenset({"host.cpu.usage"}), trust=TRUST["attic"])
    assert wanted.rows["host.cpu.usage"].to_pylist() == [0.1, 0.2]
    assert "tags" not in wanted.rows.schema.names


def test_a_forged_envelope_is_untrusted_and_one_put_in_again_is_counted():
    """Guards against who sits on the bus: changed, replayed and invented envelopes."""
    good = [envelope("attic", n, **{"host.cpu.usage": 0.1}) for n in (1, 2, 3)]
    bad = forged(good[2], b"0.1", b"0.9")
    stranger = Signer(generate(), "attic").line(4, Observed("system.cpu", {}, BEGIN))
    found = run(b"\n".join([*good, bad, stranger, good[0], good[0]]), trust=TRUST["attic"])
    assert found.rows["rms.trust"].to_pylist() == ["trusted"] * 3 + ["untrusted"] * 2
    assert found.counts.duplicates == 2
    assert len(set(found.rows["event.id"].to_pylist())) == 5


def test_what_was_written_anew_is_the_same_event():
    """Guards against a duplicate that a broker's other spelling of the JSON would make."""
    line = envelope("attic", 1, **{"host.cpu.usage": 0.5})
    again = json.dumps(json.loads(line)).encode()
    [one] = run(line, trust=TRUST["attic"]).rows.to_pylist()
    [other] = run(again, trust=TRUST["attic"]).rows.to_pylist()
    assert (other["event.id"], other["rms.trust"]) == (one["event.id"], "trusted")


def test_of_a_probe_without_a_public_key_nobody_knows():
    line = envelope("attic", 1)
    for trust in (None, Trust(fingerprint="ab")):  # a fingerprint alone verifies nothing
        assert run(line, trust=trust).rows["rms.trust"].to_pylist() == ["unknown"]


def test_each_probe_of_a_source_has_its_own_key():
    """Guards against a probe that speaks for another one."""
    lines = [
        envelope("attic", 1),
        envelope("cellar", 1),
        forged(envelope("attic", 2), b'"attic"', b'"cellar"'),
    ]
    lines.append(Signer(generate(), "shed").line(1, Observed("x", {}, BEGIN)))
    found = run(b"\n".join(lines), probes=Confirmed(Memory(TRUST)))
    assert found.rows["rms.source"].to_pylist() == ["attic", "cellar", "cellar", "shed"]
    assert found.rows["rms.trust"].to_pylist() == ["trusted", "trusted", "untrusted", "unknown"]


def test_what_a_probe_signs_passes_for_none_of_our_columns():
    """Guards against a stolen probe that says it is trusted, or takes the id of another event."""
    payload = {
        "rms.trust": "trusted", "rms": {"source": "other"}, "event.id": "x", "@timestamp": "2020-01-01T00:00:00Z",
        "event": {"dataset": "y"}, "event.ingested": "2020-01-01T00:00:00Z", "agent.id": "z", "probe.sequence": 9,
    }  # fmt: skip
    revoked = TRUST["attic"].model_copy(
        update={"revokedAt": Trust.model_validate({"revokedAt": "2026-01-01"}).revokedAt}
    )
    [row] = run(envelope("attic", 1, **payload), trust=revoked).rows.to_pylist()
    assert (row["rms.trust"], row["rms.source"], row["event.ingested"]) == ("untrusted", None, None)
    assert (row["event.dataset"], row["agent.id"], row["probe.sequence"]) == ("system.cpu", "attic", 1)
    assert row["@timestamp"].year == 2026
    assert row["event.id"] != "x"
    assert row["document.event.id"] == "x"
    assert row["document.rms.source"] == "other"


def test_a_stolen_key_that_dates_back_is_not_believed():
    """Its bus tells when an envelope came, after the probe was revoked."""
    trust = Trust.model_validate({**TRUST["attic"].model_dump(), "revokedAt": "2026-01-01T00:01:00Z"})
    lines = [envelope("attic", 1), envelope("attic", 2)]
    received = pa.array([BEGIN + 30 * SECOND, BEGIN + 90 * SECOND], TIMESTAMP)
    origins = pa.array(["t/0@1", "t/0@2"])
    frame = Frame(Records.of(lines), 0, [], sum(map(len, lines)), origins, ingested=received)
    for options in (Options(trust=trust), Options(probes=Confirmed(Memory({"attic": trust})))):
        rows = Inlet(Context("t", options), FORMATS["probe"]).take(frame).rows
        assert rows["rms.trust"].to_pylist() == ["trusted", "untrusted"]


def test_forged_envelopes_are_quarantined_with_the_reason():
    bad = forged(envelope("attic", 1, x=1), b'"x":1', b'"x":2')
    found = run(
        b"\n".join([bad, envelope("attic", 2)]), trust=TRUST["attic"], quarantined=frozenset({"untrusted"})
    )
    assert found.rows["probe.sequence"].to_pylist() == [2]
    [dead] = found.dead
    assert (dead["error.type"], dead["event.original"]) == ("untrusted", bad)
    assert dead["error.message"] == (
        "the envelope is not signed with the key of the probe; see publicKey in its `trust:`"
    )


def test_keys_that_verify_nothing_make_a_probe_unknown_and_end_no_stream():
    """Guards against a gateway's slip that would end all that its probes are read by."""
    known = Confirmed(Memory({"attic": Trust(publicKey="x"), "cellar": TRUST["cellar"]}))
    found = run(b"\n".join([envelope("attic", 1), envelope("cellar", 1)]), probes=known)
    assert found.rows["rms.trust"].to_pylist() == ["unknown", "trusted"]


def test_rows_judged_while_nobody_answers_are_counted():
    memory = Memory(TRUST)
    memory.fault = SourceError("away", where="gateway")
    lines = b"\n".join(envelope("attic", n) for n in (1, 2))
    found = run(lines, probes=Confirmed(memory), quarantined=frozenset({"unknown"}))
    assert (found.counts.unsure, found.counts.dead, found.reasons) == (2, 2, {"unknown": 2})
    plain = json.dumps({"@timestamp": "2026-01-01T00:00:00Z"}).encode()
    found = run(plain, format="json", probes=Confirmed(memory), probe="attic")
    assert (found.counts.unsure, found.rows["rms.trust"].to_pylist()) == (1, ["unknown"])


def test_another_key_takes_over_and_what_the_old_one_signed_stays_true():
    """Guards against a change of keys that makes history untrusted, and an old key that is good for ever."""
    old, new = KEYS["cellar"], KEYS["attic"]
    change = "2026-01-01T00:00:10Z"
    trust = Trust.model_validate(
        {
            "publicKey": public_text(new),
            "validFrom": change,
            "formerKeys": [{"publicKey": public_text(old), "validTo": change}],
        }
    )
    signed = [(old, 5), (old, 15), (new, 5), (new, 15), (generate(), 15)]
    lines = [
        Signer(key, "hub").line(number, Observed("x", {}, BEGIN + second * SECOND))
        for number, (key, second) in enumerate(signed, 1)
    ]
    wanted = ["trusted", "untrusted", "untrusted", "trusted", "untrusted"]
    for options in ({"trust": trust}, {"probes": Confirmed(Memory({"hub": trust}))}):
        found = run(b"\n".join(lines), quarantined=frozenset(), **options)
        assert found.rows["rms.trust"].to_pylist() == wanted
    found = run(b"\n".join(lines), trust=trust, quarantined=frozenset({"untrusted"}))
    assert [one["error.message"].split(";")[0] for one in found.dead] == [
        "the probe was not confirmed at 2026-01-01T00:00:15+00:00",
        "the probe was not confirmed at 2026-01-01T00:00:05+00:00",
        "the envelope is not signed with the key of the probe",
    ]


def test_two_probes_with_one_id_are_counted():
    """A copied disk: both sign with one key, and each counts for itself."""
    one = [envelope("attic", n, who="one") for n in (1, 2, 3)]
    two = [envelope("attic", n, who="two") for n in (1, 2, 3)]
    mixed = [line for pair in zip(one, two, strict=True) for line in pair]
    found = run(b"\n".join([*mixed, one[0]]), trust=TRUST["attic"])
    assert (found.counts.conflicts, found.counts.duplicates, len(found.rows)) == (3, 1, 6)
    forged_ = [forged(line, b'"one"', b'"six"') for line in one]
    assert run(b"\n".join([*one, *forged_]), trust=TRUST["attic"]).counts.conflicts == 0


@pytest.mark.parametrize("policy", [{}, {"quarantined": frozenset({"untrusted", "unknown"})}])
def test_a_clock_a_day_off(policy):
    """One ahead would make all others late: it is set aside; one behind is taken for what it says."""
    trust = Trust.model_validate({**TRUST["attic"].model_dump(), "validFrom": "2026-01-01T00:00:00Z"})
    day = 86_400
    lines = [envelope("attic", n, second=second) for n, second in ((1, day), (2, -day), (3, 3))]
    received = pa.array([BEGIN + 5 * SECOND] * 3, TIMESTAMP)
    frame = Frame(
        Records.of(lines),
        0,
        [],
        sum(map(len, lines)),
        pa.array(["t/0@1", "t/0@2", "t/0@3"]),
        ingested=received,
    )
    decoded = Inlet(Context("t", Options(trust=trust, **policy)), FORMATS["probe"]).take(frame)
    verdicts = dict(
        zip(decoded.rows["probe.sequence"].to_pylist(), decoded.rows["rms.trust"].to_pylist(), strict=True)
    )
    assert decoded.reasons["future"] == 1
    assert (
        "the event says 2026-01-02T00:00:00+00:00 and was received at 2026-01-01"
        in decoded.dead["error.message"][0].as_py()
    )
    assert verdicts == ({3: "trusted"} if policy else {2: "untrusted", 3: "trusted"})
    assert decoded.reasons["untrusted"] == bool(policy)


@given(st.lists(st.sampled_from(["good", "forged", "blank", "broken", "twice", "timeless"]), max_size=12))
def test_every_record_is_accounted_for(kinds):
    """`run` asserts the account; records that fail anywhere must not move the verdict to another row."""
    good = {n: envelope("attic", n, n=n) for n in range(1, len(kinds) + 1)}
    made = {
        "good": lambda n: good[n],
        "forged": lambda n: forged(good[n], b'"kind":"s', b'"kind":"t'),
        "blank": lambda _: b" ",
        "broken": lambda _: b"{",
        "twice": lambda n: forged(good[n], b'"payload"', b'"kind":"x","payload"'),
        "timeless": lambda n: forged(good[n], b"2026-01-01T", b"yesterday "),
    }
    data = b"\n".join(made[kind](n) for n, kind in enumerate(kinds, 1))
    found = run(data, format="probe", trust=TRUST["attic"])
    wanted = [
        (n, "trusted" if kind == "good" else "untrusted")
        for n, kind in enumerate(kinds, 1)
        if kind in {"good", "forged"}
    ]
    rows = found.rows.to_pylist() if wanted else []
    assert [(one["probe.sequence"], one["rms.trust"]) for one in rows] == wanted


def test_a_key_of_a_document_that_is_none_is_named():
    with pytest.raises(
        DocumentError, match=r"^input\.log: 'x' is no public key of a probe; write ed25519:BASE64"
    ):
        run(envelope("attic", 1), trust=Trust(publicKey="x"))


@pytest.fixture
def registry(tmp_path):
    since = {"validFrom": Trust(validFrom="2026-01-01T00:00:00Z").validFrom}
    confirmed = {name: trust.model_copy(update=since) for name, trust in TRUST.items()}
    probing.registry(
        tmp_path / "registry",
        *(
            DataSourceManifest(id=name, name=name, dataSourceDefinitionReferenceID="gateway", trust=trust)
            for name, trust in confirmed.items()
        ),
    )


def test_a_registry_without_probes(tmp_path):
    with pytest.raises(
        DocumentError, match="the registry has no DataSourceManifest; name the folder that `rms reg"
    ):
        open_trust("", tmp_path)


FLOW = """
orchestrator: home
sources:
  - {id: bus, archive: envelopes.ndjson, probes: registry, untrusted: quarantine, unknown: quarantine}
processors:
  - {id: silent, processor: sigma, inputs: [bus], parameters: {rules: [silent.yml]}}
sinks: [{id: out, inputs: [silent], uri: reports.ndjson}]
"""
RULES = SILENT.replace("TIME", "2m")


def test_a_probe_that_falls_silent_is_reported_though_another_speaks_for_it(tmp_path, registry):
    """Guards against a forger who keeps a stolen probe alive: only signed heartbeats are signs of life."""
    beats = {"attic": range(0, 600, 30), "cellar": range(0, 240, 30)}
    lines = [
        envelope(name, n, "probe.heartbeat", second=second)
        for name, seconds in beats.items()
        for n, second in enumerate(seconds, 1)
    ]
    lines += [forged(line, b'"attic"', b'"cellar"') for line in lines[:20]]
    (tmp_path / "envelopes.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "silent.yml").write_text(RULES)
    flow = load_orchestrator(tmp_path / "flow.yaml")
    end = Trust.model_validate({"validTo": "2026-01-01T00:10:00Z"}).validTo
    replay.replay(flow, folder=tmp_path, end=end, dead_letters=str(tmp_path / "dead.ndjson"))
    [report] = [json.loads(line) for line in (tmp_path / "reports.ndjson").read_text().splitlines()]
    assert "cellar" in json.dumps(report)
    assert report["@timestamp"].startswith("2026-01-01T00:05:30")
    dead = (tmp_path / "dead.ndjson").read_text().splitlines()
    assert len(dead) == 20


def test_a_probe_of_the_registry_that_was_never_heard_of_is_reported(tmp_path, registry):
    lines = [envelope("attic", n, "probe.heartbeat", second=30 * n) for n in range(1, 20)]
    (tmp_path / "envelopes.ndjson").write_bytes(b"".join(line + b"\n" for line in lines))
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "silent.yml").write_text(RULES.replace("timespan: 2m", "timespan: 2m, keys: sources"))
    start, end = (Trust(validTo=f"2026-01-01T00:{minute:02}:00Z").validTo for minute in (0, 10))
    flow = load_orchestrator(tmp_path / "flow.yaml")
    replay.replay(flow, folder=tmp_path, start=start, end=end, dead_letters=str(tmp_path / "dead.ndjson"))
    reports = [json.loads(line) for line in (tmp_path / "reports.ndjson").read_text().splitlines()]
    assert ["cellar" in json.dumps(one) for one in reports] == [True]
