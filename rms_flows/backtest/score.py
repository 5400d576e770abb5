"""Reports held against what is known to have happened."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.model import Incident, Truth
from rms_flows.report.build import ADDRESSES, ASSETS, ATTACKERS
from rms_flows.schema import micros

Reach = Literal["never evaluated", "thin", "measured"]

THIN: Final = 10
"""Reports below which a rule's precision says little."""

ENTITY_COLUMNS: Final = tuple(dict.fromkeys((*ATTACKERS, *ADDRESSES, *ASSETS)))
"""Where an event names whom it is about."""


@dataclass(frozen=True, slots=True)
class Share:
    """A part of a whole, with what it tells of the share that lies behind it.

    Args:
        part: Count.
        whole: Count.

    Example:
        >>> Share(9, 10).value, [round(bound, 3) for bound in Share(9, 10).interval]
        (0.9, [0.596, 0.982])
    """

    part: int
    whole: int

    @property
    def value(self) -> float | None:
        """The share; None of nothing."""
        return self.part / self.whole if self.whole else None

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of 95 % (Wilson 1927): what the share may be; everything, of nothing."""
        if not self.whole:
            return 0.0, 1.0
        z = 1.959963984540054
        share, weight = self.part / self.whole, z * z / self.whole
        middle = (share + weight / 2) / (1 + weight)
        spread = z / (1 + weight) * math.sqrt(share * (1 - share) / self.whole + weight / (4 * self.whole))
        return max(0.0, middle - spread), min(1.0, middle + spread)

    def __str__(self) -> str:
        if self.value is None:
            return "of nothing"
        low, high = self.interval
        return f"{self.value:.1%} ({self.part:,} of {self.whole:,}; {low:.1%} to {high:.1%})"


@dataclass(frozen=True, slots=True)
class RuleScore:
    """How one rule did.

    Args:
        rule: Its title.
        id: Its id; None where it is refused.
        precision: Its reports that belong to an incident, of all.
        reach: Whether that says anything.
        why: Why it was never evaluated.
    """

    rule: str
    id: str | None
    precision: Share
    reach: Reach
    why: str = ""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an incident.

    Args:
        incident: As it was labelled.
        reports: How many reports belong to it.
        delay: From its start to the first report; None where it was not found.
    """

    incident: Incident
    reports: int
    delay: timedelta | None


@dataclass(frozen=True, slots=True)
class Score:
    """How reports did against the truth.

    Args:
        precision: Reports that belong to an incident, of all reports.
        recall: Incidents that a report belongs to, of all.
        event_precision: Reported events that lie in an incident that names an entity, of all reported events
            but those of other incidents.
        event_recall: Events in incidents that were reported, of all events in incidents. Only incidents that
            name an entity count, each with every event that names it in the interval; a report names its
            first 100 events.
        outcomes: Of each incident.
        rules: Of each rule.
        false: Day and entity → false reports.
        days: Length of the history.
        entities: Entities that are named in it; false reports are spread over them.
    """

    precision: Share
    recall: Share
    event_precision: Share
    event_recall: Share
    outcomes: tuple[Outcome, ...]
    rules: tuple[RuleScore, ...]
    false: Mapping[tuple[date, str], int]
    days: float
    entities: int

    @property
    def false_per_day(self) -> float:
        """False reports a day."""
        return sum(self.false.values()) / self.days if self.days else 0.0

    @property
    def false_per_day_and_entity(self) -> float:
        """False reports a day and entity."""
        return self.false_per_day / self.entities if self.entities else 0.0

    @property
    def delays(self) -> list[timedelta]:
        """Times to detection of the incidents that were found, the shortest first."""
        return sorted(one.delay for one in self.outcomes if one.delay is not None)


class Scorer:
    """Takes reports, then the events of the history, and gives the score.

    Args:
        reports: `schema.REPORT`.
        truth: What happened.
    """

    def __init__(self, reports: pa.Table, truth: Truth) -> None:
        self._reports = reports.to_pylist()
        self._truth = truth
        self._belongs = [
            [at for at, one in enumerate(truth.incidents) if belongs(r, one)] for r in self._reports
        ]
        evidence = {
            event
            for report, found in zip(self._reports, self._belongs, strict=True)
            if not found or any(truth.incidents[at].entity is not None for at in found)
            for event in report["rms.evidence"] or ()
        }
        self._reported = pa.array(sorted(evidence), pa.string())
        self._inside = self._found_inside = self._found = 0
        self._entities: set[str] = set()
        self._first: int | None = None
        self._last = 0

    def add(self, batch: pa.RecordBatch) -> None:
        """Take events of the history."""
        time = batch["@timestamp"].cast(pa.int64()).to_numpy()
        self._first = int(time.min()) if self._first is None else min(self._first, int(time.min()))
        self._last = max(self._last, int(time.max()))
        columns = [_texts(batch[name]) for name in ENTITY_COLUMNS if name in batch.schema.names]
        inside = np.zeros(batch.num_rows, np.bool_)
        for one in self._truth.incidents:
            if one.entity is not None:
                within = (time >= micros(one.start)) & (time <= micros(one.end))
                if within.any():
                    inside |= within & _naming(columns, one.entity, batch.num_rows)
        reported = pc.is_in(batch["event.id"], value_set=self._reported).to_numpy(zero_copy_only=False)
        self._inside += int(inside.sum())
        self._found += int(reported.sum())
        self._found_inside += int((inside & reported).sum())
        for column in columns:
            values = pc.list_flatten(column) if pa.types.is_list(column.type) else column
            self._entities.update(pc.unique(values).drop_null().to_pylist())

    def score(self, rules: Sequence[RuleScore]) -> Score:
        """Give the score; `rules` says of each rule what is known beside its reports."""
        outcomes = [self._outcome(at, one) for at, one in enumerate(self._truth.incidents)]
        false: Counter[tuple[date, str]] = Counter()
        for report, belonging in zip(self._reports, self._belongs, strict=True):
            if not belonging:
                false[report["@timestamp"].date(), named(report)] += 1
        total = len(self._reports)
        return Score(
            Share(total - sum(false.values()), total),
            Share(sum(one.reports > 0 for one in outcomes), len(outcomes)),
            Share(self._found_inside, self._found),
            Share(self._found_inside, self._inside),
            tuple(outcomes),
            tuple(self._of_rule(one) for one in rules),
            dict(sorted(false.items(), key=lambda one: (-one[1], one[0]))),
            0.0 if self._first is None else (self._last - self._first) / 86_400_000_000,
            len(self._entities),
        )

    def _outcome(self, at: int, incident: Incident) -> Outcome:
        times = [
            r["@timestamp"] for r, found in zip(self._reports, self._belongs, strict=True) if at in found
        ]
        delay = max(min(times) - incident.start, timedelta()) if times else None
        return Outcome(incident, len(times), delay)

    def _of_rule(self, known: RuleScore) -> RuleScore:
        of_rule = [
            bool(found)
            for report, found in zip(self._reports, self._belongs, strict=True)
            if report["rule.id"] == known.id
        ]
        reach: Reach = known.reach
        if reach != "never evaluated":
            reach = "thin" if len(of_rule) < THIN else "measured"
        return RuleScore(known.rule, known.id, Share(sum(of_rule), len(of_rule)), reach, known.why)


def belongs(report: Mapping[str, Any], incident: Incident) -> bool:
    """Tell whether a report is about an incident: its rule, its entity, and some of its time."""
    if incident.rules and not {report["rule.id"], report["rule.name"]} & {*incident.rules}:
        return False
    first, last = report["rms.first"] or report["@timestamp"], report["rms.last"] or report["@timestamp"]
    if last < incident.start or first > incident.end:
        return False
    return incident.entity is None or incident.entity in _names(report)


def _names(report: Mapping[str, Any]) -> Iterable[str]:
    lists = (report["rms.monitored_asset_ip"], report["rms.monitored_asset_id"])
    return {report["rms.request_source"], *(name for names in lists for name in names or ())}


def named(report: Mapping[str, Any]) -> str:
    """Name whom a report is about, for a table."""
    names = (
        report["rms.request_source"],
        *(report["rms.monitored_asset_ip"] or ()),
        *(report["rms.monitored_asset_id"] or ()),
    )
    return next((name for name in names if name), "(none)")


def news(reports: pa.Table, known: pa.Table) -> pa.Table:
    """Give the reports that aren't among known ones: same rule, group and anchor, whatever the rule means.

    Args:
        reports: `schema.REPORT`.
        known: The same, of an earlier run.
    """
    before = Counter(map(_anchor, known.to_pylist()))
    after: defaultdict[tuple[Any, ...], int] = defaultdict(int)
    fresh = []
    for report in reports.to_pylist():
        key = _anchor(report)
        after[key] += 1
        fresh.append(after[key] > before[key])
    return reports.filter(pa.array(fresh, pa.bool_()))


def _anchor(report: Mapping[str, Any]) -> tuple[Any, ...]:
    single = report["rms.group"] is None and len(report["rms.evidence"] or ()) == 1
    return report["rule.id"], report["rms.evidence"][0] if single else (
        report["rms.group"],
        report["@timestamp"],
    )


def _texts(column: pa.Array) -> pa.Array:
    return column if pa.types.is_list(column.type) else column.cast(pa.string())


def _naming(columns: Sequence[pa.Array], entity: str, rows: int) -> np.ndarray:
    found = np.zeros(rows, np.bool_)
    for column in columns:
        if pa.types.is_list(column.type):
            hit = pc.list_parent_indices(column).filter(pc.equal(pc.list_flatten(column), entity))
            found[hit.to_numpy()] = True
        else:
            found |= pc.fill_null(pc.equal(column, entity), fill_value=False).to_numpy(zero_copy_only=False)
    return found
