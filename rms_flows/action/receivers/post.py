"""JSON posted to a web server: TLS checked, redirects not followed, times bounded, answers judged."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rms_flows.action.receivers import secrets
from rms_flows.action.receivers.contract import SENT, Outcome
from rms_flows.errors import DocumentError
from rms_flows.model.actions import Alertmanager, Webhook
from rms_flows.web import HERE, retry_after

SECONDS: Final = 20
"""For each step of the server: to be reached, to take what is sent, to answer."""

_SAID: Final = 300  # characters of an answer that are told
_AGAIN: Final = (408, 425, 429)
"""Answers that say: not now. All others below 500 say: never."""


@dataclass(frozen=True, slots=True)
class Poster:
    """Posts to one address.

    Args:
        url: `https://HOST[:PORT]/PATH` or `http:`; its path may be secret.
        where: Names the receiver in errors.
        token: Sent along as `Authorization: Bearer`, over `http:` only on this machine.
        ca: File of authorities to trust instead of the system's.

    Raises:
        DocumentError: The URL is none, or holds credentials; the token would cross a network in plain text;
            or there are no such authorities.
    """

    url: str = field(repr=False)
    where: str
    token: str | None = field(default=None, repr=False)
    ca: str | None = None
    context: ssl.SSLContext | None = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        """Check it."""
        parts = urlsplit(self.url)
        try:
            host, _ = parts.hostname, parts.port
        except ValueError:
            host = None
        odd = not plain(self.url) or parts.scheme not in {"http", "https"} or parts.fragment
        if not host or odd or parts.username is not None:
            raise DocumentError(
                "is no address of a web server, or holds a login",
                where=f"{self.where}.url",
                remedy="write https://HOST[:PORT]/PATH, and a login as token",
            )
        if self.token and not plain(self.token):
            raise DocumentError(
                "holds what no header can", where=f"{self.where}.token", remedy="write one line of ASCII"
            )
        if parts.scheme == "http":
            if self.token and host not in HERE:
                raise DocumentError(
                    "a token would cross the network in plain text",
                    where=f"{self.where}.url",
                    remedy="write https:, or take the token off",
                )
            return
        object.__setattr__(self, "context", trusting(self.ca, f"{self.where}.ca"))

    @property
    def uri(self) -> str:
        """The address without its path."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"

    def post(self, body: bytes, headers: Mapping[str, str], now: float) -> Outcome:
        """Post once; `now`, seconds since 1970, is for `Retry-After`."""
        parts = urlsplit(self.url)
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        sent = {"Content-Type": "application/json", "User-Agent": "rms_flows", **headers}
        if self.token:
            sent["Authorization"] = f"Bearer {self.token}"
        try:
            with closing(self._connection(parts.hostname or "", parts.port)) as connection:
                connection.request("POST", path, body, sent)
                answer = connection.getresponse()
                said = answer.read(4 * _SAID).decode(errors="replace")
        except (OSError, http.client.HTTPException, UnicodeError) as error:
            return Outcome("later", f"{self.uri}: not reached ({type(error).__name__}: {error})")
        return self._judged(answer, " ".join(said.split())[:_SAID] or answer.reason, now)

    def _connection(self, host: str, port: int | None) -> http.client.HTTPConnection:
        if self.context is None:
            return http.client.HTTPConnection(host, port, timeout=SECONDS)
        return http.client.HTTPSConnection(host, port, timeout=SECONDS, context=self.context)

    def _judged(self, answer: http.client.HTTPResponse, said: str, now: float) -> Outcome:
        status = answer.status
        if status in range(200, 300):
            return SENT
        if status >= http.client.INTERNAL_SERVER_ERROR or status in _AGAIN:
            after = retry_after(answer.getheader("Retry-After"), now)
            return Outcome("later", f"{self.uri}: not now ({status} {said})", after)
        if status in range(300, 400):
            target = urlsplit(answer.getheader("Location") or "")
            place = f"{target.scheme}://{target.netloc}" if target.netloc else "elsewhere"
            return Outcome(
                "refused", f"{self.uri}: leads on to {place} ({status}), and redirects are not followed"
            )
        return Outcome("refused", f"{self.uri}: refused ({status} {said})")


def poster(document: Webhook | Alertmanager, folder: Path, where: str, path: str = "") -> Poster:
    """Make what posts to the address of a document; `path` is put behind it.

    Raises:
        DocumentError: The address is none, or a secret can't be had.
    """
    url = secrets.text(document.url, folder, f"{where}.url") or ""
    token = secrets.text(document.token, folder, f"{where}.token")
    ca = None if document.ca is None else str(folder / document.ca)
    return Poster(url.rstrip("/") + path if path else url, where, token, ca)


def plain(text: str) -> bool:
    """Tell whether a text can stand in a request: ASCII, without spaces and what breaks lines."""
    return text.isascii() and text.isprintable() and " " not in text


def trusting(ca: str | None, where: str) -> ssl.SSLContext:
    """Make what checks a server's certificate; raises DocumentError where there are no such authorities."""
    try:
        return ssl.create_default_context(cafile=ca)
    except (OSError, ssl.SSLError) as error:
        raise DocumentError(
            f"{ca} holds no certificates ({error.strerror or error})", where=where, remedy="name a PEM file"
        ) from None


def moment(seconds: float) -> str:
    """Write seconds since 1970 as ISO 8601.

    Example:
        >>> moment(0)
        '1970-01-01T00:00:00.000000Z'
    """
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
