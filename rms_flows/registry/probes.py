"""What a registry says of whom a gateway has confirmed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rms_flows.errors import DocumentError
from rms_flows.model import DataSourceManifest, Trust
from rms_flows.registry.folder import FolderStore
from rms_flows.registry.registry import Registry


def probes(folder: Path) -> Mapping[str, Trust | None]:
    """Give what is known of each probe by its id, as the registry in a folder has it now.

    Raises:
        DocumentError: It has no probes, or one of its documents is not what it has to be.
    """
    found = {one.id: one.trust for one in Registry(FolderStore(folder)).all(DataSourceManifest)}
    if not found:
        raise DocumentError(
            "the registry has no DataSourceManifest",
            where=str(folder),
            remedy="name the folder that `rms registry apply` wrote to",
        )
    return found
