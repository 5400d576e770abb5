"""The manifest of a probe as a service has it, such as `rms serve`: followed while the probe runs."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from rms_flows.durable import sync
from rms_flows.errors import DocumentError
from rms_flows.model import DataSourceManifest, load, parse
from rms_flows.web import BROKEN, HERE, LARGEST, Server

PREFIX: Final = "RMS_PROBE"
"""Of the variables that tell who a probe is to servers."""

EVERY: Final = 5.0
"""Seconds from one question to the next."""

SECONDS: Final = 5.0
"""For the service to answer: meanwhile what collectors see waits."""

_GOOD, _SAME, _NONE = 200, 304, 404
_LOG: Final = logging.getLogger("rms_flows.probe")


class Remote:
    """Reads a manifest over HTTP; what it said last is kept in a file, for a start while nobody answers.

    Args:
        uri: `https://HOST[:PORT][/PATH]` of a service; `http:` only on this machine, since who could change
            what comes would tell the probe which programs to start. See `web.Server` for the token
            (`RMS_PROBE_…`).
        name: Id of the manifest.
        kept: The file.
        clock: Seconds.

    Raises:
        DocumentError: The URI is none, or leads over a network in plain text.
    """

    def __init__(self, uri: str, name: str, kept: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._server = Server(uri, PREFIX, SECONDS)
        parts = urlsplit(uri)
        if parts.scheme != "https" and parts.hostname not in HERE:
            raise DocumentError(
                "what a probe is told would cross the network in plain text",
                where=uri,
                remedy="write https:",
            )
        base = parts.path.rstrip("/")
        self._path = f"{base}/v1/documents/DataSourceManifest/{quote(name, safe='')}"
        self._where, self._name, self._kept, self._clock = f"{uri}: {name}", name, kept, clock
        self._again = clock()
        self._tag: str | None = None
        self._last: DataSourceManifest | None = None
        self._trouble: DocumentError | None = None

    def __call__(self) -> DataSourceManifest:
        """Give the manifest as it is now, or was a few seconds ago.

        Raises:
            DocumentError: Nobody answers, and it isn't the first time, or there is no such manifest.
        """
        if self._clock() >= self._again:
            self._again = self._clock() + EVERY
            self._trouble = None
            try:
                self._last = self._asked()
            except DocumentError as error:
                self._trouble = error
                if self._last is None:
                    self._last = self._before(error)
                    return self._last
        if self._trouble is not None:
            raise self._trouble
        assert self._last is not None  # noqa: S101  it was asked for, or else there is trouble
        return self._last

    def _asked(self) -> DataSourceManifest:
        known = {"If-None-Match": self._tag} if self._tag and self._last is not None else {}
        try:
            answer = self._server.ask("GET", self._path, headers=known)
        except BROKEN as error:
            raise DocumentError(
                f"the service does not answer ({type(error).__name__}: {error})",
                where=self._where,
                remedy="check host and port, and see whether it runs",
            ) from None
        if answer.status == _SAME and known and self._last is not None:
            return self._last
        if answer.status != _GOOD or len(answer.body) > LARGEST:
            raise DocumentError(
                f"the service has no manifest for us ({answer.said})",
                where=self._where,
                remedy=f"see what it says; {PREFIX}_TOKEN is who we are",
            )
        found = parse(answer.body, DataSourceManifest, self._where)
        if found.id != self._name:
            raise DocumentError(
                f"the service gave the manifest of {found.id!r}", where=self._where, remedy="mend the service"
            )
        self._keep(answer.body)
        self._tag = answer.tag
        return found

    def _before(self, error: DocumentError) -> DataSourceManifest:
        """Give what was told before the start; where there is nothing, raise why that is needed."""
        if not self._kept.exists():
            raise error
        _LOG.warning("%s; goes on with what it was told before (%s)", error, self._kept)
        return load(self._kept, DataSourceManifest)

    def _keep(self, body: bytes) -> None:
        """Keep what was told, by one rename: a loss of power leaves the old or the new."""
        aside = self._kept.with_name(f".{self._kept.name}.new")
        try:
            aside.write_bytes(body)
            sync(aside)
            aside.replace(self._kept)
        except OSError as error:
            _LOG.warning("what the service told can't be kept in %s (%s)", self._kept, error.strerror)
            with suppress(OSError):
                aside.unlink()


def kept_in(folder: Path, name: str) -> Path:
    """Name the file in which a probe keeps what it was told."""
    return folder / f"{quote(name, safe='')}.manifest.json"
