"""What a URI of a source or a sink says: `[scheme:]path[?key=value&…]`."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from rms_flows.confirm import open_trust
from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError
from rms_flows.model import microseconds

_SCHEME: Final = re.compile(r"^([a-z][a-z0-9+-]+):(?://)?")
REMOTE: Final = ("elasticsearch", "elasticsearch+https", "kafka")
"""Schemes of places on other machines, whose paths begin with a host."""

_QUERY: Final = re.compile(r"\?(?=[a-z_]+=)")
_ORDERS: Final = ("month-first", "day-first", "year-first")


@dataclass(frozen=True, slots=True)
class Address:
    """A URI in its parts.

    Args:
        uri: As it was written.
        scheme: `file` where there is none.
        path: Whole path or glob; of a place on another machine `host[:port]/path`.
        query: Keys and values; each key once.
    """

    uri: str
    scheme: str
    path: str
    query: dict[str, str]


def split(uri: str, base: Path, *, confined: bool = False) -> Address:
    """Split a URI; a relative path begins at `base`.

    Args:
        uri: What was written.
        base: A folder.
        confined: The URI comes from a document, whose paths can't leave `base`.

    Raises:
        DocumentError: The path leaves the folder, is empty, or a key of the query comes twice; or the URI
            holds credentials.

    Example:
        >>> split("auth.log?year=2026", Path("logs"))
        Address(uri='auth.log?year=2026', scheme='file', path='logs/auth.log', query={'year': '2026'})
    """
    found = _SCHEME.match(uri)
    scheme, rest = (found[1], uri[found.end() :]) if found else ("file", uri)
    path, query = rest, ""
    if begins := _QUERY.search(rest):
        path, query = rest[: begins.start()], rest[begins.end() :]
    if scheme in REMOTE and "@" in path.partition("/")[0]:
        raise DocumentError(
            "credentials don't belong in a URI, which is logged",
            where=f"{scheme}://…@{path.partition('@')[2]}",
            remedy="set them in the environment, and take them out of it",
        )
    pairs = parse_qsl(query, keep_blank_values=True)
    if len(dict(pairs)) < len(pairs):
        raise DocumentError("a key comes twice after the ?", where=uri, remedy="keep one of them")
    if not path:
        raise DocumentError("no path", where=uri, remedy="write one such as logs/auth.log")
    if scheme in REMOTE:
        return Address(uri, scheme, path, dict(pairs))
    whole = base / path
    if confined and not whole.resolve().is_relative_to(base.resolve()):
        raise DocumentError(
            f"the path leaves the folder {base}",
            where=uri,
            remedy="move the data inside, name another --folder, or give the URI with --source or --sink",
        )
    return Address(uri, scheme, str(whole), dict(pairs))


def options(address: Address, known: Options) -> Options:
    """Read what a source's URI says of how to decode; it goes before what the document says.

    Raises:
        DocumentError: A key is unknown or its value is none.
    """
    names = [field.name for field in fields(Options)]
    there = ", ".join(names)
    given: dict[str, Any] = {}
    for key, text in address.query.items():
        if key not in names:
            raise DocumentError(
                f"no option is called {key!r}", where=address.uri, remedy=f"there are {there}"
            )
        given[key] = _value(key, text, address.uri)
    return replace(known, **given)


def _value(key: str, text: str, uri: str) -> Any:
    read, expected = _READERS.get(key, (str, "text"))
    try:
        return read(text)
    except (ValueError, KeyError, ZoneInfoNotFoundError, OSError):
        raise DocumentError(f"{key}={text} is not {expected}", where=uri, remedy="mend the URI") from None


def _number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not least <= (number := int(text)) <= most:
            raise ValueError
        return number

    return read


def _character(text: str) -> str:
    if len(text) != 1:
        raise ValueError
    return text


_READERS: Final[Mapping[str, tuple[Callable[[str], Any], str]]] = {
    "year": (_number(1970, 2200), "a year from 1970 to 2200"),
    "max_record": (_number(1, 1 << 31), "a number of bytes above 0"),
    "max_ahead": (microseconds, "a duration such as 5m"),
    "delimiter": (_character, "one character"),
    "timezone": (ZoneInfo, "a zone such as Europe/Madrid"),
    "keep_original": ({"true": True, "false": False}.__getitem__, "true or false"),
    "swapped_roles": ({"true": True, "false": False}.__getitem__, "true or false"),
    "probes": (lambda text: open_trust(text, Path()), "who confirms probes"),
    "date_order": ({order: order for order in _ORDERS}.__getitem__, " or ".join(_ORDERS)),
}
