"""What lies in an Elasticsearch: read by the plainest calls, for tests to compare."""

from __future__ import annotations

from typing import Any

from rms_flows.errors import SinkError
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.sink import ElasticsearchSink

PAGE = 10_000


def cluster(url: str) -> Cluster:
    return Cluster(url, "test", SinkError)


def sink(url: str, index: str) -> ElasticsearchSink:
    return ElasticsearchSink(Address(url, index))


def uri(url: str, index: str) -> str:
    return Address(url, index).uri


def documents(url: str, pattern: str) -> dict[str, dict[str, Any]]:
    """Give id → document of all indices that fit; no more than a page of them, and no id twice."""
    here = cluster(url)
    here.call("POST", f"/{pattern}/_refresh")
    hits = here.call("GET", f"/{pattern}/_search", {"size": PAGE}).json(dict)["hits"]["hits"]
    assert len(hits) < PAGE
    found = {hit["_id"]: hit["_source"] for hit in hits}
    assert len(found) == len(hits)
    return found


def ids(url: str, pattern: str) -> list[str]:
    """Give the ids of any number of documents, each as often as it is there."""
    here = cluster(url)
    here.call("POST", f"/{pattern}/_refresh")
    found: list[str] = []
    pit = here.call("POST", f"/{pattern}/_pit", query={"keep_alive": "1m"}).json(dict)["id"]
    after: list[Any] | None = None
    while True:
        query = {
            "size": PAGE,
            "_source": False,
            "sort": ["_shard_doc"],
            "pit": {"id": pit, "keep_alive": "1m"},
        }
        page = here.call("POST", "/_search", {**query, **({"search_after": after} if after else {})}).json(
            dict
        )
        hits = page["hits"]["hits"]
        if not hits:
            return found
        found += [hit["_id"] for hit in hits]
        after = hits[-1]["sort"]
