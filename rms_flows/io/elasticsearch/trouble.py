"""What goes wrong in calls of a cluster: what passes, and what a person reads of what doesn't."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

import msgspec

from rms_flows.io.elasticsearch.login import PREFIX

if TYPE_CHECKING:
    from elasticsearch import TransportError

PASSING: Final = frozenset({429, 502, 503, 504})
"""Answers that say: later."""

_SAID: Final = re.compile(r"""\[Errno -?\d+\] ([^'")]+)|\[SSL: \w+\] (certificate [^('"]+)|\[SSL: (\w+)""")
_LOGIN: Final = f"set {PREFIX}API_KEY, or {PREFIX}USER and {PREFIX}PASSWORD"


class Failure(msgspec.Struct):
    """What a cluster says of a failure."""

    type: str = ""
    reason: str | None = None
    caused_by: Failure | None = None

    def __str__(self) -> str:
        """Give the reason, and the first cause of it."""
        cause = self
        while cause.caused_by is not None:
            cause = cause.caused_by
        return ": ".join(dict.fromkeys([self.reason or self.type, cause.reason or cause.type]))


class Failed(msgspec.Struct):
    """The body of an answer that is none."""

    error: Failure | str = ""


def passes(error: BaseException) -> bool:
    """Tell whether the same call may succeed later."""
    from elasticsearch import ApiError, ConnectionError, ConnectionTimeout, SSLError  # noqa: A004, PLC0415

    if isinstance(error, ApiError):
        return error.status_code in PASSING
    return isinstance(error, ConnectionTimeout | ConnectionError) and not isinstance(error, SSLError)


def refused(status: int, failure: Failure) -> tuple[str, str]:
    """Give problem and remedy for an answer with a status from 300 on, or from a server that is another."""
    if status < 300:  # noqa: PLR2004  it is a good answer
        return "what answers is no Elasticsearch", "check host and port"
    if failure.type == "media_type_header_exception":
        return "Elasticsearch is too old", "use version 9 or later"
    known: dict[int, tuple[str, str]] = {
        401: ("it wants a login, and not this one", _LOGIN),
        403: (f"the login has no right to do this ({failure})", "give it the right, or use another"),
        404: (f"{failure}", "check the name; GET _cat/indices lists those that are there"),
        429: (f"it is too busy, and stays so ({failure})", "give it time or memory, and run this again"),
        503: (
            f"a part of its data is not available ({failure})",
            "mend the red index (GET _cluster/allocation/explain says why), and run this again",
        ),
    }
    return known.get(status, (f"it refuses a call with {status} ({failure})", "mend what it names"))


def unreached(error: TransportError) -> tuple[str, str]:
    """Give problem and remedy for a call without an answer."""
    from elasticsearch import ConnectionTimeout, SSLError  # noqa: PLC0415

    said = _SAID.search(error.message)
    reason = next(filter(None, said.groups())).strip() if said else error.message
    if isinstance(error, SSLError):
        return (
            f"TLS fails ({reason})",
            f"name the authority's certificates with {PREFIX}CA, and check the host",
        )
    if isinstance(error, ConnectionTimeout):
        return "there is no answer in time", "see whether the cluster is overloaded"
    return f"can't be reached ({reason})", "check host and port, and see whether it runs"
