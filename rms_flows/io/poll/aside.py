"""Work that waits for others, done aside: who asks for its results never waits for them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterator
from contextlib import suppress
from typing import Final, TypeVar

_T = TypeVar("_T")

AHEAD: Final = 4
"""Results that are worked out before they are asked for."""

_BREATH: Final = 0.02
"""Seconds that a result is waited for."""

_LOOK: Final = 0.1
"""Seconds after which the work sees that nobody wants its results any more."""


def aside(work: Generator[_T]) -> Iterator[_T | None]:
    """Run a generator in a thread of its own.

    Yields:
        Its results; None where the next one isn't there yet.

    Raises:
        Exception: Whatever it raises.
    """
    results: queue.Queue[_T | _End] = queue.Queue(AHEAD)
    over = threading.Event()

    def run() -> None:
        error: Exception | None = None
        try:
            for one in work:
                if not _put(results, one, over):
                    break
        except Exception as raised:  # noqa: BLE001  it is raised where the results are asked for
            error = raised
        finally:
            work.close()
        _put(results, _End(error), over)

    # A daemon: a server that never answers keeps no process from its end.
    threading.Thread(target=run, name="rms poll", daemon=True).start()
    try:
        while True:
            try:
                found = results.get(timeout=_BREATH)
            except queue.Empty:
                yield None
                continue
            if isinstance(found, _End):
                if found.error is not None:
                    raise found.error
                return
            yield found
    finally:
        over.set()


class _End:
    def __init__(self, error: Exception | None) -> None:
        self.error = error


def _put(results: queue.Queue[_T | _End], one: _T | _End, over: threading.Event) -> bool:
    """Hand over a result; tell whether somebody still wants it."""
    while not over.is_set():
        with suppress(queue.Full):
            results.put(one, timeout=_LOOK)
            return True
    return False
