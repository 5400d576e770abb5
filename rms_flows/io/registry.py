"""Registries by the place that keeps them: a folder, or indices of Elasticsearch."""

from __future__ import annotations

from pathlib import Path

from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris
from rms_flows.io.elasticsearch.address import address
from rms_flows.io.elasticsearch.store import ElasticsearchStore
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
