"""Start real servers for a person, until Ctrl-C: `make services`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from servers.elasticsearch_node import Node
from servers.home import MissingToolError


def main() -> None:
    """Start what was named, say where it is, and end with the person's wish."""
    parser = argparse.ArgumentParser(prog="make services", description=__doc__)
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
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with TemporaryDirectory(prefix="rms-services-") as temporary:
        folder = (options.data or Path(temporary)).resolve() / "elasticsearch"
        try:
            with Node(folder, {"http.port": str(options.port)}, options.heap) as node:
                host = node.url.removeprefix("http://")
                print(
                    f"Elasticsearch: {node.url}, for sinks elasticsearch://{host}/INDEX (log {folder / 'node.log'})"
                )
                print("Ctrl-C ends it.", flush=True)
                signal.pause()
        except KeyboardInterrupt:
            pass
        except (MissingToolError, RuntimeError) as error:
            sys.exit(str(error))


if __name__ == "__main__":
    main()
