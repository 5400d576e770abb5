"""What many rules cost: ten times more of them over Parquet, and all of them on micro-batches; one core.

    RMS_DATASETS=data python benchmarks/all_rules.py [--work /data/bench] [--rounds 3]

Ten times more: all Windows rules against each tenth of them in turn, over Parquet, routed; the read is left
out, and each run begins with a plan that remembers nothing. The time of a tenth is the mean over all ten: one
that has a rule which looks at all 300 columns, as keyword rules do, takes far longer than one that hasn't.
The same is shown without keyword rules.

Micro-batches: 1,000 events each, as a stream gives them: decoded from JSON lines, then judged by all rules.
Events of each file come in their order, every one for the first time; 50 batches warm up.
"""

from __future__ import annotations

import argparse
import io
import itertools
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
from against_rsigma import prepare
from inputs import request_of

from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Options
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.processors import Step, make

WARM_UP = 50


def loaded(folder: Path) -> Step:
    """Compile the rules of a folder, which knows no value yet."""
    return make("sigma", "s", {"rules": [folder.name]}, folder.parent)


def tenths(folder: Path) -> list[Path]:
    """Copy each tenth of the rules, every tenth rule, into a folder beside."""
    targets = [folder.with_name(f"{folder.name}-tenth-{number}") for number in range(10)]
    for number, target in enumerate(targets):
        if not target.exists():
            target.mkdir()
            for path in sorted(folder.glob("*.yml"))[number::10]:
                shutil.copy(path, target)
    return targets


class Judged(NamedTuple):
    """Seconds of judging alone, and what was judged by how many rules."""

    seconds: float
    rows: int
    rules: int


def judged(folder: Path, parquet: Path) -> Judged:
    """Judge all events by the rules of a folder."""
    step = loaded(folder)
    source, request = ParquetSource(str(parquet)), request_of(step)
    seconds, rows = 0.0, 0
    for part in source.fragments(request):
        for one in source.read(part, request):
            began = time.perf_counter()
            step.run(one.rows)
            seconds += time.perf_counter() - began
            rows += one.rows.num_rows
    return Judged(seconds, rows, (step.counts or {})["evaluated"])


def scale(folder: Path, parquet: Path, rounds: int) -> None:
    """Print what ten times more rules take."""
    few = tenths(folder)
    ratios, last = [], ""
    for _ in range(rounds):
        parts, whole = [judged(part, parquet) for part in few], judged(folder, parquet)
        seconds = [part.seconds for part in parts]
        mean = statistics.mean(seconds)
        ratios.append(whole.seconds / mean)
        last = (
            f"a tenth, {statistics.mean(part.rules for part in parts):,.0f} rules, {mean:.2f} s "
            f"({min(seconds):.2f} to {max(seconds):.2f}), {whole.rules:,} rules {whole.seconds:.2f} s "
            f"for {whole.rows:,} rows"
        )
    print(
        f"{folder.name}: {last}; {statistics.median(ratios):.2f} times the time (wanted: below 3)", flush=True
    )


def micro_batches(lines: Path) -> Iterator[list[bytes]]:
    """Give the events, a thousand at a time."""
    with lines.open("rb") as source:
        while batch := list(itertools.islice(source, 1_000)):
            if len(batch) == 1_000:
                yield batch


def latency(folder: Path, lines: Path) -> None:
    """Print how long micro-batches take."""
    step = loaded(folder)
    took: list[tuple[float, float]] = []
    for batch in micro_batches(lines):
        began = time.perf_counter()
        data, context = io.BytesIO(b"".join(batch)), Context(lines.name, Options(format="windows"))
        found = [one.rows for _, one in decode(data, context)]
        decoded = time.perf_counter()
        for rows in found:
            step.run(rows)
        took.append((decoded - began, time.perf_counter() - decoded))
    reading, judging = ([1_000 * one for one in side] for side in zip(*took[WARM_UP:], strict=True))
    middle, high = statistics.median(judging), statistics.quantiles(judging, n=20)[-1]
    print(
        f"{folder.name}: {len(judging)} batches of 1,000 events: judged in {middle:.1f} ms (median; 95 %: "
        f"{high:.1f}; wanted: below 20), decoded in {statistics.median(reading):.1f} ms",
        flush=True,
    )


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for what is made, kept for the next time")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (3)")
    options = parser.parse_args()
    pa.set_cpu_count(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        work.mkdir(parents=True, exist_ok=True)
        *folders, lines, parquet = prepare(work)
        for folder in folders:
            latency(folder, lines)
        for folder in folders:
            scale(folder, parquet, options.rounds)


if __name__ == "__main__":
    main()
