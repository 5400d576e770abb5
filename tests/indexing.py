"""Documents put into a real Elasticsearch node, as other programs do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from rms_flows.errors import SourceError
from rms_flows.io.elasticsearch.cluster import LINES, Cluster

ALONE = {"number_of_shards": 1, "number_of_replicas": 0}


def cluster(url: str) -> Cluster:
    return Cluster(url, url, SourceError)


def index(url: str, name: str, mappings: Mapping[str, Any] | None = None, **settings: Any) -> None:
    """Make an index; one that is there is removed."""
    node = cluster(url)
    node.call("DELETE", f"/{name}", accept={404})
    settings = {**ALONE, "index.mapping.total_fields.limit": 5_000, **settings}
    node.call("PUT", f"/{name}", {"settings": settings, "mappings": mappings or {}})


def fill(
    url: str, name: str, documents: Iterable[bytes | Mapping[str, Any]], ids: Iterable[str] = ()
) -> None:
    """Write documents to an index, made by its node where it is not there, and let them be found."""
    names = iter(ids)
    lines, size = [], 0

    def send() -> None:
        answer = cluster(url).call("POST", f"/{name}/_bulk", b"\n".join(lines) + b"\n", form=LINES).json(dict)
        assert not answer["errors"], next(i for i in answer["items"] if "error" in i["create"])

    for document in documents:
        own = next(names, None)
        source = document if isinstance(document, bytes) else json.dumps(document).encode()
        lines += [json.dumps({"create": {} if own is None else {"_id": own}}).encode(), source]
        size += len(source)
        if size > 4_000_000:
            send()
            lines, size = [], 0
    if lines:
        send()
    cluster(url).call("POST", f"/{name}/_refresh")
