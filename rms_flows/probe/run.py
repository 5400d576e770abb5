"""A probe at work: what collectors see is numbered, signed and kept, and its own state with it."""

from __future__ import annotations

import logging
import queue
import socket
import threading
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

from rms_flows.envelope import Observed, Signer
from rms_flows.errors import DocumentError
from rms_flows.probe import key
from rms_flows.probe.collectors.contract import now
from rms_flows.probe.crew import Crew, Seen
from rms_flows.probe.journal import Journal
from rms_flows.probe.outputs import open_output
from rms_flows.probe.sending import Sending
from rms_flows.probe.settings import Read, Settings, settings
from rms_flows.version import __version__

RUNNING, STOPPED, FAILED = STATES = ("RUNNING", "STOPPED", "FAILED")
"""Of a probe, or of one of its collectors."""

GATHERED: Final = 200
"""Observations written at once, at most about."""
LEAVE: Final = 5.0
"""Seconds in which what waits is sent at the end; the rest is sent after the next start."""
LOOK: Final = 2.0
"""Seconds from one look at the manifest and the key to the next."""
LONGEST: Final = 900_000
"""Bytes of an envelope: brokers take a million unless told."""
RETRY: Final = 1.0
"""Seconds until a disk without room is tried again."""

_LOG: Final = logging.getLogger("rms_flows.probe")


class Probe:
    """One probe; it works in the thread that calls `run`.

    Args:
        read: Reads its manifest, which may change while it runs.
        where: Names the manifest in errors.
        folder: Where relative paths begin.

    Raises:
        RmsError: The manifest, the key or the output is not what it has to be, or it runs already.
    """

    def __init__(self, read: Read, where: str, folder: Path) -> None:
        self._read, self._where = read, where
        self._manifest = read()
        self._settings = settings(self._manifest, where)
        self._key = folder / self._settings.key
        self._private = key.load(self._key)
        self._signer = Signer(self._private, self._manifest.id)
        output = open_output(self._settings.output, folder, self._manifest.id)
        self._journal = Journal(folder / self._settings.state, self._settings.spool)
        self._sending = Sending(self._journal, output)
        self._crew = Crew()
        self._failed: dict[str, str] = {}
        self._unread: str | None = None
        self._keyless: str | None = None
        self._held_back = 0
        self._stop = threading.Event()
        self._host = socket.gethostname()
        self._began = time.monotonic()

    def run(self, stop: threading.Event) -> None:
        """Work until told to stop; then say so, and send what waits as far as a few seconds go.

        What ends it otherwise, a defect, is told as its state before it is raised.
        """
        self._stop = stop
        self._sending.start()
        last = _state(STOPPED, reason="told to stop")
        try:
            self._work(stop)
        except BaseException as error:
            last = _state(FAILED, reason=f"{type(error).__name__}: {error}")
            raise
        finally:
            self._keep([last])
            self._sending.end(LEAVE)
            self._keep([])  # how much was sent
            if self._journal.waiting:
                _LOG.warning("%d envelopes wait on disk for the next start", self._journal.waiting)
            self._journal.close()

    def _work(self, stop: threading.Event) -> None:
        self._keep([_state(RUNNING, reason="started")])
        self._crew.engage(self._settings.collectors, self._journal.state.positions)
        beat, look = 0.0, time.monotonic() + LOOK
        while not stop.is_set():
            if time.monotonic() >= beat:
                beat = time.monotonic() + self._settings.beat
                self._keep([self._heartbeat()])
            if time.monotonic() >= look:
                look = time.monotonic() + LOOK
                self._reread()
                self._rekey()
            self._gather(max(0.0, min(beat, look, time.monotonic() + 0.5) - time.monotonic()))
        self._crew.dismiss(())
        self._drain()

    def _gather(self, seconds: float) -> None:
        """Write what is seen within a time, what comes together at once."""
        try:
            seen = [self._crew.seeing.get(timeout=seconds)]
        except queue.Empty:
            return
        while sum(len(one.look.observed) for one in seen if one.look) < GATHERED:
            try:
                seen.append(self._crew.seeing.get_nowait())
            except queue.Empty:
                break
        self._write(seen)

    def _drain(self) -> None:
        while not self._crew.seeing.empty():
            self._gather(0.0)

    def _write(self, seen: Iterable[Seen]) -> None:
        observed: list[Observed] = []
        positions: dict[str, Any] = {}
        for one in seen:
            self._held_back += one.held_back
            observed += self._change(one)
            if one.look is not None:
                observed += one.look.observed
                if one.look.position is not None:
                    positions[one.name] = one.look.position
        if observed or positions:
            self._keep(observed, positions)

    def _change(self, seen: Seen) -> list[Observed]:
        """Tell of a collector that begins to fail, for another reason, or to work again."""
        before = self._failed.pop(seen.name, None)
        if seen.problem is not None:
            self._failed[seen.name] = seen.problem
        if seen.problem == before:
            return []
        state = RUNNING if seen.problem is None else FAILED
        return [_state(state, collector=seen.name, reason=seen.problem)]

    def _keep(self, observed: Iterable[Observed], positions: dict[str, Any] | None = None) -> None:
        """Number, sign and keep; where the disk has no room, wait for it until told to stop."""
        first = self._journal.state.next
        lines: list[bytes] = []
        for one in observed:
            lines.append(self._line(first + len(lines), one))
        while True:
            try:
                self._journal.append(lines, positions or {})
            except OSError as error:
                _LOG.warning("what was observed can't be kept: %s", error)
                if self._stop.wait(RETRY):
                    return
            else:
                self._sending.wake()
                return

    def _line(self, sequence: int, observed: Observed) -> bytes:
        said = observed._replace(payload={"host.name": self._host, **observed.payload})
        try:
            line = self._signer.line(sequence, said)
            problem = f"an observation of {len(line):,} bytes" if len(line) > LONGEST else None
        except ValueError as error:  # no JSON, such as NaN
            line, problem = b"", str(error)
        if problem is None:
            return line
        return self._signer.line(sequence, _state(FAILED, collector=observed.kind, reason=problem))

    def _heartbeat(self) -> Observed:
        payload = {
            "agent.version": __version__,
            "probe.uptime": round(time.monotonic() - self._began, 1),
            "probe.waiting": self._journal.waiting,
            "probe.dropped": self._journal.state.dropped,
            "probe.held_back": self._held_back,
            "probe.failed": sorted(self._failed),
        }
        return Observed("probe.heartbeat", payload, now())

    def _reread(self) -> None:
        """Take over what has changed in the manifest; one that is wrong changes nothing, and is told of."""
        try:
            manifest = self._read()
            changed = settings(manifest, self._where) if manifest != self._manifest else self._settings
            before = {"id": self._manifest.id, **dict(self._settings)}
            _fixed(before, {"id": manifest.id, **dict(changed)}, self._where)
        except DocumentError as error:
            if str(error) != self._unread:
                self._unread = str(error)
                self._keep([_state(FAILED, collector="manifest", reason=self._unread)])
            return
        if self._unread is not None:
            self._unread = None
            self._keep([_state(RUNNING, collector="manifest")])
        self._manifest = manifest
        if changed != self._settings:
            self._take_over(changed)

    def _rekey(self) -> None:
        """Sign with another key where one was put in its place; with the old one while there is none."""
        try:
            found = key.load(self._key)
        except DocumentError as error:
            if str(error) != self._keyless:
                self._keyless = str(error)
                self._keep([_state(FAILED, collector="key", reason=self._keyless)])
            return
        if found == self._private and self._keyless is None:
            return
        changed, self._keyless = found != self._private, None
        self._private, self._signer = found, Signer(found, self._manifest.id)
        self._keep([_state(RUNNING, collector="key", reason="key changed" if changed else None)])

    def _take_over(self, changed: Settings) -> None:
        gone = self._crew.dismiss(changed.collectors)
        self._drain()
        for name in gone:
            self._failed.pop(name, None)
        self._settings = changed
        self._crew.engage(changed.collectors, self._journal.state.positions)
        self._keep([_state(RUNNING, reason="manifest changed")])


def _fixed(before: Mapping[str, Any], after: Mapping[str, Any], where: str) -> None:
    for name in ("id", "key", "output", "state", "spool"):
        if before[name] != after[name]:
            raise DocumentError(
                f"{name} has changed, which a running probe can't follow", where=where, remedy="start it anew"
            )


def _state(state: str, *, collector: str | None = None, reason: str | None = None) -> Observed:
    said = {"probe.state": state, "probe.collector": collector, "error.message": reason}
    if state != FAILED:
        said["message"] = said.pop("error.message")
    return Observed("probe.state", {name: text for name, text in said.items() if text is not None}, now())
