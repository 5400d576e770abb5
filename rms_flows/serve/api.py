"""What the service answers: `/v1/envelopes` takes what probes send, `/v1/documents` is the registry.

Errors are JSON as everywhere in the package: `problem`, `where`, `remedy`.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import datetime
from enum import Enum
from typing import Annotated, Any, Final

from fastapi import Depends, FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline

from rms_flows.errors import (
    ConflictError,
    DocumentError,
    MissingError,
    OvertakenError,
    RmsError,
    SinkError,
    UnreachableError,
)
from rms_flows.model import MAX_SIZE, ConfirmedProbe, DataSourceManifest, Document, parse
from rms_flows.registry import KINDS, Registry, instance, instances, kind_called, wish_to_stop
from rms_flows.registry.kinds import identity
from rms_flows.serve.access import Access, Role
from rms_flows.serve.intake import Broken, Intake, Known, envelopes
from rms_flows.version import __version__

LARGEST: Final = 16 * 1024 * 1024
"""Bytes of a body of envelopes at most; a probe sends a few hundred at once."""

LONGEST: Final = 900_000
"""Bytes of an envelope at most: brokers take a mebibyte, with all around it."""

AGAIN: Final = "5"
"""Seconds after which who could not be served may come again."""

_BEARER: Final = HTTPBearer(auto_error=False, description="As the service's file of tokens has it.")

Moment = Annotated[datetime | None, Query(description="As it was at this time; UTC unless it says.")]
Plain = dict[str, Any]


class Refused(Exception):  # noqa: N818  an answer, not a fault of ours
    """An answer other than what was asked for.

    Args:
        status: HTTP's.
        problem: What is wrong.
        remedy: What to do.
    """

    def __init__(self, status: int, problem: str, remedy: str) -> None:
        self.status = status
        self.problem = problem
        self.remedy = remedy
        super().__init__(problem)


def application(
    registry: Registry, intake: Intake | None, access: Access, known: Known | None = None
) -> FastAPI:
    """Make the service.

    Args:
        registry: Its documents.
        intake: Takes envelopes; None takes none.
        access: Who may do what.
        known: Tells which envelopes are forged, which are refused then; None keeps all.
    """
    app: FastAPI = FastAPIOffline(
        title="rms_flows",
        version=__version__,
        summary="Registry and intake of a runtime monitoring system.",
        description="See docs/serve.md.",
        redoc_url=None,
    )
    app.exception_handler(RmsError)(_told)
    app.exception_handler(Refused)(_refused)
    app.exception_handler(RequestValidationError)(_invalid)

    def allowed(*roles: Role) -> Any:
        def check(shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]) -> None:
            role = access.role(shown.credentials if shown else None)
            if role is None:
                raise Refused(401, "no token, or an unknown one", "send it as Authorization: Bearer TOKEN")
            if role not in roles:
                raise Refused(403, f"a {role} may not do this", f"use a token of: {', '.join(roles)}")

        return Depends(check)

    _health(app, intake, known)
    if intake is not None:
        _envelopes(app, intake, allowed("probe", "admin"), known)
    _reading(app, registry, allowed("probe", "reader", "admin"))
    _probes(app, registry, allowed("probe", "reader", "admin"))
    _writing(app, registry, allowed("admin"))
    _running(app, registry, allowed("probe", "reader", "admin"), allowed("admin"))
    return app


def _health(app: FastAPI, intake: Intake | None, known: Known | None) -> None:
    @app.get("/healthz", summary="Whether envelopes are kept", tags=["health"])
    def health() -> Response:
        trouble = intake.trouble if intake else None
        said: Plain = {"status": "ok"} if trouble is None else {"status": "failing", "problem": trouble}
        if known is not None:
            said["forged"] = known.refused
        return JSONResponse(said, 200 if trouble is None else 503)


def _envelopes(app: FastAPI, intake: Intake, allowed: Any, known: Known | None) -> None:
    @app.post(
        "/v1/envelopes",
        summary="Keep envelopes, a line each, all of them or none",
        description="Answered once no loss of power loses them. What is sent again is known by its number.",
        tags=["envelopes"],
        dependencies=[allowed],
        openapi_extra=_takes("application/x-ndjson", schema="string"),
    )
    async def keep(request: Request) -> dict[str, int]:
        given = envelopes(await _body(request, LARGEST))
        if isinstance(given, Broken):
            raise Refused(422, f"line {given.line}: {given.why}", "none of the lines was kept; mend it")
        if any(len(one.line) > LONGEST for one in given):
            raise Refused(413, f"an envelope is longer than {LONGEST:,} bytes", "send less in one")
        if known is not None and (forged := await asyncio.to_thread(known.forged, given)) is not None:
            raise Refused(
                422,
                f"an envelope of {forged!r} is not signed with a key that the registry has of it",
                "none was kept; put its publicKey into the manifest's trust, and send them again",
            )
        if given and (why := await asyncio.wrap_future(intake.put(given))) is not None:
            raise Refused(503, why, "send them again later")
        return {"kept": len(given)}


def _reading(app: FastAPI, registry: Registry, allowed: Any) -> None:
    reading: Plain = {"dependencies": [allowed], "tags": ["documents"]}
    takes: Plain = {**reading, "openapi_extra": _takes("application/json")}

    @app.get("/v1/documents/{kind}", summary="List documents of a kind", **reading)
    def listed(kind: str, at: Moment = None) -> list[Plain]:
        return [_plain(one) for one in registry.all(_kind(kind), at)]

    @app.post("/v1/discover/{kind}", summary="Find documents by example: every given field matches", **takes)
    async def discover(kind: str, request: Request, at: Moment = None) -> list[Plain]:
        example = _example(await _body(request, MAX_SIZE))
        found = await asyncio.to_thread(registry.discover, _kind(kind), example, at)
        return [_plain(one) for one in found]

    @app.get("/v1/history/{kind}/{name:path}", summary="List the versions of a document", **reading)
    def history(kind: str, name: str) -> list[Plain]:
        found = registry.history(_kind(kind), name)
        return [
            {
                "since": one.since,
                "until": one.until,
                "document": _plain(parse(one.data, _kind(kind), one.where)),
            }
            for one in found
        ]

    @app.get("/v1/documents/{kind}/{name:path}", summary="Read a document", **reading)
    def read(
        request: Request, kind: str, name: str, at: Moment = None, *, expanded: bool = False
    ) -> Response:
        if expanded:
            return _tagged(request, registry.expanded(_kind(kind), name, at))
        return _tagged(request, _plain(registry.read(_kind(kind), name, at)))


def _probes(app: FastAPI, registry: Registry, allowed: Any) -> None:
    """Answer as a gateway does, see docs/trust.md."""
    reading: Plain = {"dependencies": [allowed], "tags": ["probes"]}

    @app.get("/v1/probes", summary="List what is confirmed of probes", **reading)
    def listed(request: Request) -> Response:
        return _tagged(request, {"probes": [_confirmed(one) for one in registry.all(DataSourceManifest)]})

    @app.get("/v1/probes/{name:path}", summary="Tell what is confirmed of a probe", **reading)
    def told(request: Request, name: str) -> Response:
        return _tagged(request, _confirmed(registry.read(DataSourceManifest, name)))


def _confirmed(manifest: DataSourceManifest) -> Plain:
    trust = {} if manifest.trust is None else dict(manifest.trust)
    return _plain(ConfirmedProbe(id=manifest.id, macAddress=manifest.macAddress, **trust))


def _writing(app: FastAPI, registry: Registry, allowed: Any) -> None:
    writing: Plain = {"dependencies": [allowed], "tags": ["documents"]}
    takes: Plain = {**writing, "openapi_extra": _takes("application/json", "application/yaml")}

    @app.post(
        "/v1/documents/{kind}", summary="Keep a new document; its id is made unless it has one", **takes
    )
    async def create(kind: str, request: Request, response: Response) -> dict[str, str]:
        document = parse(await _body(request, MAX_SIZE), _kind(kind), "the body")
        name = await asyncio.to_thread(registry.create, document)
        response.status_code = 201
        return {"id": name}

    @app.put("/v1/documents/{kind}/{name:path}", summary="Keep another version, or a new one", **takes)
    async def put(kind: str, name: str, request: Request) -> dict[str, bool]:
        document = parse(await _body(request, MAX_SIZE), _kind(kind), "the body")
        if identity(document) != name:
            raise Refused(
                422, f"the document's id is {identity(document)!r}", f"write {name!r}, as the path does"
            )
        return {"changed": bool(await asyncio.to_thread(registry.apply, [document]))}

    @app.delete("/v1/documents/{kind}/{name:path}", summary="Let a document hold no more", **writing)
    def delete(kind: str, name: str) -> dict[str, bool]:
        registry.delete(_kind(kind), name)
        return {"changed": True}


def _running(app: FastAPI, registry: Registry, seeing: Any, stopping: Any) -> None:
    tags: list[str | Enum] = ["instances"]

    @app.get("/v1/instances", summary="List what runs or ran", tags=tags, dependencies=[seeing])
    def listed() -> list[Plain]:
        return [one.plain() for one in instances(registry)]

    @app.get("/v1/instances/{name}", summary="Tell how an instance is", tags=tags, dependencies=[seeing])
    def shown(name: str) -> Plain:
        return instance(registry, name).plain()

    @app.post(
        "/v1/instances/{name}/stop", summary="Have it stop in order", tags=tags, dependencies=[stopping]
    )
    def stop(name: str) -> Plain:
        wish_to_stop(registry, name)
        return instance(registry, name).plain()


def _takes(*forms: str, schema: str = "object") -> Plain:
    """Say what a body may be, for the page: bodies are read as they come, whatever a client calls them."""
    content = {form: {"schema": {"type": schema}} for form in forms}
    return {"requestBody": {"content": content, "required": True}}


def _example(body: bytes) -> Plain:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise Refused(422, "the example is no JSON object", 'write one such as {"name": "hub"}')
    return found


def _kind(name: str) -> type[Document]:
    return KINDS[kind_called(name)]


def _plain(document: Document) -> Plain:
    return document.model_dump(mode="json", by_alias=True, exclude_none=True)


def _tagged(request: Request, content: Plain) -> Response:
    """Answer with a tag, or, where who asks has what has this tag, that nothing has changed."""
    answer = JSONResponse(content)
    answer.headers["ETag"] = tag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    if request.headers.get("If-None-Match") == tag:
        return Response(status_code=304, headers={"ETag": tag})
    return answer


async def _body(request: Request, most: int) -> bytes:
    found = bytearray()
    async for chunk in request.stream():
        found += chunk
        if len(found) > most:
            raise Refused(413, f"the body is longer than {most:,} bytes", "send less at once")
    return bytes(found)


def _said(status: int, problem: str, where: str | None, remedy: str | None) -> JSONResponse:
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": AGAIN}}.get(status)
    return JSONResponse({"problem": problem, "where": where, "remedy": remedy}, status, headers)


async def _told(_: Request, error: Exception) -> Response:
    if not isinstance(error, RmsError):
        raise error
    kinds = (
        (MissingError, 404),
        (ConflictError, 409),
        (OvertakenError, 503),
        (UnreachableError, 503),
        (DocumentError, 422),
        (SinkError, 503),
    )
    status = next((code for kind, code in kinds if isinstance(error, kind)), 500)
    return _said(status, error.problem, error.where, error.remedy)


async def _refused(_: Request, error: Exception) -> Response:
    if not isinstance(error, Refused):
        raise error
    return _said(error.status, error.problem, None, error.remedy)


async def _invalid(_: Request, error: Exception) -> Response:
    if not isinstance(error, RequestValidationError):
        raise error
    fault = error.errors()[0]
    where = ".".join(map(str, fault["loc"]))
    return _said(422, str(fault["msg"]), where, "/docs shows what is expected")
