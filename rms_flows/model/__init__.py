"""Everything that runs is described by a document: read here, checked, and exported as JSON Schema."""

from __future__ import annotations

from typing import Any

from rms_flows.model import documents
from rms_flows.model.actions import Actions
from rms_flows.model.documents import (
    ConfirmedProbe,
    ConfirmedProbes,
    DataSourceManifest,
    Document,
    Example,
    Key,
    OrchestratorInstance,
    Parameter,
    ProcessorDefinition,
    Trust,
)
from rms_flows.model.orchestrator import (
    Orchestrator,
    ProcessorEntry,
    SinkEntry,
    Source,
    expand,
    microseconds,
)
from rms_flows.model.poll import Poll
from rms_flows.model.read import MAX_SIZE, load, load_orchestrator, parse
from rms_flows.model.routes import Route, RouteTable
from rms_flows.model.truth import Incident, Truth

__all__ = [
    "MAX_SIZE",
    "Actions",
    "ConfirmedProbe",
    "ConfirmedProbes",
    "DataSourceManifest",
    "Document",
    "Example",
    "Incident",
    "Key",
    "Orchestrator",
    "OrchestratorInstance",
    "Parameter",
    "Poll",
    "ProcessorDefinition",
    "ProcessorEntry",
    "Route",
    "RouteTable",
    "SinkEntry",
    "Source",
    "Trust",
    "Truth",
    "expand",
    "json_schemas",
    "load",
    "load_orchestrator",
    "microseconds",
    "parse",
]

KINDS: tuple[type[Document], ...] = (
    Orchestrator,
    documents.DataKind,
    documents.DataInterface,
    documents.DataSourceDefinition,
    documents.DataSourceManifest,
    documents.ProcessorDefinition,
    documents.ProcessorManifest,
    documents.ProcessorOrchestrator,
    OrchestratorInstance,
    documents.Observation,
    documents.ThreatReport,
    documents.ConfirmedProbe,
    documents.ConfirmedProbes,
    RouteTable,
    Truth,
    Actions,
)
"""The documents that people and programs exchange."""


def json_schemas() -> dict[str, dict[str, Any]]:
    """Give the JSON Schema of each document by its name.

    Example:
        >>> json_schemas()["DataKind"]["required"]
        ['name', 'quantityKind']
    """
    return {kind.__name__: kind.model_json_schema(by_alias=True) for kind in KINDS}
