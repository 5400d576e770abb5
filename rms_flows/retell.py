"""Tell again what a stream told of topics: each message is judged by the rules that judged it then.

The file of positions says which rules judged from which offsets on, and what was settled there; the rules
themselves are kept beside it. Each of these turns is run as the stream ran it: it reads back as far as
events can still matter, and tells what comes between its offsets. What waited at an offset for more to be
settled is told by the rules behind it, as it was then.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from rms_flows.beam import account
from rms_flows.beam.ledger import Known, Ledger, Packs, Place, load, load_packs
from rms_flows.beam.sinks import unwanted
from rms_flows.errors import DocumentError, SourceError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.kept import unpack
from rms_flows.flow.launch import prepared
from rms_flows.flow.plan import Plan
from rms_flows.flow.renewal import packs
from rms_flows.flow.streamed import Streamed, whole
from rms_flows.io.contract import Log, Writer
from rms_flows.io.kafka.source import KafkaSource
from rms_flows.io.line import ENDED
from rms_flows.io.part_log import PartLog
from rms_flows.io.position import NOT_BEGUN, Offsets
from rms_flows.model import Orchestrator
from rms_flows.stream import Pace, Span, run

__all__ = ["retell"]


@dataclass(frozen=True, slots=True)
class Turn:
    """What was judged by the same rules.

    Args:
        judged: Processor → `rms.pack`.
        begin: Source → where it begins.
        end: Source → where it ends.
    """

    judged: Mapping[str, str]
    begin: Mapping[str, Place]
    end: Mapping[str, Place]


def retell(
    orchestrator: Orchestrator,
    *,
    folder: Path,
    positions: Path,
    data_folder: Path | None = None,
    sources: Mapping[str, str] | None = None,
    sinks: Mapping[str, str] | None = None,
    dead_letters: str | None = None,
) -> Streamed:
    """Tell again what a stream told, from its beginning up to its positions, to sinks that a replay replaces.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin.
        positions: The stream's file of positions, with what is kept beside it.
        data_folder: Where relative paths of sinks begin; `folder` unless told.
        sources: Source id → URI of a copy of its topic to read instead, with the same offsets.
        sinks: Sink id → URI to write instead.
        dead_letters: URI for records that can't be processed, and for events that came too late.

    Raises:
        SourceError: Rules that judged are not kept, or mean something else now; or a topic can't be read.
        DocumentError: A source is no topic.
        RmsError: As `stream`; the sinks hold what they held before.
    """
    choices = Choices(None, None, sources or {}, sinks or {}, dead_letters, endless=True)
    with tempfile.TemporaryDirectory(prefix="rms-retell-") as made:
        turns, plans = [], []
        data = (data_folder or folder).resolve()
        now = build(orchestrator, folder, data, choices)
        for number, turn in enumerate(_turns(now, positions)):
            own = Path(made, str(number))
            own.mkdir()
            unpack(positions, turn.judged, own)
            plan = build(orchestrator, own, data, choices)
            _the_same(plan, turn, positions)
            turns.append(turn)
            plans.append(plan)
        with _written(now) as logs:
            done = []
            for number, (plan, turn) in enumerate(zip(plans, turns, strict=True)):
                begin = _positions(Path(made, f"{number}.positions"), turn)
                done.append(run(plan, begin, Pace(), begin="earliest", span=Span(turn.end, logs)))
    return whole(done)


def _turns(plan: Plan, positions: Path) -> Iterator[Turn]:
    """Read which rules judged what."""
    for stage in plan.sources:
        if not isinstance(stage.source, KafkaSource):
            raise DocumentError(
                "what a stream told can be told again of topics only",
                where=stage.source.uri,
                remedy="replay it without --as-told: the rules of today then judge all of it",
            )
    if not positions.exists():
        raise SourceError("is not there", where=str(positions), remedy="name the positions of the stream")
    begins = {stage.id: Offsets() for stage in plan.sources}
    known = load(positions, begins)
    judged = load_packs(positions)
    if not judged or not all(entry["settled"] for entry in judged):
        raise SourceError(
            "doesn't say which rules judged what: nothing was judged yet, or by an older version",
            where=str(positions),
            remedy="leave out --as-told: the rules of today then judge all of it",
        )
    ends = {name: Place(one.place.position, ENDED) for name, one in known.items()}
    for entry, after in pairwise([*judged, None]):
        assert entry is not None  # noqa: S101  only the last one is
        yield Turn(entry["packs"], _places(entry, known), ends if after is None else _places(after, known))


def _places(entry: Packs, known: Mapping[str, Known]) -> dict[str, Place]:
    """Give where rules began to judge; a source that was not there then had given nothing."""
    return {
        name: Place(
            Offsets.of(entry["from"][name]) if name in entry["from"] else one.first,
            entry["settled"].get(name, NOT_BEGUN),
        )
        for name, one in known.items()
    }


def _the_same(plan: Plan, turn: Turn, positions: Path) -> None:
    """See that what is kept means what it meant."""
    found = packs(plan)
    for name, pack in turn.judged.items():
        means = found.get(name, "nothing")
        if means != pack:
            raise SourceError(
                f"{name} judged by {pack[:12]}, and what is kept of that means {means[:12]} now",
                where=str(positions),
                remedy="use the flow's document and the version of rms-flows of then, or leave out --as-told",
            )


def _positions(path: Path, turn: Turn) -> Path:
    """Write where a turn begins."""
    ledger = Ledger(path, dict.fromkeys(turn.begin, 0), {}, begins=dict.fromkeys(turn.begin, Offsets()))
    for name, place in turn.begin.items():
        ledger.begin(name, Offsets(), place)
    ledger.write()
    return path


@contextmanager
def _written(plan: Plan) -> Iterator[Mapping[str, Log]]:
    """Give sinks to be appended to; what was written is seen at the end, if all went well."""
    sinks = {stage.id: stage.sink for stage in plan.sinks} | {account.DEAD_LETTERS: plan.dead_letters}
    with prepared([*sinks.values()]):
        writers: dict[str, Writer] = {name: sink.part("00000000-000") for name, sink in sinks.items()}
        yield {name: PartLog(writer) for name, writer in writers.items()}
        for name, writer in writers.items():  # that of dead letters is the last one
            refused = writer.close()
            if refused is None or not refused.num_rows:
                continue
            if name == account.DEAD_LETTERS:
                raise unwanted(sinks[name].uri, refused)
            writers[account.DEAD_LETTERS].write(refused)
        for sink in sinks.values():
            sink.commit()
