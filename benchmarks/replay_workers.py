"""One worker against two, on jobs of about a minute; whole commands are timed, start-up and commit included.

    RMS_DATASETS=data python benchmarks/replay_workers.py [--work FOLDER] [--rounds 1]

The first job is a filter over 28 million generated metrics in 28 files. The second is `rms detect` with all
SigmaHQ rules over the Windows events, of which a part can't be shared: each process loads the rules (5 s),
and one merges the 370,000 reports. Both numbers of workers leave the same bytes, which is checked.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from inputs import datasets
from memory import FLOW, generate


def run(folder: Path, *arguments: str, workers: int) -> float:
    """Give the seconds of one command."""
    command = [sys.executable, "-m", "rms_flows", *arguments, "--workers", str(workers), "--quiet"]
    began = time.perf_counter()
    subprocess.run(command, check=True, stderr=subprocess.DEVNULL, cwd=folder)  # noqa: S603
    return time.perf_counter() - began


def compare(name: str, folder: Path, arguments: list[str], rounds: int) -> None:
    """Time one job with one worker and with two, in turn, and print the ratio."""
    seconds: dict[int, list[float]] = {1: [], 2: []}
    left = set()
    for _ in range(rounds):
        for workers, taken in seconds.items():
            taken.append(run(folder, *arguments, workers=workers))
            left.add((folder / "out.ndjson").read_bytes())
    assert len(left) == 1
    one, two = (statistics.median(taken) for taken in seconds.values())
    print(f"{name}: 1 worker {one:.1f} s, 2 workers {two:.1f} s; ratio {one / two:.2f}")


def main() -> None:
    """Print how much faster two workers are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for what is generated, kept for the next time")
    parser.add_argument("--rounds", type=int, default=1, help="times that each side runs (1)")
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}): the ratio will be too low")
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        generate(work, 28)
        (work / "flow.yaml").write_text(FLOW.format(uri="28m/*.ndjson"), encoding="utf-8")
        compare("a filter over 28 M metrics", work, ["replay", "flow.yaml"], options.rounds)
        events, rules = datasets() / "windows_events" / "*.zip", datasets() / "sigmahq-rules-8eaafff1f.tar.gz"
        job = ["detect", str(rules), "--in", str(events), "--out", "out.ndjson"]
        compare("all SigmaHQ rules over 220,365 events", work, job, options.rounds)
    print("wanted: 1.70 or more on two cores")


if __name__ == "__main__":
    main()
