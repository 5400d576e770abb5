"""Replay: the door into the corridor for what lies in archives and files.

`replay` runs an orchestrator, `detect` Sigma rules over one source, `archive` turns a source into Parquet. All
three are one flow with the same promise: the same input gives the same output, id for id, however often and with
however many workers; an attempt that fails or is killed leaves what was there before.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from rms_flows.beam.progress import Progress
from rms_flows.model import Orchestrator

__all__ = ["Progress", "Summary", "archive", "detect", "replay"]


@dataclass(frozen=True, slots=True)
class Summary:
    """The account of a run that succeeded.

    Args:
        seconds: Wall time, start-up included.
        batches: Batches of observations read.
        sources: Source id → counts as in `decode.contract.Counts` (`framed`, `rows`, `dead`, `bytes` …).
        processors: Processor id → `rows` that came in, `found` that came out, and the fates that its step counts
            (for `sigma`: rules `evaluated`, `refused`, `unreachable`).
        sinks: Sink id → rows it keeps after the run, folded by id.
        outputs: Sink id → URI, without credentials.
        dead_letters: Reason (`error.type`) → records.
        dead_letters_uri: Where they lie; None where there were none.
        formats: Source id → formats that were guessed from content, with the number of fragments.
        notes: What a person should know, such as each refused rule with file, line and reason.
        reports: Rows that processors gave as threat reports.
    """

    seconds: float
    batches: int
    reports: int
    sources: Mapping[str, Mapping[str, int]]
    processors: Mapping[str, Mapping[str, int]]
    sinks: Mapping[str, int]
    outputs: Mapping[str, str]
    dead_letters: Mapping[str, int]
    dead_letters_uri: str | None
    formats: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]

    def _sum(self, name: str) -> int:
        return sum(counts.get(name, 0) for counts in self.sources.values())

    @property
    def rows(self) -> int:
        """Observations decoded."""
        return self._sum("rows")

    @property
    def bytes(self) -> int:
        """Bytes read, after decompression."""
        return self._sum("bytes")

    @property
    def dead(self) -> int:
        """Records that became dead letters."""
        return sum(self.dead_letters.values())

    @property
    def refused(self) -> int:
        """Rules that could not be evaluated."""
        return sum(counts.get("refused", 0) for counts in self.processors.values())

    @property
    def rate(self) -> float:
        """Rows a second."""
        return self.rows / self.seconds if self.seconds > 0 else 0.0

    def to_json(self) -> str:
        """Give the account as one JSON object, for scripts."""
        totals = {
            name: self._sum(name) for name in ("rows", "bytes", "duplicates", "conflicts", "blank", "misfits")
        }
        whole = {
            **totals,
            "rate": round(self.rate, 1),
            "dead": self.dead,
            "refused": self.refused,
            **asdict(self),
        }
        return json.dumps(whole, ensure_ascii=False)


def replay(  # noqa: PLR0913  each parameter is a choice that a person makes
    orchestrator: Orchestrator,
    *,
    folder: Path,
    data_folder: Path | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int = 1,
    sources: Mapping[str, str] | None = None,
    sinks: Mapping[str, str] | None = None,
    dead_letters: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run an orchestrator over its archives.

    Args:
        orchestrator: The flow.
        folder: Where relative paths of rules begin; the document's folder.
        data_folder: Where relative paths of sources and sinks begin; `folder` unless told.
        start: Judge events from this time on; None for all.
        end: Judge events before this time; None for all.
        workers: Processes that work at once; 1 works in this one.
        sources: Source id → URI to read instead of the archive.
        sinks: Sink id → URI to write instead.
        dead_letters: URI for records that can't be processed; unless told `dead-letters.ndjson` beside the first
            sink that is a file.
        progress: Called in this process about four times a second.

    Raises:
        DocumentError: An override names no source or sink.
        SourceError: A source can't be read.
        SinkError: A sink can't be written.
        RuleError: A processor's rules can't be loaded at all.
        FlowError: The flow can't be built, a worker died, or rows went missing.
    """
    raise NotImplementedError


def detect(  # noqa: PLR0913  each parameter is a choice that a person makes
    rules: Sequence[Path],
    *,
    source: str,
    sink: str,
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int = 1,
    dead_letters: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Run Sigma rules over one source: a replay without a document; paths begin in the working directory."""
    raise NotImplementedError


def archive(  # noqa: PLR0913  each parameter is a choice that a person makes
    source: str,
    target: str,
    *,
    name: str = "archive",
    start: datetime | None = None,
    end: datetime | None = None,
    workers: int = 1,
    dead_letters: str | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> Summary:
    """Turn one source into a Parquet archive; `name` is its id there. Paths begin in the working directory."""
    raise NotImplementedError
