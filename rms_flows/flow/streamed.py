"""The account of a stream that ended or was stopped."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from rms_flows.beam import account
from rms_flows.beam.account import Account, words
from rms_flows.flow.plan import Plan


@dataclass(frozen=True, slots=True)
class Streamed:
    """The account of a stream that ended or was stopped.

    Args:
        seconds: Wall time.
        sources: Source id → `rows`, `late`, and `conflicts` and `unsure` as in `decode.contract.Counts`.
        processors: Processor id → `rows`, `found`, `matches`, `ungrouped`, `late`, `capped`, `evicted`.
        sinks: Sink id → rows appended.
        dead_letters: How many were appended.
        stopped: Whether it was stopped before the end of its sources.
        notes: What a person should know, such as each refused rule.
    """

    seconds: float
    sources: Mapping[str, Mapping[str, int]]
    processors: Mapping[str, Mapping[str, int]]
    sinks: Mapping[str, int]
    dead_letters: int
    stopped: bool
    notes: tuple[str, ...] = ()


def summarize(plan: Plan, total: Account, seconds: float, *, stopped: bool) -> Streamed:
    """Say what was done.

    Args:
        plan: What ran.
        total: What its steps counted.
        seconds: Wall time.
        stopped: Whether it was told to stop.
    """
    processors = {}
    for stage in plan.processors:
        counts = {**words(total, account.processor(stage.id))}
        for word, count in words(total, account.together(stage.id)).items():
            if word in {"late", "capped", "evicted", "found"}:
                counts[word] = counts.get(word, 0) + count
        processors[stage.id] = {word: count for word, count in counts.items() if count}
    return Streamed(
        seconds,
        {stage.id: dict(words(total, account.source(stage.id))) for stage in plan.sources},
        processors,
        {stage.id: words(total, account.sink(stage.id))["rows"] for stage in plan.sinks},
        words(total, account.DEAD_LETTERS)["rows"],
        stopped,
        _notes(plan),
    )


def whole(turns: Sequence[Streamed]) -> Streamed:
    """Put together what was done with one set of rules after the other."""

    def added(counts: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
        names = dict.fromkeys(name for one in counts for name in one)
        totals = {name: sum((Counter(one.get(name, {})) for one in counts), Counter()) for name in names}
        return {name: dict(total) for name, total in totals.items()}

    last = turns[-1]
    if len(turns) == 1:
        return last
    return replace(
        last,
        seconds=sum(one.seconds for one in turns),
        sources=added([one.sources for one in turns]),
        processors=added([one.processors for one in turns]),
        sinks=dict(sum((Counter(one.sinks) for one in turns), Counter())),
        dead_letters=sum(one.dead_letters for one in turns),
    )


def _notes(plan: Plan) -> tuple[str, ...]:
    return tuple(note for stage in plan.processors for note in stage.ready().notes)
