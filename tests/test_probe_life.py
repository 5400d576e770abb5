"""The life of a probe: registered, found, told what to do, at work, told otherwise, killed, missed, revoked."""

import json
from datetime import UTC, datetime

from probing import SILENT, manifest, probing, registry, sent, start, until
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.model import DataSourceManifest, load

FLOW = """
orchestrator: life
sources:
  - id: probes
    format: probe
    archive: envelopes.ndjson
    probes: registry
    untrusted: quarantine
    unknown: quarantine
processors:
  - {id: silent, processor: sigma, inputs: [probes], parameters: {rules: [silent.yml]}}
sinks: [{id: reports, inputs: [silent], uri: reports.ndjson}]
"""


def rms(*words):
    done = CliRunner().invoke(app, [str(word) for word in words])
    assert done.exit_code == 0, done.output
    return done.output


def looks(folder):
    return [one for one in sent(folder / "envelopes.ndjson") if one["kind"] == "system.memory"]


def replayed(folder):
    """Replay all that it ever sent; give the reports and the dead letters."""
    aside = folder / "quarantine.ndjson"
    rms("replay", folder / "flow.yaml", "--to", "2100-01-01", "--dead-letters", aside, "-q")
    dead = sent(aside)
    aside.unlink(missing_ok=True)
    return sent(folder / "reports.ndjson"), dead


def test_the_life_of_a_probe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "flow.yaml").write_text(FLOW)
    (tmp_path / "silent.yml").write_text(SILENT.replace("TIME", "1m"))
    told = manifest(tmp_path, collectors=[{"collect": "memory", "interval": "1h"}])
    registry(tmp_path / "registry", load(told, DataSourceManifest))
    example = '{"dataSourceDefinition": {"dataKind": {"quantityKind": "any"}}}'
    [found] = json.loads(rms("registry", "discover", "DataSourceManifest", example, "--json"))
    assert found["document"]["id"] == "hub"

    with probing("hub", "--registry", "registry"):
        until(lambda: looks(tmp_path), "the first look")
        assert len(looks(tmp_path)) == 1
        told = manifest(tmp_path, collectors=[{"collect": "memory", "interval": "100ms"}])
        rms("registry", "update", "DataSourceManifest", told)
        until(lambda: len(looks(tmp_path)) > 5, "more looks, at the new interval")
    assert replayed(tmp_path)[1] == []

    process = start("hub", "--registry", "registry")
    before = len(looks(tmp_path))
    until(lambda: len(looks(tmp_path)) > before, "a look after the next start")
    process.kill()
    process.communicate()
    [report], dead = replayed(tmp_path)
    assert (report["rule.name"], report["rms.group"], dead) == (
        "A probe fell silent",
        '{"rms.source":"hub"}',
        [],
    )

    sure = len(sent(tmp_path / "envelopes.ndjson"))
    now = datetime.now(UTC).isoformat()
    told = manifest(
        tmp_path, trust={"revokedAt": now}, collectors=[{"collect": "memory", "interval": "100ms"}]
    )
    rms("registry", "update", "DataSourceManifest", told)
    with probing("hub", "--registry", "registry"):  # stolen, and still at work
        until(lambda: len(sent(tmp_path / "envelopes.ndjson")) > sure + 5, "what the thief sends")
    _, dead = replayed(tmp_path)
    assert {one["error.type"] for one in dead} == {"untrusted"}
    assert len(dead) == len([one for one in sent(tmp_path / "envelopes.ndjson") if one["@timestamp"] > now])
    history = rms("registry", "history", "DataSourceManifest", "hub")
    assert history.count("registry") >= 3  # what held at each time is known
