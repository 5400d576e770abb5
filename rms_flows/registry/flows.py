"""Flows that a registry holds: orchestrators as people write them, or in their long form."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from pydantic import ValidationError

from rms_flows.errors import DocumentError, MissingError
from rms_flows.model import DataSourceManifest, Orchestrator, ProcessorDefinition, ProcessorEntry, SinkEntry
from rms_flows.model import Source as SourceEntry
from rms_flows.model.documents import DataSourceDefinition, ProcessorManifest, ProcessorOrchestrator
from rms_flows.registry.registry import Registry

_OWN: Final = {"id", "name", "description", "kind", "live", "archive", "location", "trust"}
"""What a manifest says in fields of its own."""

_PARAMETERS: Final = frozenset(SourceEntry.model_fields) - _OWN


def flow(registry: Registry, name: str, at: datetime | None = None) -> Orchestrator:
    """Give the flow that an `Orchestrator` or a `ProcessorOrchestrator` describes.

    Of the long form each data source is a `DataSourceManifest`, whose parameters say how it is read
    (`format`, `year`, …; those of its probe are left out), each processor a `ProcessorManifest`, in the
    orchestrator or by itself, whose definition is called as a processor is, and `dataSink` lists URIs. Its
    sinks are called `sink-1`, `sink-2`, ….

    Args:
        registry: Holds them.
        name: Of the orchestrator.
        at: The time at which they held; now unless told.

    Raises:
        DocumentError: There is none, or it describes no flow that can run.
    """
    try:
        return registry.read(Orchestrator, name, at)
    except MissingError as missing:
        try:
            whole = registry.read(ProcessorOrchestrator, name, at)
        except MissingError:
            raise missing from None
    manifests = _manifests(registry, whole, at)
    ids = {one.id for one in manifests}
    sources = dict.fromkeys(one for each in manifests for one in each.dataSources if one not in ids)
    try:
        return Orchestrator(
            orchestrator=name,
            description=whole.description or whole.name,
            sources=tuple(_source(registry, one, at) for one in sources),
            processors=tuple(_processor(registry, one, at) for one in manifests),
            sinks=_sinks(manifests),
        )
    except ValidationError as error:
        fault = error.errors()[0]
        raise DocumentError(
            f"describes no flow that can run ({'.'.join(map(str, fault['loc']))}: "
            f"{fault['msg'].removeprefix('Value error, ')})",
            where=f"ProcessorOrchestrator {name}",
            remedy="mend it, or the manifests that it names",
        ) from None


def _manifests(
    registry: Registry, whole: ProcessorOrchestrator, at: datetime | None
) -> list[ProcessorManifest]:
    """Give the processors of an orchestrator, and those outside it that these read."""
    found = {one.id: one for one in whole.processors}
    waiting = [*whole.processors]
    while waiting:
        for name in waiting.pop().dataSources:
            if name in found or _has(registry, DataSourceManifest, name, at):
                continue
            found[name] = registry.read(ProcessorManifest, name, at)
            waiting.append(found[name])
    return [*found.values()]


def _has(registry: Registry, kind: type[DataSourceManifest], name: str, at: datetime | None) -> bool:
    try:
        registry.read(kind, name, at)
    except MissingError:
        return False
    return True


def _source(registry: Registry, name: str, at: datetime | None) -> SourceEntry:
    manifest = registry.read(DataSourceManifest, name, at)
    definition = registry.read(DataSourceDefinition, manifest.dataSourceDefinitionReferenceID, at)
    own: dict[str, Any] = {key: getattr(manifest, key) for key in _OWN - {"kind"}}
    told = {one.key: one.value for one in manifest.parameters if one.key in _PARAMETERS}
    return SourceEntry(**own, kind=definition.dataKindReferenceID, **told)


def _processor(registry: Registry, manifest: ProcessorManifest, at: datetime | None) -> ProcessorEntry:
    definition = registry.read(ProcessorDefinition, manifest.processorDefinitionReferenceID, at)
    return ProcessorEntry(
        id=manifest.id,
        name=manifest.name,
        processor=definition.name,
        inputs=manifest.dataSources,
        parameters={one.key: one.value for one in manifest.parameters},
    )


def _sinks(manifests: list[ProcessorManifest]) -> tuple[SinkEntry, ...]:
    feeding: dict[str, list[str]] = {}
    for one in manifests:
        for uri in one.dataSink:
            feeding.setdefault(uri, []).append(one.id)
    return tuple(
        SinkEntry(id=f"sink-{number}", inputs=tuple(inputs), uri=uri)
        for number, (uri, inputs) in enumerate(feeding.items(), 1)
    )
