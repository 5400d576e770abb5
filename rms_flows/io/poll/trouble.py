"""What goes wrong when a server is asked: what passes, and what a person reads of what doesn't."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from typing import Final

from urllib3.exceptions import (
    ConnectTimeoutError,
    DecodeError,
    HTTPError,
    IncompleteRead,
    NameResolutionError,
    NewConnectionError,
    ReadTimeoutError,
    SSLError,
)

from rms_flows.errors import SourceError
from rms_flows.web import retry_after

_LATER: Final = frozenset({408, 425, 429})
_SERVERS_OWN: Final = 500
_LOGIN: Final = "say who we are with poll: {auth: …}"
_REMEDIES: Final = {
    400: "see what it says of the question: the parameters of the URI and of poll:",
    401: _LOGIN,
    403: f"{_LOGIN}, or give that login the right",
    404: "check the path",
    405: "name a path that can be read with GET",
    410: "check the path",
    429: "raise interval of poll:",
}
_REASON: Final = re.compile(r"\[Errno -?\d+\] ([^'\")]+)|certificate [^('\"]+|\[SSL: (\w+)")


@dataclass(frozen=True, slots=True)
class Letter:
    """An answer that can't be used.

    Args:
        kind: Short and countable, becomes `error.type`.
        reason: What came, what was expected.
        body: As it came.
    """

    kind: str
    reason: str
    body: bytes


class PollError(Exception):
    """A question without an answer that can be used.

    Args:
        problem: See `RmsError`.
        remedy: Likewise.
        passes: Asking again may help.
        wait: Seconds that the server asked us to wait.
        letter: What came instead, where it is to be kept.
    """

    def __init__(
        self,
        problem: str,
        remedy: str,
        *,
        passes: bool = True,
        wait: float | None = None,
        letter: Letter | None = None,
    ) -> None:
        self.problem = problem
        self.remedy = remedy
        self.passes = passes
        self.wait = wait
        self.letter = letter
        super().__init__(problem)

    def error(self, where: str) -> SourceError:
        """Give what a person is told."""
        return SourceError(self.problem, where=where, remedy=self.remedy)


def refused(status: int, said: str, wait: str | None) -> PollError:
    """Tell of an answer with a status that is no success.

    Args:
        status: Of HTTP.
        said: The beginning of what the server says of it.
        wait: Its `Retry-After`.
    """
    return PollError(
        f"the server answers {status}{f' ({said})' if said else ''}",
        _REMEDIES.get(status, "see the server's log" if status >= _SERVERS_OWN else "mend what it names"),
        passes=status in _LATER or status >= _SERVERS_OWN,
        wait=retry_after(wait, time.time()),
    )


def unreached(error: HTTPError | OSError, seconds: float) -> PollError:
    """Tell of a question that got no answer, or not all of it.

    Args:
        error: Of the client.
        seconds: For which it waited.
    """
    if isinstance(error, NameResolutionError):
        return PollError("the name of the host is not known", "check the host")
    if not isinstance(error, NewConnectionError) and isinstance(
        error, ConnectTimeoutError | ReadTimeoutError | TimeoutError
    ):  # what can't be connected is a timeout to the client
        return late(seconds)
    found = _REASON.search(str(error))
    reason = (found[1] or found[2] or found[0]).strip() if found else type(error).__name__
    if isinstance(error, SSLError):
        return PollError(
            f"TLS fails ({reason})",
            "name the authority's certificates with ca_file, and check the host",
            passes=False,
        )
    if isinstance(error, DecodeError):
        return PollError("the answer can't be unpacked", "see what the server compresses it with")
    if isinstance(error, IncompleteRead):
        return PollError("the answer breaks off before its end", "see the server's log")
    return PollError(f"can't be reached ({reason})", "check host and port, and see whether it runs")


def late(seconds: float) -> PollError:
    """Tell of an answer that is not there in time."""
    return PollError(
        f"there is no answer within {seconds:g} s", "see whether the server hangs, or raise timeout of poll:"
    )
