"""Calls of a cluster: bytes in and out, tried again while that can help, with errors that can be mended."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

import msgspec

from rms_flows.errors import RmsError
from rms_flows.io.elasticsearch.away import Away
from rms_flows.io.elasticsearch.login import login
from rms_flows.io.elasticsearch.trouble import Failed, Failure, passes, refused, unreached

if TYPE_CHECKING:
    from elasticsearch import ApiError, Elasticsearch, TransportError

PATIENCE: Final = 120.0
"""Seconds for which a call is tried again: a node that was killed is back by then."""

TIMEOUT: Final = 60.0
"""Seconds for an answer."""

OLDEST: Final = 9
"""Lowest major version."""

_JSON: Final = "application/json"
LINES: Final = "application/x-ndjson"
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a cluster said.

    Args:
        status: Of HTTP.
        body: JSON, as it came.
    """

    status: int
    body: bytes

    def json(self, kind: type[_T]) -> _T:
        """Decode the body."""
        return msgspec.json.decode(self.body, type=kind)

    @property
    def failure(self) -> Failure:
        """Why it failed."""
        try:
            error = msgspec.json.decode(self.body, type=Failed).error
        except (msgspec.DecodeError, UnicodeDecodeError):
            return Failure(reason=self.body[:200].decode(errors="replace"))
        return error if isinstance(error, Failure) else Failure(reason=error)


@dataclass(frozen=True)
class Cluster:
    """A cluster that is called; picklable, and may be called from several threads.

    Args:
        url: Where it answers.
        where: What messages name, without credentials.
        error: What is raised.
    """

    url: str
    where: str
    error: type[RmsError]
    patience: float = PATIENCE
    _lock: threading.Lock = field(default_factory=threading.Lock, compare=False, repr=False)
    _away: Away = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_away", Away(self.where))

    def __reduce__(self) -> tuple[object, ...]:
        return Cluster, (self.url, self.where, self.error, self.patience)

    def check(self) -> None:
        """See at once whether a cluster that we know how to speak to is there and lets us in.

        Raises:
            RmsError: It isn't, or doesn't.
        """
        said = self.call("GET", "/", patience=0)
        try:
            number = said.json(_Root).version.number
        except msgspec.DecodeError:
            raise self.error(
                "what answers is no Elasticsearch", where=self.where, remedy="check host and port"
            ) from None
        if int(number.partition(".")[0]) < OLDEST:
            raise self.error(
                f"Elasticsearch {number} is too old",
                where=self.where,
                remedy=f"use version {OLDEST} or later",
            )

    def call(
        self,
        method: str,
        path: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        *,
        accept: Collection[int] = (),
        patience: float | None = None,
        form: str = _JSON,
    ) -> Answer:
        """Call the cluster until it gives an answer that stands.

        Lost connections, timeouts and the statuses in `trouble.PASSING` are tried again after a pause that
        grows up to 10 s, drawn at random: so a call may be carried out twice, which must do no harm. That a
        cluster is away is logged once, and once that it is back.

        Args:
            method: Of HTTP.
            path: Below the URL, quoted.
            body: Bytes as they are, anything else as JSON.
            query: Behind the path.
            accept: Statuses from 400 on that are given to the caller.
            patience: Seconds to try; those of the cluster unless told.
            form: Of the body.

        Raises:
            RmsError: It can't be reached, doesn't let us in, or refuses the call.
        """
        client = self._client
        from elasticsearch import ApiError  # noqa: PLC0415  `_client` told if it is not there

        data = body if body is None or isinstance(body, bytes) else msgspec.json.encode(body)
        headers = {"accept": _JSON} | ({"content-type": form} if data is not None else {})

        def once() -> Answer:
            try:
                said = client.perform_request(method, path, params=query, headers=headers, body=data)
            except ApiError as error:
                if error.status_code in accept:
                    return Answer(error.status_code, _bytes(error.body))
                raise
            return Answer(said.meta.status, _bytes(said.body))

        return self._patiently(once, self.patience if patience is None else patience)

    def _patiently(self, once: Callable[[], Answer], patience: float) -> Answer:
        from elasticsearch import ApiError, TransportError  # noqa: PLC0415
        from tenacity import (  # noqa: PLC0415
            RetryCallState,
            Retrying,
            retry_if_exception,
            stop_after_delay,
            wait_random_exponential,
        )

        def failed(state: RetryCallState) -> None:
            error = state.outcome and state.outcome.exception()
            if isinstance(error, ApiError | TransportError):  # nothing else is tried again
                self._away.failed(self._met(error), state.seconds_since_start or 0, patience)

        tries = Retrying(
            retry=retry_if_exception(passes),
            wait=wait_random_exponential(multiplier=0.1, max=10),
            stop=stop_after_delay(patience),
            before_sleep=failed,
            reraise=True,
        )
        try:
            answer = tries(once)
        except (ApiError, TransportError) as error:
            trouble = self._met(error)
        else:
            self._away.answered()
            return answer
        raise trouble  # here, where it drags no request along

    def _met(self, error: ApiError | TransportError) -> RmsError:
        """Give the error to raise for what a call met."""
        from elasticsearch import ApiError  # noqa: PLC0415

        if isinstance(error, ApiError):
            said = Answer(error.status_code, _bytes(error.body))
            return self.trouble(said.status, said.failure)
        problem, remedy = unreached(error)
        return self.error(problem, where=self.where, remedy=remedy)

    def trouble(self, status: int, failure: Failure) -> RmsError:
        """Give the error to raise for an answer that is none."""
        problem, remedy = refused(status, failure)
        return self.error(problem, where=self.where, remedy=remedy)

    @cached_property
    def _opened(self) -> Elasticsearch:
        try:
            import elasticsearch  # noqa: PLC0415  takes half a second, and may not be installed
        except ModuleNotFoundError:
            raise self.error(
                "needs the client of Elasticsearch, which is not installed",
                where=self.where,
                remedy="pip install 'rms-flows[elasticsearch]'",
            ) from None
        # Who wants the client's log gets it; nobody else finds each retry on the terminal.
        logging.getLogger("elastic_transport").addHandler(logging.NullHandler())
        return elasticsearch.Elasticsearch(
            self.url,
            serializers=cast("Any", dict.fromkeys(_MIMETYPES, _Raw())),
            max_retries=0,
            request_timeout=TIMEOUT,
            **login(self.url),
        )

    @property
    def _client(self) -> Elasticsearch:
        with self._lock:
            return self._opened


class _Version(msgspec.Struct):
    number: str


class _Root(msgspec.Struct):
    version: _Version


class _Raw:
    """Lets bytes through: what comes in is decoded by who asked for it."""

    def dumps(self, data: bytes) -> bytes:
        return data

    def loads(self, data: bytes) -> bytes:
        return data


_MIMETYPES: Final = (_JSON, LINES, "application/*", "text/*")
"""The last two are what proxies say."""


def _bytes(body: Any) -> bytes:
    return body if isinstance(body, bytes) else b""  # a HEAD has none
