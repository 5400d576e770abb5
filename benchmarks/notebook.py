"""What an analyst waits for: the first picture of an archive, a timeline of many reports, a rule tried again.

    python benchmarks/notebook.py --work /data/bench [--rows 10000000]

The archive has the columns of the envelope and twenty more: words of low variety, addresses, numbers.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

import rms_flows as rms
from rms_flows.io.parquet_file import ArchiveFile
from rms_flows.pictures import reports
from rms_flows.schema import ENVELOPE, REPORT, TIMESTAMP

FILE = 500_000
DAY = 86_400_000_000
RULE = """
title: A tool
logsource: {{category: process_creation}}
detection:
  tool: {{Image|endswith: '{0}'}}
  condition: tool
"""


def day(rng: np.random.Generator, number: int) -> pa.Table:
    """Make the events of one file, which is one day."""

    def one_of(words: list[str]) -> pa.Array:
        return pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, len(words), FILE), pa.int32()), words)

    times = np.sort(rng.integers(number * DAY, (number + 1) * DAY, FILE))
    columns = {
        "@timestamp": pa.array(times).cast(TIMESTAMP),
        "event.ingested": pa.array(times + 1_000_000).cast(TIMESTAMP),
        "event.id": pa.array([f"{value:032x}" for value in rng.integers(0, 2**63, FILE)]),
        "event.dataset": one_of(["windows.sysmon"]),
        "rms.origin": pa.array([f"events.ndjson#{number * FILE + row}" for row in range(FILE)]),
        "rms.trust": one_of(["unknown"]),
        "event.category": one_of(["process"]),
        "Image": one_of([f"C:\\Program Files\\tool{n}.exe" for n in range(2_000)]),
        "CommandLine": one_of([f"tool{n}.exe --level {n % 7} --quiet" for n in range(20_000)]),
        "ParentImage": one_of([f"C:\\Windows\\parent{n}.exe" for n in range(500)]),
        "source.ip": one_of([f"10.0.{n // 250}.{n % 250}" for n in range(5_000)]),
        "destination.ip": one_of([f"10.1.{n // 250}.{n % 250}" for n in range(5_000)]),
        **{f"text{n}": one_of([f"value {n} {m}" for m in range(10 ** (n % 4 + 1))]) for n in range(9)},
        **{f"number{n}": pa.array(rng.random(FILE)) for n in range(5)},
    }
    return pa.table(columns)


def archive(work: Path, rows: int) -> Path:
    """Make the archive, unless it is there."""
    target = work / f"notebook-{rows}"
    rng = np.random.default_rng(1)
    for number in range(rows // FILE):
        folder = target / "rms.source=probe" / f"day={np.datetime64(20_000 + number, 'D')}"
        if not folder.exists():
            print(f"day {number + 1} of {rows // FILE} …")
            folder.mkdir(parents=True)
            table = day(rng, 20_000 + number)
            file = ArchiveFile(folder, table.schema)
            for at in range(0, FILE, 65_536):
                file.write(table.slice(at, 65_536))
            file.close()
    return target


def many_reports(count: int) -> pa.Table:
    """Make reports of five levels over 400 days."""
    rng = np.random.default_rng(2)
    levels = pa.array(["critical", "high", "medium", "low", "informational"])
    known = {
        "@timestamp": pa.array(np.sort(rng.integers(0, 400 * DAY, count))).cast(TIMESTAMP),
        "rule.level": pa.DictionaryArray.from_arrays(pa.array(rng.integers(0, 5, count), pa.int32()), levels),
    }
    columns = [known[f.name].cast(f.type) if f.name in known else pa.nulls(count, f.type) for f in REPORT]
    return pa.Table.from_arrays(columns, schema=REPORT)


def timed(what: str, run: Callable[[], Any]) -> Any:
    """Run something and say how long it took."""
    began = time.perf_counter()
    found = run()
    print(f"{time.perf_counter() - began:6.2f} s  {what}: {found!r}"[:120])
    return found


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=10_000_000)
    chosen = parser.parse_args()
    where = archive(chosen.work, chosen.rows)
    print(f"{len(ENVELOPE)} columns of the envelope, {chosen.rows:,} rows")
    history = timed("open, Beam and all loaded", lambda: rms.open(f"parquet:{where}"))
    with tempfile.TemporaryDirectory() as aside:
        timed("first picture: health", lambda: history.draw.health().save(Path(aside) / "a.svg"))
        table = many_reports(1_000_000)
        path = timed(
            "timeline of 1,000,000 reports", lambda: reports.timeline(table).save(Path(aside) / "b.svg")
        )
        print(f"          {path.stat().st_size:,} bytes")
    for tool in ("tool1.exe", "tool77.exe", "tool78.exe"):
        timed(f"a rule with {tool}", partial(history.detect, RULE.format(tool)))


if __name__ == "__main__":
    main()
