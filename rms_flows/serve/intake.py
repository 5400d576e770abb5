"""Takes envelopes from many at once and keeps them together: one wait for the disk serves all who wait."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from rms_flows.confirm import Confirmed
from rms_flows.envelope import Verifier, read, verifiers
from rms_flows.errors import RmsError, SinkError
from rms_flows.model import Key
from rms_flows.serve.outlets import Outlet, Sent

WAITING: Final = 10_000
"""Requests that wait for the disk at most; who comes then is told to come again."""

TOGETHER: Final = 20_000
"""Envelopes that are kept at once, about."""


class Broken(NamedTuple):
    """A line that is no envelope.

    Args:
        line: Its number, from 1.
        why: For people.
    """

    line: int
    why: str


def envelopes(body: bytes) -> list[Sent] | Broken:
    r"""Take a body apart, a line an envelope; give what is wrong with the first that is none.

    Example:
        >>> envelopes(b"\n{}\n")
        Broken(line=2, why='no envelope: expected an object with ...')
    """
    found = []
    for number, line in enumerate(body.split(b"\n"), 1):
        if line.strip():
            try:
                found.append(Sent(read(line).probe, line.rstrip(b"\r")))
            except ValueError as error:
                return Broken(number, str(error))
    return found


class Known:
    """Tells which envelopes the keys show forged that somebody has confirmed; for any number of threads.

    Args:
        confirmed: Who has. Of whom no key is known, nothing is shown; nor is asked whether a key still holds.
    """

    def __init__(self, confirmed: Confirmed) -> None:
        self._confirmed = confirmed
        self._lock = threading.Lock()
        self.refused = 0
        """Bodies with a forged envelope."""

    def forged(self, given: Sequence[Sent]) -> str | None:
        """Give the probe that the first forged envelope says it is of."""
        keys: dict[str, list[tuple[Key, Verifier]]] = {}
        for probe, line in given:
            if probe not in keys:
                trust = self._confirmed.of(probe).trust
                keys[probe] = [*verifiers(trust, self._confirmed.where, strict=False)]
            if keys[probe] and not any(verifier.signed(line) for _, verifier in keys[probe]):
                with self._lock:
                    self.refused += 1
                return probe
        return None


class _Waiting(NamedTuple):
    given: Sequence[Sent]
    done: Future[str | None]


class Intake:
    """A thread that keeps what others hand over.

    Args:
        outlet: Where it is kept; it is the thread's from now on.
        kept: Called with the number of envelopes after each time that some were kept.
    """

    def __init__(self, outlet: Outlet, kept: Callable[[int], None] = lambda _: None) -> None:
        self._outlet = outlet
        self._kept = kept
        self._waiting: queue.Queue[_Waiting | None] = queue.Queue(WAITING)
        self._thread = threading.Thread(target=self._work, name="intake", daemon=True)
        self._thread.start()
        self.trouble: str | None = None
        """Why the last that came were not kept."""

    def put(self, given: Sequence[Sent]) -> Future[str | None]:
        """Hand over envelopes; what is given is done when they are kept, with None, or says why they are not.

        Raises:
            SinkError: Too many wait already.
        """
        done: Future[str | None] = Future()
        try:
            self._waiting.put_nowait(_Waiting(given, done))
        except queue.Full:
            raise SinkError("too many envelopes wait to be kept", remedy="send them again later") from None
        return done

    def close(self) -> None:
        """Keep what waits, and end."""
        self._waiting.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._waiting.get()) is not None:
            over = self._together([first])
            if over:
                break
        self._outlet.close()

    def _together(self, some: list[_Waiting]) -> bool:
        """Keep what waits at once; tell whether the end has come."""
        total, over = len(some[0].given), False
        while total < TOGETHER and not over:
            try:
                one = self._waiting.get_nowait()
            except queue.Empty:
                break
            if one is None:
                over = True
            else:
                some.append(one)
                total += len(one.given)
        try:
            self._outlet.put([sent for one in some for sent in one.given])
        except RmsError as error:
            self.trouble = str(error)
        else:
            self.trouble = None
            self._kept(total)
        for one in some:
            if one.done.set_running_or_notify_cancel():  # else who sent it has gone
                one.done.set_result(self.trouble)
        return over
