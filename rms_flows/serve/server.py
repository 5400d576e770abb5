"""Listens: addresses, TLS, the way to an end."""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import uvicorn
from fastapi import FastAPI

from rms_flows.errors import DocumentError, FlowError
from rms_flows.signals import told_to_end

CONNECTIONS: Final = 2_048
"""That wait to be taken."""
LEAVE: Final = 10
"""Seconds in which requests under way are answered at the end."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where the service listens, and how.

    Args:
        host: A name or an address.
        port: 0 is a free one.
        certificate: PEM with the chain of the service's certificate, for TLS.
        key: PEM with its private key.
        authorities: PEM with the authorities of the certificates that all who come have to show.
    """

    host: str = "127.0.0.1"
    port: int = 8642
    certificate: Path | None = None
    key: Path | None = None
    authorities: Path | None = None

    def check(self, *, closed: bool) -> None:
        """Refuse what would let everybody in.

        Args:
            closed: Who comes has to show a token.

        Raises:
            DocumentError: It would be open to others than this machine, without TLS, token or certificate, or
                what TLS needs is not there.
        """
        if (self.certificate is None) != (self.key is None):
            raise DocumentError(
                "TLS needs a certificate and its key",
                where="--tls-key" if self.key is None else "--tls-certificate",
                remedy="name both",
            )
        if self.authorities is not None and self.certificate is None:
            raise DocumentError(
                "certificates are asked for only with TLS",
                where="--client-ca",
                remedy="name --tls-certificate and --tls-key",
            )
        if _loopback(self.host):
            return
        if self.certificate is None or not (closed or self.authorities):
            raise DocumentError(
                "others than this machine would reach it without "
                + ("TLS" if self.certificate is None else "a token or a certificate"),
                where=f"--host {self.host}",
                remedy="name --tls-certificate and --tls-key, and --tokens or --client-ca",
            )

    def context(self) -> ssl.SSLContext | None:
        """Load what TLS needs; raises DocumentError where it can't be."""
        if self.certificate is None:
            return None
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            made.load_cert_chain(self.certificate, self.key)
            if self.authorities is not None:
                made.load_verify_locations(self.authorities)
                made.verify_mode = ssl.CERT_REQUIRED
        except (OSError, ssl.SSLError) as error:
            named = ", ".join(str(one) for one in (self.certificate, self.key, self.authorities) if one)
            raise DocumentError(
                f"TLS can't be set up ({error.strerror or error})",
                where=named,
                remedy="they have to be PEM, and the key that of the certificate",
            ) from None
        return made


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def serve(app: FastAPI, listening: Listening, ready: Callable[[str], None]) -> None:
    """Answer until SIGTERM or SIGINT, then what is under way.

    Args:
        app: What answers.
        listening: Where.
        ready: Called with the URL once it listens.

    Raises:
        FlowError: It can't listen there.
        DocumentError: See `Listening.context`.
    """
    context = listening.context()
    bound = _bound(listening)
    host, port = bound.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=LEAVE,
        lifespan="off",
        ws="none",
        server_header=False,
        ssl_context_factory=None if context is None else lambda *_: context,
    )
    with told_to_end(lambda: None):  # uvicorn raises anew, at its end, what ended it
        _Server(config, lambda: ready(f"http{'s' * bool(context)}://{name}:{port}")).run(sockets=[bound])


def _bound(listening: Listening) -> socket.socket:
    family = socket.AF_INET6 if ":" in listening.host else socket.AF_INET
    try:
        return socket.create_server((listening.host, listening.port), family=family, backlog=CONNECTIONS)
    except OSError as error:
        known = error.errno is not None and error.errno > 0  # a name that is not known is below
        why = os.strerror(error.errno or 0) if known else error.strerror
        raise FlowError(
            f"can't listen there ({why})",
            where=f"{listening.host}:{listening.port}",
            remedy="another program may; choose another --port",
        ) from None


class _Server(uvicorn.Server):
    """Says when it listens."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: Any = None) -> None:
        """See `uvicorn.Server.startup`."""
        await super().startup(sockets)
        self._ready()
