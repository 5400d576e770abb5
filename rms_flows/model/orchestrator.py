"""The orchestrator in the form that people write, and the long form that it stands for."""

from __future__ import annotations

from collections import Counter
from graphlib import CycleError, TopologicalSorter
from typing import Any, Literal, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator, model_validator

from rms_flows.model.documents import (
    DataSourceManifest,
    Document,
    Location,
    ParameterValue,
    ProcessorManifest,
    ProcessorOrchestrator,
    Trust,
)

Id = str

Policy = Literal["annotate", "quarantine", "refuse"]
_POLICIES = (
    "annotate, that is let in with the verdict in rms.trust; quarantine, a dead letter to be read again "
    "after confirmation; refuse, a dead letter without what it said."
)


class Source(Document):
    """A data source: a probe that is deployed, where its data comes from and how that is read."""

    id: Id = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    name: str | None = None
    description: str | None = None
    kind: str | None = Field(default=None, description="Id of the data kind.")
    live: str | None = Field(default=None, description="URI that a stream opens.")
    archive: str | None = Field(default=None, description="URI that a replay opens.")
    format: str | None = Field(
        default=None, description="Name of the format; guessed from content unless told."
    )
    dataset: str | None = Field(default=None, description="event.dataset where the format does not know it.")
    year: int | None = Field(
        default=None, ge=1970, le=2200, description="Year of the first stamp without one."
    )
    timezone: str | None = Field(
        default=None, description="Zone of stamps without one, such as Europe/Madrid."
    )
    date_order: Literal["month-first", "day-first", "year-first"] | None = Field(
        default=None, description="Order of dates such as 07/05/2023; they are refused unless it is declared."
    )
    time_column: str | None = Field(default=None, description="Field that holds the time of the event.")
    delimiter: str | None = Field(
        default=None, min_length=1, max_length=1, description="Between cells of CSV."
    )
    keep_original: bool = Field(default=False, description="Keep each record's bytes as event.original.")
    max_record: int | None = Field(default=None, gt=0, description="Longest record in bytes.")
    swapped_roles: bool = Field(
        default=False,
        description="IoTAC reports name the victim as requestSource and the attacker as monitoredAssetIP.",
    )
    lateness: str = Field(
        default="30s",
        pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$",
        description="How far behind the latest event one may come, such as 30s; later ones are late.",
    )
    idle: str = Field(
        default="1m",
        pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$",
        description="In a stream: how long without an event until the others don't wait for it.",
    )
    max_ahead: str = Field(
        default="5m",
        pattern=r"^[0-9]{1,9}(ms|s|m|h|d)$",
        description="How far ahead of its reception, where that is known, the time of an event may be.",
    )
    location: Location | None = None
    trust: Trust | None = None
    probes: str | None = Field(
        default=None,
        min_length=1,
        description="Who confirms the probe, asked again and again: a folder of the registry or a file of "
        "devices (.yaml, .json, .csv), from the flow's folder on, or https:// of a gateway. Envelopes "
        "(format: probe) may be of several probes, whose public keys it has.",
    )
    untrusted: Policy = Field(
        default="annotate", description=f"Events of a time without confirmation: {_POLICIES}"
    )
    unknown: Policy = Field(default="annotate", description=f"Events of a probe never confirmed: {_POLICIES}")

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (ZoneInfoNotFoundError, ValueError, OSError):
                raise ValueError(
                    f"no time zone is called {zone!r}; write one such as Europe/Madrid"
                ) from None
        return zone

    @model_validator(mode="after")
    def _confirmed_once(self) -> Self:
        if self.probes is not None and self.trust is not None:
            raise ValueError("trust: and probes: both say who is confirmed; keep one of them")
        return self


_MICROSECONDS = {"ms": 1_000, "s": 1_000_000, "m": 60_000_000, "h": 3_600_000_000, "d": 86_400_000_000}


def microseconds(duration: str) -> int:
    """Give a duration, such as `Source.lateness`, in microseconds.

    Example:
        >>> microseconds("30s"), microseconds("5m")
        (30000000, 300000000)
    """
    unit = duration.lstrip("0123456789")
    return int(duration.removesuffix(unit)) * _MICROSECONDS[unit]


class ProcessorEntry(Document):
    """A processor of the flow: which one, what it reads, and its parameters."""

    id: Id = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    name: str | None = None
    processor: str = Field(description="Name of the processor's definition.")
    inputs: tuple[Id, ...] = Field(min_length=1, description="Ids of sources or of other processors.")
    parameters: dict[str, Any] = Field(default_factory=dict)


class SinkEntry(Document):
    """Where something goes."""

    id: Id = Field(min_length=1, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    inputs: tuple[Id, ...] = Field(min_length=1, description="Ids of processors or sources.")
    uri: str = Field(min_length=1)


class Orchestrator(Document):
    """A flow: sources, processors that form a graph without cycles, and sinks."""

    orchestrator: Id = Field(min_length=1, description="Id of the flow.")
    description: str | None = None
    sources: tuple[Source, ...] = Field(min_length=1)
    processors: tuple[ProcessorEntry, ...] = ()
    sinks: tuple[SinkEntry, ...] = ()

    @model_validator(mode="after")
    def _graph(self) -> Self:
        sources = [source.id for source in self.sources]
        processors = [processor.id for processor in self.processors]
        counts = Counter([*sources, *processors, *(sink.id for sink in self.sinks)])
        twice = sorted(name for name, count in counts.items() if count > 1)
        if twice:
            raise ValueError(f"the id {twice[0]!r} is given twice; ids of a flow are unique")
        known = {*sources, *processors}
        edges = [(entry.id, entry.inputs) for entry in self.processors]
        edges += [(sink.id, sink.inputs) for sink in self.sinks]
        for reader, inputs in edges:
            if len(set(inputs)) < len(inputs):
                raise ValueError(f"{reader!r} reads one of its inputs twice; name each once")
            for name in inputs:
                if name not in known:
                    raise ValueError(
                        f"{reader!r} reads {name!r}, which is neither a source nor a processor; "
                        f"there are {', '.join(sorted(known))}"
                    )
        self.in_order()
        return self

    def in_order(self) -> tuple[ProcessorEntry, ...]:
        """Give the processors so that each stands behind its inputs; raises ValueError for a cycle."""
        entries = {entry.id: entry for entry in self.processors}
        graph = {name: [i for i in entry.inputs if i in entries] for name, entry in entries.items()}
        try:
            return tuple(entries[name] for name in TopologicalSorter(graph).static_order())
        except CycleError as error:
            way = " → ".join(reversed(error.args[1]))
            raise ValueError(f"processors feed each other in a circle: {way}; a flow has none") from None


def expand(flow: Orchestrator) -> tuple[ProcessorOrchestrator, tuple[DataSourceManifest, ...]]:
    """Write a flow in its long form: the orchestrator, and the manifests of its sources."""
    sinks = {entry.id: tuple(s.uri for s in flow.sinks if entry.id in s.inputs) for entry in flow.processors}
    manifests = tuple(
        ProcessorManifest(
            id=entry.id,
            name=entry.name,
            processorDefinitionReferenceID=entry.processor,
            parameters=tuple(ParameterValue(key=key, value=value) for key, value in entry.parameters.items()),
            dataSources=entry.inputs,
            dataSink=sinks[entry.id],
        )
        for entry in flow.in_order()
    )
    shared = {"id", "name", "description", "location", "trust", "live", "archive", "kind"}
    sources = tuple(
        DataSourceManifest(
            id=source.id,
            name=source.name or source.id,
            description=source.description,
            dataSourceDefinitionReferenceID=source.kind or source.format or "any",
            parameters=tuple(
                ParameterValue(key=key, value=value)
                for key, value in source.model_dump(exclude=shared, exclude_defaults=True).items()
            ),
            location=source.location,
            trust=source.trust,
            live=source.live,
            archive=source.archive,
        )
        for source in flow.sources
    )
    whole = ProcessorOrchestrator(
        id=flow.orchestrator, name=flow.orchestrator, description=flow.description, processors=manifests
    )
    return whole, sources
