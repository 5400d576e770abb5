"""The documents of the IoTAC RMS and its ancestor FAR-EDGE, in their long form; names are theirs."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from rms_flows.model.times import micros

DataType = Literal["string", "number", "integer", "boolean", "list", "object", "any"]
"""Type of a parameter's value."""


class Document(BaseModel):
    """A document: unknown keys are errors, and it does not change once it is read."""

    # Most programs use few of them: a validator is built when it is needed, and takes memory from then on.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


class Parameter(Document):
    """A parameter that a definition declares."""

    name: str = Field(min_length=1)
    description: str | None = None
    dataType: DataType = "any"
    unit: str | None = None
    defaultValue: Any = None
    required: bool = False


class ParameterValue(Document):
    """A parameter that a manifest sets."""

    key: str = Field(min_length=1)
    value: Any = None


class DataKind(Document):
    """What a value is: temperature, CPU load, a log-in."""

    id: str | None = None
    name: str
    description: str | None = None
    modelType: str | None = None
    format: str | None = None
    quantityKind: str
    unit: str | None = None


class DataInterface(Document):
    """How data is had."""

    id: str | None = None
    name: str
    description: str | None = None
    communicationProtocol: Literal["Kafka", "HTTP", "MQTT", "file", "Elasticsearch", "Parquet"]
    parameters: tuple[Parameter, ...] = ()


class DataSourceDefinition(Document):
    """A type of probe: its interface and the kind of its data."""

    id: str | None = None
    name: str
    description: str | None = None
    dataInterfaceReferenceID: str
    dataKindReferenceID: str

    @model_validator(mode="before")
    @classmethod
    def _of_far_edge(cls, content: Any) -> Any:
        """Take the older name, which is plural and may hold a list."""
        if not isinstance(content, dict) or "dataKindReferenceIDs" not in content:
            return content
        rest = {name: value for name, value in content.items() if name != "dataKindReferenceIDs"}
        kinds = content["dataKindReferenceIDs"]
        kinds = kinds if isinstance(kinds, list | tuple) else [kinds]
        if "dataKindReferenceID" in content or len(kinds) != 1:
            raise ValueError(
                f"a definition has one kind of data, not {len(kinds) + ('dataKindReferenceID' in content)}; "
                "write one definition for each"
            )
        return {**rest, "dataKindReferenceID": kinds[0]}


class Location(Document):
    """Where something is."""

    geoLocation: str | None = None
    virtualLocation: str | None = None


class Key(Document):
    """A key that a gateway confirmed, and from when to when that holds."""

    fingerprint: str | None = None
    publicKey: str | None = None
    validFrom: datetime | None = None
    validTo: datetime | None = None
    revokedAt: datetime | None = None

    @property
    def confirmed(self) -> bool:
        """Whether there is something that a gateway has confirmed."""
        return bool(self.fingerprint or self.publicKey)

    def covers(self, time: int, received: int | None = None) -> bool:
        """Tell whether an event was, and came, while the key was confirmed.

        Args:
            time: Microseconds since 1970, when it was.
            received: The same, when it reached us; None where nobody knows.
        """
        ends = [micros(one) for one in (self.validTo, self.revokedAt) if one is not None]
        begun = self.validFrom is None or micros(self.validFrom) <= time
        late = received is not None and self.revokedAt is not None and micros(self.revokedAt) <= received
        return begun and all(time < end for end in ends) and not late


class Trust(Key):
    """What a gateway confirmed of a probe: its key, and those that it had before."""

    formerKeys: tuple[Key, ...] = ()

    @property
    def known_keys(self) -> tuple[Key, ...]:
        """All that was confirmed of it, the newest first."""
        return tuple(one for one in (self, *self.formerKeys) if one.confirmed)


class ConfirmedProbe(Trust):
    """A probe that a gateway knows, as it tells of it."""

    id: str = Field(min_length=1)
    macAddress: str | None = None

    @property
    def trust(self) -> Trust:
        """What was confirmed of it."""
        return Trust.model_validate({name: getattr(self, name) for name in Trust.model_fields})


class ConfirmedProbes(Document):
    """All probes that a gateway knows."""

    probes: tuple[ConfirmedProbe, ...]


class DataSourceManifest(Document):
    """A probe that is deployed."""

    id: str
    name: str
    description: str | None = None
    macAddress: str | None = None
    dataSourceDefinitionReferenceID: str
    parameters: tuple[ParameterValue, ...] = ()
    location: Location | None = None
    trust: Trust | None = None
    live: str | None = None
    archive: str | None = None


class Example(Document):
    """Parameters as a manifest may set them, and what they are for."""

    description: str
    parameters: dict[str, Any]


class ProcessorDefinition(Document):
    """What a processor does and which parameters it takes."""

    id: str | None = None
    name: str
    description: str | None = None
    vendor: str | None = None
    version: str | None = None
    availability: str | None = None
    processorType: str | None = None
    inputKinds: tuple[str, ...] = ()
    outputKinds: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()
    examples: tuple[Example, ...] = ()


class ProcessorManifest(Document):
    """A processor that is to run: its definition, the values of its parameters, what it reads and feeds."""

    id: str
    name: str | None = None
    processorDefinitionReferenceID: str
    parameters: tuple[ParameterValue, ...] = ()
    dataSources: tuple[str, ...] = Field(min_length=1)
    dataSink: tuple[str, ...] = ()


class ProcessorOrchestrator(Document):
    """Processors that run together."""

    id: str | None = None
    name: str
    description: str | None = None
    processors: tuple[ProcessorManifest, ...]


class OrchestratorInstance(Document):
    """A flow that a program runs or ran: what is wanted of it, how it is, and where it is."""

    id: str = Field(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    orchestratorReferenceID: str
    state: Literal["STARTING", "RUNNING", "STOPPED", "FAILED"]
    wanted: Literal["RUNNING", "STOPPED"] = "RUNNING"
    since: datetime
    reason: str | None = None
    door: Literal["stream", "replay"]
    engine: str
    version: str | None = None
    host: str
    pid: int
    run: str = Field(description="Tells one start from the next.")


class Observation(Document):
    """A value that was observed."""

    id: str | None = None
    edgeGatewayReferenceID: str | None = None
    dataSourceManifestReferenceID: str | None = None
    dataKindReferenceID: str | None = None
    acquisitionTimestamp: datetime
    collectionTimestamp: datetime | None = None
    location: Location | None = None
    value: Any = None
    derivedFrom: tuple[str, ...] = ()


class Measurement(Document):
    """A named number in a threat report."""

    name: str
    value: float | None = None


class ThreatReportValue(Document):
    """What a threat report says."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    type: str
    monitoredAssetID: tuple[str, ...] = ()
    monitoredAssetIP: tuple[str, ...] = ()
    measurement: tuple[Measurement, ...] = ()
    requestSource: str | None = None
    timestamp: datetime | None = Field(default=None, alias="_timestamp")


class RuleReference(Document):
    """The rule that a threat report comes of."""

    id: str
    name: str | None = None
    author: str | None = None
    level: str | None = None
    tags: tuple[str, ...] = ()


class ThreatReport(Document):
    """An observation whose value is a threat."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    id: str
    dataSourceID: str | None = None
    systemID: str | None = None
    reportType: str | None = None
    timestamp: datetime = Field(alias="_timestamp")
    location: str | None = None
    value: ThreatReportValue
    rule: RuleReference | None = None
    group: str | None = None
    firstEvent: datetime | None = None
    lastEvent: datetime | None = None
    count: int = 1
    evidence: tuple[str, ...] = ()
    status: str = "open"
    revision: int = 1
