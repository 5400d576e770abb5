"""Two hundred probes that send ten observations a second each to `rms serve`: losses and time.

    python benchmarks/serve.py [--probes 200] [--rate 2000] [--seconds 30]

Each probe signs what it sends, holds a connection and sends once a second; all run in this process, on the
same machine. An answer counts from before the body is sent. Beside it, in the same run: the same bodies
written to a file with an fsync each, one after the other.
"""

from __future__ import annotations

import argparse
import http.client
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from rms_flows.envelope import Observed, Signer, generate

START = 60
"""Seconds in which the service has to listen."""


def body(signer: Signer, first: int, count: int) -> bytes:
    """Sign observations of a probe."""
    load = {"host.cpu.usage": 0.31, "host.name": "hub", "system.load.1": 0.7}
    lines = (
        signer.line(first + n, Observed("system.cpu", load, time.time_ns() // 1000)) for n in range(count)
    )
    return b"".join(line + b"\n" for line in lines)


def probe(url: str, name: str, each: int, end: float, took: list[float]) -> int:
    """Send once a second until the end; give how many observations were kept."""
    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=START)
    signer, sent = Signer(generate(), name), 0
    due = time.monotonic() + hash(name) % 1000 / 1000
    while due < end:
        time.sleep(max(0.0, due - time.monotonic()))
        lines = body(signer, sent + 1, each)
        began = time.perf_counter()
        connection.request("POST", "/v1/envelopes", lines)
        answer = connection.getresponse()
        answer.read()
        took.append(time.perf_counter() - began)
        sent += each * (answer.status == http.client.OK)
        due += 1.0
    connection.close()
    return sent


def main() -> None:
    """Print rates, answers and losses."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--probes", type=int, default=200, help="that send at once (200)")
    parser.add_argument("--rate", type=int, default=2_000, help="observations a second, of all (2,000)")
    parser.add_argument("--seconds", type=float, default=30.0, help="for which they send (30)")
    options = parser.parse_args()
    each = max(1, options.rate // options.probes)
    with tempfile.TemporaryDirectory() as aside:
        out = Path(aside) / "out.ndjson"
        command = [sys.executable, "-m", "rms_flows", "serve", "--port", "0", "--out", str(out)]
        service = subprocess.Popen(command, cwd=aside, stderr=subprocess.PIPE, text=True)  # noqa: S603  ours
        assert service.stderr is not None
        url = service.stderr.readline().split()[2]
        took: list[float] = []
        kept: list[int] = []
        began = time.monotonic()
        threads = [
            threading.Thread(
                target=lambda name: kept.append(probe(url, name, each, began + options.seconds, took)),
                args=(f"probe-{number}",),
            )
            for number in range(options.probes)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - began
        spent = sum(_spent(service.pid))
        service.terminate()
        service.wait()
        there = out.read_bytes().count(b"\n")
        alone = _alone(Path(aside) / "alone", body(Signer(generate(), "p"), 1, each), len(took))
    at = statistics.quantiles(took, n=100)
    print(f"{options.probes} probes, {sum(kept) / seconds:,.0f} observations/s for {seconds:.0f} s")
    print(f"answered for {sum(kept):,}, on disk {there:,}, lost {sum(kept) - there:,}")
    print(f"answers: median {at[49] * 1e3:.1f} ms, 99 % {at[98] * 1e3:.1f} ms")
    print(f"a write and fsync alone: {alone * 1e3:.1f} ms")
    print(f"the service: {spent / seconds:.0%} of a core")


def _spent(pid: int) -> tuple[float, float]:
    """Read the seconds of processors that a process spent."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    ticks = os.sysconf("SC_CLK_TCK")
    return int(words[11]) / ticks, int(words[12]) / ticks


def _alone(path: Path, data: bytes, times: int) -> float:
    """Write and sync so often; give the median of the seconds."""
    took = []
    with path.open("wb", buffering=0) as file:
        for _ in range(min(times, 500)):
            began = time.perf_counter()
            file.write(data)
            os.fsync(file.fileno())
            took.append(time.perf_counter() - began)
    return statistics.median(took)


if __name__ == "__main__":
    main()
