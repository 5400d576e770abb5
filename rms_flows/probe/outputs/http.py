"""A web server that takes envelopes, such as `rms serve`."""

from __future__ import annotations

import http.client
import os
import ssl
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from rms_flows.errors import DocumentError, SinkError

TOKEN: Final = "RMS_PROBE_TOKEN"  # noqa: S105  the name of a variable
_SECONDS: Final = 20
"""For the server to answer."""
_HERE: Final = ("localhost", "127.0.0.1", "::1")
_TAKEN: Final = range(200, 300)


class Http:
    """Posts batches of envelopes, a line each (`application/x-ndjson`).

    Guarantee: what `send` returned for was answered with 2xx, so the server has it. All else is sent again:
    the server may get envelopes twice, the same byte for byte.

    Args:
        uri: `http://HOST[:PORT]/PATH` or `https:`. The token of `RMS_PROBE_TOKEN`, or of the file that
            `RMS_PROBE_TOKEN_FILE` names, is sent along (`Authorization: Bearer`), over `http:` only on this
            machine; `RMS_PROBE_CA` names the authority to trust instead of the system's.

    Raises:
        DocumentError: The URI is none, holds credentials, or the token would cross a network in plain text.
    """

    def __init__(self, uri: str) -> None:
        parts = urlsplit(uri)
        try:
            host, port = parts.hostname, parts.port
        except ValueError:
            host = port = None
        if not host or parts.username is not None or parts.fragment:
            raise DocumentError(
                "is no address of a server",
                where=uri.rpartition("@")[2],
                remedy="write https://HOST[:PORT]/PATH",
            )
        self._uri, self._host, self._port = uri, host, port
        self._secure = parts.scheme == "https"
        self._path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._headers = {"Content-Type": "application/x-ndjson"}
        token = _token()
        if token and not self._secure and host not in _HERE:
            raise DocumentError(
                "a token would cross the network in plain text",
                where=uri,
                remedy=f"write https:, or unset {TOKEN}",
            )
        if token:
            self._headers["Authorization"] = f"Bearer {token}"
        self._connection: http.client.HTTPConnection | None = None

    def send(self, lines: list[bytes], last: int) -> None:
        """See `Output.send`."""
        del last
        body = b"\n".join([*lines, b""])
        fresh = self._connection is None
        try:
            status, said = self._posted(body)
        except (OSError, http.client.HTTPException) as error:
            self.close()
            if not fresh:  # servers close what is idle for long
                return self.send(lines, 0)
            raise SinkError(
                f"no server took it ({type(error).__name__}: {error})",
                where=self._uri,
                remedy="check host and port, and see whether it runs",
            ) from None
        if status not in _TAKEN:
            self.close()
            raise SinkError(
                f"the server refused envelopes ({status} {said})",
                where=self._uri,
                remedy=f"see what it says; {TOKEN} is who we are",
            )
        return None

    def _posted(self, body: bytes) -> tuple[int, str]:
        """Give the answer of the server, and the beginning of what it says."""
        if self._connection is None:
            self._connection = self._connect()
        self._connection.request("POST", self._path, body, self._headers)
        answer = self._connection.getresponse()
        said = answer.read().decode(errors="replace").strip()
        return answer.status, said[:500] or answer.reason

    def close(self) -> None:
        """See `Output.close`."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connect(self) -> http.client.HTTPConnection:
        if not self._secure:
            return http.client.HTTPConnection(self._host, self._port, timeout=_SECONDS)
        context = ssl.create_default_context(cafile=os.environ.get("RMS_PROBE_CA"))
        return http.client.HTTPSConnection(self._host, self._port, timeout=_SECONDS, context=context)


def _token() -> str | None:
    path = os.environ.get(f"{TOKEN}_FILE")
    if not path:
        return os.environ.get(TOKEN)
    try:
        return Path(path).read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise DocumentError(
            f"{path} can't be read ({getattr(error, 'strerror', None) or 'no ASCII'})",
            where=f"{TOKEN}_FILE",
            remedy="name a file that holds the token",
        ) from None
