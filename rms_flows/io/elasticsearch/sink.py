"""Elasticsearch as a sink: observations in an index a day, threat reports in one index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cached_property

import msgspec
import pyarrow as pa

from rms_flows.errors import SinkError
from rms_flows.io.elasticsearch import mapping
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.bulk import Bulk
from rms_flows.io.elasticsearch.cluster import Cluster

_NO_TYPE = "mapper type [wildcard]"
_MISSING = {"ignore_unavailable": "true", "allow_no_indices": "true"}


class _Index(msgspec.Struct):
    index: str
    health: str
    docs: int | None = msgspec.field(name="docs.count")  # None where a part is not available


class _Count(msgspec.Struct):
    count: int


class ElasticsearchSink:
    """Stores observations in `INDEX-2026.01.31`, named by the day of the event, and reports in `INDEX`.

    Guarantee: a document's id is the event's or the report's, so what is written twice is there once. An
    observation that is there is left as it is; of a report the highest revision stays, in whatever order they
    come. What is acknowledged is on the cluster's disks. Unlike a file's, documents can be seen before the
    run commits: a run that failed has written a part of them, and the next one the rest.

    What a person adds to a report (status, assignee, notes) is no run's: it belongs into a document of its
    own, in the index `INDEX.people` under the report's id, which nothing here ever writes.

    Args:
        address: Where to.
    """

    def __init__(self, address: Address) -> None:
        self.address = address
        self.uri = address.uri

    @cached_property
    def _cluster(self) -> Cluster:
        return Cluster(self.address.url, self.uri, SinkError)

    def prepare(self) -> None:
        """See that the cluster is there, lets us in and takes our templates; raises SinkError."""
        self._cluster.check()
        for one in self._indices():
            if one.index == self.address.index and one.health == "red":
                raise SinkError(
                    f"the index {one.index} is red: a part of it is not available",
                    where=self.uri,
                    remedy="mend it (GET _cluster/allocation/explain says why), and run this again",
                )
        self._put_templates()

    def part(self, name: str) -> Part:
        """See `Sink.part`; parts are not told apart, as ids are."""
        del name
        return Part(Bulk(self._cluster, self.address.index))

    def log(self) -> ElasticsearchLog:
        """Give the same place for a stream."""
        return ElasticsearchLog(self)

    def commit(self) -> int:
        """Make all documents findable; give how many there are."""
        index = self.address.index
        self._cluster.call("POST", f"/{index},{index}-*/_refresh", query=_MISSING)
        reports = self._cluster.call("GET", f"/{index}/_count", query=_MISSING).json(_Count).count
        return reports + sum(one.docs or 0 for one in self._indices() if one.index != index)

    def abandon(self) -> None:
        """Leave what is stored: the next run finds it there."""

    def _indices(self) -> Iterator[_Index]:
        """List the indices that are ours."""
        index = self.address.index
        query = {"format": "json", "h": "index,health,docs.count"}
        listed = self._cluster.call("GET", f"/_cat/indices/{index}*", query=query)
        ours = re.compile(re.escape(index) + r"(-\d{4}\.\d\d\.\d\d|-undated)?")
        found = msgspec.json.decode(listed.body, type=list[_Index], strict=False)
        return (one for one in found if ours.fullmatch(one.index))

    def _put_templates(self) -> None:
        index = self.address.index
        for name, make in (("observations", mapping.observations), ("reports", mapping.reports)):
            path = f"/_index_template/rms_flows.{index}.{name}"
            said = self._cluster.call("PUT", path, make(index, wildcard=True), accept=(400,))
            if said.status == 400 and _NO_TYPE in str(said.failure):  # noqa: PLR2004  it was accepted as such
                said = self._cluster.call("PUT", path, make(index, wildcard=False))
            elif said.status != 200:  # noqa: PLR2004
                raise self._cluster.trouble(said.status, said.failure)


class Part:
    """Documents of one part; they are stored when it is closed."""

    def __init__(self, bulk: Bulk) -> None:
        self._bulk = bulk

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """See `Writer.write`."""
        return self._bulk.write(batch)

    def close(self) -> pa.RecordBatch:
        """See `Writer.close`."""
        return self._bulk.flush()


class ElasticsearchLog:
    """The same place as what a stream appends to."""

    def __init__(self, sink: ElasticsearchSink) -> None:
        self._sink = sink
        self._part: Part | None = None

    def open(self) -> None:
        """See `Log.open`."""
        self._sink.prepare()
        self._part = self._sink.part("")

    def write(self, batch: pa.RecordBatch) -> pa.RecordBatch | None:
        """See `Log.write`."""
        return self._part.write(batch) if self._part else None

    def flush(self) -> pa.RecordBatch | None:
        """See `Log.flush`."""
        return self._part.close() if self._part else None

    def close(self) -> None:
        """See `Log.close`."""
        self._part = None
