"""A gateway as who confirms probes, over HTTP: the contract is in docs/trust.md.

`GET {uri}/probes/{id}` answers 200 with a JSON object as `ConfirmedProbe` has it, or 404 where it doesn't
know the probe. It may have an ETag, which comes back as `If-None-Match`; 304 says that nothing has changed.
`GET {uri}/probes` may list the probes, `{"probes": [{"id": …}]}`, and answers 404 where it doesn't.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import quote

from pydantic import ValidationError

from rms_flows.confirm.contract import Told
from rms_flows.errors import DocumentError, RmsError, SourceError
from rms_flows.model import ConfirmedProbe, ConfirmedProbes, Document, Trust
from rms_flows.web import BROKEN, LARGEST, Answer, Server

PREFIX: Final = "RMS_GATEWAY"
"""Of the variables that tell who we are to gateways."""

SECONDS: Final = 3.0
"""For a gateway to answer: who reads a stream waits so long."""

_GOOD, _SAME, _NONE = 200, 304, 404
_OF_ONE: Final = (400, 409, 410, 414, 422)
"""What is said of one probe, and not of all."""

_D = TypeVar("_D", bound=Document)


class Gateway:
    """A gateway; see `web.Server` for tokens and authorities (`RMS_GATEWAY_…`).

    Args:
        uri: `https://HOST[:PORT][/PATH]`; `http:` only with a token for this machine, or without one.
        seconds: For it to answer.

    Raises:
        DocumentError: See `web.Server`.
    """

    def __init__(self, uri: str, seconds: float = SECONDS) -> None:
        self.where, self._seconds = uri, seconds
        self._server = Server(uri, PREFIX, seconds)
        self._path = self._server.path.rstrip("/")

    def ask(self, probe: str, before: Told | None) -> Told:
        """See `ProbeTrust.ask`."""
        known = {"If-None-Match": before.tag} if before is not None and before.tag else {}
        answer = self._asked(f"{self._path}/probes/{quote(probe, safe='')}", known)
        if answer.status == _NONE:
            return Told(None)
        if answer.status == _SAME and before is not None and known:
            return before
        if answer.status != _GOOD:
            raise self._refused(answer)
        found = self._parsed(answer, ConfirmedProbe, probe)
        if found.id != probe:
            raise DocumentError(
                f"was asked for the probe {probe[:60]!r} and answered for {found.id[:60]!r}",
                where=self.where,
                remedy="mend the gateway",
            )
        return Told(found.trust, answer.tag)

    def all(self) -> Mapping[str, Trust | None]:
        """See `ProbeTrust.all`; nothing where the gateway lists none."""
        answer = self._asked(f"{self._path}/probes", {})
        if answer.status == _NONE:
            return {}
        if answer.status != _GOOD:
            raise self._refused(answer)
        return {one.id: one.trust for one in self._parsed(answer, ConfirmedProbes, "probes").probes}

    def __reduce__(self) -> tuple[object, ...]:
        """Cross to another process without the connection and the token, which is read there."""
        return (Gateway, (self.where, self._seconds))

    def _asked(self, path: str, headers: dict[str, str]) -> Answer:
        try:
            return self._server.ask("GET", path, headers={"Accept": "application/json", **headers})
        except BROKEN as error:
            raise SourceError(
                f"the gateway does not answer ({type(error).__name__}: {error})",
                where=self.where,
                remedy="check host and port, and see whether it runs",
            ) from None

    def _parsed(self, answer: Answer, kind: type[_D], what: str) -> _D:
        if len(answer.body) > LARGEST:
            raise self._useless(what, f"longer than {LARGEST:,} bytes")
        try:
            return kind.model_validate_json(answer.body)
        except ValidationError as error:
            fault = error.errors()[0]
            place = ".".join(map(str, fault["loc"]))
            raise self._useless(what, f"{place}: {fault['msg']}" if place else fault["msg"]) from None

    def _useless(self, what: str, why: str) -> DocumentError:
        return DocumentError(
            f"the gateway's answer can't be used ({why})",
            where=f"{self.where}: {what}",
            remedy="docs/trust.md says what it has to be",
        )

    def _refused(self, answer: Answer) -> RmsError:
        own = answer.status in _OF_ONE
        return (DocumentError if own else SourceError)(
            f"the gateway refused ({answer.said})",
            where=self.where,
            remedy=f"see what it says; {PREFIX}_TOKEN is who we are",
        )
