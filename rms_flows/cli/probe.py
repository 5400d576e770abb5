"""The commands of the probe: `rms probe …`. They load no Arrow: a probe has little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rms_flows.cli import options
from rms_flows.errors import DocumentError

app = typer.Typer(
    help="Observe a machine and send signed envelopes, from a small gateway.",
    epilog="Examples:\n\n"
    "rms probe key hub.key\n\n"
    "rms probe run hub.yaml\n\n"
    "rms probe verify envelopes.ndjson --manifest hub.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("key")
def key_(
    file: Annotated[Path, typer.Argument(help="Where the private key goes.", show_default=False)],
) -> None:
    """Make the key of a probe, and print what its manifest's `trust` says of it."""
    from rms_flows.envelope import fingerprint, public_text
    from rms_flows.probe.key import make

    public = public_text(make(file))
    typer.echo(f"trust:\n  publicKey: {public}\n  fingerprint: {fingerprint(public)}")


@app.command()
def run(
    manifest: Annotated[
        str,
        typer.Argument(
            metavar="PROBE",
            help="File of the DataSourceManifest (YAML or JSON); with --registry its id there.",
            show_default=False,
        ),
    ],
    folder: Annotated[
        str | None,
        typer.Option("--registry", help="The folder that keeps the manifest; paths in it begin here."),
    ] = None,
) -> None:
    """Observe and send until SIGTERM or Ctrl-C; see docs/probe.md for what the manifest may say."""
    import logging
    import signal
    import threading

    from rms_flows.probe.run import Probe
    from rms_flows.probe.settings import from_file, from_registry

    logging.basicConfig(format="rms probe: %(message)s", level=logging.WARNING)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    if folder is None:
        probe = Probe(from_file(Path(manifest)), manifest, Path(manifest).parent)
    elif "://" in folder:
        raise DocumentError(
            "a probe is told what to do by a folder or a file: it has no client of Elasticsearch",
            where=folder,
            remedy="name a folder with --registry, or the manifest's file without it",
        )
    else:
        probe = Probe(from_registry(Path(folder), manifest), f"{folder}: {manifest}", Path())
    probe.run(stop)


@app.command()
def verify(
    files: Annotated[
        list[Path],
        typer.Argument(help="Envelopes, oldest file first; .gz too.", metavar="FILE...", show_default=False),
    ],
    manifests: Annotated[
        list[Path] | None,
        typer.Option("--manifest", metavar="FILE", help="Of a probe, with its public key in `trust`."),
    ] = None,
    registry: Annotated[str | None, options.PLACE] = None,
    skew: Annotated[float, typer.Option("--skew", min=0, help="Seconds that clocks may be wrong.")] = 5.0,
) -> None:
    """Check signatures, numbers and clocks of envelopes; exit with 1 if something is wrong."""
    import time

    from rms_flows.model import DataSourceManifest, load
    from rms_flows.probe.verify import Verification, lines

    known = [load(path, DataSourceManifest) for path in manifests or ()]
    if registry is not None:
        known += options.registry(registry).all(DataSourceManifest)
    found = Verification(known, time.time_ns() // 1_000, int(skew * 1e6))
    problems = (problem for path in files for problem in found.lines(lines(path), str(path)))
    for kind, where, what in problems:
        typer.echo(f"{where}: {kind}: {what}")
    for kind, where, what in found.gaps():
        typer.echo(f"{where}: {kind}: {what}")
    for name, said in found.said().items():
        typer.echo(f"{name}: {said}")
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(found.counts.items()))
    typer.echo(f"wrong: {told}" if told else "nothing is wrong")
    if told or not found.probes:
        raise typer.Exit(1)
