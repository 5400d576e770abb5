"""Parity: the proof that a flow finds the same, report for report, as a replay and as a stream.

One corpus goes through both doors: once in batch, and many times as a stream, in its own order, shuffled
within the lateness, with duplicates, with crashes at random places, and with the state in one to eight
shards. What is left is compared as sets of (id, content of the highest revision).
"""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.beam.cluster import Cluster
from rms_flows.beam.workers import Crew
from rms_flows.errors import FlowError, RmsError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.launch import launch
from rms_flows.flow.plan import Plan, SinkStage, SourceStage
from rms_flows.io import open_sink
from rms_flows.io.line import too_late
from rms_flows.io.memory import MemorySource
from rms_flows.model import Orchestrator
from rms_flows.report import read_reports
from rms_flows.stream import Pace, run

__all__ = ["Certificate", "Difference", "parity"]

DUPLICATED: Final = 0.02
"""Share of the events that come twice where duplicates are tried."""

CRASHES: Final = 3
"""Crashes of one permutation at most."""

SHARDS: Final = 8

BATCHES: Final = 20
"""Batches of the largest source at most."""

_BUNDLE: Final = 0.02
_COMMIT: Final = 0.05
"""Seconds: short enough for something to be committed before a crash."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A report that is not the same on both sides.

    Args:
        permutation: What was done to the corpus.
        id: Of the report.
        rule: Its rule's name.
        only: `replay` or `stream` where the other lacks it; `content` where both have it.
        evidence: Ids of the events that made it.
    """

    permutation: str
    id: str
    rule: str
    only: str
    evidence: Sequence[str]


@dataclass(slots=True)
class Certificate:
    """What was compared, and how it came out.

    Args:
        flow: Id of the orchestrator.
        corpus: Source id → number of events and a hash of their ids and times.
        rules: Hash of what all rules mean.
        seed: Of all permutations.
        reports: Of the replay.
        permutations: How many streams were compared.
        crashes: How often a stream crashed and was started again.
        late: Source id → events that come too late in the corpus's own order: there the replay is one without
            them.
        counts: What was capped or evicted, over all runs.
        differences: Empty where all is equal.
    """

    flow: str
    corpus: Mapping[str, Mapping[str, Any]]
    rules: str
    seed: int
    reports: int = 0
    permutations: int = 0
    crashes: int = 0
    late: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    differences: list[Difference] = field(default_factory=list)

    @property
    def equal(self) -> bool:
        """Whether nothing differs."""
        return not self.differences

    def to_json(self) -> str:
        """Give it as one JSON object."""
        return json.dumps({"equal": self.equal, **asdict(self)}, ensure_ascii=False)


class _CrashError(Exception):
    """Stands for a crash of a stream."""


def parity(  # noqa: PLR0913  each parameter is a choice that a person makes
    orchestrator: Orchestrator,
    *,
    folder: Path,
    data_folder: Path | None = None,
    sources: Mapping[str, str] | None = None,
    doors: Sequence[Cluster | None] = (None,),
    permutations: int = 20,
    seed: int = 0,
    most: int = 100,
    progress: Callable[[int, int], None] | None = None,
) -> Certificate:
    """Compare what a flow finds as a replay and as a stream.

    Args:
        orchestrator: The flow; its sinks are left alone.
        folder: Where relative paths of rules begin.
        data_folder: Where relative paths of sources begin; `folder` unless told.
        sources: Source id → URI to read instead of the archive.
        doors: Engines of the streams: a Flink, or None for the local one.
        permutations: Streams to compare on each; the first takes the corpus in its own order.
        seed: Of what is shuffled, doubled and crashed.
        most: Differences to list at most.
        progress: Hears how many of how many are done.

    Raises:
        RmsError: One of the two can't run at all.
    """
    with tempfile.TemporaryDirectory(prefix="rms-parity-") as aside:
        work = Path(aside)
        choices = Choices(None, None, sources or {}, {}, str(work / "dead.ndjson"))
        plan = build(_without_sinks(orchestrator), folder, data_folder or folder, choices)
        corpus = {stage.id: _read(stage) for stage in plan.sources}
        given = tuple(stage.id for stage in plan.processors if stage.ready().gives == "reports")
        if not given:
            raise FlowError("the flow gives no reports to compare", remedy="give it a processor that reports")
        found = Certificate(
            orchestrator.orchestrator,
            {name: _hashed(rows) for name, rows in corpus.items()},
            _rules(plan),
            seed,
        )
        reference = _replayed(plan, corpus, given, work / "replay.ndjson")
        found.reports = len(reference)
        lateness = {stage.id: stage.lateness for stage in plan.sources}
        in_time = {name: _in_time(rows, lateness[name]) for name, rows in corpus.items()}
        late = {name: rows.num_rows - in_time[name].num_rows for name, rows in corpus.items()}
        found.late = {name: count for name, count in late.items() if count}
        own = _replayed(plan, in_time, given, work / "replay.ndjson") if found.late else reference
        subject = _Subject(plan, corpus, given, work)
        turns = [(number, door) for number in range(permutations) for door in doors]
        for done, (number, door) in enumerate(turns, 1):
            _compare(found, subject, reference if number else own, number, door)
            if progress is not None:
                progress(done, len(turns))
            if len(found.differences) >= most:
                del found.differences[most:]
                break
        return found


def _without_sinks(flow: Orchestrator) -> Orchestrator:
    return flow.model_copy(update={"sinks": ()})


def _read(stage: SourceStage) -> pa.Table:
    """Read a source to its end."""
    batches = [
        decoded.rows
        for fragment in stage.source.fragments(stage.request)
        for decoded in stage.source.read(fragment, stage.request)
        if decoded.rows.num_rows
    ]
    tables = [pa.Table.from_batches([batch]) for batch in batches]
    if not tables:
        raise FlowError(
            f"the source {stage.id!r} has no events", where=stage.source.uri, remedy="name another"
        )
    return pa.concat_tables(tables, promote_options="default").unify_dictionaries().combine_chunks()


def _hashed(rows: pa.Table) -> dict[str, Any]:
    times = rows["@timestamp"].cast(pa.int64()).to_pylist()
    digest = xxhash.xxh3_128()
    for name, stamp in sorted(zip(rows["event.id"].to_pylist(), times, strict=True)):
        digest.update(f"{name} {stamp}\n".encode())
    return {"events": rows.num_rows, "hash": digest.hexdigest()}


def _rules(plan: Plan) -> str:
    digest = xxhash.xxh3_128()
    for stage in plan.processors:
        digest.update(stage.ready().meaning.encode())
    return digest.hexdigest()


def _over(plan: Plan, corpus: Mapping[str, pa.Table], given: tuple[str, ...], out: Path) -> Plan:
    """Let a plan read what is in memory, and write all reports to one file."""
    sources = tuple(
        replace(stage, source=MemorySource(corpus[stage.id].to_batches(), stage.id)) for stage in plan.sources
    )
    sink = open_sink(str(out), base=Path())
    return replace(plan, sources=sources, sinks=(SinkStage("parity", given, sink),))


def _replayed(
    plan: Plan, corpus: Mapping[str, pa.Table], given: tuple[str, ...], out: Path
) -> dict[str, dict[str, Any]]:
    with Crew(1) as crew:
        launch(_over(plan, corpus, given, out), crew)
    return _reports(out)


def _in_time(rows: pa.Table, lateness: int) -> pa.Table:
    """Leave out what a stream would find too late."""
    late, _ = too_late(rows["@timestamp"].cast(pa.int64()).to_numpy(), lateness)
    return rows.filter(pa.array(~late)).combine_chunks()


def _reports(path: Path) -> dict[str, dict[str, Any]]:
    """Give the reports by id, each in its highest revision."""
    return {row["event.id"]: row for row in read_reports([str(path)]).to_pylist()}


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is compared: a plan over a corpus, the processors that report, and where to write."""

    plan: Plan
    corpus: Mapping[str, pa.Table]
    given: tuple[str, ...]
    work: Path


def _compare(
    found: Certificate,
    subject: _Subject,
    reference: Mapping[str, dict[str, Any]],
    number: int,
    door: Cluster | None,
) -> None:
    """Run one stream and add to the certificate how it came out."""
    plan, corpus, work = subject.plan, subject.corpus, subject.work
    chance = random.Random(f"{found.seed}/{number}")  # noqa: S311  no secret
    lateness = {stage.id: stage.lateness for stage in plan.sources}
    permuted, name = corpus, "in order"
    if number:
        doubled = chance.random() < 0.5  # noqa: PLR2004  half of them
        permuted = {key: _shuffled(rows, lateness[key], chance, doubled) for key, rows in corpus.items()}
        name = "shuffled, doubled" if doubled else "shuffled"
    crashes = chance.randrange(CRASHES + 1) if number else 0
    rows = sum(table.num_rows for table in corpus.values())
    most = max(table.num_rows for table in corpus.values())
    size, shards = chance.randint(max(1, most // BATCHES), most + 1), chance.randint(1, SHARDS)
    pace = Pace(size, None, _BUNDLE, shards, commit=_COMMIT)
    where = "" if door is None else "flink, "
    name = f"{number}: {where}{name}, {crashes} crashes, {pace.shards} shards, {pace.rows} rows a batch"
    out = work / "stream.ndjson"
    for left in (out, work / "positions"):
        left.unlink(missing_ok=True)
    over = _over(plan, permuted, subject.given, out)
    for _ in range(crashes):
        found.crashes += _crashed(
            over, work / "positions", pace, chance.randint(1, 1 + rows // pace.rows), door
        )
    done = run(over, work / "positions", pace, cluster=door)
    found.permutations += 1
    for counts in done.processors.values():
        for word in ("capped", "evicted"):
            if counts.get(word):
                found.counts[word] = found.counts.get(word, 0) + counts[word]
    found.differences.extend(_differences(name, reference, _reports(out)))


def _crashed(plan: Plan, positions: Path, pace: Pace, batches: int, door: Cluster | None) -> bool:
    """Run a stream that crashes after some batches; tell whether it did before its end."""
    left = iter(range(batches))

    def fault() -> None:
        if next(left, None) is None:
            raise _CrashError

    try:
        run(plan, positions, pace, fault=fault, cluster=door)
    except RmsError as error:
        if _CrashError.__name__ not in str(error):
            raise
        return True
    return False


def _shuffled(rows: pa.Table, lateness: int, chance: random.Random, doubled: bool) -> pa.Table:  # noqa: FBT001
    """Shuffle rows so that none comes too late; some come twice."""
    numbers = np.random.default_rng(chance.getrandbits(64))
    times = rows["@timestamp"].cast(pa.int64()).to_numpy()
    which = np.arange(len(times))
    if doubled:
        which = np.concatenate([which, which[numbers.random(len(which)) < DUPLICATED]])
    arrival = times[which] + numbers.integers(0, max(lateness, 1), len(which))
    return rows.take(pa.array(which[np.argsort(arrival, kind="stable")])).combine_chunks()


def _differences(
    name: str, replayed: Mapping[str, dict[str, Any]], streamed: Mapping[str, dict[str, Any]]
) -> Iterator[Difference]:
    make = partial(Difference, name)
    for key in sorted({*replayed, *streamed}):
        a, b = replayed.get(key), streamed.get(key)
        if a != b:
            one = a or b or {}
            only = "content" if a and b else "replay" if a else "stream"
            yield make(key, one["rule.name"] or "", only, one["rms.evidence"] or ())
