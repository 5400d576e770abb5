"""One question by HTTP: an answer within limits of time, size and place, or what went wrong."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Self

import urllib3
from urllib3.exceptions import HTTPError

from rms_flows.io.poll.address import Polled, beside
from rms_flows.io.poll.login import Login, login
from rms_flows.io.poll.trouble import Letter, PollError, late, refused, unreached
from rms_flows.model import microseconds

if TYPE_CHECKING:
    from urllib3.response import BaseHTTPResponse

REDIRECTS: Final = 5
_HEADERS: Final = {
    "Accept": "application/json, */*;q=0.5",
    "Accept-Encoding": "gzip, deflate",
    "User-Agent": "rms-flows",
}
_PIECE: Final = 65_536
_SAID: Final = 200
"""Bytes of what a server says of a failure that a person reads."""

_MOVED: Final = frozenset({301, 302, 303, 307, 308})
_OK: Final = 200
_NOTHING: Final = 204
_UNCHANGED: Final = 304


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said.

    Args:
        url: Where it was said in the end.
        body: Unpacked.
        kind: Its media type, without parameters, in lower case.
        headers: All of them.
    """

    url: str
    body: bytes
    kind: str
    headers: Mapping[str, str]

    @property
    def validators(self) -> dict[str, str]:
        """Give what asks for it only if it has changed."""
        names = {"ETag": "If-None-Match", "Last-Modified": "If-Modified-Since"}
        return {asks: self.headers[name] for name, asks in names.items() if name in self.headers}


class Server:
    """Asks one server; close it.

    Args:
        polled: How.
        url: Where; who we are is read now.

    Raises:
        DocumentError: See `login`.
    """

    def __init__(self, polled: Polled, url: str) -> None:
        self._poll = polled.poll
        self._login: Login = login(polled, url)
        self._seconds = microseconds(polled.poll.timeout) / 1e6
        self._pool = urllib3.PoolManager(
            num_pools=2, maxsize=1, timeout=self._seconds, ssl_context=self._login.context
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._pool.clear()

    def get(self, url: str, validators: Mapping[str, str] | None = None) -> Answer | None:
        """Ask.

        Args:
            url: The question.
            validators: Those of the answer before to the same question.

        Returns:
            The answer; None where it is as it was.

        Raises:
            PollError: There is none that can be used.
        """
        for _ in range(REDIRECTS + 1):
            response = self._opened(url, validators or {})
            try:
                if response.status not in _MOVED:
                    return self._answer(url, response)
                link = response.headers.get("Location", "")
            finally:
                response.close()
                response.release_conn()
            moved = beside(url, link) if link else None
            if moved is None:
                raise PollError(
                    f"the server sends us elsewhere ({link[:_SAID]})",
                    "we follow it to the same host only; name the place where the data is",
                    passes=False,
                )
            url = moved
        raise PollError(f"the server sends us on more than {REDIRECTS} times", "check the path", passes=False)

    def _opened(self, url: str, validators: Mapping[str, str]) -> BaseHTTPResponse:
        headers = urllib3.HTTPHeaderDict(_HEADERS)
        for name, value in [*self._poll.headers.items(), *self._login.headers.items(), *validators.items()]:
            headers[name] = value  # whatever its case
        try:
            return self._pool.request(
                "GET", url, headers=headers, retries=False, redirect=False, preload_content=False
            )
        except (HTTPError, OSError) as error:
            raise unreached(error, self._seconds) from None

    def _answer(self, url: str, response: BaseHTTPResponse) -> Answer | None:
        if response.status == _UNCHANGED:
            return None
        if response.status == _NOTHING:
            return Answer(url, b"", "", response.headers)
        good = response.status == _OK
        body = self._body(response, self._poll.max_answer if good else 4 * _SAID)
        if not good:
            said = self._login.without_secrets(body)[:_SAID].decode(errors="replace")
            raise refused(response.status, " ".join(said.split()), response.headers.get("Retry-After"))
        kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        return Answer(url, body, kind, response.headers)

    def _body(self, response: BaseHTTPResponse, most: int) -> bytes:
        """Read what is said, no longer than the time for an answer; of a failure only the beginning."""
        end = time.monotonic() + self._seconds
        body = bytearray()
        try:
            while piece := response.read1(_PIECE, decode_content=True):
                body += piece
                if len(body) > most:
                    if response.status != _OK:
                        break
                    raise self._too_large(bytes(body[:most]))
                if time.monotonic() > end:
                    raise late(self._seconds)
        except (HTTPError, OSError) as error:
            raise unreached(error, self._seconds) from None
        return bytes(body)

    def _too_large(self, body: bytes) -> PollError:
        most = self._poll.max_answer
        reason = f"the answer is longer than {most:,} bytes"
        return PollError(
            reason,
            "ask for less at once by a parameter of the URI, or raise max_answer of poll:",
            letter=Letter("too-large", reason, self.without_secrets(body)),
        )

    def without_secrets(self, said: bytes) -> bytes:
        """See `Login.without_secrets`."""
        return self._login.without_secrets(said)
