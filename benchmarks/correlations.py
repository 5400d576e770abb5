"""Correlations over a million small events on one core: ours from Parquet and JSON lines, rsigma from JSON.

    python benchmarks/correlations.py [--rsigma PATH] [--work /data/bench] [--rounds 3] [--millions 1]

An hour of failed log-ins of 50,000 addresses, all of them matches, in the order of their time; `event_count`
and `value_count` of users over 60 s, at a threshold that few groups reach. Each run is a process of its own
on one core, whose CPU seconds are counted, less those that it takes for a single event. All take turns; a
ratio is ours / rsigma's by the medians of the rounds. Both have to give the same number of reports.

Then the pure step alone in CPU seconds, over the archive in order (the median of three) and in batches of
5,000 out of order; and how many bytes of state an event takes.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa

from rms_flows.correlate.spec import Bound, Correlation, Input
from rms_flows.correlate.state import Rows, empty
from rms_flows.correlate.step import ALWAYS, step
from rms_flows.replay import archive

ADDRESSES = 50_000
HOUR = 3_600_000_000
SPAN = 60_000_000
JITTER = 30_000_000
BATCH = 5_000
LEAST = 4
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)

RULE = """
title: Failed log-in
name: failed
id: 11111111-0000-4000-8000-000000000001
level: low
logsource: {category: authentication}
detection: {selection: {event.outcome: failure}, condition: selection}
---
title: Correlated
id: 11111111-0000-4000-8000-000000000002
level: high
correlation:
  type: %s
  rules: [failed]
  group-by: [source.ip]
  timespan: 60s
  condition: {%sgte: %d}
"""
KINDS = {"event_count": "", "value_count": "field: user.name, "}


@dataclass(frozen=True)
class Side:
    """A program and what it reads: all events, or one."""

    name: str
    command: Sequence[str]
    one: str
    all: str


def generate(work: Path, millions: int) -> tuple[Path, Path]:
    """Write the events as JSON lines and as an archive; beside each, one of a single event.

    No address has two events in one second: where times are equal, rsigma counts what it has read so far, and
    we count all of them.
    """
    lines = work / f"logins-{millions}m.jsonl"
    if not lines.exists():
        chance = np.random.default_rng(0)
        count = millions * 1_000_000
        pairs = np.unique(chance.integers(0, 3_600 * ADDRESSES, count * 11 // 10))
        pairs = np.sort(chance.permutation(pairs)[:count])  # by second, then address
        user = chance.integers(0, 500, count)
        with (work / "aside").open("w", encoding="utf-8") as out:
            for pair, name in zip(pairs.tolist(), user.tolist(), strict=True):
                second, address = divmod(pair, ADDRESSES)
                stamp = (BEGIN + timedelta(seconds=second)).isoformat(timespec="seconds")[:-6]
                source = f"10.{address >> 16}.{address >> 8 & 255}.{address & 255}"
                out.write(
                    f'{{"@timestamp":"{stamp}Z","source.ip":"{source}","user.name":"u{name}",'
                    f'"event.outcome":"failure","event.category":"authentication"}}\n'
                )
        (work / "aside").rename(lines)
    one = work / "one-login.jsonl"
    with lines.open("rb") as source:
        one.write_bytes(source.readline())
    for path in (lines, one):
        target = path.with_suffix("")
        if not target.exists():
            archive(str(path), f"parquet:{target}", name="logins")
    return lines, one


def rules(work: Path) -> dict[str, Path]:
    """Write a file of rules for each kind."""
    found = {}
    for kind, field in KINDS.items():
        found[kind] = work / f"{kind}.yml"
        found[kind].write_text(RULE % (kind, field, LEAST), encoding="utf-8")
    return found


def run(command: Sequence[str]) -> tuple[float, float]:
    """Give the CPU seconds of a command, and its peak memory in MB."""
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)  # noqa: S603  named by us
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def compare(kind: str, sides: Sequence[Side], events: int, out: Path, rounds: int) -> None:
    """Let all take turns, then print a line for each."""
    seconds: dict[str, list[float]] = {side.name: [] for side in sides}
    peaks, counts = {}, {}
    for _ in range(rounds):
        for side in sides:
            start, _ = run([part.format(events=side.one) for part in side.command])
            whole, peaks[side.name] = run([part.format(events=side.all) for part in side.command])
            seconds[side.name].append(whole - start)
            counts[side.name] = sum(
                b"correlation_type" in line or b"rms.count" in line for line in out.open("rb")
            )
    rates = {name: events / statistics.median(taken) for name, taken in seconds.items()}
    for side in sides:
        ratio = f"{rates[side.name] / rates['rsigma']:5.2f} times rsigma" if "rsigma" in rates else ""
        print(
            f"{kind:12} {side.name:14} {rates[side.name]:11,.0f} events/s {ratio} "
            f"{peaks[side.name]:6,.0f} MB, {counts[side.name]:,} reports",
            flush=True,
        )
    assert len(set(counts.values())) == 1, counts


def sides(file: Path, lines: Path, one: Path, out: Path, rsigma: str | None) -> Iterator[Side]:
    """List what is compared."""
    if rsigma:
        shell = (
            f"{rsigma} --output-format ndjson engine eval -q --no-detections -r {file} -e @{{events}} > {out}"
        )
        yield Side("rsigma", ["sh", "-c", shell], str(one), str(lines))
    ours = [
        sys.executable,
        "-m",
        "rms_flows",
        "detect",
        str(file),
        "--out",
        str(out),
        "--quiet",
        "--no-routing",
    ]
    yield Side(
        "ours, Parquet", [*ours, "--in", "parquet:{events}"], *(str(p.with_suffix("")) for p in (one, lines))
    )
    yield Side("ours, JSON", [*ours, "--in", "{events}"], str(one), str(lines))


def steps(count: int = 1_000_000) -> None:
    """Print the rate of the pure step."""
    chance = np.random.default_rng(0)
    time_of = np.sort(chance.integers(0, HOUR, count))
    group = (chance.integers(0, ADDRESSES, count).astype(np.uint64) + 1) * np.uint64(0x9E3779B97F4A7C15)
    ids = chance.integers(0, 2**63, (2, count)).astype(np.uint64)
    value = chance.integers(0, 500, count)
    groups = np.unique(group)
    texts = pa.array([f'{{"source.ip":"{number}"}}' for number in range(len(groups))])
    names = texts.take(pa.array(np.searchsorted(groups, group))).dictionary_encode()
    late = np.argsort(time_of + chance.integers(0, JITTER, count), kind="stable")
    for kind in KINDS:
        one = Correlation(
            "c", "c", None, "low", (), "m", "f", 1, kind, (Input("a", "a"),), ("source.ip",), SPAN,
            bounds=(Bound("gte", LEAST),), fields=("user.name",) if kind == "value_count" else (),
        )  # fmt: skip
        rows = Rows(group, time_of, ids[0], ids[1], None, value if kind == "value_count" else None)
        step(one, empty(one), rows.take(np.arange(10)), (group[:10], names[:10]), ALWAYS)
        seconds = []
        for _ in range(3):
            began = time.process_time()
            whole = step(one, empty(one), rows, (group, names), ALWAYS).found.num_rows
            seconds.append(time.process_time() - began)
        sorted_rate = count / statistics.median(seconds)
        state, found, latest, size = empty(one), set(), 0, 0.0
        parts = []
        for first in range(0, count, BATCH):
            which = late[first : first + BATCH]
            latest = max(latest, int(time_of[which].max()))
            parts.append((rows.take(which), (group[which], names.take(pa.array(which))), latest - JITTER))
        began = time.process_time()
        given = []
        for part, named, settled in parts:
            outcome = step(one, state, part, named, settled)
            state = outcome.state
            given.append(outcome.found)
        rate = count / (time.process_time() - began)
        for batch in given:
            found.update(batch.column("anchor").to_pylist())
        size = state.nbytes / len(state.rows)
        assert len(found) == whole, (len(found), whole)
        print(
            f"pure step, {kind}: {sorted_rate:,.0f} events/s in order (wanted: 2,000,000), {rate:,.0f} out "
            f"of order (wanted: 500,000); {size:.0f} bytes of state an event (wanted: below 48)",
            flush=True,
        )


def main() -> None:
    """Print rates and ratios."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rsigma", default=shutil.which("rsigma"), help="the program (found on the PATH)")
    parser.add_argument("--work", type=Path, help="folder for what is made, kept for the next time")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (3)")
    parser.add_argument("--millions", type=int, default=1, help="millions of events (1)")
    options = parser.parse_args()
    pa.set_cpu_count(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # what is started inherits it
    rsigma = options.rsigma if options.rsigma and Path(options.rsigma).exists() else None
    if rsigma is None:
        print("rsigma is missing (cargo install --locked rsigma --version 0.23.0): ours alone is measured")
    steps()
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        work.mkdir(parents=True, exist_ok=True)
        lines, one = generate(work, options.millions)
        for kind, file in rules(work).items():
            out = work / "out.ndjson"
            compare(
                kind,
                [*sides(file, lines, one, out, rsigma)],
                options.millions * 1_000_000,
                out,
                options.rounds,
            )
    print(json.dumps({"wanted": {"ours, Parquet": 2.0, "ours, JSON": 1.0}}))


if __name__ == "__main__":
    main()
