"""Backtests: rules against history of which it is known what happened in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from rms_flows.backtest.score import ENTITY_COLUMNS, RuleScore, Score, Scorer, Share, news
from rms_flows.backtest.told import body, document, lines, to_json
from rms_flows.backtest.truth import read_truth
from rms_flows.flow.survey import Coverage
from rms_flows.model import Incident, Truth
from rms_flows.report.html import write_page

__all__ = [
    "ENTITY_COLUMNS",
    "Backtest",
    "Incident",
    "Score",
    "Share",
    "Truth",
    "backtest",
    "news",
    "read_truth",
]


@dataclass(frozen=True, slots=True)
class Backtest:
    """How rules did on labelled history.

    Args:
        score: The figures.
        reports: What was reported, `schema.REPORT`.
    """

    score: Score
    reports: pa.Table

    def to_dict(self) -> dict[str, Any]:
        """Give all figures as JSON has them; lengths of time in seconds."""
        return document(self.score)

    def to_json(self) -> str:
        """Write all figures as JSON."""
        return to_json(self.score)

    def write_html(self, path: Path | str, *, title: str = "Backtest") -> None:
        """Write a page that needs no network; raises OSError when it can't be written."""
        write_page(body(self.score), Path(path), title=title)

    def __repr__(self) -> str:
        return "\n".join(lines(self.score))

    def _repr_html_(self) -> str:
        return "".join(body(self.score))


def backtest(
    reports: pa.Table, truth: Truth, events: Iterable[pa.RecordBatch], coverages: Iterable[Coverage] = ()
) -> Backtest:
    """Hold reports against what happened.

    Args:
        reports: `schema.REPORT`.
        truth: What happened.
        events: The history: time, id and `ENTITY_COLUMNS` of its events.
        coverages: What the rules found on each source to work on.
    """
    scorer = Scorer(reports, truth)
    for batch in events:
        if batch.num_rows:
            scorer.add(batch)
    return Backtest(scorer.score([*_known(coverages)]), reports)


def _known(coverages: Iterable[Coverage]) -> Iterator[RuleScore]:
    """Say of each rule whether any source let it be evaluated."""
    found: dict[str, RuleScore] = {}
    for coverage in coverages:
        for fate in coverage.fates:
            why = fate.reason or ""
            if fate.fate == "unreachable":
                why = f"no source has {', '.join(fate.lacks)}"
            elif fate.fate == "evaluated" and fate.logsource and not coverage.events.get(fate.logsource):
                why = f"no event is of its log source ({fate.logsource})"
            one = RuleScore(fate.rule, fate.id, Share(0, 0), "never evaluated" if why else "thin", why)
            known = found.get(fate.where)
            if known is None or known.reach == "never evaluated":
                found[fate.where] = one
    yield from found.values()
