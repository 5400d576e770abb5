"""Who we are to a server, and whom we trust: from files or the environment, never from URI or document."""

from __future__ import annotations

import base64
import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rms_flows.errors import DocumentError
from rms_flows.io.poll.address import Polled
from rms_flows.model.poll import Auth
from rms_flows.processors.parameters import inside
from rms_flows.secret import from_environment, read_text
from rms_flows.web import HERE

AUTHORITY: Final = "RMS_POLL_CA"


@dataclass(frozen=True, slots=True)
class Login:
    """What lets us in; what is secret is not shown.

    Args:
        headers: To send along.
        secrets: What no message and no dead letter may hold.
        context: Of TLS; None where nothing is encrypted.
    """

    headers: dict[str, str] = field(default_factory=dict, repr=False)
    secrets: tuple[bytes, ...] = field(default=(), repr=False)
    context: ssl.SSLContext | None = None

    def without_secrets(self, said: bytes) -> bytes:
        """Take out of what a server says what it may have been told."""
        for one in self.secrets:
            said = said.replace(one, b"[secret]")
        return said


def login(polled: Polled, url: str) -> Login:
    """Give what a server needs to let us in; keep it out of logs.

    Raises:
        DocumentError: It is missing, can't be read or sent, or would cross a network in plain text.
    """
    parts, auth = urlsplit(url), polled.poll.auth
    if auth and parts.scheme != "https" and parts.hostname not in HERE:
        raise DocumentError(
            "a login would cross the network in plain text",
            where=url,
            remedy="write https://, or take auth: out of poll:",
        )
    name, value, secrets = ("", "", ()) if auth is None else _header(auth, polled.folder)
    context = _context(polled) if parts.scheme == "https" else None
    return Login({name: value} if name else {}, secrets, context)


def _header(auth: Auth, folder: Path) -> tuple[str, str, tuple[bytes, ...]]:
    """Give name and value of the header, and what of it is secret."""
    scheme, place, name = auth.given
    where = f"poll.auth.{scheme}_{place}"
    given = read_text(inside(folder, name, where), where) if place == "file" else from_environment(name)
    if not given:
        raise DocumentError(
            f"{name} holds nothing",
            where=where,
            remedy=f"put it there, or set {name}_FILE" if place == "env" else "put it there",
        )
    if not given.isascii() or not given.isprintable():
        raise DocumentError(
            f"{name} holds what is no single line of ASCII",
            where=where,
            remedy="write one line, without quotes",
        )
    if scheme == "bearer":
        return "Authorization", f"Bearer {given}", (given.encode(),)
    if scheme == "basic":
        if ":" not in given:
            raise DocumentError(f"{name} holds no user:password", where=where, remedy="write user:password")
        coded = base64.b64encode(given.encode()).decode()
        return "Authorization", f"Basic {coded}", (coded.encode(), given.encode())
    header, colon, value = (part.strip() for part in given.partition(":"))
    if not (header and colon and value) or " " in header:
        raise DocumentError(f"{name} holds no header", where=where, remedy="write one such as X-Api-Key: …")
    return header, value, (value.encode(),)


def _context(polled: Polled) -> ssl.SSLContext:
    named = polled.poll.ca_file
    path = inside(polled.folder, named, "poll.ca_file") if named else os.environ.get(AUTHORITY)
    try:
        return ssl.create_default_context(cafile=path or None)
    except (OSError, ssl.SSLError) as error:
        raise DocumentError(
            f"{named or path} can't be read as certificates ({error.strerror or error})",
            where="poll.ca_file" if named else AUTHORITY,
            remedy="name a PEM file of the authority",
        ) from None
