"""Registries by the place that keeps them: a folder, or indices of Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris
from rms_flows.io.elasticsearch.address import address
from rms_flows.io.elasticsearch.store import ElasticsearchStore
from rms_flows.model import DataSourceManifest, Trust
from rms_flows.registry import FolderStore, Registry

_SCHEMES = ("elasticsearch", "elasticsearch+https")


def registry(place: str, base: Path = Path()) -> Registry:
    """Open a registry; nothing is read yet.

    Args:
        place: A folder, or `elasticsearch[+https]://HOST/PREFIX`.
        base: Where a relative folder begins.

    Raises:
        DocumentError: It names another kind of place, or the indices can't have such names.

    Example:
        >>> registry("kafka://localhost/documents")
        Traceback (most recent call last):
        ...
        rms_flows.errors.DocumentError: kafka://localhost/documents: no registry can be there; write a \
folder, or elasticsearch://HOST/PREFIX
    """
    if "://" not in place:
        return Registry(FolderStore(base / place))
    split = uris.split(place, base)
    if split.scheme not in _SCHEMES or split.query:
        raise DocumentError(
            "no registry can be there", where=place, remedy="write a folder, or elasticsearch://HOST/PREFIX"
        )
    return Registry(ElasticsearchStore(address(split)))


def probes(place: str, base: Path = Path()) -> Mapping[str, Trust | None]:
    """Give what a registry says now of each probe by its id: whom a gateway has confirmed.

    Args:
        place: See `registry`.
        base: Likewise.

    Raises:
        DocumentError: It has no probes, or one of its documents is not what it has to be.
    """
    found = {one.id: one.trust for one in registry(place, base).all(DataSourceManifest)}
    if not found:
        raise DocumentError(
            "the registry has no DataSourceManifest",
            where=place if "://" in place else str(base / place),
            remedy="name the place that `rms registry apply` wrote to",
        )
    return found
