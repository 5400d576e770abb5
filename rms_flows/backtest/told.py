"""A backtest for people and for programs: lines, JSON, and a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import timedelta
from html import escape
from typing import Any, Final

from rms_flows.backtest.score import Score, Share

FEW: Final = 20
"""Most rows of a list for a person."""


def lines(score: Score) -> Iterator[str]:
    """Say what a person wants to know first."""
    yield f"precision: {score.precision} of reports"
    yield f"recall: {score.recall} of incidents"
    yield f"precision by event: {score.event_precision}"
    yield f"recall by event: {score.event_recall}"
    if score.delays:
        middle = score.delays[len(score.delays) // 2]
        yield f"time to detection: median {_length(middle)}, longest {_length(score.delays[-1])}"
    yield (
        f"false reports: {sum(score.false.values()):,}, {score.false_per_day:.2f} a day, "
        f"{score.false_per_day_and_entity:.3f} a day and device"
    )
    for one in score.outcomes:
        if one.delay is None:
            where = f" of {one.incident.entity}" if one.incident.entity else ""
            yield f"missed: {one.incident.kind}{where} from {one.incident.start:%Y-%m-%d %H:%M:%S}"
    for reach in ("never evaluated", "thin", "measured"):
        of_reach = [rule for rule in score.rules if rule.reach == reach]
        if of_reach:
            yield f"{len(of_reach):,} rules {reach}"


def document(score: Score) -> dict[str, Any]:
    """Give all of it as JSON has it; lengths of time in seconds."""
    return {
        "precision": _share(score.precision),
        "recall": _share(score.recall),
        "event_precision": _share(score.event_precision),
        "event_recall": _share(score.event_recall),
        "days": score.days,
        "entities": score.entities,
        "false_reports": sum(score.false.values()),
        "false_per_day": score.false_per_day,
        "false_per_day_and_entity": score.false_per_day_and_entity,
        "false": [
            {"day": day.isoformat(), "entity": name, "reports": count}
            for (day, name), count in score.false.items()
        ],
        "incidents": [
            {
                **one.incident.model_dump(mode="json"),
                "reports": one.reports,
                "delay": None if one.delay is None else one.delay.total_seconds(),
            }
            for one in score.outcomes
        ],
        "rules": [
            {
                "rule": one.rule,
                "id": one.id,
                "reach": one.reach,
                "why": one.why,
                "precision": _share(one.precision),
            }
            for one in score.rules
        ],
    }


def to_json(score: Score) -> str:
    """Write all of it as JSON."""
    return json.dumps(document(score), indent=1, ensure_ascii=False)


def body(score: Score) -> Iterator[str]:
    """Give the tables of a page."""
    yield "<ul>"
    yield from (f"<li>{escape(line)}</li>" for line in lines(score))
    yield "</ul><h2>Incidents</h2>"
    yield _table(
        ("kind", "entity", "from (UTC)", "to", "reports", "time to detection"),
        [
            (
                one.incident.kind,
                one.incident.entity or "any",
                f"{one.incident.start:%Y-%m-%d %H:%M:%S}",
                f"{one.incident.end:%Y-%m-%d %H:%M:%S}",
                f"{one.reports:,}",
                "missed" if one.delay is None else _length(one.delay),
            )
            for one in score.outcomes
        ],
    )
    yield "<h2>Rules</h2>"
    rules = sorted(score.rules, key=lambda one: (-one.precision.whole, one.rule))
    yield _table(
        ("rule", "reach", "precision", "why"),
        [(one.rule, one.reach, str(one.precision), one.why) for one in rules],
    )
    if score.false:
        yield "<h2>False reports by day and device</h2>"
        yield _table(
            ("day", "device", "reports"),
            [(day.isoformat(), name, f"{count:,}") for (day, name), count in score.false.items()],
        )


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"part": share.part, "whole": share.whole, "value": share.value, "low": low, "high": high}


def _length(delay: timedelta) -> str:
    return str(timedelta(seconds=round(delay.total_seconds())))


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(one)}</th>" for one in heads)
    whole = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{whole}</tbody></table>"
