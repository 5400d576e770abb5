"""Streams without an end, run until a test has seen what it waits for."""

import threading
import time

from evented import folded

from rms_flows.stream import Pace, stream


def told(home):
    """Give the reports that are there already, without a line that is being written."""
    if not (home / "out.ndjson").exists():
        return {}
    whole = (home / "out.ndjson").read_bytes().rpartition(b"\n")
    (home / "told.ndjson").write_bytes(b"".join(whole[:2]))
    return folded(home / "told.ndjson")


def streamed_until(until, home, document, sources, seconds, **more):
    """Stream until something is true of the reports, for so many seconds at most; give the account."""
    pace = Pace(bundle=0.1)

    def watch():
        end = time.monotonic() + seconds
        try:
            while not pace.stopped and time.monotonic() < end and not until(told(home)):
                time.sleep(0.05)
        finally:
            pace.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return stream(document, folder=home, positions=home / "positions", sources=sources, pace=pace, **more)
    finally:
        pace.stop()
        watcher.join()
