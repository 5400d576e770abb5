"""A probe that is told what to do over HTTP: changes while it runs, services that go away, keys that change."""

import json
import ssl
from pathlib import Path

import pytest
import trustme
import yaml
from gatewayed import gateway
from probing import end, manifest, probing, registry, sent, start, states, until
from serving import serving
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.envelope import Verifier, public_text
from rms_flows.errors import DocumentError
from rms_flows.model import DataSourceManifest, Trust, load
from rms_flows.probe import key
from rms_flows.probe.remote import EVERY, Remote, kept_in

HUB = {"id": "hub", "name": "Hub", "dataSourceDefinitionReferenceID": "gateway"}
SLOW = [{"collect": "memory", "interval": "1h"}]
FAST = [{"collect": "memory", "interval": "100ms"}]
MEMORY = 60 * 1024
"""Kilobytes that a probe may take."""


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_a_manifest_is_asked_for_now_and_then_and_survives_a_start_without_the_service(tmp_path, caplog):
    """Guards against a probe that can't start because its service can't be reached, and asks at each look."""
    clock, kept = Clock(), tmp_path / "hub.manifest.json"
    with gateway({"hub": HUB}) as gate:
        read = Remote(gate.url, "hub", kept, clock)
        assert read().name == "Hub"
        gate.known["hub"] = {**HUB, "name": "Other"}
        assert read().name == "Hub"
        clock.now += EVERY
        assert read().name == "Other"
        clock.now += EVERY
        assert read().name == "Other"  # 304
        assert gate.asked == ["/gate/v1/documents/DataSourceManifest/hub"] * 3
        gate.status = 503
        clock.now += EVERY
        for _ in range(2):
            with pytest.raises(
                DocumentError, match=r"hub: the service has no manifest for us \(503 not now\)"
            ):
                read()
        assert len(gate.asked) == 4
        gate.status = None
        clock.now += EVERY
        assert read().name == "Other"
    again = Remote(gate.url, "hub", kept, clock)
    assert again().name == "Other"
    assert "goes on with what it was told before" in caplog.text
    with pytest.raises(DocumentError, match=r"hub: the service does not answer .*; check host and port"):
        again()
    assert str(kept_in(Path(), "../a")) == "..%2Fa.manifest.json"


def test_what_a_service_may_not_say(tmp_path, caplog):
    with gateway({"hub": {**HUB, "id": "attic"}}) as gate:
        with pytest.raises(DocumentError, match="the service gave the manifest of 'attic'; mend the service"):
            Remote(gate.url, "hub", tmp_path / "kept")()
        with pytest.raises(DocumentError, match=r"the service has no manifest for us \(404 "):
            Remote(gate.url, "cellar", tmp_path / "kept")()
        gate.known["hub"] = {**HUB, "color": "red"}
        with pytest.raises(DocumentError, match=r"hub:1: color: extra inputs are not permitted"):
            Remote(gate.url, "hub", tmp_path / "kept")()
        gate.known["hub"] = HUB
        assert Remote(gate.url, "hub", tmp_path / "absent/kept")().name == "Hub"
        assert "what the service told can't be kept in" in caplog.text
    with pytest.raises(
        DocumentError, match="what a probe is told would cross the network in plain text; write ht"
    ):
        Remote("http://service.example", "hub", tmp_path / "kept")


def told(folder, **parameters):
    """Give the manifest of a probe as JSON has it."""
    return yaml.safe_load(manifest(folder, **parameters).read_text())


def looks(folder):
    return [one for one in sent(folder / "envelopes.ndjson") if one["kind"] == "system.memory"]


def test_a_probe_follows_a_service_over_tls_and_starts_without_it(tmp_path, monkeypatch):
    """The whole way: a role that may only read, another interval without a restart, and little memory."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "tls.key")
    own.cert_chain_pems[0].write_to_path(tmp_path / "tls.pem")
    tokens = tmp_path / "tokens"
    tokens.touch(mode=0o600)
    tokens.write_text(f"probe {'p' * 32}\nadmin {'a' * 32}\n")
    (tmp_path / "token").write_text("p" * 32)
    monkeypatch.setenv("RMS_PROBE_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("RMS_PROBE_CA", str(tmp_path / "ca.pem"))
    registry(tmp_path / "registry", load(manifest(tmp_path, collectors=SLOW), DataSourceManifest))
    options = (
        "--tls-certificate",
        tmp_path / "tls.pem",
        "--tls-key",
        tmp_path / "tls.key",
        "--tokens",
        tokens,
    )
    context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    with serving(tmp_path, *options, context=context) as service:
        with probing("hub", "--registry", service.url, cwd=tmp_path) as process:
            until(lambda: looks(tmp_path), "the first look")
            path = "/v1/documents/DataSourceManifest/hub"
            changed = json.dumps(told(tmp_path, collectors=FAST))
            assert service.ask("PUT", path, changed, token="p" * 32).status == 403
            assert service.ask("PUT", path, changed, token="a" * 32).body == {"changed": True}
            until(lambda: len(looks(tmp_path)) > 5, "more looks, at the new interval")
            said = Path(f"/proc/{process.pid}/status").read_text()
            assert int(said.split("VmHWM:")[1].split()[0]) < MEMORY
            maps = Path(f"/proc/{process.pid}/maps").read_text()
            assert "libarrow" not in maps
        url = service.url
    before = len(looks(tmp_path))
    process = start("hub", "--registry", url, cwd=tmp_path)
    until(lambda: len(looks(tmp_path)) > before + 2, "looks as it was told before")
    until(lambda: ("FAILED", "manifest") in states(tmp_path / "envelopes.ndjson"), "that it says so")
    code, said = end(process)
    assert code == 0
    assert "goes on with what it was told before (hub.manifest.json)" in said


def test_a_key_is_replaced_while_its_probe_runs(tmp_path):
    """Guards against a change of keys that loses envelopes, or that nobody can do without stopping a probe."""
    path = manifest(tmp_path, collectors=[])
    old = load(path, DataSourceManifest).trust.publicKey
    done = CliRunner().invoke(
        app, ["probe", "key", str(tmp_path / "next.key"), "--replaces", str(tmp_path / "hub.key")]
    )
    trust = Trust.model_validate(yaml.safe_load(done.stdout)["trust"])
    new = public_text(key.load(tmp_path / "next.key"))
    assert [one.publicKey for one in trust.known_keys] == [new, old]
    assert trust.formerKeys[0].validTo - trust.validFrom == key.CHANGE
    out = tmp_path / "envelopes.ndjson"

    def signed(public):
        return sum(Verifier(public).signed(line) for line in out.read_bytes().splitlines())

    with probing(path):
        until(lambda: out.exists() and signed(old) > 2, "envelopes of the old key")
        (tmp_path / "next.key").chmod(0o644)
        (tmp_path / "next.key").replace(tmp_path / "hub.key")
        until(lambda: ("FAILED", "key") in states(out), "that nobody else may read it")
        (tmp_path / "hub.key").chmod(0o600)
        until(lambda: signed(new) > 2, "envelopes of the new key")
    assert ("RUNNING", "key") in states(out)
    content = yaml.safe_load(path.read_text())
    content["trust"] = yaml.safe_load(done.stdout)["trust"]
    path.write_text(yaml.safe_dump(content))
    verified = CliRunner().invoke(app, ["probe", "verify", str(out), "--manifest", str(path)])
    assert verified.stdout.splitlines()[-1] == "nothing is wrong", verified.stdout
