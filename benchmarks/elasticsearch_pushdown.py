"""A pack of rules over an index in which it is true of one event in a hundred: with pushdown and without.

    make services &  # or any other node that may be written to
    python benchmarks/elasticsearch_pushdown.py [--url http://localhost:9200] [--documents 1000000]

The index `rms-benchmark-pushdown` is made, one shard of log-ins of about 540 bytes, and removed. Each run is
a whole `rms detect`, from the rules' files to the reports' file; both take turns, after a round that is not
counted, and both have to give the same reports. The ratio is that of the medians of the clock's seconds.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import yaml
from elasticsearch_read import fill

from rms_flows.errors import SourceError
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.replay import detect

INDEX = "rms-benchmark-pushdown"
WANTED = 5.0
FEW = {
    "host.name": "Host-7",
    "event.outcome": "FAILURE",
}
"""True of one event in a hundred."""

OURS = {
    "_meta": {"rms_flows": "observations"},
    "subobjects": False,
    "properties": {"@timestamp": {"type": "date"}, "source.ip": {"type": "ip"}},
}
"""As our sink does it."""

RARE = (
    {"message|contains": "number 4242"},
    {"message|endswith": "number 7"},
    {"message|contains|all": ["invalid user", "number 9999"]},
    {"source.ip|cidr": "10.0.199.248/30"},
    {"source.ip|startswith": "10.0.77.7", "user.name": "PI"},
    {"user.name": "nobody"},
    {"process.pid|lt": 5, "event.outcome": "failure"},
    {"message|re": "number 31[0-9]{2}$"},
    {"host.name|contains": "host-51"},
)


def pack(folder: Path) -> Path:
    """Write the rules."""
    rules = [
        {
            "title": f"Rule {number}",
            "id": f"11111111-0000-4000-8000-{number:012}",
            "logsource": {"product": "linux", "service": "sshd"},
            "detection": {"selection": selection, "condition": "selection"},
        }
        for number, selection in enumerate((FEW, *RARE))
    ]
    file = folder / "rules.yml"
    file.write_text(yaml.safe_dump_all(rules))
    return file


def run(url: str, rules: Path, out: Path, *, pushdown: bool) -> float:
    """Run once; give the seconds."""
    source = f"elasticsearch://{url.partition('://')[2]}/{INDEX}"
    began = time.perf_counter()
    detect([rules], source=source, sink=str(out), routing=False, pushdown=pushdown)
    return time.perf_counter() - began


def main() -> None:
    """Print seconds and the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--url", default="http://localhost:9200", help="the node (http://localhost:9200)")
    parser.add_argument("--documents", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (3)")
    options = parser.parse_args()
    cluster = Cluster(options.url, options.url, SourceError)
    fill(cluster, INDEX, OURS, options.documents)
    took: dict[str, list[float]] = {"with pushdown": [], "without": []}
    try:
        with tempfile.TemporaryDirectory() as aside:
            rules, given = pack(Path(aside)), {}
            for number in range(options.rounds + 1):
                for name, seconds in took.items():
                    out = Path(aside) / "out.ndjson"
                    seconds.append(run(options.url, rules, out, pushdown=name == "with pushdown"))
                    given[name] = out.read_bytes()
                if not number:
                    for seconds in took.values():
                        seconds.clear()
            assert given["with pushdown"] == given["without"]
            reports = given["without"].count(b"\n")
    finally:
        cluster.call("DELETE", f"/{INDEX}", accept={404})
    middle = {name: statistics.median(seconds) for name, seconds in took.items()}
    for name, seconds in middle.items():
        print(f"{name:14} {seconds:6.1f} s, {reports:,} reports of {options.documents:,} documents")
    ratio = middle["without"] / middle["with pushdown"]
    print(f"pushdown is {ratio:.1f} times as fast (wanted: {WANTED:g})")


if __name__ == "__main__":
    main()
