"""The registry as who confirms probes: `trust` of their manifests."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rms_flows.confirm.contract import Told
from rms_flows.errors import DocumentError, MissingError, SourceError
from rms_flows.model import DataSourceManifest, Trust
from rms_flows.registry import FolderStore, Registry


class Manifests:
    """A registry.

    Args:
        place: The folder that `rms registry apply` wrote to, or what names another place in errors.
        registry: What is kept there; None where it is a folder.
    """

    def __init__(self, place: str | Path, registry: Registry | None = None) -> None:
        self.where = str(place)
        self._folder = Path(place) if registry is None else None
        self._registry = registry or Registry(FolderStore(place))

    def ask(self, probe: str, before: Told | None) -> Told:
        """See `ProbeTrust.ask`."""
        del before
        try:
            return Told(self._registry.read(DataSourceManifest, probe).trust)
        except MissingError:
            if self._folder is not None and not self._folder.is_dir():
                raise SourceError(
                    "the registry is not there", where=self.where, remedy="check path and rights"
                ) from None
            return Told(None)

    def all(self) -> Mapping[str, Trust | None]:
        """See `ProbeTrust.all`."""
        found = {one.id: one.trust for one in self._registry.all(DataSourceManifest)}
        if not found:
            raise DocumentError(
                "the registry has no DataSourceManifest",
                where=self.where,
                remedy="name the folder that `rms registry apply` wrote to",
            )
        return found
