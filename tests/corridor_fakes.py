"""A source and a sink for tests of the corridor: seeded rows, one file a part."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows import schema
from rms_flows.beam.workers import Crew
from rms_flows.decode.contract import Counts, Decoded
from rms_flows.errors import SourceError
from rms_flows.flow.launch import launch
from rms_flows.flow.plan import Plan, ProcessorStage, SinkStage, SourceStage
from rms_flows.io.contract import Fragment, Request, Window
from rms_flows.processors.contract import Step

HOUR = 3_600_000_000


def rows_of(number: int, rows: int) -> pa.RecordBatch:
    """Make the rows of fragment `number`; its events fill hour `number` since 1970."""
    rng = np.random.default_rng(number)
    time = np.sort(rng.integers(number * HOUR, (number + 1) * HOUR, rows))
    return pa.record_batch(
        {
            "@timestamp": pa.array(time, pa.int64()).cast(schema.TIMESTAMP),
            "event.id": pa.array([f"{number}-{row}" for row in range(rows)]),
            "event.dataset": pa.array(["system.cpu"] * rows).dictionary_encode(),
            "host.cpu.usage": pa.array(rng.random(rows)),
        }
    )


@dataclass(frozen=True)
class Rows:
    """A source of `count` times `rows` seeded rows and, in each fragment, `dead` dead letters."""

    count: int = 6
    rows: int = 2_000
    dead: int = 0
    lose: int = 0
    fail_at: int | None = None
    uri: str = "fake:rows"
    endless = False

    def columns(self) -> None:
        """Nothing is known beforehand."""

    def fragments(self, _request: Request) -> list[Fragment]:
        return [Fragment(self.uri, str(n), size=100 + n) for n in range(self.count)]

    def read(self, fragment: Fragment, _request: Request) -> Iterator[Decoded]:
        if self.fail_at == int(fragment.key):
            raise SourceError("cut in half", where=self.uri, remedy="copy it again")
        whole = rows_of(int(fragment.key), self.rows)
        for start in range(0, self.rows, 1_000):
            batch = whole.slice(start, 1_000)
            first = start == 0
            dead = self.dead if first else 0
            counts = Counts(
                framed=batch.num_rows + dead + (self.lose if first else 0),
                rows=batch.num_rows,
                dead=dead,
                bytes=60,
            )
            yield Decoded(batch, _dead(dead), counts, {"json": dead} if dead else {})


def _dead(count: int) -> pa.RecordBatch:
    return pa.RecordBatch.from_pylist(
        [{"error.type": "json", "error.message": "cut", "event.original": b"{"}] * count, schema.DEAD_LETTER
    )


@dataclass(frozen=True)
class Lines:
    """A sink of JSON lines: one file a part, put together by name."""

    path: Path
    uri: str = "fake:lines"

    @property
    def staging(self) -> Path:
        return self.path.with_name(self.path.name + ".parts")

    def prepare(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)
        self.staging.mkdir()

    def part(self, name: str) -> Part:
        return Part(self.staging / name, [])

    def commit(self) -> int:
        lines = [line for part in sorted(self.staging.glob("*-*")) for line in part.read_text().splitlines()]
        if lines:
            self.path.write_text("\n".join(lines) + "\n")
        shutil.rmtree(self.staging)
        return len(lines)

    def abandon(self) -> None:
        shutil.rmtree(self.staging, ignore_errors=True)


@dataclass
class Part:
    path: Path
    lines: list[str]

    def write(self, batch: pa.RecordBatch) -> None:
        assert not batch.schema.metadata
        # Arrow loses a Ctrl-C that comes while it looks up a time zone, so it has none to look up.
        columns = [one.cast(pa.int64()) if pa.types.is_timestamp(one.type) else one for one in batch.columns]
        rows = pa.RecordBatch.from_arrays(columns, batch.schema.names).to_pylist()
        self.lines += [json.dumps(row, default=str) for row in rows]

    def close(self) -> None:
        self.path.write_text("\n".join(self.lines))


def same(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch


def annotate() -> object:
    return same


def above(batch: pa.RecordBatch) -> pa.RecordBatch:
    return batch.filter(pc.greater(batch.column("host.cpu.usage"), 0.9))


def hot() -> Step:
    return Step(run=above, gives="observations", columns=frozenset({"host.cpu.usage"}))


def broken() -> Step:
    def run(_batch: pa.RecordBatch) -> pa.RecordBatch:
        raise KeyError("no such column")

    return Step(run=run, gives="observations", columns=None)


def suicidal() -> Step:
    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        os.kill(os.getpid(), signal.SIGKILL)
        return batch

    return Step(run=run, gives="observations", columns=None)


def plan_of(folder: Path, source: Rows, ready: Callable[[], Step] = hot, window: Window = Window()) -> Plan:  # noqa: B008  frozen
    """Plan two sources, a chain of processors with a way around it, and two sinks."""
    return Plan(
        sources=(
            SourceStage("a", source, Request(window=window), annotate),
            SourceStage("b", source, Request(window=window), annotate),
        ),
        processors=(ProcessorStage("hot", ("a", "b"), ready), ProcessorStage("again", ("a", "hot"), hot)),
        sinks=(
            SinkStage("found", ("hot", "again"), Lines(folder / "found.ndjson")),
            SinkStage("all", ("b",), Lines(folder / "all.ndjson")),
        ),
        dead_letters=Lines(folder / "dead.ndjson"),
        window=window,
    )


def run(plan, *, workers=1, progress=None):
    with Crew(workers) as crew:
        return launch(plan, crew, progress=progress)
