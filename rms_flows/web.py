"""A web server that we ask: who we are to it, whom we trust, and what comes back; light, for probes too."""

from __future__ import annotations

import http.client
import os
import random
import ssl
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from rms_flows.errors import DocumentError

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of an answer at most."""

HERE: Final = ("localhost", "127.0.0.1", "::1")
"""Hosts that are this machine."""

LONGEST_WAIT: Final = 3_600.0
"""Seconds of `Retry-After` at most: a mistake there must not keep us away for a year."""

BROKEN: Final = (OSError, http.client.HTTPException)
"""What `Server.ask` raises where there is no answer."""


class Answer(NamedTuple):
    """What a server said.

    Args:
        status: HTTP's.
        body: At most `LARGEST` bytes, and one that tells that there are more.
        tag: Its ETag.
        reason: In words.
    """

    status: int
    body: bytes
    tag: str | None
    reason: str

    @property
    def said(self) -> str:
        """The status and the beginning of what it said, for people."""
        return f"{self.status} {self.body[:500].decode(errors='replace').strip() or self.reason}"


def retry_after(text: str | None, now: float) -> float | None:
    """Read `Retry-After`, seconds or a date, as seconds from now on; None where it says nothing.

    Args:
        text: The header.
        now: Seconds since 1970.

    Example:
        >>> [retry_after(text, 0.0) for text in ("120", "Thu, 01 Jan 1970 00:01:00 GMT", "soon")]
        [120.0, 60.0, None]
    """
    try:
        seconds = float(text or "")
    except ValueError:
        try:
            moment = parsedate_to_datetime(text or "")
        except ValueError:
            return None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now
    return min(LONGEST_WAIT, max(0.0, seconds)) if seconds == seconds else None  # noqa: PLR0124  no NaN


def pause(failures: int, first: float, longest: float) -> float:
    """Give the seconds until what failed is tried again, drawn at random so that not all come at once.

    Args:
        failures: How often it failed, from 1 on; the pause is doubled from one to the next.
        first: Seconds after the first, of which by chance a half at most is taken off.
        longest: Seconds at most.
    """
    most = min(longest, first * 2.0 ** min(failures - 1, 30))
    return most * random.uniform(0.5, 1.0)  # noqa: S311  nothing secret


class Server:
    """A server, and a connection that is kept; used by one thread at a time.

    Args:
        uri: `http://HOST[:PORT][/PATH]` or `https:`. The token of `{prefix}_TOKEN`, or of the file that
            `{prefix}_TOKEN_FILE` names, is sent along (`Authorization: Bearer`), over `http:` only on this
            machine; `{prefix}_CA` names the authority to trust instead of the system's.
        prefix: Of the variables of the environment, such as `RMS_PROBE`.
        seconds: For the server to answer.

    Raises:
        DocumentError: The URI is none, holds credentials, the token would cross a network in plain text, or a
            file can't be read.
    """

    def __init__(self, uri: str, prefix: str, seconds: float) -> None:
        self._connection: http.client.HTTPConnection | None = None
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.username is not None or parts.fragment or parts.scheme not in {"http", "https"}:
            raise DocumentError(
                "is no address of a server",
                where=uri.rpartition("@")[2],
                remedy="write https://HOST[:PORT]/PATH",
            )
        self.uri, self._host, self._port, self._seconds = uri, host, port, seconds
        self.path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers: dict[str, str] = {}
        secure, token = parts.scheme == "https", _token(prefix)
        if token and not secure and host not in HERE:
            raise DocumentError(
                "a token would cross the network in plain text",
                where=uri,
                remedy=f"write https:, or unset {prefix}_TOKEN",
            )
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._context = _context(f"{prefix}_CA") if secure else None

    def ask(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Ask once, and once more where the connection was kept: servers close what is idle for long.

        Raises:
            OSError, http.client.HTTPException: Nobody answers; see `BROKEN`.
        """
        kept = self._connection is not None
        try:
            return self._asked(method, path, body, headers or {})
        except BROKEN:
            self.close()
            if not kept:
                raise
            return self.ask(method, path, body, headers)

    def _asked(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request(method, path, body, {**self._headers, **headers})
        answer = self._connection.getresponse()
        found = Answer(answer.status, answer.read(LARGEST + 1), answer.headers.get("ETag"), answer.reason)
        if not answer.isclosed():  # the rest would be the beginning of the next answer
            self.close()
        return found

    def close(self) -> None:
        """Let the connection go."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        """Leave no connection behind: who asks now and then has no end."""
        self.close()

    def _connect(self) -> http.client.HTTPConnection:
        if self._context is None:
            return http.client.HTTPConnection(self._host, self._port, timeout=self._seconds)
        return http.client.HTTPSConnection(
            self._host, self._port, timeout=self._seconds, context=self._context
        )


def _context(variable: str) -> ssl.SSLContext:
    authority = os.environ.get(variable)
    try:
        return ssl.create_default_context(cafile=authority)
    except OSError as error:  # of which ssl.SSLError is one
        raise DocumentError(
            f"{authority} is no file of certificates ({error.strerror or error})",
            where=variable,
            remedy="name a PEM file that this user may read",
        ) from None


def _token(prefix: str) -> str | None:
    path = os.environ.get(f"{prefix}_TOKEN_FILE")
    if not path:
        return os.environ.get(f"{prefix}_TOKEN")
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"{path} can't be read ({getattr(error, 'strerror', None) or 'no ASCII'})",
            where=f"{prefix}_TOKEN_FILE",
            remedy="name a file that holds the token",
        ) from None
