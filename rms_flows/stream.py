"""Stream: the door into the corridor for what comes bit by bit, with the reports of a replay, id for id.

The stages are those of `replay`. What was read is committed to a file of positions once every sink has it on
disk; a start goes back from there to the first event that can still matter, brings its state up to date, and
goes on. So a stream may be killed at any time: nothing is lost, and what is said twice has one id.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final

from rms_flows.beam.cluster import Cluster
from rms_flows.beam.ledger import load_packs
from rms_flows.beam.load import load
from rms_flows.beam.seen import Seen, seen
from rms_flows.flow import live as graph
from rms_flows.flow.build import Choices, build
from rms_flows.flow.kept import keep
from rms_flows.flow.opened import Pace, Span, opened, several
from rms_flows.flow.plan import Plan
from rms_flows.flow.renewal import Renewal, packs
from rms_flows.flow.streamed import Streamed, summarize, whole
from rms_flows.io.kafka.sink import KafkaSink
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.model import Orchestrator

__all__ = ["Pace", "Span", "Streamed", "run", "stream"]

COMMITTED: Final = "committed"
Watch = Callable[[Callable[[], Seen]], AbstractContextManager[None]]
"""Is given how to look at a stream; what it gives surrounds the run."""

PLACES: Final = ("earliest", "latest", COMMITTED)
"""Where a topic can begin, besides a time."""


def stream(  # noqa: PLR0913  each parameter is a choice that a person makes
    orchestrator: Orchestrator,
    *,
    folder: Path,
    data_folder: Path | None = None,
    positions: Path | None = None,
    sources: Mapping[str, str] | None = None,
    sinks: Mapping[str, str] | None = None,
    dead_letters: str | None = None,
    pace: Pace | None = None,
    begin: str | datetime = COMMITTED,
    cluster: Cluster | None = None,
    say: Callable[[str], None] = lambda _: None,
    watch: Watch | None = None,
) -> Streamed:
    """Run an orchestrator as a stream over what its sources hold, to their end or until it is stopped.

    Where there are positions, rules are renewed when their files change: the stream ends as if it were
    stopped, and goes on at once with the new ones, from where all sinks are. What can't be used is said, and
    the rules of before stay.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources and sinks begin; `folder` unless told.
        positions: File of what is committed, made at the first commit; None begins anew each time.
        sources: Source id → URI to read instead of the archive.
        sinks: Sink id → URI to write instead; files of JSON lines, which are appended to.
        dead_letters: URI for records that can't be processed, and for events that came too late.
        pace: How it goes.
        begin: Where sources of Kafka begin for which there are no positions: `earliest`, `latest`, a time, or
            `committed`, where their group is.
        cluster: The Flink to run it on; None runs it on the local engine.
        say: Called with what a person should know, at the start and when rules change; from any thread.
        watch: Is given how to look at the stream, from any thread, and surrounds its run.

    Raises:
        RmsError: As `replay`; what was committed stays.
    """
    choices = Choices(None, None, sources or {}, sinks or {}, dead_letters, endless=True)
    if cluster is not None:  # its workers may be in another folder
        folder, data_folder = folder.resolve(), (data_folder or folder).resolve()
        positions = None if positions is None else positions.resolve()
    make = partial(build, orchestrator, folder, data_folder or folder, choices)
    plan = make()
    places = [*(one.source for one in plan.sources), *(one.sink for one in plan.sinks), plan.dead_letters]
    for said in dict.fromkeys(one.said for one in places if isinstance(one, KafkaSource | KafkaSink)):
        say(said)
    job, pace = f"rms-{orchestrator.orchestrator}", pace or Pace()
    done: list[Streamed] = []
    renewal: Renewal | None = None
    while True:
        if positions is not None:
            renewal = Renewal(plan, make, say, pace.renew, renewal)
            keep(plan, folder, positions, [one["packs"] for one in load_packs(positions)])
        done.append(
            run(plan, positions, pace, begin=begin, cluster=cluster, job=job, watch=watch, renewal=renewal)
        )
        if pace.stopped or renewal is None or renewal.next is None:
            return whole(done)
        plan, cluster = renewal.next, cluster and replace(cluster, savepoint=None)
        named = ", ".join(f"{name} is {pack[:12]}" for name, pack in packs(plan).items())
        say(f"the rules have changed; {named} from here on")


def run(  # noqa: PLR0913  likewise
    plan: Plan,
    positions: Path | None,
    pace: Pace,
    *,
    fault: Callable[[], None] | None = None,
    begin: str | datetime = COMMITTED,
    cluster: Cluster | None = None,
    job: str = "rms",
    watch: Watch | None = None,
    renewal: Renewal | None = None,
    span: Span | None = None,
) -> Streamed:
    """Run a plan as a stream, until there is another; see `stream` and, for `fault`, `io.live.Reading`.

    Where there is a `span`, it ends there, and tells nobody how far it is but the positions.
    """
    load()
    from rms_flows.beam.reading import LIVE  # noqa: PLC0415

    began = time.monotonic()
    name = uuid.uuid4().hex
    here = cluster is None or cluster.workers is None
    make = partial(opened, plan, positions, replace(pace), begin)
    readers = 1 if cluster is None else cluster.parallelism
    build = partial(
        graph.corridor,
        plan=plan,
        run=name,
        shards=pace.shards,
        bundle=pace.bundle,
        make=None if here or readers > 1 else make,
        several=None if readers == 1 else several(plan, positions, replace(pace), begin, readers),
    )

    def over() -> bool:
        return pace.stopped or (renewal is not None and renewal.due())

    with ExitStack() as stack:
        live = opened(plan, positions, pace, begin, fault, over, span) if here else None
        if live is not None:
            LIVE[name] = live
            stack.callback(LIVE.pop, name)
            stack.callback(live.close)
            if watch is not None:
                stack.enter_context(watch(partial(seen, live)))
        if renewal is not None:
            stack.enter_context(renewal.watching())
        if cluster is None:
            from rms_flows.beam import runner  # noqa: PLC0415

            total = runner.run(build)
        else:
            from rms_flows.beam import flink  # noqa: PLC0415

            total = flink.run(build, cluster, f"{job}-{name}", live, over)
        if live is not None:
            live.ledger.write()
            live.reading.close()
    return summarize(plan, total, time.monotonic() - began, stopped=pace.stopped)
