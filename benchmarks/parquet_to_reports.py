"""Parquet → threat reports, against a bare `pyarrow` read of the same columns; one core.

    RMS_DATASETS=data python benchmarks/parquet_to_reports.py --work /data/bench [--rows 2000000] [--rounds 3]

The Windows events are archived once and repeated, with ids of their own, to the number of rows. Each job is
read by `ParquetSource` and run through its step; the bare read takes the same columns with `iter_batches`,
also without threads, and throws them away. Both take turns; ratios are bare / ours, medians of the rounds.

The pack has no keyword rules: such a rule looks at every text of every event, so that all 300 columns are
read and searched; two of them in a pack of a hundred take most of its time.
"""

from __future__ import annotations

import argparse
import re
import statistics
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from inputs import datasets, request_of

from rms_flows.io.parquet_source import ParquetSource
from rms_flows.processors import Step, make
from rms_flows.replay import archive

RULES = "sigmahq-rules-8eaafff1f.tar.gz"
_ID = re.compile(rb"^id: *([0-9a-f-]{36})", re.MULTILINE)
PACK = Path(__file__).with_name("pack-100.txt")


def repeated(work: Path, rows: int) -> Path:
    """Make the archive, unless it is there: files of about 220,000 rows."""
    target = work / f"events-{rows}"
    if target.exists():
        return target
    once = work / "once"
    if not once.exists():
        print("archiving the events …")
        archive(str(datasets() / "windows_events" / "*.zip"), f"parquet:{once}", name="windows")
    files = sorted(once.rglob("*.parquet"))
    events = pa.concat_tables(
        [pq.read_table(path, partitioning=None) for path in files], promote_options="permissive"
    )
    at = events.schema.get_field_index("event.id")
    aside = work / "aside"
    aside.mkdir(exist_ok=True)
    for turn in range(-(-rows // events.num_rows)):  # a file each, so that no dictionary spans two
        print(f"{events.num_rows:,} rows, turn {turn + 1} …")
        ids = pc.binary_join_element_wise(events["event.id"], str(turn), "-")
        again = events.set_column(at, events.schema.field(at), ids)
        pq.write_table(again, aside / f"{turn}.parquet", compression="zstd", row_group_size=65_536)
    aside.rename(target)
    return target


def pack(work: Path) -> Path:
    """Unpack the rules that the pack names into one folder."""
    folder = work / "pack"
    if not folder.exists():
        wanted = {
            line.split()[0] for line in PACK.read_text().splitlines() if line and not line.startswith("#")
        }
        folder.mkdir(parents=True)
        with tarfile.open(datasets() / RULES) as rules:
            for member in rules:
                handle = rules.extractfile(member) if member.name.endswith(".yml") else None
                text = handle.read() if handle else b""
                if _ID.findall(text)[:1] and _ID.findall(text)[0].decode() in wanted:
                    (folder / Path(member.name).name).write_bytes(text)
    return folder


def ours(folder: Path, step: Step) -> tuple[int, int]:
    """Read and judge; give rows and reports."""
    source, request = ParquetSource(str(folder)), request_of(step)
    rows = reports = 0
    for part in source.fragments(request):
        for decoded in source.read(part, request):
            rows += decoded.rows.num_rows
            reports += step.run(decoded.rows).num_rows
    return rows, reports


def bare(folder: Path, columns: frozenset[str] | None) -> int:
    """Read the same columns and throw them away."""
    rows = 0
    for path in sorted(folder.rglob("*.parquet")):
        file = pq.ParquetFile(path)
        names = [n for n in file.schema_arrow.names if columns is None or n in columns]
        for batch in file.iter_batches(65_536, columns=names, use_threads=False):
            rows += batch.num_rows
    return rows


def compare(name: str, folder: Path, step: Step, rounds: int, wanted: float) -> None:
    """Let both take turns and print the ratio."""
    envelope = {"@timestamp", "event.id", "event.dataset", "event.ingested", "rms.origin", "rms.trust"}
    columns = None if step.columns is None else step.columns | envelope
    ratios, seconds = [], []
    for _ in range(rounds):
        theirs, rows = _timed(lambda: bare(folder, columns))
        mine, (mine_rows, reports) = _timed(lambda: ours(folder, step))
        assert rows == mine_rows
        ratios.append(theirs / mine)
        seconds.append((theirs, mine))
    theirs, mine = (statistics.median(side) for side in zip(*seconds, strict=True))
    print(
        f"{name}: {rows:,} rows, {reports:,} reports; bare {rows / theirs:,.0f}, ours {rows / mine:,.0f} "
        f"rows/s; ratio {statistics.median(ratios):.2f} (wanted: {wanted:.2f} or more)"
    )


def _timed(run: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    found = run()
    return time.perf_counter() - began, found


def main() -> None:
    """Print the ratios of one filter and of the pack."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--work", type=Path, help="folder for the archive, kept for the next time")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows of the archive (2,000,000)")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (3)")
    options = parser.parse_args()
    pa.set_cpu_count(1)
    with tempfile.TemporaryDirectory() as aside:
        work = options.work or Path(aside)
        folder = repeated(work, options.rows)
        one = make("filter", "f", {"field": "EventID", "operator": "EQ", "threshold": "4703"}, work)
        compare("one filter", folder, one, options.rounds, 0.6)
        hundred = make("sigma", "s", {"rules": ["pack"]}, pack(work).parent)
        print(f"the pack: {hundred.counts}")
        compare("pack of 100 rules", folder, hundred, options.rounds, 0.6)


if __name__ == "__main__":
    main()
