"""The commands that run a flow: `rms replay`, `rms detect`, `rms archive`."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rms_flows.cli import options, schedule, show
from rms_flows.cli.engine import Described, Held, Instance, described, replaying
from rms_flows.cli.stream import told

if TYPE_CHECKING:
    from rms_flows.beam.workers import Crew

REPLAY_EPILOG = """Examples:

rms replay datasets/smart-home.yaml

rms replay smart-home.yaml --from 2026-01-01 --to 2026-02-01 --workers 4 --strict

rms replay smart-home.yaml --source backend-auth=old/auth.log.gz?year=2025 --sink repository=may.ndjson

rms replay smart-home.yaml --source 'backend-auth=elasticsearch://es1/observations-*'

rms replay smart-home.yaml --every 1h --lag 10m --from 2026-03-01 --metrics /var/lib/node_exporter/rms.prom

rms replay smart-home.yaml --every 1h --lag 10m --plan

rms replay smart-home.yaml --as-told smart-home.positions --sink repository=again.ndjson

rms replay smart-home --registry registry --at 2026-02-01 --from 2026-01-01 --to 2026-02-01
"""


def replay(
    flow: options.Flow,
    registry: Held = None,
    instance: Instance = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at", metavar="TIME", help="With --registry: the documents as they were at this time."
        ),
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    source: options.Sources = None,
    sink: Annotated[
        list[str] | None, typer.Option("--sink", metavar="ID=URI", help="Write this sink to elsewhere.")
    ] = None,
    folder: options.Folder = None,
    workers: options.Workers = 1,
    dead_letters: options.DeadLetters = None,
    no_pushdown: options.NoPushdown = False,
    rejudge: Annotated[
        bool,
        typer.Option(
            "--rejudge",
            help="Judge anew, by what is confirmed now, whom archives say to believe; see docs/documents.md.",
        ),
    ] = False,
    as_told: Annotated[
        Path | None,
        typer.Option(
            "--as-told",
            metavar="POSITIONS",
            help="Tell again what a stream told of topics: its file of positions says by which rules.",
        ),
    ] = None,
    every: schedule.Every = None,
    lag: schedule.Lag = None,
    state: schedule.State = None,
    plan: schedule.Plan = False,
    metrics: schedule.Metrics = None,
    strict: options.Strict = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Replay the archives of a flow through its processors and write what they find.

    The same archives give the same reports, id for id, however often and with however many workers.

    With --every it replays what is due, span after span, each once, and adds to what the sinks hold; then it
    ends, for cron, systemd or Kubernetes to start it again.
    """
    first, last = options.period(start, end)
    schedule.alone_without(every, {"--lag": lag, "--state": state, "--plan": plan, "--metrics": metrics})
    sources, sinks = options.pairs(source or [], "--source"), options.pairs(sink or [], "--sink")
    if every is not None and rejudge:
        raise typer.BadParameter(
            "judges archives anew, a span of them at once; leave out --every", param_hint="--rejudge"
        )
    one = described(flow, registry, instance, at)
    if as_told is not None:
        alone = {"--every": every, "--from": first, "--to": last, "--rejudge": rejudge or None}
        _told(one, as_told, alone, folder, (sources, sinks, dead_letters), as_json=as_json, strict=strict)
        return
    if every is not None:
        schedule.due(
            one,
            schedule.Wishes(folder, sources, sinks, dead_letters, not no_pushdown, state, first, last),
            every,
            lag,
            plan=plan,
            crew=partial(_crew, workers),
            metrics=metrics,
            look=schedule.Look(strict, as_json, quiet),
            instance=instance,
        )
        return
    with (
        _crew(workers) as crew,
        show.progress(quiet=quiet or as_json) as report,
        replaying(one, instance, report) as told,
    ):
        from rms_flows.replay import replay as run

        summary = run(
            one.flow,
            folder=one.folder,
            data_folder=folder,
            start=first,
            end=last,
            workers=crew,
            sources=sources,
            sinks=sinks,
            dead_letters=dead_letters,
            pushdown=not no_pushdown,
            rejudge=rejudge,
            progress=told,
        )
    show.finish(summary, as_json=as_json, strict=strict)


def _told(
    one: Described,
    positions: Path,
    alone: Mapping[str, object],
    folder: Path | None,
    places: tuple[Mapping[str, str], Mapping[str, str], str | None],
    *,
    as_json: bool,
    strict: bool,
) -> None:
    """Tell again what a stream told."""
    for name in (name for name, given in alone.items() if given is not None):
        raise typer.BadParameter("tells all that the stream told; leave this out", param_hint=name)
    from rms_flows.retell import retell

    done = retell(
        one.flow,
        folder=one.folder,
        positions=positions,
        data_folder=folder,
        sources=places[0],
        sinks=places[1],
        dead_letters=places[2],
    )
    told(done, as_json=as_json, strict=strict)


ASIDE = "detect.dead-letters.ndjson"
"""Where dead letters go, in the working directory, when reports are only printed."""

DETECT_EPILOG = """Examples:

rms detect rules/linux --in auth.log?year=2026 --out reports.ndjson

rms detect sigma-rules.tar.gz --in 'events/*.zip' --out hits.ndjson --workers 2

rms detect my-rule.yml --in parquet:archive --from 2026-01-01

rms detect my-rule.yml --in 'elasticsearch://localhost/events-*' --explain

rms detect sigma-rules.tar.gz --in zeek.ndjson --pipeline zeek --routes our-sources.yml
"""


def detect(
    rules: options.Rules,
    source: Annotated[str, typer.Option("--in", metavar="URI", help="What to read.", show_default=False)],
    sink: Annotated[
        str | None,
        typer.Option("--out", metavar="URI", help="Where reports go; without it they are printed."),
    ] = None,
    start: options.Start = None,
    end: options.End = None,
    pipelines: options.Pipelines = None,
    routes: options.Routes = None,
    no_routing: options.NoRouting = False,
    workers: options.Workers = 1,
    dead_letters: options.DeadLetters = None,
    no_pushdown: options.NoPushdown = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Show what Elasticsearch would be asked for, and what that saves; run nothing."
        ),
    ] = False,
    strict: options.Strict = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Run Sigma rules over a source: a replay without a document."""
    first, last = options.period(start, end)
    if explain:
        from rms_flows.replay import explain as tell

        show.pushdown(
            tell(
                rules,
                source=source,
                pipelines=pipelines or (),
                routes=routes or (),
                routing=not no_routing,
                start=first,
                end=last,
            ),
            as_json=as_json,
        )
        return
    with tempfile.TemporaryDirectory(prefix="rms-") as aside:
        found = Path(aside) / "reports.ndjson"
        with _crew(workers) as crew, show.progress(quiet=quiet or as_json) as report:
            from rms_flows.replay import detect as run

            summary = run(
                rules,
                source=source,
                sink=sink or str(found),
                pipelines=pipelines or (),
                routes=routes or (),
                routing=not no_routing,
                start=first,
                end=last,
                workers=crew,
                dead_letters=dead_letters or (None if sink else ASIDE),
                pushdown=not no_pushdown,
                progress=report,
            )
        if sink is None and not as_json:
            show.reports(found)
    show.finish(summary, as_json=as_json, strict=strict, printed=sink is None)


ARCHIVE_EPILOG = """Examples:

rms archive 'logs/auth.log*?year=2026' parquet:archive --id backend-auth

rms archive 'events/*.zip' parquet:archive --workers 2
"""


def archive(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="What to read (URI).", show_default=False)],
    target: Annotated[
        str,
        typer.Argument(metavar="TARGET", help="Where the archive lies: parquet:FOLDER.", show_default=False),
    ],
    name: Annotated[str, typer.Option("--id", help="Id of the source in the archive.")] = "events",
    start: options.Start = None,
    end: options.End = None,
    workers: options.Workers = 1,
    dead_letters: options.DeadLetters = None,
    strict: options.Strict = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Turn anything that can be read into a Parquet archive, by source and day.

    Running it again replaces what it wrote and doubles nothing, also after it was killed.
    """
    first, last = options.period(start, end)
    with _crew(workers) as crew, show.progress(quiet=quiet or as_json) as report:
        from rms_flows.replay import archive as run

        summary = run(
            source,
            target,
            name=name,
            start=first,
            end=last,
            workers=crew,
            dead_letters=dead_letters,
            progress=report,
        )
    show.finish(summary, as_json=as_json, strict=strict)


def _crew(workers: int) -> Crew:
    """Start workers before anything else is loaded: they get ready while this process does."""
    from rms_flows.beam.workers import Crew

    return Crew(workers, preload=("rms_flows.replay",))
