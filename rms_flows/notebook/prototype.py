"""A rule that is being written: why it is true of an event, what it finds and just misses, what changed."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from rms_flows import sigma
from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Options
from rms_flows.errors import DocumentError, RuleError, SinkError
from rms_flows.notebook import shown
from rms_flows.notebook.compare import Comparison, compare
from rms_flows.notebook.events import Events, united
from rms_flows.notebook.explained import Explained
from rms_flows.notebook.found import Found
from rms_flows.notebook.near import Judge
from rms_flows.notebook.progress import progress
from rms_flows.notebook.ruleset import Rules
from rms_flows.notebook.underline import error_in
from rms_flows.report.build import EVENT_COLUMNS
from rms_flows.schema import ENVELOPE
from rms_flows.sigma.explain import explain
from rms_flows.sigma.lint import Remark, lint
from rms_flows.sigma.load import read

if TYPE_CHECKING:
    from sigma.rule import SigmaRule

    from rms_flows.notebook.archive import Archive

FEW = 100
"""Events that are kept to look at, unless told."""

Event = Mapping[str, Any] | Events | Found


class Rule(Rules):
    """One rule, or a correlation with the rules that it refers to, as text.

    Args:
        text: YAML, or the path of a file.
        pipelines: pySigma pipelines that map fields, ours by name.
        routes: Tables that say where log sources are, besides ours.
        routing: Whether a rule looks only at the events of its log source.

    Raises:
        RuleError: It can't be evaluated; the message shows where and why.
        DocumentError: The file can't be read, or holds several rules.
    """

    def __init__(
        self,
        text: str | Path,
        *,
        pipelines: Sequence[str | Path] = (),
        routes: Sequence[str | Path] = (),
        routing: bool = True,
    ) -> None:
        super().__init__(text, pipelines=pipelines, routes=routes, routing=routing)
        loaded = self.loaded
        self.text = self.paths[0].read_text(encoding="utf-8")
        if loaded.refused:
            raise error_in(self.text, loaded.refused[0])
        if len(loaded.rules) != 1 and not loaded.correlations:
            raise DocumentError(
                f"holds {len(loaded.rules)} rules",
                where=loaded.rules[0].file,
                remedy="use rms.rules for several",
            )

    @cached_property
    def _parsed(self) -> tuple[sigma.Rule, SigmaRule]:
        """The rule and what pySigma made of it; raises RuleError for a correlation."""
        if self.loaded.correlations:
            raise RuleError(
                "a correlation speaks of several events",
                where=self.loaded.correlations[-1].title,
                remedy="ask this of the rule that it refers to; detect and compare know correlations",
            )
        loaded, parsed = read(self.paths, self.pipelines, self.routes if self.routing else None)
        return loaded.rules[0], parsed[loaded.rules[0].id]

    @cached_property
    def _judge(self) -> Judge:
        return Judge(*self._parsed)

    def remarks(self) -> list[Remark]:
        """Tell what may not mean what its author thinks: what `rms rules lint` says."""
        return lint(self.paths)

    def explain(self, event: Event) -> Explained:
        """Tell why it is true of an event, or isn't, part by part.

        Args:
            event: Field → value; or events, of which the first is taken.

        Raises:
            RuleError: It is a correlation.
            DocumentError: There is no event.
        """
        rule, parsed = self._parsed
        return Explained(explain(rule, parsed, _batch(event)))

    def hits(self, archive: Archive, *, limit: int = FEW) -> Found:
        """Find the events that it is true of.

        Args:
            archive: Where to look.
            limit: How many of them to keep to look at; all are counted.

        Raises:
            RuleError: It is a correlation.
            SourceError: The archive can't be read.
        """
        count, rows, kept = 0, 0, list[pa.RecordBatch]()
        with progress("hits") as show:
            for batch in archive.batches(self._columns, show=show):
                hits, _, _ = self._judge.judge(batch)
                kept.append(self._seen(batch, hits[: max(0, limit - count)]))
                count, rows = count + len(hits), rows + batch.num_rows
        return Found(count, rows, _events(kept), archive=archive)

    def misses(self, archive: Archive, *, near: bool = True, limit: int = FEW) -> Found:
        """Find events that it isn't true of.

        Args:
            archive: Where to look.
            near: Only those of which it would be true, were one of its items the other way; with `rms.failed`
                says which one.
            limit: How many of them to keep to look at; all are counted.

        Raises:
            RuleError: It is a correlation.
            SourceError: The archive can't be read.
        """
        by, count, rows, kept = Counter[int](), 0, 0, list[pa.RecordBatch]()
        with progress("misses") as show:
            for batch in archive.batches(self._columns, show=show):
                hits, missed, which = self._judge.judge(batch)
                by.update(which.tolist())
                if not near:
                    missed = np.setdiff1d(np.arange(batch.num_rows), hits)
                chosen, first = np.unique(missed, return_index=True)
                some = slice(0, max(0, limit - count))
                seen = self._seen(batch, chosen[some])
                if near:
                    labels = [self._judge.items[item].label for item in which[first][some].tolist()]
                    seen = seen.append_column("rms.failed", pa.array(labels, pa.string()))
                kept.append(seen)
                count, rows = count + len(chosen), rows + batch.num_rows
        counted = {self._judge.items[item].label: number for item, number in by.most_common()} if near else {}
        return Found(count, rows, _events(kept), counted, archive)

    @property
    def _columns(self) -> frozenset[str] | None:
        asked = self._judge.columns
        return None if asked is None else asked | {"message"}

    def _seen(self, batch: pa.RecordBatch, rows: np.ndarray) -> pa.RecordBatch:
        """Take rows with the columns that say something."""
        asked = self._judge.columns
        names = [
            name
            for name in batch.schema.names
            if asked is None
            or name in asked
            or name in ENVELOPE
            or name in EVENT_COLUMNS
            or name == "message"
        ]
        return batch.select(names).take(pa.array(rows, pa.int64()))

    def compare(self, other: Rules, archive: Archive, *, workers: int = 1) -> Comparison:
        """Tell what changes when this rule takes another's place.

        Args:
            other: The rule as it was, or a set of rules.
            archive: Where both look.
            workers: Processes that work at once.

        Raises:
            RmsError: The archive can't be read, or rules can't be loaded.
        """
        return compare(self, other, archive, workers=workers)

    def save(self, path: str | Path) -> Path:
        """Write the file that `rms replay` and `rms stream` run: the text as it is, byte for byte.

        Raises:
            SinkError: The file can't be written.
        """
        target = Path(path)
        try:
            target.write_bytes(self.paths[0].read_bytes())
        except OSError as error:
            raise SinkError(
                f"can't be written ({error.strerror})", where=str(path), remedy="choose another path"
            ) from None
        return target

    def __repr__(self) -> str:
        remarks = [f"  {one.check}: {one.message}" for one in self.remarks()]
        return "\n".join([super().__repr__().partition(";")[0], self.text.rstrip(), *remarks])

    def _repr_html_(self) -> str:
        remarks = [shown.paragraph(f"{one.check}: {one.message}") for one in self.remarks()]
        return f"<pre>{escape(self.text.rstrip())}</pre>{''.join(remarks)}"


def _events(kept: Sequence[pa.RecordBatch]) -> Events:
    return Events(united([batch for batch in kept if batch.num_rows]))


def _batch(event: Event) -> pa.RecordBatch:
    """Give a batch whose first row is the event; a mapping is decoded as a run would decode it."""
    if isinstance(event, Found | Events):
        table = (event.seen if isinstance(event, Found) else event).table
        if not table.num_rows:
            raise DocumentError("there is no event", where="event", remedy="give one")
        [found] = table.slice(0, 1).combine_chunks().to_batches()
    else:
        line = json.dumps({"@timestamp": "1970-01-01T00:00:00Z", **event}, default=str).encode()
        [(_, decoded)] = decode(io.BytesIO(line), Context("event", Options(format="json")))
        found = decoded.rows
        if not found.num_rows:
            raise DocumentError(
                f"is no event: {decoded.dead['error.message'][0]}", where="event", remedy="write field: value"
            )
    return found
