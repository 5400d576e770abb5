"""All Windows rules over real events on one core: ours from Parquet and JSON lines, rsigma from JSON lines.

    RMS_DATASETS=data python benchmarks/against_rsigma.py [--rsigma PATH] [--work /data/bench] [--rounds 3]

The program to compare with: `cargo install --locked rsigma --version 0.23.0`. Each run is a process of its
own on one core, and what counts is the processor's seconds, those of processes it started included, so that
whoever else uses the machine matters little; what a single event takes (start, loading of rules) is measured
too and taken away, so that rates are those of long runs. All take turns; a ratio is ours / rsigma's by the
medians of the rounds.

Without routing each rule is judged on every event by both, and the matches of each rule have to be equal. Two
rules differ, which look for several keywords in one text (`'|all'`): rsigma 0.23.0 misses the event that
pySigma's SQLite backend, too, says they are true of. Parquet holds the events five times, in files of their
own; JSON lines hold them once. A keyword rule without an event id (`win_alert_mimikatz_keywords`) makes all
300 columns be read and searched: what the pack takes without keyword rules is shown beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from inputs import datasets, request_of, windows_zips
from parquet_to_reports import RULES, repeated

from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Options
from rms_flows.heap import give_back, seldom
from rms_flows.io.parquet_source import ParquetSource
from rms_flows.processors import make

TURNS = 5
DIFFERENT = {
    "550d3350-bb8a-4ff3-9533-2ba533f4a1c0",  # win_exchange_proxylogon_oabvirtualdir
    "9db37458-4df2-46a5-95ab-307e7f29e675",  # win_exchange_set_oabvirtualdirectory_externalurl
}


@dataclass(frozen=True)
class Side:
    """A program and what it reads.

    Args:
        name: For the table.
        command: What to run; the input's path is added.
        one: An input of a single event.
        all: The whole input.
        events: How many it has.
    """

    name: str
    command: Sequence[str]
    one: Path
    all: Path
    events: int


@dataclass(frozen=True)
class Run:
    """One run of a program: seconds of the processor, peak memory in MB and what it printed."""

    seconds: float
    megabytes: float
    printed: str


def unpacked(work: Path) -> tuple[Path, Path, Path]:
    """Unpack rules, with and without those of keywords, and events as JSON lines."""
    rules, fields = work / "windows-rules", work / "windows-rules-without-keywords"
    if not fields.exists():
        with tarfile.open(datasets() / RULES) as archive:
            for member in archive:
                handle = archive.extractfile(member) if "/windows/" in member.name else None
                if handle is None or not member.name.endswith(".yml"):
                    continue
                text = handle.read()
                folders = [rules] if b"keywords" in text.partition(b"detection:")[2] else [rules, fields]
                for folder in folders:
                    folder.mkdir(parents=True, exist_ok=True)
                    (folder / Path(member.name).name).write_bytes(text)
    lines = work / "events.jsonl"
    if not lines.exists():
        with (work / "aside.jsonl").open("wb") as out:
            for path in windows_zips():
                with zipfile.ZipFile(path) as archive:
                    for name in sorted(archive.namelist()):
                        if name.endswith(".json") and not name.startswith("__MACOSX"):
                            out.writelines(
                                line + b"\n" for line in archive.read(name).splitlines() if line.strip()
                            )
        (work / "aside.jsonl").rename(lines)
    return rules, fields, lines


def prepare(work: Path) -> tuple[Path, Path, Path, Path]:
    """Give what is unpacked, and the events as Parquet."""
    rules, fields, lines = unpacked(work)
    with lines.open("rb") as source:
        (work / "one.jsonl").write_bytes(source.readline())
    parquet = repeated(work, TURNS * sum(1 for _ in lines.open("rb")))
    one = work / "one" / "one.parquet"
    if not one.exists():
        one.parent.mkdir()
        pq.write_table(pq.read_table(next(parquet.glob("*.parquet"))).slice(0, 1), one)
    return rules, fields, lines, parquet


def judge(rules: Path, events: Path, *, routing: bool) -> None:
    """Be the process that is measured: read, judge, make reports; print matches of each rule as JSON."""
    pa.set_cpu_count(1)
    give_back()  # both as `rms` does
    seldom()
    step = make("sigma", "s", {"rules": [rules.name], "routing": routing}, rules.parent)
    counts: Counter[str] = Counter()

    def count(rows: pa.RecordBatch) -> None:
        counts.update(step.run(rows).column("rule.id").to_pylist())

    if events.suffix == ".jsonl":
        with events.open("rb") as source:
            for _, one in decode(source, Context(events.name, Options(format="windows"))):
                count(one.rows)
                del one  # as a flow does: its memory may be free when the next is decoded
    else:
        source, request = ParquetSource(str(events)), request_of(step)
        for part in source.fragments(request):
            for one in source.read(part, request):
                count(one.rows)
                del one
    print(json.dumps(counts))


def run(command: Sequence[str]) -> Run:
    """Run a program."""
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(command, stdout=out, stderr=subprocess.DEVNULL)  # noqa: S603  named by us
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(command)} failed")
        out.seek(0)
        return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, out.read())


def matches(printed: str) -> Counter[str]:
    """Count the matches of each rule, from one object of ours or a line each of rsigma's."""
    lines = [json.loads(line) for line in printed.splitlines()]
    if lines and "rule_id" not in lines[0]:
        return Counter(lines[0])
    return Counter(line["rule_id"] for line in lines)


def main() -> None:
    """Print rates, ratios and matches."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rsigma", default=shutil.which("rsigma"), help="the program (found on the PATH)")
    parser.add_argument("--work", type=Path, help="folder for what is made, kept for the next time")
    parser.add_argument(
        "--rounds", type=int, default=3, help="times that each side runs, besides once to get ready (3)"
    )
    parser.add_argument("--judge", nargs=3, metavar=("RULES", "EVENTS", "ROUTING"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.judge:
        rules, events, routing = options.judge
        judge(Path(rules), Path(events), routing=routing == "routed")
        return
    if not options.rsigma or not Path(options.rsigma).exists():
        print("rsigma is missing (cargo install --locked rsigma --version 0.23.0): ours alone is measured")
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        work.mkdir(parents=True, exist_ok=True)
        table(*sides(work, options.rsigma), options.rounds)


def sides(work: Path, rsigma: str | None) -> tuple[list[Side], int]:
    """List what is compared; the number of events of one turn."""
    # In a process that ends: what is started later would count the room that this takes as its own.
    with ProcessPoolExecutor(1, get_context("spawn")) as aside:
        rules, fields, lines, parquet = aside.submit(prepare, work).result()
    events = sum(1 for _ in lines.open("rb"))
    found = []
    for name, folder in (("all rules", rules), ("without keywords", fields)):
        if rsigma and Path(rsigma).exists():
            command = [rsigma, "--output-format", "ndjson", "engine", "eval", "-q", "-r", str(folder), "-e"]
            found.append(Side(f"rsigma, {name}", command, work / "one.jsonl", lines, events))
        for routing in ("unrouted", "routed"):
            ours = [sys.executable, __file__, "--judge", str(folder)]
            turns = ((work / "one", parquet, "Parquet", TURNS), (work / "one.jsonl", lines, "JSON", 1))
            for one, whole, kind, times in turns:
                found.append(
                    Side(f"{kind} {routing}, {name}", [*ours, "{}", routing], one, whole, times * events)
                )
    return found, events


def table(compared: Sequence[Side], events: int, rounds: int) -> None:
    """Let all take turns, then print a line for each."""
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})  # what is started inherits it
    seconds: dict[str, list[tuple[float, float]]] = {side.name: [] for side in compared}
    last: dict[str, Run] = {}
    for number in range(rounds + 1):
        for side in compared:
            start = run(_filled(side.command, side.one))
            last[side.name] = run(_filled(side.command, side.all))
            rest = last[side.name].seconds - start.seconds
            counts = "" if number else ", not counted"  # Numba compiles at the first use
            if number:
                seconds[side.name].append((start.seconds, last[side.name].seconds))
            print(f"round {number}{counts}: {side.name}: {start.seconds:.2f} + {rest:.2f} s", flush=True)
    rates = {
        side.name: side.events / statistics.median(whole - start for start, whole in seconds[side.name])
        for side in compared
    }
    for side in compared:
        name, _, rules = side.name.partition(", ")
        turns = side.events // events
        theirs = rates.get(f"rsigma, {rules}")
        ratio = f"{rates[side.name] / theirs:5.2f} times rsigma" if theirs else ""
        found = matches(last[side.name].printed)
        start = statistics.median(start for start, _ in seconds[side.name])
        print(
            f"{rules:17} {name:17} {rates[side.name]:9,.0f} events/s {ratio:18} start {start:.1f} s, "
            f"{last[side.name].megabytes:5,.0f} MB, {found.total() // turns:,} matches of {len(found)} rules"
        )
        if theirs and name.endswith("unrouted"):
            reference = matches(last[f"rsigma, {rules}"].printed)
            differing = {rule for rule in found | reference if found[rule] != turns * reference[rule]}
            assert differing <= DIFFERENT, f"matches differ: {differing - DIFFERENT}"


def _filled(command: Sequence[str], events: Path) -> list[str]:
    if "{}" in command:
        return [str(events) if part == "{}" else part for part in command]
    return [*command, f"@{events}"]


if __name__ == "__main__":
    main()
