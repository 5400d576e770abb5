"""The thread that takes envelopes from the journal to the output, as often as it takes."""

from __future__ import annotations

import logging
import threading
from typing import Final

from rms_flows.probe.journal import Journal
from rms_flows.probe.outputs import Output

FIRST_PAUSE: Final = 0.5
LONGEST_PAUSE: Final = 30.0
"""Seconds after a failure; doubled from one to the next."""
BATCH: Final = 500
"""Envelopes sent at once."""

_LOG: Final = logging.getLogger("rms_flows.probe")


class Sending(threading.Thread):
    """Sends what waits until it is told to stop.

    Args:
        journal: Where it waits.
        output: Where it goes.
    """

    def __init__(self, journal: Journal, output: Output) -> None:
        super().__init__(name="sending", daemon=True)
        self._journal = journal
        self._output = output
        self._news = threading.Event()
        self._end = threading.Event()
        self._pause = FIRST_PAUSE
        self.trouble: str | None = None

    def wake(self) -> None:
        """Say that there is something to be sent."""
        self._news.set()

    def end(self, seconds: float) -> None:
        """Send what waits within a time, then stop."""
        self._end.set()
        self._news.set()
        self.join(seconds)

    def run(self) -> None:
        """Work until told to end and, unless the output fails then, all is sent."""
        while True:
            self._news.clear()
            sent = self._send()
            if self._end.is_set() and (not sent or not self._journal.waiting):
                break
            if not sent:
                self._end.wait(self._pause)
                self._pause = min(LONGEST_PAUSE, 2 * self._pause)
            elif not self._journal.waiting:
                self._news.wait()
        self._output.close()

    def _send(self) -> bool:
        """Send a batch; tell whether that worked."""
        try:
            taken = self._journal.take(BATCH)
            if taken is not None:
                self._output.send(taken.lines, taken.last)
                self._journal.sent(taken)
        except Exception as error:  # noqa: BLE001  a library's surprise must not end the sending
            if self.trouble is None:
                _LOG.warning("envelopes wait on disk: %s", error)
            self.trouble = str(error)
            return False
        if self.trouble is not None:
            _LOG.warning("envelopes are sent again")
        self.trouble, self._pause = None, FIRST_PAUSE
        return True
