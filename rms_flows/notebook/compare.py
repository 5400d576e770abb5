"""What changes when one rule takes another's place: reports added, removed and changed, by whom and when."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from rms_flows.notebook import shown
from rms_flows.notebook.events import to_pandas
from rms_flows.notebook.near import Judge
from rms_flows.notebook.reports import Reports
from rms_flows.notebook.ruleset import Rules
from rms_flows.sigma.load import read

if TYPE_CHECKING:
    import pandas as pd

    from rms_flows.notebook.archive import Archive

SEVERAL: Final = "several items together"
"""What made the difference where no single item did."""

_SAID: Final = ("rule.name", "rule.level", "rms.count", "rms.first", "rms.last", "message", "rms.measurement")
"""What makes a report of the same events another one."""

_CHANGES: Final = pa.schema(
    [
        ("change", pa.string()),
        ("entity", pa.string()),
        ("day", pa.date32()),
        ("time", pa.timestamp("us", tz="UTC")),
        ("rule", pa.string()),
        ("what", pa.string()),
        ("because", pa.string()),
        ("rms.report", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What is different.

    Args:
        changes: A row a report that is different: `change` (`added`, `removed`, `changed`), `entity`, `day`,
            `time`, `rule`, `what` differs in a changed one, `because` (the item of a rule that made the
            difference; null of a correlation), and the report's id.
        same: Number of reports that say the same.
        new: What the new rule reports.
        old: What the old one reports.
    """

    changes: pa.Table
    same: int
    new: Reports
    old: Reports

    def count(self, change: str) -> int:
        """Give how many were `added`, `removed` or `changed`."""
        return sum(one == change for one in self.changes["change"].to_pylist())

    def by_entity_and_day(self) -> pa.Table:
        """Count changes: `entity`, `day`, `change`, `because`, `reports`; most first."""
        keys = ["entity", "day", "change", "because"]
        counted = self.changes.group_by(keys).aggregate([([], "count_all")]).select([*keys, "count_all"])
        order = [("count_all", "descending"), *((key, "ascending") for key in keys)]
        return counted.sort_by(order).rename_columns([*keys, "reports"])

    def to_arrow(self) -> pa.Table:
        """Give the changes as a table."""
        return self.changes

    def to_pandas(self) -> pd.DataFrame:
        """Give the changes as a DataFrame; raises FlowError where pandas is not installed."""
        return to_pandas(self.changes)

    def _head(self) -> str:
        counts = ", ".join(f"{self.count(word):,} {word}" for word in ("added", "removed", "changed"))
        stopped = "" if self.new.complete and self.old.complete else "; a run was stopped: this is not all"
        return f"{counts}, {self.same:,} the same{stopped}"

    def __repr__(self) -> str:
        rows = self.by_entity_and_day().slice(0, shown.ROWS).to_pylist()
        lines = [
            f"  {row['reports']:,} {row['change']}: {row['entity']} on {row['day']}"
            + (f": {row['because']}" if row["because"] else "")
            for row in rows
        ]
        return "\n".join([self._head(), *lines])

    def _repr_html_(self) -> str:
        found = self.by_entity_and_day()
        rows = (row.values() for row in found.slice(0, shown.ROWS).to_pylist())
        return shown.table(found.column_names, rows, caption=self._head())


def compare(new: Rules, old: Rules, archive: Archive, *, workers: int = 1) -> Comparison:
    """Run both and put their reports side by side: those of the same group and anchor are one.

    Args:
        new: What takes the other's place.
        old: As it was.
        archive: Where both look.
        workers: Processes that work at once.
    """
    found = archive.detect(new, workers=workers), archive.detect(old, workers=workers)
    after, before = (_keyed(one) for one in found)
    added, removed = after.keys() - before.keys(), before.keys() - after.keys()
    because = _causes(new, old, archive, *found)
    rows, same = list[dict[str, Any]](), 0
    rows += [_row("added", after[key], None, because) for key in added]
    rows += [_row("removed", before[key], None, because) for key in removed]
    for key in after.keys() & before.keys():
        what = [name for name in _SAID if after[key][name] != before[key][name]]
        same += not what
        rows += [_row("changed", after[key], what, because)] if what else []
    table = pa.Table.from_pylist(rows, _CHANGES).sort_by([("time", "ascending"), ("rms.report", "ascending")])
    return Comparison(table, same, *found)


def _keyed(reports: Reports) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Give reports by group and anchor; where several rules report the same, also by their order."""
    found, seen = {}, Counter[tuple[Any, ...]]()
    for report in reports.table.to_pylist():
        single = report["rms.group"] is None and report["rms.count"] == 1
        key = ("", *(report["rms.evidence"] or ())) if single else (report["rms.group"], report["@timestamp"])
        found[(*key, seen[key])] = report
        seen[key] += 1
    return found


def entity(report: Mapping[str, Any]) -> str:
    """Tell who or what a report is about: the attacker's address, else the asset's, else the group.

    Example:
        >>> entity({"rms.request_source": None, "rms.monitored_asset_ip": ["10.0.0.1"]})
        '10.0.0.1'
    """
    for name in ("rms.request_source", "rms.monitored_asset_ip", "rms.monitored_asset_id", "rms.group"):
        value = report.get(name)
        if value:
            return str(value[0] if isinstance(value, list) else value)
    return "(none)"


def _row(
    change: str, report: Mapping[str, Any], what: list[str] | None, because: Mapping[str, str]
) -> dict[str, Any]:
    time = report["@timestamp"]
    evidence = report["rms.evidence"] or [None]
    single = report["rms.count"] == 1 and what is None
    return {
        "change": change,
        "entity": entity(report),
        "day": time.date(),
        "time": time,
        "rule": report["rule.name"],
        "what": ", ".join(what) if what else None,
        "because": because.get(evidence[0]) if single else None,
        "rms.report": report["event.id"],
    }


def _causes(new: Rules, old: Rules, archive: Archive, after: Reports, before: Reports) -> dict[str, str]:
    """Give, of each event that only one of two single-event rules finds, the item that kept the other."""
    if any(len(one.loaded.rules) != 1 or one.loaded.correlations for one in (new, old)):
        return {}
    causes: dict[str, str] = {}
    for without, here, there in ((old, after, before), (new, before, after)):
        known = set(_events_of(there))
        ids = pa.array([one for one in _events_of(here) if one not in known], pa.string())
        if len(ids):
            loaded, parsed = read(
                without.paths, without.pipelines, without.routes if without.routing else None
            )
            judge = Judge(loaded.rules[0], parsed[loaded.rules[0].id])
            causes |= _decided(judge, archive, ids, here)
    return causes


def _events_of(reports: Reports) -> list[str]:
    return [one for evidence in reports.table["rms.evidence"].to_pylist() for one in evidence or ()]


def _decided(judge: Judge, archive: Archive, ids: pa.Array, reports: Reports) -> dict[str, str]:
    """Say of events that a rule is not true of which of its items alone is in the way."""
    causes: dict[str, str] = {}
    for batch in archive.found_again(ids, reports.table, judge.columns):
        _, near, which = judge.judge(batch)
        for row in range(batch.num_rows):
            labels = [judge.items[item].label for item in which[near == row].tolist()]
            causes[batch["event.id"][row].as_py()] = " or ".join(labels) or SEVERAL
    return causes
