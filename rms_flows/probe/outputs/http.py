"""A web server that takes envelopes, such as `rms serve`."""

from __future__ import annotations

from typing import Final

from rms_flows.errors import SinkError
from rms_flows.web import BROKEN, Server

PREFIX: Final = "RMS_PROBE"
"""Of the variables that tell who a probe is to servers."""
_SECONDS: Final = 20
"""For the server to answer."""
_TAKEN: Final = range(200, 300)


class Http:
    """Posts batches of envelopes, a line each (`application/x-ndjson`).

    Guarantee: what `send` returned for was answered with 2xx, so the server has it. All else is sent again:
    the server may get envelopes twice, the same byte for byte.

    Args:
        uri: `http://HOST[:PORT]/PATH` or `https:`; see `web.Server` for tokens and authorities
            (`RMS_PROBE_…`).

    Raises:
        DocumentError: See `web.Server`.
    """

    def __init__(self, uri: str) -> None:
        self._server = Server(uri, PREFIX, _SECONDS)

    def send(self, lines: list[bytes], last: int) -> None:
        """See `Output.send`."""
        del last
        body = b"\n".join([*lines, b""])
        try:
            answer = self._server.ask(
                "POST", self._server.path, body, {"Content-Type": "application/x-ndjson"}
            )
        except BROKEN as error:
            raise SinkError(
                f"no server took it ({type(error).__name__}: {error})",
                where=self._server.uri,
                remedy="check host and port, and see whether it runs",
            ) from None
        if answer.status not in _TAKEN:
            self.close()
            raise SinkError(
                f"the server refused envelopes ({answer.said})",
                where=self._server.uri,
                remedy=f"see what it says; {PREFIX}_TOKEN is who we are",
            )

    def close(self) -> None:
        """See `Output.close`."""
        self._server.close()
