"""An archive as an analyst sees it: what it holds, a look at some of it, and what rules find in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.annotate import annotator
from rms_flows.backtest import Backtest, Truth
from rms_flows.beam.progress import Progress
from rms_flows.decode.contract import Decoded
from rms_flows.errors import DocumentError, SourceError
from rms_flows.flow.build import Choices
from rms_flows.flow.gather import Gathered, gather
from rms_flows.flow.plan import Function, SourceStage
from rms_flows.flow.window import within
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Source, Window
from rms_flows.io.elasticsearch.source import ElasticsearchSource
from rms_flows.model import Orchestrator, load_orchestrator
from rms_flows.model import Source as SourceEntry
from rms_flows.notebook import shown
from rms_flows.notebook.cache import CachedSource
from rms_flows.notebook.draw import DrawArchive
from rms_flows.notebook.events import Events, to_pandas, united
from rms_flows.notebook.period import Moment, period
from rms_flows.notebook.profile import Profile, Profiler
from rms_flows.notebook.progress import progress
from rms_flows.notebook.reports import Reports
from rms_flows.notebook.ruleset import Rules
from rms_flows.notebook.sample import sampled
from rms_flows.notebook.selection import selecting, with_columns
from rms_flows.replay import HERE, ROOT, detection
from rms_flows.schema import ENVELOPE, field_type
from rms_flows.sigma.selection import Selection, Wanted, select

if TYPE_CHECKING:
    import pandas as pd

MEMORY = 1 << 30
"""Bytes of an archive that stay in memory, unless told."""

LIMIT = 1_000_000
"""Rows that `to_arrow` and `to_pandas` give, unless told."""

OPEN = "file:open-already"
"""Stands in a flow for what is open already; it is never read."""

INPUT = "input"
"""Id of a source that a person opened without a document."""


def _without_document() -> Function:
    return annotator(SourceEntry(id=INPUT))


@dataclass(frozen=True, slots=True)
class Archive:
    """Events that lie somewhere, of a period, and maybe only some of them; read when something is asked.

    Args:
        source: What is read.
        start: First time that counts; None for all.
        end: First time that no longer counts; None for all.
        selections: All of them have to be true of an event.
        annotate: Makes what puts on its events what is known of their source.
    """

    source: Source
    start: datetime | None = None
    end: datetime | None = None
    selections: tuple[Selection, ...] = ()
    annotate: Callable[[], Function] = field(default=_without_document, repr=False)

    @property
    def uri(self) -> str:
        """Where it lies; holds no credentials."""
        return self.source.uri

    @property
    def draw(self) -> DrawArchive:
        """Its pictures."""
        return DrawArchive(self)

    @property
    def window(self) -> Window:
        """The period in microseconds."""
        return Window.of(self.start, self.end)

    def where(
        self, wanted: Wanted | None = None, *, start: Moment | None = None, end: Moment | None = None
    ) -> Archive:
        """Look at a part of it.

        Args:
            wanted: A Sigma selection, with its modifiers: `{"source.ip|cidr": "203.0.113.0/24"}`.
            start: From this time on, within the period that it has already.
            end: Up to this time.

        Raises:
            RuleError: It is no Sigma selection.
            DocumentError: A time is none, or the period is empty.
        """
        first, last = period(start, end)
        firsts = [one for one in (self.start, first) if one is not None]
        lasts = [one for one in (self.end, last) if one is not None]
        chosen = self.selections if wanted is None else (*self.selections, select(wanted))
        first, last = period(max(firsts, default=None), min(lasts, default=None))
        return replace(self, start=first, end=last, selections=chosen)

    def batches(
        self,
        columns: Collection[str] | None = None,
        *,
        show: Callable[[Progress], None] | None = None,
        lean: bool = False,
    ) -> Iterator[pa.RecordBatch]:
        """Give its events batch by batch, as the corridor does.

        Args:
            columns: Those that are needed beside the envelope; None for all. There may come more.
            show: Called after each batch that was read.
            lean: What tells rows apart (`schema.APART`) may be null, unless `columns` names it.

        Raises:
            SourceError: It can't be read.
        """
        yield from (batch for _, batch in self._decoded(columns, show, lean=lean) if batch.num_rows)

    def _decoded(
        self,
        columns: Collection[str] | None,
        show: Callable[[Progress], None] | None,
        *,
        lean: bool = False,
    ) -> Iterator[tuple[Decoded, pa.RecordBatch]]:
        """Give what was decoded, and what of it counts."""
        wanted = with_columns(None if columns is None else frozenset(columns), self.selections)
        request = Request(wanted, self.window, lean=lean)
        keep, known = within(self.window), self.annotate()
        fragments = self.source.fragments(request)
        began, rows, done = time.monotonic(), 0, 0.0
        total = float(sum(fragment.size or 1 for fragment in fragments))
        for fragment in fragments:
            left = float(fragment.size or 1)
            for decoded in self.source.read(fragment, request):
                batch = keep(known(decoded.rows))
                for selection in self.selections:
                    batch = selection.keep(batch)
                rows += decoded.rows.num_rows
                part = min(left, decoded.counts.bytes)
                left, done = left - part, done + part
                if show is not None:
                    show(Progress(rows, time.monotonic() - began, done, total))
                yield decoded, batch
            done += left

    def schema(self) -> pa.Schema:
        """Give names and types of its columns; what says nothing of them beforehand is read through."""
        names = self.source.columns()
        if names is None:
            with progress("columns") as show:
                names = frozenset().union(*(batch.schema.names for batch in self.batches(show=show)))
        others = sorted(names - ENVELOPE.keys())
        return pa.schema([(name, field_type(name)) for name in (*ENVELOPE, *others)])

    def profile(self, every: str = "1h") -> Profile:
        """Tell what it holds: rows by source and time, gaps, and of each column nulls and distinct values.

        Args:
            every: Length of a step in time, such as `10m` or `1d`.

        Raises:
            DocumentError: `every` is no length of time.
        """
        profiler = Profiler(every)
        with progress("profile") as show:
            for decoded, batch in self._decoded(None, show):
                profiler.add(batch, decoded.reasons)
        return profiler.profile()

    def head(self, rows: int = 10) -> Events:
        """Give its first events, as they lie."""
        found, left = list[pa.RecordBatch](), rows
        for batch in self.batches():
            found.append(batch.slice(0, left))
            left -= found[-1].num_rows
            if left <= 0:
                break
        return Events(united(found))

    def sample(self, rows: int = 10, *, seed: int = 0) -> Events:
        """Give some of its events, each with the same chance; the same seed gives the same ones."""
        with progress("sample") as show:
            return Events(sampled(self.batches(show=show), rows, seed))

    def to_arrow(self, columns: Collection[str] | None = None, *, limit: int = LIMIT) -> pa.Table:
        """Give its events as a table.

        Args:
            columns: Those that are wanted; None for all.
            limit: Most rows.

        Raises:
            SourceError: It holds more rows than `limit`.
        """
        found, count = list[pa.RecordBatch](), 0
        with progress("events") as show:
            for batch in self.batches(columns, show=show):
                found.append(batch if columns is None else _only(batch, columns))
                count += batch.num_rows
                if count > limit:
                    raise SourceError(
                        f"holds more than {limit:,} events",
                        where=self.uri,
                        remedy="look at fewer with where(…), or allow more with limit=",
                    )
        return united(found)

    def to_pandas(self, columns: Collection[str] | None = None, *, limit: int = LIMIT) -> pd.DataFrame:
        """Give its events as a DataFrame; see `to_arrow`."""
        return to_pandas(self.to_arrow(columns, limit=limit))

    def detect(self, rules: Rules | str | Path | Sequence[str | Path], *, workers: int = 1) -> Reports:
        """Run rules over it: what `rms detect` reports, id for id.

        Args:
            rules: What to run.
            workers: Processes that work at once.

        Raises:
            RmsError: It can't be read, or the rules can't be loaded at all.
        """
        known = rules if isinstance(rules, Rules) else Rules(rules)
        flow = detection(known.paths, known.pipelines, known.routes, routing=known.routing)
        return self._gather(flow, INPUT, ROOT, HERE, workers)

    def backtest(self, rules: Rules | str | Path, truth: Truth | str | Path, *, workers: int = 1) -> Backtest:
        """Run rules over it and hold what they report against what is known to have happened.

        Args:
            rules: What to run.
            truth: Labels, or their file (YAML, JSON or CSV).
            workers: Processes that work at once.

        Raises:
            RmsError: As `detect`; or the labels are none.
        """
        known = rules if isinstance(rules, Rules) else Rules(rules)
        return self.detect(known, workers=workers).backtest(truth, known)

    def run(
        self,
        flow: Orchestrator | str | Path,
        *,
        source: str | None = None,
        folder: str | Path | None = None,
        workers: int = 1,
    ) -> Reports:
        """Run a flow over it: what `rms replay --source ID=…` reports, id for id; no sink is written.

        Args:
            flow: The document, or its path.
            source: Which source of the flow the archive stands for; it may have more, read from theirs.
            folder: Where relative paths of the flow's data begin; the document's folder unless told.
            workers: Processes that work at once.

        Raises:
            DocumentError: The flow has several sources, and none is named.
        """
        document, rules_folder = load_flow(flow)
        ids = [one.id for one in document.sources]
        if source is None and len(ids) > 1:
            raise DocumentError(
                f"the flow has {len(ids)} sources",
                where=document.orchestrator,
                remedy=f"say which one the archive stands for: source= one of {', '.join(ids)}",
            )
        data = rules_folder if folder is None else Path(folder)
        return self._gather(document, source or ids[0], rules_folder, data, workers)

    def found_again(
        self, ids: pa.Array, around: pa.Table, columns: Collection[str] | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Read events once more by their ids.

        Args:
            ids: Of the events.
            around: Says in which time they lie: `rms.first` and `rms.last`, or `@timestamp`.
            columns: Those that are needed; None for all.

        Raises:
            SourceError: It can't be read.
        """
        first, last = ("rms.first", "rms.last") if "rms.first" in around.column_names else ["@timestamp"] * 2
        start, end = pc.min(around[first]).as_py(), pc.max(around[last]).as_py()
        if start is None or not len(ids):
            return
        part = replace(self, start=start, end=end + timedelta(microseconds=1))
        with progress("looking up") as show:
            for batch in part.batches(columns, show=show):
                hits = batch.filter(pc.is_in(batch["event.id"], value_set=ids))
                if hits.num_rows:
                    yield hits

    def _gather(self, flow: Orchestrator, source: str, folder: Path, data: Path, workers: int) -> Reports:
        choices = Choices(self.start, self.end, {source: OPEN})
        with progress(flow.orchestrator) as show:
            found = gather(
                flow,
                folder=folder,
                data_folder=data,
                choices=choices,
                adapt={source: self._adapt},
                workers=workers,
                progress=show,
            )
        return reports_of(found)

    def _adapt(self, stage: SourceStage) -> SourceStage:
        """Let a flow read this archive in the place of a source."""
        request = replace(stage.request, columns=with_columns(stage.request.columns, self.selections))
        chosen = partial(selecting, stage.annotator, self.selections)
        return replace(stage, source=self.source, request=request, annotator=chosen)

    def __repr__(self) -> str:
        return f"{self.uri}{self._narrowed()}"

    def _narrowed(self) -> str:
        parts = [f" from {shown.text(self.start)}"] if self.start else []
        parts += [f" to {shown.text(self.end)}"] if self.end else []
        parts += [f" where {' and '.join(map(str, self.selections))}"] if self.selections else []
        return "".join(parts)

    def _repr_html_(self) -> str:
        known = self.source.columns()
        columns = "not known before it is read" if known is None else ", ".join(sorted(known))
        rows = (("archive", self.uri), ("narrowed", self._narrowed().strip() or "no"), ("columns", columns))
        return shown.table(("", ""), rows)


def open_archive(
    uri: str | Path, *, start: Moment | None = None, end: Moment | None = None, memory: int = MEMORY
) -> Archive:
    """Open history: Parquet, Elasticsearch, or files in any format that can be decoded.

    Args:
        uri: As `rms detect --in` takes it; paths begin in the working directory.
        start: Look at events from this time on.
        end: Look at events before this time.
        memory: Bytes of it that stay in memory, so that the next look is quick.

    Raises:
        DocumentError: The URI is none, or a time is none.
        SourceError: There is nothing to read.
    """
    first, last = period(start, end)
    source = open_source(str(uri), base=HERE)
    if not isinstance(source, ElasticsearchSource):  # which leaves out what nobody looks for instead
        source = CachedSource(source, memory)
    found = Archive(source, first, last)
    source.fragments(Request(frozenset(), found.window))  # so that what isn't there is said here
    return found


def load_flow(flow: Orchestrator | str | Path) -> tuple[Orchestrator, Path]:
    """Give a flow and the folder where its paths begin; raises DocumentError."""
    if isinstance(flow, Orchestrator):
        return flow, HERE
    return load_orchestrator(Path(flow)), Path(flow).parent


def reports_of(found: Gathered) -> Reports:
    """Give what a run found, with the archives to look its evidence up in."""
    read = found.sources.values()
    archives = tuple(Archive(stage.source, annotate=stage.annotator) for stage in read)
    return Reports(found.reports, found.dead_letters, found.summary, archives)


def _only(batch: pa.RecordBatch, columns: Collection[str]) -> pa.RecordBatch:
    return batch.select([name for name in batch.schema.names if name in columns])
