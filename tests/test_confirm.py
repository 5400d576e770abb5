"""Who confirms probes: the registry, a file, a gateway; what is remembered, and what happens when nobody answers."""

import logging
import pickle
import socket
import ssl
import time

import probing
import pytest
import trustme
from gatewayed import gateway

from rms_flows.confirm import Confirmed, Devices, Gateway, Memory, Standing, open_trust
from rms_flows.confirm.cache import AGAIN, FRESH, KEPT
from rms_flows.errors import DocumentError, SourceError
from rms_flows.model import DataSourceManifest, Trust

KEY = "ed25519:AAAA"
HUB = {"id": "hub", "macAddress": "02:00:00:00:00:01", "publicKey": KEY, "validFrom": "2026-01-01T00:00:00Z"}
TRUST = Trust(publicKey=KEY, validFrom="2026-01-01T00:00:00Z")
REVOKED = TRUST.model_copy(update={"revokedAt": Trust(revokedAt="2026-02-01T00:00:00Z").revokedAt})


class Clock:
    def __init__(self):
        self.now = time.monotonic() + 1_000  # what was told at the start, by the real one, is old

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


def manifest(name="hub", trust=TRUST):
    return DataSourceManifest(id=name, name=name, dataSourceDefinitionReferenceID="gateway", trust=trust)


def sources(folder):
    """Write the same into a registry, a YAML, a JSON and a CSV file."""
    probing.registry(folder / "registry", manifest())
    (folder / "d.yaml").write_text(f"probes:\n- {HUB}\n")
    (folder / "d.json").write_text(str({"probes": [HUB]}).replace("'", '"'))
    (folder / "d.csv").write_text(f"{','.join(HUB)},revokedAt\n{','.join(HUB.values())},\n")
    return "registry", "d.yaml", "d.json", "d.csv"


def test_registry_files_and_gateway_tell_the_same(tmp_path):
    with gateway({"hub": HUB}) as gate:
        for where in (*sources(tmp_path), gate.url):
            known = open_trust(where, tmp_path)
            assert known.of("hub") == Standing(TRUST), where
            assert known.of("attic") == Standing(None), where


def test_what_changes_is_known_after_some_seconds_and_not_asked_for_before(tmp_path, clock):
    """Guards against a revocation that waits for a restart, and a gateway that each batch asks."""
    folder = probing.registry(tmp_path / "registry", manifest())
    file = tmp_path / "d.csv"
    file.write_text(f"id,publicKey,validFrom\nhub,{KEY},2026-01-01T00:00:00Z\n")
    with gateway({"hub": HUB}) as gate:
        opened = [open_trust(where, tmp_path) for where in ("registry", "d.csv", gate.url)]
        for one in opened:
            one._clock = clock
            assert one.of("hub").trust == TRUST
        gate.asked.clear()
        folder.update(manifest(trust=REVOKED))
        file.write_text(f"id,publicKey,validFrom,revokedAt\nhub,{KEY},2026-01-01T00:00:00Z,2026-02-01\n")
        gate.known["hub"] = {**HUB, "revokedAt": "2026-02-01T00:00:00Z"}
        assert [one.of("hub").trust for one in opened] == [TRUST] * 3
        assert gate.asked == []
        clock.now += FRESH
        assert [one.of("hub").trust.revokedAt.month for one in opened] == [2] * 3
        assert gate.asked == ["/gate/probes/hub"]
        clock.now += FRESH
        assert opened[2].of("hub").trust == REVOKED  # 304: nothing has changed
        del gate.known["hub"]
        clock.now += FRESH
        assert opened[2].of("hub") == Standing(None)


def test_a_gateway_that_goes_away_is_told_of_and_what_it_said_holds_for_a_time(clock, caplog):
    """Guards against a stream that ends, or stands still, with its gateway; and against trust without an end."""
    with gateway({"hub": HUB}) as gate:
        known = Confirmed(Gateway(gate.url), clock)
        assert known.of("hub") == Standing(TRUST)
        gate.status = 503
        clock.now += FRESH
        assert known.of("hub") == Standing(TRUST, sure=False)
        assert known.of("attic") == Standing(None, sure=False)  # was never asked for
        assert len(gate.asked) == 2  # who doesn't answer for one is not asked for others
        clock.now += KEPT - FRESH - 1
        assert known.of("hub") == Standing(TRUST, sure=False)
        clock.now += 2
        assert known.of("hub") == Standing(None, sure=False)
        gate.status = None
        clock.now += AGAIN
        assert known.of("hub") == Standing(TRUST)
    told = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(told) == 2
    assert "the gateway refused (503 not now); see what it says; RMS_GATEWAY_TOKEN is who we are" in told[0]
    assert "what was told before holds for 60 minutes" in told[0]
    assert told[1] == f"{gate.url}: probes are confirmed again"


def test_an_answer_that_is_none_counts_for_its_probe_alone(clock):
    """Guards against who makes up an id that a gateway stumbles over, so that nobody is asked any more."""
    with gateway({"hub": HUB, "bad": {"id": "bad", "publicKey": 5}, "other": HUB}) as gate:
        known = Confirmed(Gateway(gate.url), clock)
        assert known.of("bad") == Standing(None, sure=False)
        assert known.trouble == (
            f"{gate.url}: bad: the gateway's answer can't be used (publicKey: Input should be a valid string); "
            "docs/trust.md says what it has to be"
        )
        assert known.of("other") == Standing(None, sure=False)
        assert "was asked for the probe 'other' and answered for 'hub'; mend the gateway" in known.trouble
        assert known.of("hub") == Standing(TRUST)
        before = len(gate.asked)
        assert [known.of(name) for name in ("", ".", "..", "x" * 300, "é" * 100)] == [Standing(None)] * 5
        assert len(gate.asked) == before


def test_a_broken_file_or_manifest_doesnt_end_what_runs(tmp_path, clock):
    (tmp_path / "d.yaml").write_text(f"probes:\n- {HUB}\n")
    probing.registry(tmp_path / "registry", manifest(), manifest("attic"))
    devices, registry = (open_trust(where, tmp_path) for where in ("d.yaml", "registry"))
    for one in (devices, registry):
        one._clock = clock
        one.of("hub")
    clock.now += 2 * FRESH
    (tmp_path / "d.yaml").write_text("probes: [")
    (tmp_path / "registry" / "DataSourceManifest" / "hub.yaml").write_text("id: [")
    for one in (devices, registry):
        assert one.of("hub") == Standing(TRUST, sure=False)
        assert "no YAML" in one.trouble
    assert registry.of("attic").sure  # wrong is one document


@pytest.mark.parametrize(
    ("name", "text", "match"),
    [
        ("d.yaml", "probes: [{id: hub, key: x}]", r"d\.yaml:1: probes\[0\]\.key: extra inputs.*`rms schema Conf"),
        ("d.yaml", "probes: [{id: hub}, {id: hub}]", r"probes\[1\]: the device 'hub' comes twice; keep one, with the k"),
        ("d.csv", "name,key\n", r"d\.csv:1: the columns are name, key; there may be id, macAddress, fingerprint"),
        ("d.csv", "id,publicKey\nhub\n", r"d\.csv:2: expected 2 cells, the id not empty; mend the line"),
        ("d.csv", "id,validTo\nhub,soon\n", r"d\.csv:2: validTo: 'soon': input should be a valid datetime.*; write times as 2026"),
        ("d.csv", b"id\n\xff\n", r"d\.csv: no CSV \('utf-8' codec.*; save it as CSV in UTF-8"),
        ("none.csv", None, r"none\.csv: can't be read \(No such file or directory\); check path and rights"),
        ("ldap://host/x", None, r"ldap://host/x: nobody can be asked by ldap: who confirms probes; there are a folder"),
    ],
)  # fmt: skip
def test_who_can_not_be_asked_is_refused_at_the_start(tmp_path, name, text, match):
    if text is not None:
        (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DocumentError, match=match):
        open_trust(name, tmp_path)


def test_a_file_has_an_end(tmp_path, monkeypatch):
    monkeypatch.setattr("rms_flows.confirm.devices.LARGEST", 10)
    (tmp_path / "d.csv").write_text("id,publicKey\n")
    with pytest.raises(DocumentError, match=r"d\.csv: longer than 10 bytes; split the file"):
        open_trust("d.csv", tmp_path)


def test_several_keys_of_a_device_stand_in_several_lines(tmp_path):
    (tmp_path / "d.csv").write_text("id,publicKey,validTo\nhub,new,\nhub,old,2026-01-01T00:00:00Z\n")
    trust = Devices(tmp_path / "d.csv").ask("hub", None).trust
    assert [key.publicKey for key in trust.known_keys] == ["new", "old"]


def test_a_gateway_is_asked_over_tls_with_a_token_that_nobody_sees(tmp_path, monkeypatch):
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("RMS_GATEWAY_TOKEN_FILE", str(tmp_path / "token"))
    with gateway({"hub": HUB}, context) as gate:
        with pytest.raises(SourceError, match=r"the gateway does not answer .*certificate verify failed"):
            open_trust(gate.url, tmp_path)
        monkeypatch.setenv("RMS_GATEWAY_CA", str(tmp_path / "ca.pem"))
        known = open_trust(gate.url, tmp_path)
        assert known.of("hub") == Standing(TRUST)
        assert gate.authorized[-1] == "Bearer secret"
        assert b"secret" not in pickle.dumps(known)
    with pytest.raises(
        DocumentError, match="a token would cross the network in plain text; write https:, or unset R"
    ):
        open_trust("http://gateway.example/", tmp_path)
    monkeypatch.setenv("RMS_GATEWAY_CA", str(tmp_path / "token"))
    with pytest.raises(DocumentError, match=r"RMS_GATEWAY_CA: .*token is no file of certificates"):
        open_trust(gate.url, tmp_path)


def test_a_gateway_that_is_not_there_is_told_at_the_start(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(
        SourceError, match=r"the gateway does not answer \(ConnectionRefusedError.*check host and p"
    ):
        open_trust(f"http://127.0.0.1:{port}", tmp_path)


def test_a_gateway_may_list_what_it_knows(tmp_path):
    with gateway({"hub": HUB}) as gate:
        gate.lists = True
        known = open_trust(gate.url, tmp_path)
        assert known.all() == {"hub": TRUST}
        gate.asked.clear()
        assert known.of("hub") == Standing(TRUST)
        assert gate.asked == []


def test_in_one_process_copies_are_the_same():
    """Guards against a cache for each fragment of each source: a gateway would be asked by each."""
    known = Confirmed(Memory({"hub": TRUST}))
    assert pickle.loads(pickle.dumps(known)) is known  # noqa: S301  our own
    data = pickle.dumps(known)
    del known
    other = pickle.loads(data)  # noqa: S301  our own
    assert other.of("hub") == Standing(TRUST)
    assert pickle.loads(data) is other  # noqa: S301  our own


def test_who_makes_up_ids_fills_no_memory(monkeypatch):
    monkeypatch.setattr("rms_flows.confirm.cache.REMEMBERED", 10)
    known = Confirmed(Memory({"hub": TRUST}))
    for number in range(100):
        assert known.of(f"probe-{number}").trust is None
    assert len(known._known) == 10
    assert known.of("hub").trust == TRUST
