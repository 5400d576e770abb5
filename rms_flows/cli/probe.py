"""The commands of the probe: `rms probe …`. They load no Arrow: a probe has little memory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from rms_flows.signals import told_to_end

app = typer.Typer(
    help="Observe a machine and send signed envelopes, from a small gateway.",
    epilog="Examples:\n\n"
    "rms probe key hub.key\n\n"
    "rms probe key next.key --replaces hub.key\n\n"
    "rms probe run hub.yaml\n\n"
    "rms probe verify envelopes.ndjson --manifest hub.yaml",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("key")
def key_(
    file: Annotated[Path, typer.Argument(help="Where the private key goes.", show_default=False)],
    old: Annotated[
        Path | None,
        typer.Option("--replaces", metavar="FILE", help="The key that it takes the place of, within a day."),
    ] = None,
) -> None:
    """Make the key of a probe, and print what its manifest's `trust` says of it."""
    from datetime import UTC, datetime

    from rms_flows.envelope import fingerprint, public_text
    from rms_flows.probe.key import CHANGE, load, make

    before = None if old is None else public_text(load(old))
    public = public_text(make(file))
    typer.echo(f"trust:\n  publicKey: {public}\n  fingerprint: {fingerprint(public)}")
    if before is not None:
        now = datetime.now(UTC).replace(microsecond=0)
        end = (now + CHANGE).isoformat()
        typer.echo(f"  validFrom: {now.isoformat()}\n  formerKeys:\n  - publicKey: {before}")
        typer.echo(f"    fingerprint: {fingerprint(before)}\n    validTo: {end}")


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
    registry: Annotated[
        str | None,
        typer.Option(
            "--registry",
            metavar="FOLDER|URL",
            help="The folder that keeps the manifest, or https:// of `rms serve`; paths in it begin here.",
        ),
    ] = None,
) -> None:
    """Observe and send until SIGTERM or Ctrl-C; see docs/probe.md for what the manifest may say."""
    import logging
    import threading

    from rms_flows.probe.run import Probe
    from rms_flows.probe.settings import from_file, from_registry, from_service

    logging.basicConfig(format="rms probe: %(message)s", level=logging.WARNING)
    stop = threading.Event()
    if registry is None:
        probe = Probe(from_file(Path(manifest)), manifest, Path(manifest).parent)
    else:
        read = from_service if "://" in registry else from_registry
        probe = Probe(read(registry, manifest), f"{registry}: {manifest}", Path())
    with told_to_end(stop.set):
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
    confirmed: Annotated[
        str | None,
        typer.Option(
            "--registry",
            envvar="RMS_REGISTRY",
            help="Who confirms probes: the folder that keeps the manifests, a file of devices, or "
            "https:// of a gateway.",
        ),
    ] = None,
    skew: Annotated[float, typer.Option("--skew", min=0, help="Seconds that clocks may be wrong.")] = 5.0,
) -> None:
    """Check signatures, numbers and clocks of envelopes; exit with 1 if something is wrong."""
    import time

    from rms_flows.confirm import Confirmed, Memory, open_trust
    from rms_flows.model import DataSourceManifest, load
    from rms_flows.probe.verify import Verification, lines

    if confirmed is None and not manifests:
        raise typer.BadParameter("name --manifest or --registry, which tell the keys of probes")
    known = open_trust(confirmed, Path()) if confirmed is not None else Confirmed(Memory({}))
    if manifests:
        given = {one.id: one.trust for one in (load(path, DataSourceManifest) for path in manifests)}
        known = Confirmed(Memory({**known.all(), **given}))
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
