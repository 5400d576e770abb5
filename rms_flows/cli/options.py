"""Options that several commands share, and how their values are read."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

if TYPE_CHECKING:
    from rms_flows.beam.cluster import Cluster
    from rms_flows.registry import Registry

Flow = Annotated[Path, typer.Argument(help="Orchestrator document (YAML or JSON).", show_default=False)]
Sources = Annotated[
    list[str] | None, typer.Option("--source", metavar="ID=URI", help="Read this source from elsewhere.")
]
Folder = Annotated[
    Path | None,
    typer.Option("--folder", help="Where relative paths of the data begin; the flow's folder unless told."),
]
Start = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="TIME", help="Judge events from this time on (ISO 8601; UTC unless it says)."
    ),
]
End = Annotated[
    str | None, typer.Option("--to", metavar="TIME", help="Judge events before this time (not at it).")
]
Workers = Annotated[int, typer.Option("--workers", "-w", min=1, max=256, help="Processes that work at once.")]
DeadLetters = Annotated[
    str | None,
    typer.Option("--dead-letters", metavar="URI", help="Where records go that can't be processed."),
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Exit with 1 if there were dead letters or refused rules.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the summary as JSON, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
Rules = Annotated[
    list[Path],
    typer.Argument(
        metavar="RULES...",
        help="Sigma rules: files, folders or archives (.tar.gz, .zip).",
        show_default=False,
    ),
]
Pipelines = Annotated[
    list[Path] | None,
    typer.Option(
        "--pipeline",
        metavar="FILE",
        help="Map the fields of rules by a pySigma pipeline (YAML), or one of ours: ecs, iot, windows, zeek.",
    ),
]
Routes = Annotated[
    list[Path] | None,
    typer.Option("--routes", metavar="FILE", help="Say where log sources are (rms schema RouteTable)."),
]
NoRouting = Annotated[
    bool, typer.Option("--no-routing", help="Judge every event by every rule, whatever its log source.")
]

PLACE = typer.Option(
    "--registry",
    envvar="RMS_REGISTRY",
    metavar="PLACE",
    help="What keeps the documents: a folder, or elasticsearch://HOST/PREFIX.",
)
Place = Annotated[str, PLACE]

NoPushdown = Annotated[
    bool,
    typer.Option(
        "--no-pushdown", help="Read all of the period from Elasticsearch, also what no rule looks for."
    ),
]
JobServer = Annotated[
    str | None,
    typer.Option(
        "--job-server", metavar="HOST:PORT", help="Beam's job server for Flink; localhost:8099 unless told."
    ),
]
FlinkRest = Annotated[
    str | None,
    typer.Option("--flink-rest", metavar="URL", help="Flink's page; http://localhost:8081 unless told."),
]
FlinkWorkers = Annotated[
    str,
    typer.Option(
        "--workers",
        metavar="loopback|external:HOST:PORT",
        help="What runs the steps for Flink: this process, or a pool of workers (rms worker), by the "
        "address at which Flink reaches it.",
    ),
]

Checkpoint = Annotated[
    float | None,
    typer.Option(
        "--checkpoint",
        metavar="SECONDS",
        help="Have Flink keep a checkpoint so often; for a job that may be brought back by Flink's means.",
    ),
]
Savepoint = Annotated[
    str | None,
    typer.Option(
        "--savepoint", metavar="PATH", help="Begin the job from a checkpoint or savepoint that Flink kept."
    ),
]
Parallelism = Annotated[
    int | None,
    typer.Option(
        "--parallelism",
        min=1,
        max=64,
        metavar="N",
        help="Have N readers share the partitions of topics, each in a process of the pool of workers.",
    ),
]
_FLINK: Final = {
    "job_server": "--job-server",
    "rest": "--flink-rest",
    "workers": "--workers",
    "checkpoint": "--checkpoint",
    "savepoint": "--savepoint",
    "parallelism": "--parallelism",
}


def cluster(
    job_server: str | None,
    flink_rest: str | None,
    workers: str = "loopback",
    checkpoint: float | None = None,
    savepoint: str | None = None,
    parallelism: int | None = None,
    *,
    wanted: bool,
) -> Cluster | None:
    """Read where Flink is.

    Raises:
        typer.BadParameter: It is said, and Flink isn't wanted; or there are no such workers.
        DocumentError: One of them is no address.
    """
    from rms_flows.beam.cluster import Cluster

    kind, _, address = workers.partition(":")
    if workers != "loopback" and kind != "external":
        raise typer.BadParameter(
            f"{workers!r} is neither loopback nor external:HOST:PORT", param_hint="--workers"
        )
    external = address if kind == "external" else None
    said: dict[str, Any] = {
        "job_server": job_server,
        "rest": flink_rest,
        "workers": external,
        "checkpoint": checkpoint,
        "savepoint": savepoint,
        "parallelism": parallelism,
    }
    given = {name: value for name, value in said.items() if value is not None}
    if not wanted and given:
        raise typer.BadParameter(
            "for --engine flink, or the door flink", param_hint=", ".join(_FLINK[name] for name in given)
        )
    return Cluster(**given) if wanted else None


def registry(place: str) -> Registry:
    """Open the registry of `--registry`; for one in a folder nothing is loaded that only others need.

    Raises:
        DocumentError: No registry can be there.
    """
    if "://" in place:
        from rms_flows.io.registry import registry as opened

        return opened(place)
    from rms_flows.registry import FolderStore, Registry

    return Registry(FolderStore(place))


def show(content: Any) -> None:
    """Print JSON for people and programs."""
    typer.echo(json.dumps(content, indent=2, ensure_ascii=False))


def moment(text: str | None, option: str) -> datetime | None:
    """Read a time that a person typed; a time without a zone is UTC.

    Raises:
        typer.BadParameter: It is not ISO 8601.

    Example:
        >>> moment("2026-01-01", "--from")
        datetime.datetime(2026, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)
    """
    if text is None:
        return None
    try:
        value = datetime.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no ISO 8601 time; write 2026-01-31 or 2026-01-31T12:00:00Z", param_hint=option
        ) from None
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value


def period(start: str | None, end: str | None) -> tuple[datetime | None, datetime | None]:
    """Read `--from` and `--to` and check their order.

    Raises:
        typer.BadParameter: One is no time, or the period is empty.
    """
    first, last = moment(start, "--from"), moment(end, "--to")
    if first is not None and last is not None and first >= last:
        raise typer.BadParameter(f"the period from {start} to {end} is empty", param_hint="--to")
    return first, last


def pairs(values: Sequence[str], option: str) -> dict[str, str]:
    """Read `ID=URI` pairs.

    Raises:
        typer.BadParameter: One has no `=`, or an id comes twice.

    Example:
        >>> pairs(["auth=logs/auth.log?year=2026"], "--source")
        {'auth': 'logs/auth.log?year=2026'}
    """
    found: dict[str, str] = {}
    for value in values:
        name, equals, uri = value.partition("=")
        if not (name and equals and uri):
            raise typer.BadParameter(f"{value!r} is not ID=URI", param_hint=option)
        if name in found:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=option)
        found[name] = uri
    return found
