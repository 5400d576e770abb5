"""The engine: flows that a registry holds are started, stopped and looked at: `rms engine …`."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options
from rms_flows.errors import FlowError, MissingError

if TYPE_CHECKING:
    from rms_flows.beam.cluster import Cluster
    from rms_flows.beam.progress import Progress
    from rms_flows.beam.seen import Seen
    from rms_flows.cli.watch import Watch
    from rms_flows.model import Orchestrator
    from rms_flows.registry import Registry, Shown

app = typer.Typer(
    help="Start, stop and look at what runs of the flows that a registry holds.",
    epilog="Examples:\n\n"
    "rms engine start home --registry registry\n\n"
    "rms engine start home -- --metrics 9464 --from latest\n\n"
    "rms engine list\n\n"
    "rms engine stop home",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Held = Annotated[
    str | None,
    typer.Option(
        "--registry",
        metavar="PLACE",
        help="FLOW is the id of an orchestrator here, a folder or elasticsearch://HOST/PREFIX, which is told "
        "how the run goes; paths begin in the working directory.",
    ),
]
Instance = Annotated[
    str | None,
    typer.Option("--instance", metavar="ID", help="What the registry calls this run; as FLOW unless told."),
]
Name = Annotated[str, typer.Argument(metavar="INSTANCE", help="Its id.", show_default=False)]

_TURN = 0.2
"""Seconds between two looks at an instance that is to turn."""


@dataclass(frozen=True, slots=True)
class Described:
    """A flow, and where it comes from.

    Args:
        flow: It.
        folder: Where relative paths of rules begin.
        beside: What lies beside it, less its suffix.
        registry: What holds it; None for a file.
    """

    flow: Orchestrator
    folder: Path
    beside: Path
    registry: Registry | None = None

    def file(self, suffix: str) -> Path:
        """Name a file beside it, such as that of its positions."""
        return self.beside.with_name(self.beside.name + suffix)


def described(flow: Path, place: str | None, instance: str | None, at: str | None = None) -> Described:
    """Read a flow from a file, or from the registry at a place as it was at a time.

    Raises:
        typer.BadParameter: There is no registry for what is asked of one.
        DocumentError: There is no such flow.
    """
    if place is None:
        if instance is not None or at is not None:
            raise typer.BadParameter("it is for flows of a --registry", param_hint="--instance, --at")
        from rms_flows.model import load_orchestrator

        return Described(load_orchestrator(flow), flow.parent, flow.with_suffix(""))
    from rms_flows.registry import flow as held

    registry = options.registry(place)
    return Described(held(registry, str(flow), options.moment(at, "--at")), Path(), Path(flow.name), registry)


@contextmanager
def streaming(
    one: Described, name: str | None, cluster: Cluster | None, stop: Callable[[], None], seen: Watch
) -> Iterator[None]:
    """Tell the registry how a stream goes, and stop it when that is wanted there; see `Running.of`."""
    if one.registry is None:
        yield
        return
    from rms_flows.cli.watch import Watcher, line
    from rms_flows.registry import Running, Sign
    from rms_flows.registry.running import BEAT

    running = Running(one.registry, name or one.flow.orchestrator, stop, seen.say)

    def show(now: Seen, rate: float, _last: bool) -> None:  # noqa: FBT001  see watch.Show
        counts = {
            "events": now.rows,
            "late": sum(source.late for source in now.sources.values()),
            "reports": sum(now.reports.values()),
            "appended": sum(now.sinks.values()),
            "dead_letters": now.dead_letters,
        }
        running.sign = Sign(line(now, rate, time.time()), counts)

    seen.watchers.append(Watcher(BEAT, show))
    seen.begun.append(lambda _: running.running())
    with running.of(one.flow.orchestrator, "stream", "local" if cluster is None else "flink"):
        if cluster is not None and cluster.workers is not None:  # nothing is seen of it here
            running.sign = Sign("Flink tells how it goes")
            running.running()
        yield


@contextmanager
def replaying(
    one: Described, name: str | None, show: Callable[[Progress], None] | None
) -> Iterator[Callable[[Progress], None] | None]:
    """Tell the registry how a replay goes, and interrupt it when that is wanted there; give its progress."""
    if one.registry is None:
        yield show
        return
    from rms_flows.registry import Running, Sign

    running = Running(one.registry, name or f"{one.flow.orchestrator}.replay", _interrupt, _say)

    def progress(now: Progress) -> None:
        running.sign = Sign(f"{now.rows:,} events", {"events": now.rows})
        if show is not None:
            show(now)

    with running.of(one.flow.orchestrator, "replay", "local"):
        running.running()
        yield progress


def _interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def _say(text: str) -> None:
    typer.echo(f"rms: {text}", err=True)


@app.command("list")
def list_(as_json: options.AsJson = False, place: options.Place = "registry") -> None:
    """List what runs or ran, and how it is; LOST is what says no more that it lives."""
    from rich.console import Console
    from rich.table import Table

    from rms_flows.registry import instances

    found = instances(options.registry(place))
    if as_json:
        options.show([one.plain() for one in found])
        return
    table = Table(
        "instance", "flow", "state", "since", "where", "last told", title=f"{len(found):,} instances"
    )
    for one in found:
        of, sign = one.instance, one.sign
        table.add_row(
            of.id,
            of.orchestratorReferenceID,
            one.state,
            f"{of.since:%Y-%m-%d %H:%M:%S}Z",
            f"{of.host}, process {of.pid}",
            " ".join(filter(None, [of.reason, "" if sign is None else f"{sign.told} ({sign.at:%H:%M:%S}Z)"])),
        )
    Console().print(table)


@app.command()
def show(name: Name, place: options.Place = "registry") -> None:
    """Print how an instance is, as JSON; rms registry history shows how it was."""
    from rms_flows.registry import instance

    options.show(instance(options.registry(place), name).plain())


@app.command()
def start(
    flow: Annotated[str, typer.Argument(help="Id of an orchestrator in the registry.", show_default=False)],
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="[-- OPTIONS...]", help="Of rms stream.", show_default=False),
    ] = None,
    name: Instance = None,
    log: Annotated[
        Path | None,
        typer.Option("--log-file", metavar="FILE", help="What it says; INSTANCE.log unless told."),
    ] = None,
    wait: Annotated[float, typer.Option("--wait", min=0, help="Seconds until it has to run.")] = 60.0,
    place: options.Place = "registry",
) -> None:
    """Run a flow of the registry as a stream, in a process of its own that goes on when this one ends.

    systemd and Kubernetes run `rms stream FLOW --registry PLACE` themselves.
    """
    from rms_flows.registry import flow as held

    registry, name = options.registry(place), name or flow
    held(registry, flow)  # what is wrong with it is said here
    log = log or Path(f"{name}.log")
    words = [sys.executable, "-m", "rms_flows", "stream", flow, "--registry", place, "--instance", name]
    with log.open("ab") as out:
        process = subprocess.Popen(  # noqa: S603  our own program, and no shell
            [*words, *(more or ())],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    end = time.monotonic() + wait
    while process.poll() is None:
        now = _of(registry, name, process.pid)
        if (now is not None and now.state == "RUNNING") or time.monotonic() > end:
            said = "runs" if now is not None and now.state == "RUNNING" else "is still starting"
            typer.echo(f"{name}: {said}, process {process.pid}, {log}")
            process.returncode = 0  # it is no child that anybody waits for
            return
        time.sleep(_TURN)
    now = _of(registry, name, process.pid)
    if process.returncode == 0:
        typer.echo(f"{name}: has ended, {log}")
        return
    why = now.instance.reason if now is not None else None
    raise FlowError(
        f"the instance {name!r} could not be started"
        + (f": {why}" if why else f" (exit code {process.returncode})"),
        where=str(log),
        remedy="mend what it says",
    )


def _of(registry: Registry, name: str, pid: int) -> Shown | None:
    """Give an instance as the process that we started keeps it."""
    from rms_flows.registry import instance

    try:
        found = instance(registry, name)
    except MissingError:
        return None
    return found if found.instance.pid == pid else None


@app.command()
def stop(
    name: Name,
    wait: Annotated[
        float, typer.Option("--wait", min=0, help="Seconds to wait for its end; 0 only wishes it.")
    ] = 60.0,
    place: options.Place = "registry",
) -> None:
    """Have an instance stop in order, wherever it runs: it finishes what is under way, and flushes."""
    from rms_flows.registry import instance, wish_to_stop

    registry = options.registry(place)
    run = wish_to_stop(registry, name).instance.run
    end = time.monotonic() + wait
    while (now := instance(registry, name)).alive and now.instance.run == run:
        if time.monotonic() >= end:
            typer.echo(f"{name}: is to stop")
            if wait:
                raise typer.Exit(1)
            return
        time.sleep(_TURN)
    typer.echo(f"{name}: {now.state}" + (f", {now.instance.reason}" if now.instance.reason else ""))
    if now.state in {"FAILED", "LOST"}:
        raise typer.Exit(1)
