"""Pictures of an archive and of reports, by name: `history.draw.health()`, `found.draw.timeline()`."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from rms_flows.errors import FlowError
from rms_flows.notebook.events import united
from rms_flows.notebook.profile import Profiler, counted
from rms_flows.notebook.progress import progress
from rms_flows.pictures import Picture, events, reports
from rms_flows.report.build import ADDRESSES, ASSETS, ATTACKERS

if TYPE_CHECKING:
    from rms_flows.notebook.archive import Archive
    from rms_flows.notebook.reports import Reports

NAMES = tuple(dict.fromkeys((*ASSETS, *ADDRESSES, *ATTACKERS, "related.ip", "source.ip", "user.name")))
"""Columns that name an address, a device or a person."""


@dataclass(frozen=True, slots=True)
class DrawArchive:
    """Draws an archive.

    Args:
        archive: What is drawn; of it no more than the columns of a picture is read.
    """

    archive: Archive

    def health(self, every: str = "10m") -> Picture:
        """Draw how much each source gave over time, its gaps, and how far it was trusted.

        Args:
            every: Length of a step, such as `10m`.

        Raises:
            DocumentError: `every` is no length of time.
            FlowError: There is nothing to draw.
        """
        profiler, trust = Profiler(every), Counter[tuple[str, str]]()
        with progress("health") as show:
            for batch in self.archive.batches((), show=show, lean=True):
                profiler.count(batch)
                kinds = batch["rms.trust"].dictionary_encode()
                names = [*kinds.dictionary.to_pylist(), "unknown"]
                codes = kinds.indices.fill_null(len(names) - 1).to_numpy()
                for source, code, count in counted(batch["rms.source"], codes):
                    trust[source or "(none)", names[code]] += count
        found = profiler.profile()
        self._something(found.rows)
        rows = [
            {"source": source, "trust": kind, "rows": count}
            for (source, kind), count in sorted(trust.items())
        ]
        return events.health(found.steps, found.gaps, pa.Table.from_pylist(rows), found.every)

    def metric(self, field: str, *, threshold: float | None = None, window: int = 24) -> Picture:
        """Draw a metric over time, with its threshold and the band in which it was to be expected.

        Args:
            field: Name of the column.
            threshold: Draws a line.
            window: Steps before each that the band is made of.

        Raises:
            FlowError: There is nothing to draw.
        """
        return events.metric(self._table(field), field, threshold=threshold, window=window)

    def graph(self, source: str = "source.ip", target: str = "destination.ip") -> Picture:
        """Draw who talks to whom; Zeek's own names are `id.orig_h` and `id.resp_h`.

        Raises:
            FlowError: There is nothing to draw.
        """
        return events.graph(self._table(source, target), source, target)

    def beacon(
        self, source: str, target: str, *, columns: tuple[str, str] = ("source.ip", "destination.ip")
    ) -> Picture:
        """Draw how regularly one address calls another.

        Args:
            source: Who calls.
            target: Who is called.
            columns: Where these stand.

        Raises:
            FlowError: There are fewer than three calls.
        """
        calls = self.archive.where(dict(zip(columns, (source, target), strict=True)))
        table = DrawArchive(calls)._table(*columns, least=3)  # noqa: SLF001  of its own class
        return events.beacon(table, source, target)

    def _table(self, *columns: str, least: int = 1) -> pa.Table:
        """Read times and some columns of all events that have these."""
        wanted, found = ("@timestamp", *columns), list[pa.RecordBatch]()
        with progress("picture") as show:
            for batch in self.archive.batches(columns, show=show, lean=True):
                if all(name in batch.schema.names for name in wanted):
                    found.append(batch.select(wanted))
        self._something(sum(batch.num_rows for batch in found), least, f" with {' and '.join(columns)}")
        return united(found)

    def _something(self, rows: int, least: int = 1, what: str = "") -> None:
        if rows < least:
            raise FlowError(
                f"has {rows} events{what}, at least {least} can be drawn",
                where=self.archive.uri,
                remedy="see schema() for its columns",
            )


@dataclass(frozen=True, slots=True)
class DrawReports:
    """Draws reports.

    Args:
        reports: What is drawn; at least one.
    """

    reports: Reports

    def timeline(self) -> Picture:
        """Draw them over time by level; brush a period to look closer."""
        return reports.timeline(self._table())

    def heat(self) -> Picture:
        """Draw the hour of the day against the rule."""
        return reports.heat(self._table())

    def groups(self, column: str = "rms.request_source") -> Picture:
        """Draw how many there are by a column, most first."""
        return reports.groups(self._table(), column, column.rpartition(".")[2])

    def tactics(self) -> Picture:
        """Draw them by ATT&CK tactic and technique."""
        return reports.tactics(self._table())

    def entity(self, name: str) -> Picture:
        """Draw all that happened to one address, device or person: reports over observations.

        Args:
            name: As events and reports have it.

        Raises:
            FlowError: Nothing is known of it.
        """
        told = self.reports.where([{column: name} for column in _TOLD])
        wanted = [{column: name} for column in NAMES]
        seen = [
            batch.select(
                [one for one in ("@timestamp", "event.dataset", "event.action") if one in batch.schema.names]
            )
            for archive in self.reports.archives
            for batch in archive.where(wanted).batches(("event.action",), lean=True)
        ]
        if not seen and not len(told):
            raise FlowError(f"nothing is known of {name!r}", remedy="see draw.groups() for who is")
        table = united(seen) if seen else pa.table({"@timestamp": told.table["@timestamp"].slice(0, 0)})
        return events.entity(name, table, told.table)

    def _table(self) -> pa.Table:
        if not len(self.reports):
            raise FlowError("there are no reports to draw", remedy="run other rules, or look at more history")
        return self.reports.table


_TOLD = ("rms.request_source", "rms.monitored_asset_ip", "rms.monitored_asset_id")
