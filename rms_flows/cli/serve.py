"""The command that serves the registry and takes envelopes over HTTP: `rms serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rms_flows.cli import options

EPILOG = """Examples:

rms serve --registry registry --out envelopes.ndjson

rms serve --out kafka://broker:9092/envelopes --tokens tokens

rms serve --out envelopes.ndjson --host 0.0.0.0 --tls-certificate hub.pem --tls-key hub.key --tokens tokens

rms serve --registry registry
"""


def serve(
    registry: options.Place = "registry",
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            metavar="URI",
            help="Where envelopes go: FILE.ndjson or kafka://HOST/TOPIC; else none are taken.",
        ),
    ] = None,
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen at; beyond this machine only with TLS and a login."),
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65_535, help="0 is a free one.")] = 8642,
    tokens: Annotated[
        Path | None,
        typer.Option(
            "--tokens", metavar="FILE", help="Lines `ROLE TOKEN`; roles: probe, reader, admin. Mode 0600."
        ),
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option("--tls-certificate", metavar="FILE", help="PEM, with its chain.")
    ] = None,
    key: Annotated[Path | None, typer.Option("--tls-key", metavar="FILE", help="PEM.")] = None,
    authorities: Annotated[
        Path | None,
        typer.Option(
            "--client-ca",
            metavar="FILE",
            help="PEM; who comes has to show a certificate of these, and without --tokens is a probe.",
        ),
    ] = None,
    refuse: Annotated[
        bool,
        typer.Option(
            "--refuse-forged",
            help="Keep no envelope of a probe whose key the registry has, unless it is signed with it.",
        ),
    ] = False,
) -> None:
    """Serve the registry, and take what probes send, over HTTP.

    An envelope is answered for once it is on disk, or with all replicas of the topic. /docs shows what there
    is to ask for. Ends in order at SIGTERM and Ctrl-C.
    """
    try:
        from rms_flows.serve.api import application
        from rms_flows.serve.server import Listening
        from rms_flows.serve.server import serve as run
    except ImportError as error:
        from rms_flows.errors import FlowError

        raise FlowError(
            f"the service needs {error.name}, which is not installed", remedy="pip install 'rms-flows[serve]'"
        ) from None
    from rms_flows.confirm import Confirmed, Manifests
    from rms_flows.serve.access import Access
    from rms_flows.serve.access import tokens as read
    from rms_flows.serve.intake import Intake, Known
    from rms_flows.serve.outlets import open_outlet

    listening = Listening(host, port, certificate, key, authorities)
    listening.check(closed=tokens is not None)
    access = Access(read(tokens) if tokens else None, "probe" if authorities else "admin")
    listening.context()  # what is wrong with it is said before anything is opened
    documents = options.registry(registry)
    known = (
        Known(Confirmed(Manifests(registry, documents if "://" in registry else None))) if refuse else None
    )
    intake = Intake(open_outlet(out)) if out else None
    try:
        run(application(documents, intake, access, known), listening, _ready)
    finally:
        if intake is not None:
            intake.close()


def _ready(url: str) -> None:
    typer.echo(f"rms serve: {url} (what there is to ask for: {url}/docs)", err=True)
