"""JSON lines of about 2.5 kB → batches, against `msgspec` decoding the same bytes to dicts, thrown away.

    RMS_DATASETS=data python benchmarks/json_decode.py [--megabytes 200] [--rounds 5]

Both sides have the lines in memory and take turns; the ratio is theirs / ours by the median of the rounds:
1 or more means that batches (framed, typed, with ids, envelope and account) come as fast as plain dicts.
Seconds are the processor's, not the clock's: each side has one thread, and others may use the machine.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
import zipfile

import msgspec
from inputs import windows_zips

from rms_flows.decode import decode
from rms_flows.decode.contract import Context


def lines(megabytes: int) -> list[bytes]:
    """Read events of all files in turn, up to a size."""
    found: list[bytes] = []
    size = 0
    for path in windows_zips():
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if name.endswith(".json") and not name.startswith("__MACOSX"):
                    part = archive.read(name).splitlines()[: 4 * megabytes * 1_000_000 // 2_500 // 35]
                    found += part
                    size += sum(map(len, part))
        if size > megabytes * 1_000_000:
            break
    return found


def timed(run: object) -> float:
    """Give the processor's seconds of one call."""
    began = time.process_time()
    run()  # type: ignore[operator]
    return time.process_time() - began


def main() -> None:
    """Print the rates and their ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--megabytes", type=int, default=200, help="size of the input (200)")
    parser.add_argument("--rounds", type=int, default=5, help="times that each side runs (5)")
    options = parser.parse_args()
    records = lines(options.megabytes)
    data = b"\n".join(records) + b"\n"
    print(f"{len(records):,} records, {len(data) / 1e6:,.0f} MB, {len(data) / len(records):,.0f} bytes each")

    def dicts() -> None:
        decoder = msgspec.json.Decoder()
        for record in records:
            decoder.decode(record)

    def batches() -> None:
        rows = sum(one.rows.num_rows for _, one in decode(io.BytesIO(data), Context("events.json")))
        assert rows == len(records), (rows, len(records))

    batches()  # the compiled loops are loaded once a process
    ours, theirs = [], []
    for number in range(options.rounds):
        theirs.append(timed(dicts))
        ours.append(timed(batches))
        print(f"round {number + 1}: msgspec {theirs[-1]:.2f} s, ours {ours[-1]:.2f} s")
    best = statistics.median(b / a for a, b in zip(ours, theirs, strict=True))
    for name, seconds in (("msgspec to dicts", theirs), ("ours to batches", ours)):
        middle = statistics.median(seconds)
        print(f"{name}: {len(records) / middle:,.0f} records/s, {len(data) / middle / 1e6:,.0f} MB/s")
    print(f"ratio {best:.2f} (wanted: 1.00 or more)")


if __name__ == "__main__":
    main()
