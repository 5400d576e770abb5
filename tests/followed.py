"""Streams without an end, run until a test has seen what it waits for."""

import threading
import time

from evented import folded

from rms_flows.stream import Pace, stream


def told(home):
    """Give the reports that are there already."""
    return folded(home / "out.ndjson") if (home / "out.ndjson").exists() else {}


def streamed_until(until, home, document, sources, seconds, **more):
    """Stream until something is true of the reports, for so many seconds at most; give the account."""
    pace = Pace(bundle=0.1)

    def watch():
        end = time.monotonic() + seconds
        while not pace.stopped and time.monotonic() < end and not until(told(home)):
            time.sleep(0.05)
        pace.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        return stream(document, folder=home, positions=home / "positions", sources=sources, pace=pace, **more)
    finally:
        pace.stop()
        watcher.join()
