"""What a URI of a server says: `http[s]://HOST[:PORT]/PATH[?…][#option=…]`; before the # all is its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit, urlunsplit

from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris
from rms_flows.model import Poll
from rms_flows.model.poll import SECRET, Next

SCHEMES: Final = ("http://", "https://")
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Polled:
    """How a server is asked.

    Args:
        poll: As the document of the source says.
        folder: Of the document, where the paths in it begin.
    """

    poll: Poll = field(default_factory=Poll)
    folder: Path = field(default_factory=Path)


@dataclass(frozen=True, slots=True)
class Address:
    """A place on a server; safe to log, as it holds no credentials.

    Args:
        url: What is asked, with the parameters that every question has.
    """

    url: str

    @property
    def place(self) -> str:
        """The URL without parameters: what names the records of all questions."""
        return urlunsplit(urlsplit(self.url)._replace(query=""))


def address(uri: str, options: Options, polled: Polled) -> tuple[Address, Options, Polled]:
    """Read a URI.

    Args:
        uri: What was written.
        options: How to decode, unless the URI says otherwise behind its #.
        polled: How to ask, likewise.

    Raises:
        DocumentError: It is no address of a server, holds what is secret, or says what is said elsewhere.
    """
    whole, _, said = uri.partition("#")
    parts = urlsplit(whole)
    try:
        host, _ = parts.hostname, parts.port
    except ValueError:
        host = None
    if not host or any(ord(one) <= ord(" ") for one in whole):
        raise DocumentError(
            "is no address of a server",
            where=whole.rpartition("@")[2],
            remedy="write https://HOST[:PORT]/PATH, and quote what is no letter as %XX",
        )
    names = [name for name, _ in parse_qsl(parts.query, keep_blank_values=True)]
    secret = next((name for name in names if SECRET.search(name)), None)
    if parts.username is not None or secret:
        raise DocumentError(
            f"credentials don't belong in a URI, which is logged{f' ({secret}=…)' if secret else ''}",
            where=f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}",
            remedy="name a file that holds them with poll: {auth: …}, and take them out of it",
        )
    poll = polled.poll
    own = [poll.cursor.parameter, poll.cursor.until] if poll.cursor else []
    own += [poll.next.parameter] if poll.next else []
    if twice := [name for name in names if name in own]:
        raise DocumentError(
            f"the parameter {twice[0]} is set by poll:", where=whole, remedy="take it out of the URI"
        )
    given = dict(parse_qsl(said, keep_blank_values=True))
    path, link = given.pop("records", ""), given.pop("link", "")
    known = uris.options(uris.Address(uri, parts.scheme, whole, given), options)
    poll = poll.model_copy(
        update=({"records": path} if path else {}) | ({"next": Next(link=link)} if link else {})
    )
    return Address(urlunsplit(parts._replace(path=parts.path or "/"))), known, Polled(poll, polled.folder)


def with_parameters(url: str, parameters: dict[str, str]) -> str:
    """Put parameters behind those that a URL has, or in the place of those of their names.

    Example:
        >>> with_parameters("http://hub/api?site=3&page=1", {"page": "2", "lastdate": "2026-01-01"})
        'http://hub/api?site=3&page=2&lastdate=2026-01-01'
    """
    parts = urlsplit(url)
    kept = [
        (name, value)
        for name, value in parse_qsl(parts.query, keep_blank_values=True)
        if name not in parameters
    ]
    return urlunsplit(parts._replace(query=urlencode([*kept, *parameters.items()])))


def beside(url: str, link: str) -> str | None:
    """Resolve a link of an answer; None where it leaves the server that gave it, or its encryption.

    Example:
        >>> beside("http://hub/api/a?x=1", "b?page=2"), beside("http://hub/api", "http://evil/api")
        ('http://hub/api/b?page=2', None)
    """
    try:
        whole = urljoin(url, link)
        here, there = urlsplit(url), urlsplit(whole)
        ports = [part.port or _PORTS.get(part.scheme) for part in (here, there)]
    except ValueError:
        return None
    safer = (here.scheme, there.scheme) == ("http", "https") and ports == [80, 443]
    same = here.scheme == there.scheme and ports[0] == ports[1]
    if here.hostname != there.hostname or there.username is not None or not (safer or same):
        return None
    return urlunsplit(there._replace(fragment=""))
