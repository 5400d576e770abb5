"""What a program says: run without a shell, for a limited time, and with a limited output."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import tempfile
from typing import Any, Final

from rms_flows.envelope import Observed
from rms_flows.model import microseconds
from rms_flows.probe.collectors.contract import Look, now
from rms_flows.probe.settings import Command as Settings

LONGEST: Final = 65_536
"""Bytes of an output that are told; what is beyond is cut off, and says so."""


class Command:
    """Runs a program at each look; tells its exit code, how long it took and what it said.

    Output that is one JSON object is told as fields of it below the collector's name, all else as `message`.
    One that takes too long is killed with all that it has started, which is a failure of the collector.
    """

    def __init__(self, entry: Settings, position: Any) -> None:
        del position
        self._name = entry.called
        self._words = list(entry.run)
        self._seconds = microseconds(entry.timeout) / 1e6
        self._as_json = entry.output == "json"

    def look(self) -> Look:
        """See `Collector.look`."""
        began = now()
        with tempfile.TemporaryFile() as out:  # a pipe would stop it where it says much
            code = self._run(out.fileno())
            size = os.fstat(out.fileno()).st_size
            said = os.pread(out.fileno(), LONGEST, 0)
        payload: dict[str, Any] = {
            "process.args": self._words,
            "process.exit_code": code,
            "event.duration": (now() - began) * 1_000,
            **self._told(said),
        }
        if size > LONGEST:
            payload["log.flags"] = ["truncated"]
        return Look([Observed(self._name, payload, began)])

    def close(self) -> None:
        """See `Collector.close`."""

    def _run(self, out: int) -> int:
        """Run it in a group of its own; give its exit code."""
        process = subprocess.Popen(  # noqa: S603  the manifest names it, as a list: no shell reads it
            self._words,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            return process.wait(self._seconds)
        except subprocess.TimeoutExpired:
            raise TimeoutError(f"{self._words[0]} took longer than {self._seconds:g} s") from None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def _told(self, said: bytes) -> dict[str, Any]:
        if not self._as_json:
            return {"message": said.decode("utf-8", "backslashreplace").rstrip()}
        found = json.loads(said)
        if not isinstance(found, dict):
            raise TypeError(f"expected a JSON object, not {said[:60]!r}")
        return {self._name: found}
