"""The books of a run: what went into a stage came out of the one before it. "DONE" alone proves nothing."""

from __future__ import annotations

from collections.abc import Sequence

from rms_flows.beam import account
from rms_flows.beam.account import Account, words
from rms_flows.beam.pieces import Piece
from rms_flows.errors import FlowError
from rms_flows.flow.plan import Plan


def reconcile(plan: Plan, pieces: Sequence[Piece], total: Account) -> None:
    """Check that no fragment, record or row went missing or came twice.

    Args:
        plan: What was run.
        pieces: What was to be read.
        total: What all shares counted.

    Raises:
        FlowError: A number does not agree.
    """
    given: dict[str, int] = {}  # id → rows that it gave
    dead = 0
    for source in plan.sources:
        read = words(total, account.source(source.id))
        planned = sum(piece.source == source.id for piece in pieces)
        _agree(f"fragments of {source.id!r}", planned, read["fragments"])
        fates = read["rows"] + read["dead"] + read["duplicates"] + read["blank"]
        _agree(f"records of {source.id!r}", read["framed"] + read["extra"], fates)
        known = words(total, account.annotate(source.id))
        window = words(total, account.window(source.id))
        _agree(f"rows from {source.id!r}", read["rows"], known["rows"])
        _agree(f"annotated rows from {source.id!r}", known["found"], window["rows"])
        given[source.id] = window["found"]
        dead += read["dead"]
    for processor in plan.processors:
        counts = words(total, account.processor(processor.id))
        _agree(f"rows into {processor.id!r}", sum(given[name] for name in processor.inputs), counts["rows"])
        given[processor.id] = counts["found"]
        if processor.id in plan.spills:
            later = words(total, account.together(processor.id))
            _agree(f"matches of {processor.id!r}", counts["matches"] + later["matches"], later["rows"])
            given[processor.id] += later["found"]
    for sink in plan.sinks:
        arrived = words(total, account.sink(sink.id))["rows"]
        dead += words(total, account.sink(sink.id))[account.REFUSED]
        clip = words(total, account.clip(sink.id))
        due = sum(given[name] for name in sink.inputs) - clip["rows"] + clip["found"]
        _agree(f"rows into {sink.id!r}", due, arrived)
    _agree("dead letters", dead, words(total, account.DEAD_LETTERS)["rows"])
    _agree("reasons of dead letters", dead, words(total, account.DEAD).total())


def _agree(what: str, expected: int, got: int) -> None:
    if expected != got:
        raise FlowError(
            f"{what}: {expected:,} were due and {got:,} came",
            remedy="nothing was committed; run it again, and report it if the numbers still disagree",
        )
