"""Start real servers for a person, until Ctrl-C: `make services`."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from servers.elasticsearch_node import Node
from servers.flink_cluster import Cluster
from servers.home import MissingToolError
from servers.kafka_broker import Broker

SERVERS = ("elasticsearch", "kafka", "flink")


def main() -> None:
    """Start what was named, say where it is, and end with the person's wish."""
    options = _options()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with ExitStack() as stack:
        temporary = stack.enter_context(TemporaryDirectory(prefix="rms-services-"))
        folder = (options.data or Path(temporary)).resolve()
        try:
            for name in options.servers or SERVERS:
                print(_start(stack, name, folder / name, options), flush=True)
            print("Ctrl-C ends all.", flush=True)
            signal.pause()
        except KeyboardInterrupt:
            pass
        except (MissingToolError, RuntimeError) as error:
            sys.exit(str(error))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make services", description=__doc__)
    parser.add_argument("servers", nargs="*", choices=(*SERVERS, []), help="which to start; all unless told")
    parser.add_argument(
        "--data",
        type=Path,
        metavar="FOLDER",
        help="keep data here for the next start; a temporary folder unless told",
    )
    parser.add_argument(
        "--port", type=int, default=9200, help="Elasticsearch listens here (9200); 0 is a free one"
    )
    parser.add_argument("--heap", type=int, default=512, metavar="MB", help="of Elasticsearch (512)")
    parser.add_argument(
        "--kafka-port",
        type=int,
        default=9092,
        metavar="PORT",
        help="Kafka listens here (9092); 0 is a free one",
    )
    parser.add_argument(
        "--flink-ports",
        type=int,
        nargs=2,
        default=(8081, 8099),
        metavar=("REST", "JOBS"),
        help="Flink and Beam's job server listen here (8081 8099); 0 is a free one",
    )
    return parser.parse_args()


def _start(stack: ExitStack, name: str, folder: Path, options: argparse.Namespace) -> str:
    """Start one server; say where it is."""
    if name == "kafka":
        broker = stack.enter_context(Broker(folder, port=options.kafka_port))
        return f"Kafka: {broker.url}, for sources and sinks kafka://{broker.url}/TOPIC (log {folder / 'broker.log'})"
    if name == "flink":
        cluster = stack.enter_context(Cluster(folder, ports=tuple(options.flink_ports)))
        jobs, rest = cluster.address
        return f"Flink: {rest}, for streams --engine flink --job-server {jobs} --flink-rest {rest} (log {folder / 'flink.log'})"
    node = stack.enter_context(Node(folder, {"http.port": str(options.port)}, options.heap))
    host = node.url.removeprefix("http://")
    return f"Elasticsearch: {node.url}, for sinks elasticsearch://{host}/INDEX (log {folder / 'node.log'})"


if __name__ == "__main__":
    main()
