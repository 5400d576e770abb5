"""A cluster that does not answer for a while: said once when it goes, once when it is back."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rms_flows.errors import RmsError

_LOG: Final = logging.getLogger(__name__)

SAID_AFTER: Final = 2.0
"""Seconds for which a call has failed before that is said: what passes sooner is nobody's business."""


class Away:
    """Who calls a cluster tells it what came of that; from any thread.

    Args:
        where: What messages name, without credentials.
    """

    def __init__(self, where: str) -> None:
        self._where = where
        self._lock = threading.Lock()
        self._since: float | None = None

    def failed(self, trouble: RmsError, seconds: float, patience: float) -> None:
        """Say that it is away, unless that was said.

        Args:
            trouble: What a call met.
            seconds: For how long that call has been tried.
            patience: For how long it is tried at most.
        """
        with self._lock:
            if self._since is not None or seconds < SAID_AFTER:
                return
            self._since = time.monotonic() - seconds
        _LOG.warning("%s: %s; it is tried for %.0f s", self._where, trouble.problem, patience)

    def answered(self) -> None:
        """Say that it is back, where it was said that it is away."""
        with self._lock:
            since, self._since = self._since, None
        if since is not None:
            _LOG.warning("%s: answers again, after %.0f s", self._where, time.monotonic() - since)
