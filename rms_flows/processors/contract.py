"""A processor: a definition (a document) and a function from batch to batch made of its parameters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import pyarrow as pa

from rms_flows.model import ProcessorDefinition
from rms_flows.sigma.expression import Look


@dataclass(frozen=True, slots=True)
class Reach:
    """The period that has to be read for all that happens in another to be judged right.

    Args:
        start: Microseconds since 1970; None is open.
        end: The first microsecond that is not read; None is open.
    """

    start: int | None
    end: int | None


@dataclass(slots=True)
class Given:
    """What one step of a stage gives.

    Args:
        reports: `schema.REPORT`.
        matches: `correlate.match.MATCH`, for the stages above.
        counts: Words to count: `late`, `capped`, `evicted`.
    """

    reports: list[pa.RecordBatch] = field(default_factory=list)
    matches: list[pa.RecordBatch] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)


class Stateful(Protocol):
    """What a processor finds in many events together: stages, each kept by shards of its groups.

    `split` runs where events are read; what it gives as matches goes, by `correlate.match.shard_of` and
    `level_of`, to the stage of its level, in order of time or as it comes; a stage gives reports, and matches
    for the stages above it.
    """

    @property
    def levels(self) -> int:
        """How many stages there are."""

    @property
    def level_of(self) -> tuple[int, ...]:
        """The level of each correlation, by its number in the matches."""

    def reach(self, start: int | None, end: int | None) -> Reach:
        """Tell what has to be read to judge [start, end)."""

    def expecting(self, sources: Mapping[str, int | None]) -> Self:
        """Wait for the sources that are read, from a time in microseconds on, where rules ask for that."""

    def needed(self, settled: int) -> int:
        """Give the time from which on events matter for what is not certain where so much is settled."""

    def told(self, settled: int) -> int:
        """Give the time before which nothing is reported any more where so much is settled."""

    def split(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, pa.RecordBatch, int]:
        """Give what `Step.run` gives, the matches, and how many of these had no group to be in."""

    def start(self, level: int, shard: int, shards: int, since: int | None = None) -> Any:
        """Give the state of one stage in one shard before anything came.

        `since`: microseconds settled before a restart; what was certain then is not reported again.
        """

    def step(self, states: Any, matches: pa.RecordBatch, settled: int) -> tuple[Any, Given]:
        """Go on: `(state, matches, settled) → (state, given)`; pure."""

    def end(self, states: Any, until: int | None) -> tuple[Any, Given]:
        """Say what is left when nothing comes any more."""

    def waits(self, level: int) -> bool:
        """Tell whether a stage may find something though nothing comes."""

    def dump(self, states: Any) -> bytes:
        """Write a state."""

    def read(self, data: bytes) -> Any:
        """Read it again."""


class Sought(Protocol):
    """Which values of some rows matter to a step: a source may leave out the others, as if they were null."""

    def rows(self, column: str) -> np.ndarray | None:
        """Mark rows whose value of a column matters whatever it is, shape (rows,), bool; None: no row's."""

    def may_be_in(self, column: str, texts: np.ndarray, start: int, end: int) -> bool:
        """Tell whether a text of the rows from `start` to before `end` matters for what stands in it.

        `texts`: their UTF-8, one after the other or with anything between, uint8.
        """


@dataclass(frozen=True, slots=True)
class Search:
    """Spares a source what a step need not see, which columns that are read first tell.

    Args:
        first: Columns that are read first.
        always: Columns that are needed whatever these hold.
        of: Rows with the columns read first → what of the others matters.
    """

    first: frozenset[str]
    always: frozenset[str]
    of: Callable[[pa.RecordBatch], Sought]


@dataclass(frozen=True, slots=True)
class Step:
    """A processor made ready for one manifest: `run` is pure and takes and gives batches.

    Args:
        run: Batch of observations → batch of observations or of reports (`schema.REPORT`), see `gives`.
        gives: What comes out.
        columns: Columns that `run` looks at, None where it needs all of them.
        keeps: Columns that what comes out has at most, beside the envelope; None where that depends on what
            came in.
        adds: Columns that what comes out may have though what came in has not.
        notes: What a person should know before the run (`rule X refused: …`), shown and counted.
        counts: Fates to put in the run's summary, such as rules evaluated and refused.
        unreachable: Columns of what comes in → number of rules, of those evaluated, that they can't make
            true; None for a processor without rules.
        stateful: What it finds in many events together; None for most.
        meaning: Hash of what it finds, whatever its rules are called and wherever they lie.
        refused: What it does not do though it was told to, a note each.
        made_of: Files and folders that it was made of; a stream makes it again when they change.
        looks_for: What it looks for in single events; None where every event matters to it.
        search: What it needs of `columns`, row by row; None: all.
    """

    run: Callable[[pa.RecordBatch], pa.RecordBatch]
    gives: Literal["observations", "reports"]
    columns: frozenset[str] | None
    keeps: frozenset[str] | None = None
    adds: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()
    counts: Mapping[str, int] | None = None
    unreachable: Callable[[frozenset[str]], int] | None = None
    stateful: Stateful | None = None
    meaning: str = ""
    refused: tuple[str, ...] = ()
    made_of: tuple[Path, ...] = ()
    looks_for: tuple[Look, ...] | None = None
    search: Search | None = None


class Make(Protocol):
    """Makes the step; called once in each worker, so what it gives need not be picklable."""

    def __call__(self, manifest_id: str, parameters: Mapping[str, Any], folder: Path) -> Step:
        """Build of checked parameters, paths relative to `folder`; raises DocumentError or FlowError."""


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor that can be discovered, checked and run."""

    definition: ProcessorDefinition
    make: Make
