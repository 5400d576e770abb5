"""What a URI of Elasticsearch says: `elasticsearch[+https]://[host[:port]]/INDEX`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from rms_flows.errors import DocumentError
from rms_flows.io import uri as uris

PORT: Final = 9200
_NAME: Final = re.compile(r'[^\s\\/*?"<>|,#:A-Z_+.-][^\s\\/*?"<>|,#:A-Z]*')
_PATTERN: Final = re.compile(r'[^\s\\/?"<>|#:A-Z_+-][^\s\\/?"<>|#:A-Z]*')
_LONGEST: Final = 255 - len("-2026.01.31")
"""Bytes of a name, the day that is put behind it left out."""


@dataclass(frozen=True, slots=True)
class Address:
    """A place in a cluster; safe to log, as it holds no credentials.

    Args:
        url: Where the cluster answers, such as `http://localhost:9200`.
        index: Name of an index; of a source also a pattern, or several after commas.
    """

    url: str
    index: str

    @property
    def uri(self) -> str:
        """The URI without options; the same for all ways to write the same place."""
        scheme, _, host = self.url.partition("://")
        return f"elasticsearch{'+https' * (scheme == 'https')}://{host}/{self.index}"


def address(place: uris.Address, *, pattern: bool = False) -> Address:
    """Read a URI that `uri.split` took apart; without a host it is this machine.

    Args:
        place: Its scheme is `elasticsearch`, over plain HTTP, or `elasticsearch+https`.
        pattern: It may name many indices, with `*` and commas.

    Raises:
        DocumentError: The host is none, or the index can't be the name of one.

    Example:
        >>> from pathlib import Path
        >>> address(uris.split("elasticsearch:///threat-reports", Path()))
        Address(url='http://localhost:9200', index='threat-reports')
    """
    where = place.uri.partition("?")[0]
    host, _, index = place.path.partition("/")
    scheme = "https" if place.scheme.endswith("+https") else "http"
    try:
        parts = urlsplit(f"{scheme}://{host}")
        name, port = parts.hostname or "localhost", parts.port or PORT
    except ValueError as error:
        raise DocumentError(
            f"no host and port ({error})", where=where, remedy="write elasticsearch://HOST[:PORT]/INDEX"
        ) from None
    shown = f"[{name}]" if ":" in name else name
    return Address(f"{scheme}://{shown}:{port}", _index(index, where, pattern=pattern))


def _index(index: str, where: str, *, pattern: bool) -> str:
    if not index:
        raise DocumentError("no index", where=where, remedy="write elasticsearch://HOST[:PORT]/INDEX")
    if not (_PATTERN if pattern else _NAME).fullmatch(index):
        raise DocumentError(
            f"{index!r} can't name an index",
            where=where,
            remedy="use lower-case letters, digits, and - _ . inside"
            + (", * for any text, commas between several" if pattern else ""),
        )
    if len(index.encode()) > _LONGEST and not pattern:
        raise DocumentError(
            f"a name of {len(index.encode())} bytes is too long",
            where=where,
            remedy=f"use {_LONGEST} at most",
        )
    return index
