"""The command that proves that stream and replay find the same: `rms parity`."""

from __future__ import annotations

from typing import Annotated

import typer

from rms_flows.cli import options

EPILOG = """Examples:

rms parity smart-home.yaml --folder out/smart-home

rms parity smart-home.yaml --folder out/smart-home --doors replay,local,flink --permutations 5

rms parity logins.yaml --in auth.log?year=2026 --permutations 1000 --json > certificate.json
"""

_SHOWN = 10


def parity(
    flow: options.Flow,
    only: Annotated[
        str | None, typer.Option("--in", metavar="URI", help="The corpus, for a flow with one source.")
    ] = None,
    source: options.Sources = None,
    folder: options.Folder = None,
    permutations: Annotated[
        int, typer.Option("--permutations", "-n", min=1, help="Streams to compare with the replay.")
    ] = 20,
    seed: Annotated[int, typer.Option("--seed", help="Of what is shuffled, doubled and crashed.")] = 0,
    doors: Annotated[
        str,
        typer.Option("--doors", help="What is compared: replay, with local (a stream here), flink, or both."),
    ] = "replay,local",
    job_server: options.JobServer = None,
    flink_rest: options.FlinkRest = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Prove that a flow finds the same as a replay and as a stream, report for report, id for id.

    The corpus goes through the stream in its own order, shuffled within each source's lateness, with
    duplicates, with crashes, and with one to eight shards of state. Exit code 1 if anything differs.
    """
    from rms_flows.cli import show
    from rms_flows.model import load_orchestrator
    from rms_flows.parity import parity as run

    named = doors.split(",")
    if "replay" not in named or not {"replay"} < {*named} <= {"replay", "local", "flink"}:
        raise typer.BadParameter(
            f"{doors!r} is no list of doors; write replay,local, replay,flink or replay,local,flink",
            param_hint="--doors",
        )
    cluster = options.cluster(job_server, flink_rest, wanted="flink" in named)
    engines = {"local": None, "flink": cluster}
    document = load_orchestrator(flow)
    sources = options.pairs(source or [], "--source")
    if only is not None:
        if len(document.sources) > 1:
            names = ", ".join(one.id for one in document.sources)
            raise typer.BadParameter(
                f"the flow has several sources ({names}); use --source", param_hint="--in"
            )
        sources[document.sources[0].id] = only
    with show.counting("permutations", quiet=quiet or as_json) as tell:
        found = run(
            document,
            folder=flow.parent,
            data_folder=folder,
            sources=sources,
            doors=[engines[name] for name in engines if name in named],
            permutations=permutations,
            seed=seed,
            progress=tell,
        )
    if as_json:
        typer.echo(found.to_json())
    else:
        for name, known in found.corpus.items():
            typer.echo(f"{name}: {known['events']:,} events, corpus {known['hash']}")
        typer.echo(f"rules {found.rules}: {found.reports:,} reports by the replay")
        typer.echo(f"{found.permutations} streams with {found.crashes} crashes, seed {found.seed}")
        for name, count in found.late.items():
            typer.echo(f"{name}: {count:,} events come too late in the corpus's own order")
        for word, count in found.counts.items():
            typer.echo(f"{word}: {count:,}")
        for one in found.differences[:_SHOWN]:
            typer.echo(f"differs: {one.id} ({one.rule}), {one.only}, in permutation {one.permutation}")
        typer.echo("equal" if found.equal else f"{len(found.differences)} differences")
    if not found.equal:
        raise typer.Exit(1)
