"""What a registry keeps: kinds of documents, what they are called, and what refers to what."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from rms_flows.errors import MissingError
from rms_flows.model import Document, documents
from rms_flows.model.orchestrator import Orchestrator

KINDS: Final[Mapping[str, type[Document]]] = {
    kind.__name__: kind
    for kind in (
        documents.DataKind,
        documents.DataInterface,
        documents.DataSourceDefinition,
        documents.DataSourceManifest,
        documents.ProcessorDefinition,
        documents.ProcessorManifest,
        documents.ProcessorOrchestrator,
        Orchestrator,
        documents.OrchestratorInstance,
        documents.Observation,
    )
}
"""Kinds by name, what is referred to before what refers to it."""

ALIASES: Final[Mapping[str, str]] = {
    "DataSet": "Observation",
    "LiveDataSet": "Observation",
    "AnalyticsProcessorDefinition": "ProcessorDefinition",
    "AnalyticsProcessorManifest": "ProcessorManifest",
    "AnalyticsManifest": "ProcessorOrchestrator",
}
"""What FAR-EDGE called them."""

NAMES: Final[Mapping[str, type[Document]]] = {**KINDS, **{old: KINDS[new] for old, new in ALIASES.items()}}
"""Kinds by all of their names."""


def kind_called(name: str) -> str:
    """Give the name of a kind by any of its names.

    Raises:
        MissingError: No kind is called so.

    Example:
        >>> kind_called("AnalyticsManifest")
        'ProcessorOrchestrator'
    """
    if name not in NAMES:
        raise MissingError(f"no document is called {name!r}", remedy=f"a registry keeps {', '.join(KINDS)}")
    return NAMES[name].__name__


def identity(document: Document) -> str | None:
    """Give the id of a document; None where it has none yet."""
    found: str | None = getattr(document, "orchestrator" if isinstance(document, Orchestrator) else "id")
    return found


class Reference(NamedTuple):
    """A place where a document names others.

    Args:
        field: Where the ids stand.
        kinds: What they may be ids of; the first that has one counts.
        embedded: Under which name an expanded read shows what they are ids of.
    """

    field: str
    kinds: tuple[str, ...]
    embedded: str


_MANIFEST: Final = (
    Reference("processorDefinitionReferenceID", ("ProcessorDefinition",), "processorDefinition"),
    Reference("dataSources", ("DataSourceManifest", "ProcessorManifest"), "dataSourceManifests"),
)

REFERENCES: Final[Mapping[str, tuple[Reference, ...]]] = {
    "DataSourceDefinition": (
        Reference("dataInterfaceReferenceID", ("DataInterface",), "dataInterface"),
        Reference("dataKindReferenceID", ("DataKind",), "dataKind"),
    ),
    "DataSourceManifest": (
        Reference("dataSourceDefinitionReferenceID", ("DataSourceDefinition",), "dataSourceDefinition"),
    ),
    "ProcessorManifest": _MANIFEST,
    "OrchestratorInstance": (
        Reference("orchestratorReferenceID", ("Orchestrator", "ProcessorOrchestrator"), "orchestrator"),
    ),
    "Observation": (
        Reference("dataSourceManifestReferenceID", ("DataSourceManifest",), "dataSourceManifest"),
        Reference("dataKindReferenceID", ("DataKind",), "dataKind"),
    ),
}


class Named(NamedTuple):
    """A reference of one document to another.

    Args:
        place: Path of it in the document.
        kinds: What it may be an id of.
        id: What is referred to.
    """

    place: str
    kinds: tuple[str, ...]
    id: str


def references(document: Document) -> Iterator[Named]:
    """Give what a document refers to outside itself."""
    if isinstance(document, documents.ProcessorOrchestrator):
        own = {one.id for one in document.processors}
        for number, manifest in enumerate(document.processors):
            for named in references(manifest):
                if named.id not in own or "ProcessorManifest" not in named.kinds:
                    yield named._replace(place=f"processors[{number}].{named.place}")
        return
    for reference in REFERENCES.get(type(document).__name__, ()):
        value = getattr(document, reference.field)
        if isinstance(value, tuple):
            for number, one in enumerate(value):
                yield Named(f"{reference.field}[{number}]", reference.kinds, one)
        elif value is not None:
            yield Named(reference.field, reference.kinds, value)
