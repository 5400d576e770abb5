"""All documents of an index into Arrow, against their bytes thrown away and against `helpers.scan` to dicts.

    make services &  # or any other node that may be written to
    python benchmarks/elasticsearch_read.py [--url http://localhost:9200] [--documents 400000] [--rounds 5]

The index `rms-benchmark-read` is made, one shard of log-ins of about 540 bytes in four spans of time, and
removed. One reader after the other takes its turn in each round; what is compared is within a round, by the
median of the rounds. Bytes are the same pages as ours. More slices are so many processes, each of which
reads spans of its own. Seconds are the clock's: the node works beside us, so a busy machine says little.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import msgspec
from elasticsearch import Elasticsearch, helpers

from rms_flows.errors import SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.elasticsearch import parts
from rms_flows.io.elasticsearch.cluster import LINES, Cluster
from rms_flows.io.elasticsearch.pages import Search, answers
from rms_flows.io.elasticsearch.source import ElasticsearchSource

INDEX = "rms-benchmark-read"
KEYWORDS = {"match_mapping_type": "string", "mapping": {"type": "keyword", "ignore_above": 1_024}}
BULK = 5_000


def fill(cluster: Cluster, index: str, mappings: Mapping[str, Any], documents: int) -> None:
    """Make an index of log-ins, one shard."""
    cluster.call("DELETE", f"/{index}", accept={404})
    settings = {"number_of_shards": 1, "number_of_replicas": 0, "refresh_interval": "-1"}
    text = {"dynamic_templates": [{"text": KEYWORDS}]}
    cluster.call("PUT", f"/{index}", {"settings": settings, "mappings": {**mappings, **text}})
    for first in range(0, documents, BULK):
        lines = b"\n".join(map(document, range(first, min(first + BULK, documents)))) + b"\n"
        cluster.call("POST", f"/{index}/_bulk", lines, form=LINES)
    cluster.call("POST", f"/{index}/_refresh")


def document(number: int) -> bytes:
    """Give a log-in, as two lines of a bulk request."""
    chance = random.Random(number)  # noqa: S311  made-up events
    own = f"{chance.getrandbits(128):032x}"
    when = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(milliseconds=100 * number + chance.randint(0, 5_000))
    event = {
        "@timestamp": when.isoformat().replace("+00:00", "Z"),
        "event.id": own,
        "event.dataset": "sshd.auth",
        "event.action": "ssh_login",
        "event.outcome": chance.choice(["failure", "success"]),
        "rms.source": "hub",
        "rms.origin": f"auth.log#{number}",
        "rms.trust": "unknown",
        "host.name": f"host-{number % 50}",
        "source.ip": f"10.0.{number % 200}.{number % 250}",
        "source.port": chance.randint(1_024, 65_535),
        "user.name": chance.choice(["root", "admin", "pi"]),
        "process.name": "sshd",
        "process.pid": number % 30_000,
        "message": f"Failed password for invalid user admin from 10.0.0.1 port 4242 ssh2 number {number}",
    }
    return b"%s\n%s" % (msgspec.json.encode({"create": {"_id": own}}), msgspec.json.encode(event))


def opened(url: str) -> ElasticsearchSource:
    """Open the index as flows do."""
    source = open_source(f"elasticsearch://{url.partition('://')[2]}/{INDEX}", base=Path())
    assert isinstance(source, ElasticsearchSource)
    return source


def bytes_of(url: str, fragments: Iterable[Fragment]) -> int:
    """Take the pages of some spans and throw them away; give their bytes."""
    cluster = Cluster(url, url, SourceError)
    searches = [Search(**msgspec.json.decode(dict(fragment.extra)["search"])) for fragment in fragments]
    return sum(len(answer) for search in searches for answer in answers(cluster, search))


def rows_of(url: str, fragments: Iterable[Fragment]) -> int:
    """Read some spans into Arrow; give their rows."""
    source, request = opened(url), Request()
    return sum(one.rows.num_rows for fragment in fragments for one in source.read(fragment, request))


def shared(pool: Executor, read: Callable[[Sequence[Fragment]], int], dealt: list[list[Fragment]]) -> int:
    """Let processes read so many slices side by side."""
    return sum(pool.map(read, dealt))


def timed(run: Callable[[], int]) -> float:
    """Give the seconds of one call."""
    began = time.perf_counter()
    assert run()
    return time.perf_counter() - began


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://localhost:9200", help="where a node answers")
    parser.add_argument("--documents", type=int, default=400_000, help="size of the index (400000)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each reader runs (5)")
    options = parser.parse_args()
    url, documents = options.url, options.documents
    fill(Cluster(url, url, SourceError), INDEX, {}, documents)
    parts.ROWS = documents // 4 + documents // 100  # four spans
    fragments = opened(url).fragments(Request())
    client = Elasticsearch(url)
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): ratios will be too low")
    with ProcessPoolExecutor(4, get_context("spawn")) as pool:
        runs: dict[str, Callable[[], int]] = {
            "bytes": partial(bytes_of, url, fragments),
            "ours, 1 slice": partial(rows_of, url, fragments),
            "helpers.scan": lambda: sum(1 for _ in helpers.scan(client, index=INDEX, size=10_000)),
        }
        for slices in (2, 4):
            dealt = [fragments[first::slices] for first in range(slices)]
            runs[f"bytes, {slices} slices"] = partial(shared, pool, partial(bytes_of, url), dealt)
            runs[f"ours, {slices} slices"] = partial(shared, pool, partial(rows_of, url), dealt)
        for run in runs.values():  # compiled loops are loaded, the node's and ours
            run()
        seconds = [{name: timed(run) for name, run in runs.items()} for _ in range(options.rounds)]
    for name in runs:
        middle = statistics.median(one[name] for one in seconds)
        ratio = statistics.median(one["bytes"] / one[name] for one in seconds)
        print(f"{name:18} {documents / middle:9,.0f} documents/s, {ratio:.2f} of bytes")
    scan = statistics.median(one["helpers.scan"] / one["ours, 1 slice"] for one in seconds)
    print(f"wanted: 1 slice at 0.85 of bytes or more, and ahead of helpers.scan ({scan:.1f} times)")
    Cluster(url, url, SourceError).call("DELETE", f"/{INDEX}")


if __name__ == "__main__":
    main()
