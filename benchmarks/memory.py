"""Memory of a replay grows with the batch, not with the archive: peak of a worker over 1 and 10 million rows.

    python benchmarks/memory.py [--work FOLDER] [--millions 1 10]

A generated archive of Metricbeat-like rows goes through a filter, once from Parquet and once from JSON lines.
Each run is a process of its own, whose peak resident set is read when it has ended.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOW = """
orchestrator: memory
sources: [{{id: hub, archive: "{uri}"}}]
processors:
  - id: high
    processor: filter
    inputs: [hub]
    parameters: {{field: host.cpu.usage, operator: GT, threshold: 0.99}}
sinks: [{{id: out, inputs: [high], uri: out.ndjson}}]
"""


def generate(folder: Path, millions: int) -> Path:
    """Write JSON lines, a file a million, unless they are there."""
    target = folder / f"{millions}m"
    if not target.exists():
        aside = folder / "aside"
        aside.mkdir(parents=True)
        for part in range(millions):
            with (aside / f"{part:03d}.ndjson").open("w", encoding="utf-8") as out:
                for row in range(1_000_000):
                    second = part * 1_000_000 + row
                    out.write(
                        f'{{"@timestamp":{1_767_225_600 + second},"host":{{"name":"hub-{row % 100}","cpu":'
                        f'{{"usage":{second * 7919 % 10_000 / 10_000}}}}},"metricset":{{"name":"cpu"}}}}\n'
                    )
        aside.rename(target)
    return target


def peak(folder: Path, *arguments: str) -> tuple[float, float]:
    """Run a command; give its peak resident set in MB, and its seconds."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-m", "rms_flows", *arguments, "--quiet"], cwd=folder)  # noqa: S603
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"rms {' '.join(arguments)} failed")
    return usage.ru_maxrss / 1024, time.perf_counter() - began


def main() -> None:
    """Print the peaks."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for what is generated, kept for the next time")
    parser.add_argument("--millions", type=int, nargs="+", default=[1, 10], help="rows (1 10)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        for millions in options.millions:
            lines = generate(work, millions)
            archived = work / f"{millions}m-archive"
            if not archived.exists():
                megabytes, seconds = peak(
                    work, "archive", f"{lines}/*.ndjson", f"parquet:{archived}", "--id", "hub"
                )
                print(f"{millions:3} M rows, JSON lines → archive: {megabytes:,.0f} MB, {seconds:.0f} s")
            for name, uri in (
                ("Parquet", f"parquet:{millions}m-archive"),
                ("JSON lines", f"{millions}m/*.ndjson"),
            ):
                (work / "flow.yaml").write_text(FLOW.format(uri=uri), encoding="utf-8")
                megabytes, seconds = peak(work, "replay", "flow.yaml")
                found = sum(1 for _ in (work / "out.ndjson").open(encoding="utf-8"))
                verdict = json.dumps({"rows": millions * 1_000_000, "reports": found})
                print(
                    f"{millions:3} M rows, {name} → reports: {megabytes:,.0f} MB, {seconds:.0f} s {verdict}"
                )
    print("wanted: under 700 MB, and the same for any number of rows")


if __name__ == "__main__":
    main()
