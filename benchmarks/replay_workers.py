"""One worker against two, on a job of about a minute: `rms detect` with all SigmaHQ rules over the Windows events.

    RMS_DATASETS=data python benchmarks/replay_workers.py [--rounds 1] [--rules FOLDER]

Whole commands are timed, start-up and commit included; both leave the same bytes, which is checked.
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


def run(rules: str, out: Path, workers: int) -> float:
    """Give the seconds of one command."""
    events = datasets() / "windows_events" / "*.zip"
    command = [sys.executable, "-m", "rms_flows", "detect", rules, "--in", str(events), "--out", str(out)]
    began = time.perf_counter()
    subprocess.run([*command, "--workers", str(workers), "--quiet"], check=True, stderr=subprocess.DEVNULL)  # noqa: S603
    return time.perf_counter() - began


def main() -> None:
    """Print how much faster two workers are."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=1, help="times that each side runs (1)")
    parser.add_argument(
        "--rules", default=str(datasets() / "sigmahq-rules-8eaafff1f.tar.gz"), help="rules to run"
    )
    options = parser.parse_args()
    if os.getloadavg()[0] > 0.5:  # noqa: PLR2004  one minute's mean of a machine that does nothing else
        print(f"the machine is busy (load {os.getloadavg()[0]:.1f}); the ratio will be too low")
    seconds: dict[int, list[float]] = {1: [], 2: []}
    with tempfile.TemporaryDirectory() as aside:
        for _ in range(options.rounds):
            for workers, taken in seconds.items():
                taken.append(run(options.rules, Path(aside) / f"{workers}.ndjson", workers))
                print(f"{workers} worker{'s' * (workers > 1)}: {taken[-1]:.1f} s")
        assert (Path(aside) / "1.ndjson").read_bytes() == (Path(aside) / "2.ndjson").read_bytes()
    ratio = statistics.median(seconds[1]) / statistics.median(seconds[2])
    print(f"ratio {ratio:.2f} (wanted: 1.70 or more on two cores)")


if __name__ == "__main__":
    main()
