"""Flows that come out of a registry: those that FAR-EDGE's documents describe run as ours do."""

import json
from datetime import UTC, datetime, timedelta

import pytest
import yaml
from evented import lines
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.errors import DocumentError, MissingError
from rms_flows.io.registry import registry as opened
from rms_flows.model import expand, parse
from rms_flows.model.documents import (
    DataInterface,
    DataKind,
    DataSourceDefinition,
    DataSourceManifest,
    Observation,
    ParameterValue,
    ProcessorOrchestrator,
)
from rms_flows.model.orchestrator import Orchestrator
from rms_flows.processors import processors
from rms_flows.registry import flow

DOCUMENTS = """
DataKind/t.yaml: {id: t, name: Temperature, description: Of rooms, modelType: scalar, format: json,
  quantityKind: temperature, unit: °C}
DataInterface/i.yaml: {id: i, name: Broker, communicationProtocol: MQTT, parameters: [
  {name: topic, description: Where it speaks, dataType: string, defaultValue: rooms}]}
DataSourceDefinition/d.yaml: {id: d, name: Thermometer, dataInterfaceReferenceID: i, dataKindReferenceIDs: [t]}
DataSourceManifest/kitchen.yaml: {id: kitchen, name: Kitchen, macAddress: "00:00:5e:00:53:01",
  dataSourceDefinitionReferenceID: d, location: {virtualLocation: kitchen}, archive: kitchen.ndjson,
  parameters: [{key: topic, value: rooms/kitchen}, {key: format, value: json}]}
DataSourceManifest/cellar.yaml: {id: cellar, name: Cellar, dataSourceDefinitionReferenceID: d,
  archive: cellar.ndjson, parameters: [{key: format, value: json}, {key: lateness, value: 1m}]}
AnalyticsProcessorDefinition/f.yaml: {id: f-1, name: filter, description: Compares, vendor: them, version: "1"}
AnalyticsProcessorDefinition/p.yaml: {id: p-1, name: transform}
AnalyticsProcessorManifest/warm.yaml: {id: warmer, name: In Kelvin, processorDefinitionReferenceID: p-1,
  dataSources: [cellar], parameters: [{key: steps, value: [
    {convert: {field: temperature, from: °C, to: K}}]}]}
AnalyticsManifest/m.yaml: {id: rooms, name: Rooms, description: Too hot, processors: [
  {id: hot, processorDefinitionReferenceID: f-1, dataSources: [kitchen], dataSink: [reports.ndjson],
   parameters: [{key: field, value: temperature}, {key: operator, value: GT}, {key: threshold, value: 30}]},
  {id: hotter, processorDefinitionReferenceID: f-1, dataSources: [warmer], dataSink: [reports.ndjson, hotter.ndjson],
   parameters: [{key: field, value: temperature}, {key: operator, value: GT}, {key: threshold, value: 310}]}]}
DataSet/s.yaml: {id: s, dataSourceManifestReferenceID: kitchen, dataKindReferenceID: t, value: 21.5,
  acquisitionTimestamp: "2026-01-01T00:00:00Z", collectionTimestamp: "2026-01-01T00:00:01Z"}
LiveDataSet/l.yaml: {id: l, dataSourceManifestReferenceID: kitchen, value: 22,
  acquisitionTimestamp: "2026-01-01T00:00:00Z"}
"""
OURS = """
orchestrator: rooms
description: Too hot
sources:
  - {id: kitchen, name: Kitchen, kind: t, format: json, archive: kitchen.ndjson, location: {virtualLocation: kitchen}}
  - {id: cellar, name: Cellar, kind: t, format: json, archive: cellar.ndjson, lateness: 1m}
processors:
  - {id: hot, processor: filter, inputs: [kitchen], parameters: {field: temperature, operator: GT, threshold: 30}}
  - {id: hotter, processor: filter, inputs: [warmer], parameters: {field: temperature, operator: GT, threshold: 310}}
  - id: warmer
    name: In Kelvin
    processor: transform
    inputs: [cellar]
    parameters: {steps: [{convert: {field: temperature, from: °C, to: K}}]}
sinks:
  - {id: sink-1, inputs: [hot, hotter], uri: reports.ndjson}
  - {id: sink-2, inputs: [hotter], uri: hotter.ndjson}
"""


@pytest.fixture
def house(tmp_path, monkeypatch):
    """A folder with the documents, and what the probes measured."""
    monkeypatch.chdir(tmp_path)
    for place, content in yaml.safe_load(DOCUMENTS).items():
        path = tmp_path / "documents" / place
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(content))
    for name, degrees in (("kitchen", (21, 31, 35)), ("cellar", (12, 40, 13))):
        rows = [
            {"@timestamp": f"2026-01-01T00:0{at}:00Z", "temperature": one} for at, one in enumerate(degrees)
        ]
        (tmp_path / f"{name}.ndjson").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def rms(*words):
    done = CliRunner().invoke(app, [*words])
    if done.exception and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.stdout


def reports(path):
    return {one["event.id"]: one for one in lines(path)}


def test_documents_of_far_edge_are_imported_and_their_flow_runs_as_ours_does(house):
    assert rms("registry", "apply", "documents").count("\n") == 11
    registry = opened("registry")
    assert {one.id for one in registry.all(Observation)} == {"s", "l"}
    assert registry.discover(DataSourceManifest, {"dataSourceDefinition": {"dataKind": {"unit": "°C"}}})
    ours = parse(OURS.encode(), Orchestrator, "ours")
    assert flow(registry, "rooms") == ours

    rms("replay", "rooms", "--registry", "registry", "--quiet")
    found = reports(house / "reports.ndjson")
    assert sorted((one["rms.source"], one["rule.name"]) for one in found.values()) == [
        ("cellar", "hotter"), ("kitchen", "hot"), ("kitchen", "hot"),
    ]  # fmt: skip
    assert {one["@timestamp"] for one in found.values()} >= {"2026-01-01T00:01:00.000000Z"}
    (house / "ours.yaml").write_text(OURS)
    rms("replay", "ours.yaml", "--quiet", "--sink", "sink-1=ours.ndjson")
    assert reports(house / "ours.ndjson") == found
    [run] = json.loads(rms("engine", "list", "--json"))
    assert (run["id"], run["state"], run["door"]) == ("rooms.replay", "STOPPED", "replay")


def test_a_replay_sees_the_documents_as_they_were(house):
    rms("registry", "apply", "documents")
    then = opened("registry").history(ProcessorOrchestrator, "rooms")[0].since + 1
    path = house / "documents/AnalyticsManifest/m.yaml"
    path.write_text(path.read_text().replace("value: 30\n", "value: 50\n"))
    rms("registry", "apply", "documents")
    at = (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=then)).isoformat()
    for words, count in (((), 1), (("--at", at), 3)):
        rms("replay", "rooms", "--registry", "registry", "--quiet", *words)
        assert len(reports(house / "reports.ndjson")) == count
    with pytest.raises(MissingError, match="no Orchestrator is called 'rooms' at 2001"):
        rms("replay", "rooms", "--registry", "registry", "--at", "2001-01-01")


def test_the_long_form_of_a_flow_means_the_same(tmp_path):
    ours = parse(OURS.encode(), Orchestrator, "ours")
    whole, manifests = expand(ours)
    registry = opened(str(tmp_path))
    registry.apply(
        [
            DataKind(id="t", name="t", quantityKind="temperature"),
            DataInterface(id="i", name="i", communicationProtocol="file"),
            DataSourceDefinition(id="t", name="t", dataInterfaceReferenceID="i", dataKindReferenceID="t"),
            *(one.definition for one in processors().values()),
            *manifests,
            whole,
        ]
    )
    again = flow(registry, "rooms")
    assert again.sources == ours.sources
    assert {one.id: one for one in again.processors} == {one.id: one for one in ours.processors}
    assert {(one.uri, frozenset(one.inputs)) for one in again.sinks} == {
        (one.uri, frozenset(one.inputs)) for one in ours.sinks
    }


def test_what_describes_no_flow_is_told(house):
    rms("registry", "apply", "documents")
    registry = opened("registry")
    soon = (ParameterValue(key="lateness", value="soon"),)
    registry.change(DataSourceManifest, "cellar", lambda one: one.model_copy(update={"parameters": soon}))
    with pytest.raises(
        DocumentError,
        match=r"ProcessorOrchestrator rooms: describes no flow that can run \(lateness: .*mend it",
    ):
        flow(registry, "rooms")
    with pytest.raises(MissingError, match="no Orchestrator is called 'home'"):
        flow(registry, "home")
