"""What a probe is told: the parameters of its manifest, from a file or from the registry."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, ValidationError, model_validator

from rms_flows.errors import DocumentError
from rms_flows.model import DataSourceManifest, Document, load, microseconds
from rms_flows.registry import FolderStore, Registry

_DURATION: Final = r"^[0-9]{1,9}(ms|s|m|h|d)$"
_REMEDY: Final = "docs/probe.md lists the parameters of a probe"


class Bounds(Document):
    """A value passes where it is beyond one of these."""

    gt: float | None = None
    gte: float | None = None
    lt: float | None = None
    lte: float | None = None

    def passed(self, value: Any) -> bool:
        """Tell whether a value is a number beyond one of the bounds."""
        if not isinstance(value, int | float) or isinstance(value, bool):
            return False
        return (
            (self.gt is not None and value > self.gt)
            or (self.gte is not None and value >= self.gte)
            or (self.lt is not None and value < self.lt)
            or (self.lte is not None and value <= self.lte)
        )


class Entry(Document):
    """What all collectors are told."""

    name: str | None = Field(default=None, min_length=1, description="Names it in what it reports.")
    interval: str = Field(default="10s", pattern=_DURATION, description="From one look to the next.")
    fields: tuple[str, ...] = Field(default=(), description="Only these are sent; `*` stands for any text.")
    thresholds: dict[str, Bounds] = Field(
        default_factory=dict, description="Only what passes one of these is sent."
    )

    @property
    def called(self) -> str:
        """Its name, else what it collects."""
        return self.name or str(getattr(self, "collect", ""))

    @property
    def seconds(self) -> float:
        """From one look to the next; at least a tenth."""
        return max(0.1, microseconds(self.interval) / 1e6)


class Cpu(Entry):
    """Load of the processors."""

    collect: Literal["cpu"]


class Memory(Entry):
    """Use of memory."""

    collect: Literal["memory"]


class Network(Entry):
    """Traffic of each interface."""

    collect: Literal["network"]


class Processes(Entry):
    """Processes that start and end, and those that use most."""

    collect: Literal["processes"]
    top: int = Field(default=5, ge=0, le=1000, description="How many of each are told of.")


class Tail(Entry):
    """Lines of a file that grows."""

    collect: Literal["tail"]
    interval: str = Field(default="1s", pattern=_DURATION)
    path: str = Field(pattern="^/", description="The file, from the root on.")
    from_start: bool = Field(default=False, description="At the first start, tell what is there already.")


class Command(Entry):
    """What a program says."""

    collect: Literal["command"]
    run: tuple[str, ...] = Field(min_length=1, description="Program and arguments; no shell reads them.")
    timeout: str = Field(default="10s", pattern=_DURATION, description="It is killed when it takes longer.")
    output: Literal["text", "json"] = Field(default="text", description="`json`: it says one JSON object.")


class Mqtt(Entry):
    """Messages of MQTT topics."""

    collect: Literal["mqtt"]
    interval: str = Field(default="1s", pattern=_DURATION)
    broker: str = Field(
        pattern=r"^mqtts?://[A-Za-z0-9._-]+(:[0-9]{1,5})?$", description="mqtt[s]://HOST[:PORT]."
    )
    topics: tuple[str, ...] = Field(min_length=1, description="With `+` and `#` as MQTT has them.")
    qos: Literal[0, 1, 2] = 0
    user: str | None = Field(default=None, min_length=1)
    password_file: str | None = Field(default=None, pattern="^/", description="File of the user's password.")
    authority: str | None = Field(default=None, pattern="^/", description="File of certificates to trust.")


Collected = Annotated[
    Cpu | Memory | Network | Processes | Tail | Command | Mqtt, Field(discriminator="collect")
]


class Settings(Document):
    """The parameters of a probe."""

    key: str = Field(min_length=1, description="File of the private key.")
    output: str = Field(min_length=1, description="Where envelopes go.")
    state: str = Field(default="probe-state", min_length=1, description="Folder of what is not yet sent.")
    spool: int = Field(
        default=64 * 1024 * 1024, ge=1024 * 1024, description="Bytes that wait for the output at most."
    )
    heartbeat: str = Field(default="30s", pattern=_DURATION)
    collectors: tuple[Collected, ...] = ()

    @model_validator(mode="after")
    def _named(self) -> Self:
        counts = Counter(one.called for one in self.collectors)
        if twice := sorted(name for name, count in counts.items() if count > 1):
            raise ValueError(f"two collectors are called {twice[0]!r}; give one of them another `name`")
        return self

    @property
    def beat(self) -> float:
        """Seconds from one heartbeat to the next; at least a tenth."""
        return max(0.1, microseconds(self.heartbeat) / 1e6)


def settings(manifest: DataSourceManifest, where: str) -> Settings:
    """Read the parameters of a manifest.

    Raises:
        DocumentError: One is unknown, missing, comes twice or is not what it has to be.
    """
    counts = Counter(one.key for one in manifest.parameters)
    if twice := sorted(key for key, count in counts.items() if count > 1):
        raise DocumentError(
            f"the parameter {twice[0]!r} comes twice", where=f"{where}: parameters", remedy="keep one of them"
        )
    try:
        return Settings.model_validate({one.key: one.value for one in manifest.parameters})
    except ValidationError as error:
        fault = error.errors()[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in fault["loc"])
        problem = fault["msg"].removeprefix("Value error, ")
        raise DocumentError(
            problem[0].lower() + problem[1:], where=f"{where}: parameters{path}", remedy=_REMEDY
        ) from None


Read = Callable[[], DataSourceManifest]
"""Reads the manifest of a probe as it is now; raises DocumentError."""


def from_file(path: Path) -> Read:
    """Read a manifest from a file."""
    return lambda: load(path, DataSourceManifest)


def from_registry(folder: str, name: str) -> Read:
    """Read the manifest of this id from the registry in a folder."""
    kept = Registry(FolderStore(folder))
    return lambda: kept.read(DataSourceManifest, name)


def from_service(uri: str, name: str) -> Read:
    """Read the manifest of this id from a service, such as `rms serve`; the last one is kept here."""
    from rms_flows.probe.remote import Remote, kept_in  # noqa: PLC0415  takes memory

    return Remote(uri, name, kept_in(Path(), name))
