"""Batches into an index by our sink, against `helpers.streaming_bulk` from dicts and bodies made beforehand.

    make services &  # or any other node that may be written to
    python benchmarks/elasticsearch_write.py [--url http://localhost:9200] [--documents 100000] [--wide 150]

Each writer writes the same events, log-ins of about 540 bytes or as many of them with further columns, into
indices of its own with the template of our sink, and what each wrote is counted. Bodies are as large as ours
and two are under way, as with ours. One writer after the other takes its turn in each round; what is compared
is within a round, by the median of the rounds. Seconds are the clock's: the node works beside us, so a busy
machine says little.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
from elasticsearch import Elasticsearch, helpers
from elasticsearch_read import document

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io import open_sink
from rms_flows.io.elasticsearch.bulk import BODY, IN_FLIGHT
from rms_flows.io.elasticsearch.cluster import LINES, Cluster

NAME = "rms-benchmark-write"
ROWS = 10_000
WANTED = {"streaming_bulk": 1.5, "raw": 0.85}

Event = dict[str, Any]


def events(count: int, wide: int) -> list[Event]:
    """Make log-ins, each with as many further columns as are asked for."""
    more = {f"winlog.event_data.field{n}": f"value {n} of a field" for n in range(wide)}
    return [msgspec.json.decode(document(number).split(b"\n")[1]) | more for number in range(count)]


def batches(made: list[Event]) -> list[pa.RecordBatch]:
    """Give the events as the corridor does."""
    names = [*made[0]]
    kinds = pa.schema([(name, schema.field_type(name)) for name in names])
    found = []
    for first in range(0, len(made), ROWS):
        part = made[first : first + ROWS]
        columns = [pa.array([one[name] for one in part]) for name in names]
        arrays = [column.cast(kind.type) for column, kind in zip(columns, kinds, strict=True)]
        found.append(pa.RecordBatch.from_arrays(arrays, schema=kinds))
    return found


def ours(url: str, index: str, rows: list[pa.RecordBatch]) -> None:
    """Write as flows do."""
    part = sink(url, index).part("")
    for batch in rows:
        assert not part.write(batch).num_rows
    assert not part.close().num_rows


def sink(url: str, index: str) -> Any:
    """Open a sink of ours."""
    return open_sink(f"elasticsearch://{url.partition('://')[2]}/{index}", base=Path())


def actions(made: list[Event], index: str) -> Iterator[Event]:
    """Give what `helpers` wants: a day's index, an id and the document."""
    for one in made:
        day = one["@timestamp"][:10].replace("-", ".")
        yield {"_op_type": "create", "_index": f"{index}-{day}", "_id": one["event.id"], "_source": one}


def streaming_bulk(client: Elasticsearch, index: str, made: list[Event]) -> None:
    """Write dicts as most programs do, as fast as its options allow."""
    for done, said in helpers.streaming_bulk(
        client, actions(made, index), chunk_size=5_000, max_chunk_bytes=BODY
    ):
        assert done, said


def bodies(made: list[Event], index: str) -> list[bytes]:
    """Make the bodies of raw calls."""
    found: list[list[bytes]] = [[]]
    size = 0
    for one in actions(made, index):
        named = {"create": {"_index": one["_index"], "_id": one["_id"]}}
        lines = msgspec.json.encode(named) + b"\n" + msgspec.json.encode(one["_source"]) + b"\n"
        if size + len(lines) > BODY:
            found.append([])
            size = 0
        found[-1].append(lines)
        size += len(lines)
    return [b"".join(lines) for lines in found]


def raw(cluster: Cluster, made: list[bytes]) -> None:
    """Send bodies and look at nothing but whether all went well."""

    def send(body: bytes) -> None:
        said = cluster.call("POST", "/_bulk", body, {"filter_path": "errors"}, form=LINES)
        assert not said.json(dict)["errors"]

    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        for _ in pool.map(send, made):
            pass


def remove(cluster: Cluster, index: str) -> None:
    """Remove the days of an index, which a server does one by one."""
    listed = cluster.call("GET", f"/_cat/indices/{index}-*", query={"format": "json", "h": "index"})
    for one in listed.json(list):
        cluster.call("DELETE", f"/{one['index']}")


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://localhost:9200", help="where a node answers")
    parser.add_argument("--documents", type=int, default=100_000, help="how many are written (100000)")
    parser.add_argument("--wide", type=int, default=0, help="further columns of each (0)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each writer runs (5)")
    options = parser.parse_args()
    cluster, client = Cluster(options.url, options.url, SinkError), Elasticsearch(options.url)
    made = events(options.documents, options.wide)
    rows = batches(made)
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): ratios will be too low")
    seconds: dict[str, list[float]] = {"ours": [], "streaming_bulk": [], "raw": []}
    for number in range(options.rounds + 1):
        for name, took in seconds.items():
            index = f"{NAME}-{name.replace('_', '-')}"
            remove(cluster, index)
            sink(options.url, index).prepare()
            write: Callable[[], None] = {
                "ours": partial(ours, options.url, index, rows),
                "streaming_bulk": partial(streaming_bulk, client, index, made),
                "raw": partial(raw, cluster, bodies(made, index)),
            }[name]
            began = time.perf_counter()
            write()
            if number:  # the first round warms up
                took.append(time.perf_counter() - began)
            cluster.call("POST", f"/{index}-*/_refresh")
            count = cluster.call("GET", f"/{index}-*/_count").json(dict)["count"]
            assert count == options.documents, f"{name} wrote {count} documents"
            remove(cluster, index)
    for name, took in seconds.items():
        ratio = statistics.median(other / own for other, own in zip(took, seconds["ours"], strict=True))
        rate = f"{options.documents / statistics.median(took):8,.0f} documents/s"
        wanted = f", wanted {WANTED[name]}" if name in WANTED else ""
        print(f"{name:15} {rate}; ours {ratio:.2f} times{wanted}")
    for name in seconds:
        for kind in ("observations", "reports"):
            cluster.call("DELETE", f"/_index_template/rms_flows.{NAME}-{name.replace('_', '-')}.{kind}")


if __name__ == "__main__":
    main()
