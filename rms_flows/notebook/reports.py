"""Threat reports in a notebook: filtered, joined with their evidence, drawn, handed over."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.backtest import ENTITY_COLUMNS, Backtest, Truth, backtest, read_truth
from rms_flows.errors import SinkError
from rms_flows.flow.summary import Summary
from rms_flows.flow.survey import coverage
from rms_flows.flow.window import within
from rms_flows.io.contract import Window
from rms_flows.notebook import shown
from rms_flows.notebook.draw import DrawReports
from rms_flows.notebook.events import Events, to_pandas, united
from rms_flows.notebook.period import Moment, period
from rms_flows.notebook.progress import progress
from rms_flows.report import WRITERS, write_html
from rms_flows.schema import REPORT
from rms_flows.sigma.selection import Wanted, select

if TYPE_CHECKING:
    import pandas as pd

    from rms_flows.notebook.archive import Archive
    from rms_flows.notebook.ruleset import Rules

SHOWN = 20
"""Most rows of a representation."""

_HEADS = ("@timestamp", "rule.level", "rule.name", "rms.source", "rms.request_source", "rms.count", "message")
_LEVELS = ("critical", "high", "medium", "low", "informational")


@dataclass(frozen=True, slots=True)
class Reports:
    """What a run found: one row an id, sorted by time and id.

    Args:
        table: `schema.REPORT`.
        dead_letters: `schema.DEAD_LETTER`: records that could not be processed.
        summary: The account of the run; None where it was stopped before its end.
        archives: Where the events lie.
    """

    table: pa.Table
    dead_letters: pa.Table
    summary: Summary | None
    archives: tuple[Archive, ...] = ()

    @property
    def complete(self) -> bool:
        """Tell whether the run went to its end."""
        return self.summary is not None

    @property
    def draw(self) -> DrawReports:
        """Their pictures."""
        return DrawReports(self)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def to_arrow(self) -> pa.Table:
        """Give the reports as a table, in `schema.REPORT`."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """Give the reports as a DataFrame, times in UTC; raises FlowError where pandas is not installed."""
        return to_pandas(self.table)

    def where(
        self, wanted: Wanted | None = None, *, start: Moment | None = None, end: Moment | None = None
    ) -> Reports:
        """Give some of them.

        Args:
            wanted: A Sigma selection over the columns of reports: `{"rule.level": ["high", "critical"]}`.
            start: From this time on.
            end: Up to this time.

        Raises:
            RuleError: It is no Sigma selection.
            DocumentError: A time is none, or the period is empty.
        """
        keep = within(Window.of(*period(start, end)))
        batches = [keep(batch) for batch in self.table.combine_chunks().to_batches()]
        if wanted is not None:
            batches = [select(wanted).keep(batch) for batch in batches]
        return replace(self, table=pa.Table.from_batches(batches, REPORT))

    def evidence(self) -> Events:
        """Give the events that the reports are based on, found again in the archives.

        Returns:
            A row a report and event, sorted by time: the report's id as `rms.report`, the rule's name and the
            event's columns. Of a report with more than 100 events the first 100.

        Raises:
            SourceError: An archive can't be read.
        """
        pairs = _pairs(self.table)
        wanted = pc.unique(pairs["event.id"])
        found = [batch for archive in self.archives for batch in archive.found_again(wanted, self.table)]
        return Events(_joined(pairs, united(found)) if found else pairs.slice(0, 0))

    def backtest(self, truth: Truth | str | Path, rules: Rules | None = None) -> Backtest:
        """Hold them against what is known to have happened in the archives.

        Args:
            truth: Labels, or their file (YAML, JSON or CSV).
            rules: Those that ran, to tell of each whether it could be evaluated at all.

        Raises:
            DocumentError: The labels are none.
            SourceError: An archive can't be read.
        """
        labels = truth if isinstance(truth, Truth) else read_truth(Path(truth))
        columns = frozenset(ENTITY_COLUMNS)
        with progress("backtest") as show:
            events = (batch for archive in self.archives for batch in archive.batches(columns, show=show))
            known = () if rules is None else (coverage(rules.loaded, one.source) for one in self.archives)
            return backtest(self.table, labels, events, known)

    def save(self, path: str | Path) -> int:
        """Write them as ECS documents, one a line, as `rms replay` does; gives their number.

        Raises:
            SinkError: The file can't be written.
        """
        lines = [line for batch in self.table.to_batches() for line in WRITERS["ecs"](batch)]
        try:
            Path(path).write_bytes(b"".join(line + b"\n" for line in lines))
        except OSError as error:
            raise _unwritten(path, error) from None
        return len(lines)

    def write_html(self, path: str | Path, *, title: str = "Threat reports") -> None:
        """Write them as a page that needs no network; raises SinkError when it can't be written."""
        try:
            write_html(self.table, Path(path), title=title)
        except OSError as error:
            raise _unwritten(path, error) from None

    def _head(self) -> str:
        count = "1 threat report" if len(self) == 1 else f"{len(self):,} threat reports"
        levels = self.table["rule.level"].cast(pa.string()).to_pylist()
        parts = [f"{levels.count(level):,} {level}" for level in _LEVELS if level in levels]
        notes = ["the run was stopped: this is what was found so far"] if not self.complete else []
        if self.dead_letters.num_rows:
            notes.append(f"{self.dead_letters.num_rows:,} records could not be processed, see dead_letters")
        if self.summary is not None:
            notes += [f"{self.summary.refused:,} rules refused"] * (self.summary.refused > 0)
        return "; ".join([count + (f" ({', '.join(parts)})" if parts else ""), *notes])

    def __repr__(self) -> str:
        rules = self.table["rule.name"].cast(pa.string()).value_counts().to_pylist()
        ordered = sorted(rules, key=lambda one: (-one["counts"], one["values"] or ""))
        lines = [f"  {one['counts']:,} {one['values']}" for one in ordered[:SHOWN]]
        if len(ordered) > SHOWN:
            lines.append(f"  and {len(ordered) - SHOWN:,} more rules")
        return "\n".join([self._head(), *lines])

    def _repr_html_(self) -> str:
        rows = self.table.select(_HEADS).slice(0, SHOWN).to_pylist()
        more = f"; the first {SHOWN}" if len(self) > SHOWN else ""
        heads = ("time (UTC)", "level", "rule", "source", "from", "events", "message")
        return shown.table(heads, (row.values() for row in rows), caption=self._head() + more)


def _pairs(reports: pa.Table) -> pa.Table:
    """Give a row a report and event."""
    some = reports.filter(pc.is_valid(reports["rms.evidence"])).combine_chunks()
    lists = some["rms.evidence"]
    which = pc.list_parent_indices(lists)
    return pa.table(
        {
            "rms.report": some["event.id"].take(which),
            "rule.name": some["rule.name"].cast(pa.string()).take(which),
            "event.id": pc.list_flatten(lists),
        }
    )


def _joined(pairs: pa.Table, events: pa.Table) -> pa.Table:
    """Join by the event's id; by places, for lists can't be joined."""
    places = events.select(["event.id"]).append_column("place", pa.array(range(events.num_rows), pa.int64()))
    joined = pairs.join(places, "event.id", join_type="inner")
    table = events.take(joined["place"])
    names = [name for name in table.column_names if name not in {"rule.name", "rms.report"}]
    whole = pa.table(
        {"rms.report": joined["rms.report"], "rule.name": joined["rule.name"], **{n: table[n] for n in names}}
    )
    return whole.sort_by(
        [("@timestamp", "ascending"), ("event.id", "ascending"), ("rms.report", "ascending")]
    )


def _unwritten(path: str | Path, error: OSError) -> SinkError:
    return SinkError(f"can't be written ({error.strerror})", where=str(path), remedy="choose another path")
