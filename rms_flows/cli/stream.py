"""The command that runs a flow as a stream: `rms stream`."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from rms_flows.cli import options, watch
from rms_flows.cli.engine import Held, Instance, described, streaming
from rms_flows.signals import told_to_end

if TYPE_CHECKING:
    from rms_flows.flow.streamed import Streamed

EPILOG = """Examples:

rms stream smart-home.yaml --positions smart-home.positions

rms stream smart-home.yaml --source backend-auth=auth.log?year=2026 --rate 1000 --positions auth.positions

rms stream smart-home.yaml --source backend-auth=follow:/var/log/auth.log?year=2026

rms stream smart-home.yaml --source 'backend-auth=follow:elasticsearch://es1/filebeat-*'

rms stream smart-home.yaml --source 'backend-auth=kafka://broker:9092/auth?year=2026' --from latest

rms stream smart-home.yaml --source 'honeypot=https://honeypot.example/api/events'

rms stream smart-home.yaml --metrics 9464 --log json

rms stream smart-home --registry registry

rms stream smart-home.yaml --engine flink --job-server localhost:8099 --flink-rest http://localhost:8081

rms stream smart-home.yaml --engine flink --workers external:localhost:50000 --parallelism 4

rms stream smart-home.yaml --engine flink --checkpoint 2 --savepoint file:///srv/savepoints/savepoint-1a2b3c
"""


def stream(
    flow: options.Flow,
    registry: Held = None,
    instance: Instance = None,
    engine: Annotated[
        Literal["local", "flink"],
        typer.Option("--engine", help="What runs it: this process alone, or Flink, by way of this process."),
    ] = "local",
    job_server: options.JobServer = None,
    flink_rest: options.FlinkRest = None,
    workers: options.FlinkWorkers = "loopback",
    checkpoint: options.Checkpoint = None,
    savepoint: options.Savepoint = None,
    parallelism: options.Parallelism = None,
    positions: Annotated[
        Path | None,
        typer.Option(
            "--positions",
            metavar="FILE",
            help="Where is kept what all sinks have; a start goes on from there. FLOW.positions unless told.",
        ),
    ] = None,
    source: options.Sources = None,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="ID=URI", help="Append this sink to another file.")
    ] = None,
    folder: options.Folder = None,
    start: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="WHERE",
            help="Where topics begin for which there are no positions: earliest, latest, a time, or "
            "committed, where the flow's group is.",
        ),
    ] = "committed",
    rate: Annotated[
        float | None,
        typer.Option("--rate", min=0.001, help="Events a second; as fast as it goes unless told."),
    ] = None,
    batch: Annotated[
        int, typer.Option("--batch", min=1, max=65_536, help="Events of a batch at most.")
    ] = 10_000,
    bundle: Annotated[
        float | None,
        typer.Option(
            "--bundle",
            min=0.01,
            help="Seconds after which what was found is flushed; 1 unless told, with Flink 0.2.",
        ),
    ] = None,
    shards: Annotated[int, typer.Option("--shards", min=1, max=64, help="Parts of the state.")] = 4,
    dead_letters: options.DeadLetters = None,
    strict: options.Strict = False,
    metrics: watch.Metrics = None,
    log: watch.Log = "text",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run a flow as a stream, with the reports of a replay, id for id.

    A source is read from what its live: names, else its archive; follow:FILE as it grows, kafka://HOST/TOPIC
    as messages come. Sinks are appended to; of reports with one id the highest revision
    counts. Stopped by Ctrl-C or SIGTERM it ends the batch under way, a second signal ends it at once; killed,
    it goes on from what was committed, and loses nothing.
    """
    from rms_flows.stream import PLACES, Pace
    from rms_flows.stream import stream as run

    cluster = options.cluster(
        job_server, flink_rest, workers, checkpoint, savepoint, parallelism, wanted=engine == "flink"
    )
    if metrics and cluster is not None and cluster.workers is not None:
        raise typer.BadParameter(
            "external workers are other processes: ask Flink for their figures", param_hint="--metrics"
        )
    pace = Pace(batch, rate, bundle or (1.0 if cluster is None else 0.2), shards)
    begin = start if start in PLACES else options.moment(start, "--from") or ""
    overrides = options.pairs(source or [], "--source"), options.pairs(sink or [], "--sink")
    with told_to_end(pace.stop), watch.watched(flow.stem, metrics, log, quiet=quiet) as seen:
        one = described(flow, registry, instance)
        with streaming(one, instance, cluster, pace.stop, seen):
            done = run(
                one.flow,
                folder=one.folder,
                data_folder=folder,
                positions=positions or one.file(".positions"),
                sources=overrides[0],
                sinks=overrides[1],
                dead_letters=dead_letters,
                pace=pace,
                cluster=cluster,
                begin=begin,
                say=seen.say,
                watch=seen.watch,
            )
        seen.done(done)
    end = "stopped; start it again to go on" if done.stopped else "the sources have ended"
    told(done, as_json=as_json, strict=strict, end=end)


def told(done: Streamed, *, as_json: bool, strict: bool, end: str | None = None) -> None:
    """Say what was done, and to a person how it ended; raises Exit with 1 where strictness asks for it."""
    if as_json:
        typer.echo(json.dumps(asdict(done), ensure_ascii=False))
    else:
        rows = sum(counts.get("rows", 0) for counts in done.sources.values())
        late = sum(counts.get("late", 0) for counts in done.sources.values())
        typer.echo(f"{rows:,} events in {done.seconds:.1f} s" + (f", {late:,} too late" * bool(late)))
        for name, counts in done.sources.items():
            if asked := counts.get("answered", 0) + counts.get("failed", 0):
                failed, again = counts.get("failed", 0), counts.get("duplicates", 0)
                typer.echo(f"{name}: {asked:,} polls, {failed:,} failed, {again:,} records came again")
        for name, count in done.sinks.items():
            typer.echo(f"{name}: {count:,} rows appended")
        if done.dead_letters:
            typer.echo(f"dead letters: {done.dead_letters:,} appended")
        if end is not None:
            typer.echo(end)
    if strict and (done.dead_letters or done.notes):
        raise typer.Exit(1)


WORKER_EPILOG = """Examples:

rms worker

rms worker --listen 10.0.0.7:50000
"""


def worker(
    listen: Annotated[
        str,
        typer.Option(
            "--listen",
            metavar="HOST:PORT",
            help="Where; port 0 is a free one. Who reaches it may run anything here: keep it to the machine.",
        ),
    ] = "127.0.0.1:50000",
) -> None:
    """Run the steps of streams for Flink, in processes that it asks for, until Ctrl-C or SIGTERM.

    For rms stream --engine flink --workers external:HOST:PORT; one on the machine of each task manager.
    """
    from rms_flows.beam.load import load

    load()
    from rms_flows.beam import flink

    over = threading.Event()
    host = listen.rpartition(":")[0]
    with told_to_end(over.set):
        flink.serve(listen, lambda port: typer.echo(f"workers: external:{host}:{port}"), over.wait)
