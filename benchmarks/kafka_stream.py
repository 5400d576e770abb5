"""A stream over Kafka: its rate against a bare client, produce to report, and memory over a day; one core.

    make services &  # or any other broker that may be written to
    RMS_DATASETS=data python benchmarks/kafka_stream.py [rate] [latency] [memory] [--broker localhost:9092]
    RMS_DATASETS=data python benchmarks/kafka_stream.py parallel --flink localhost:8099 http://localhost:8081

Rate: real Windows events, each once, from a topic to matches of all Windows rules, against confluent-kafka
that consumes and msgspec that decodes the same messages. Each side is a process of its own on one core, and
they take turns; what counts is the processor's seconds from the first message on, those of the client's
threads among them, so that whoever else uses the machine matters little. The ratio is by the medians.

Latency: events are made at a rate, each carries the time at which it was handed to a producer, and each
hundredth is reported; it ends when a consumer has the report. Seconds are the clock's, so the machine has
to be otherwise idle. The first quarter is left out. Flink keeps a checkpoint each two seconds.

Memory: a day of a home in event time, as fast as it goes, with correlations over minutes and hours; how much
larger the process is at the end than after a fifth.

Parallel: the same events as for the rate, on Flink with a pool of workers, by one, two and four readers. What
counts is how many seconds of a processor the busiest process takes for a million events: with enough cores it
is that which bounds the rate. Wall time is told beside, for what this machine makes of it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pyarrow as pa
import yaml
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

PARTITIONS = 3
WANTED = 0.5
WARM = 30_000
"""Messages that are left out, in which what is compiled is loaded."""

HUNDREDTH = 100
DAY = 86_400


def topic_of(broker: str, name: str, partitions: int = PARTITIONS) -> str:
    """Make a topic of its own."""
    topic = f"bench-{name}-{uuid.uuid4().hex[:8]}"
    admin = AdminClient({"bootstrap.servers": broker})  # ends what is under way when it goes
    admin.create_topics([NewTopic(topic, partitions)])[topic].result(30)
    return topic


def produced(broker: str, topic: str, values: Iterator[bytes], partitions: int = PARTITIONS) -> int:
    """Write messages, in turn to each partition; give how many."""
    producer = Producer({"bootstrap.servers": broker, "compression.type": "lz4", "linger.ms": 20})
    count = 0
    for count, value in enumerate(values, 1):
        while True:
            try:
                producer.produce(topic, value, partition=count % partitions)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    assert not producer.flush(60)
    return count


def reader(broker: str, topic: str, at: int) -> Consumer:
    """Read all partitions, with our reader's settings."""
    from rms_flows.io.kafka.confluent import _READING  # noqa: PLC0415  after the core was chosen

    consumer = Consumer({**_READING, "bootstrap.servers": broker, "group.id": "bench"})
    consumer.assign([TopicPartition(topic, number, at) for number in range(PARTITIONS)])
    return consumer


def bare(broker: str, topic: str, count: int) -> float:
    """Consume and decode; give messages by the processor's seconds."""
    consumer, decode, done, began = reader(broker, topic, OFFSET_BEGINNING), msgspec.json.decode, 0, (0, 0.0)
    while done < count:
        for one in consumer.consume(10_000, 0.1):
            if one.error() is None:
                decode(one.value())
                done += 1
        if done >= WARM and not began[0]:
            began = done, time.process_time()
    return (count - began[0]) / (time.process_time() - began[1])


def streamed(
    flow: Path, count: int, rows: int = 10_000, look: Callable[[Any], None] = lambda _: None
) -> float:
    """Stream so many events to the last flush; give events by the processor's seconds."""
    from rms_flows.flow.build import Choices, build  # noqa: PLC0415
    from rms_flows.model import load_orchestrator  # noqa: PLC0415
    from rms_flows.stream import Pace, run  # noqa: PLC0415

    pace, looks, marks = Pace(rows), [], []

    @contextmanager
    def watched(given: Callable[[], Any]) -> Iterator[None]:
        looks.append(given)
        yield

    def step() -> None:
        seen = looks[0]()
        look(seen)
        done = seen.rows + seen.dead_letters
        if not marks and done >= WARM:
            marks.append((done, time.process_time()))
        if done >= count and not seen.unflushed:
            marks.append((done, time.process_time()))
            pace.stop()

    plan = build(load_orchestrator(flow), flow.parent, flow.parent, Choices(endless=True))
    run(plan, None, pace, begin="earliest", fault=step, watch=watched)
    return (marks[-1][0] - marks[0][0]) / (marks[-1][1] - marks[0][1])


def document(folder: Path, uri: str, rules: str, out: str, **source: str) -> Path:
    """Write a flow."""
    made = {
        "orchestrator": "bench",
        "sources": [{"id": "a", "live": uri, "archive": uri, **source}],
        "processors": [{"id": "s", "processor": "sigma", "inputs": ["a"], "parameters": {"rules": [rules]}}],
        "sinks": [{"id": "out", "inputs": ["s"], "uri": out}],
    }
    path = folder / f"{uuid.uuid4().hex[:8]}.yaml"
    path.write_text(yaml.safe_dump(made))
    return path


def side(*words: str) -> list[float]:
    """Run one side in a process of its own; give what it measured."""
    command = [sys.executable, __file__, "side", *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  ourselves
    assert done.returncode == 0, done.stderr
    found: list[float] = json.loads(done.stdout.splitlines()[-1])
    return found


def rate(broker: str, work: Path, rounds: int, rows: int) -> None:
    """Print our rate, that of a bare client, and the ratio."""
    from against_rsigma import unpacked  # noqa: PLC0415

    rules, _, lines = unpacked(work)
    topic = topic_of(broker, "rate")
    with lines.open("rb") as source:
        count = produced(broker, topic, (line.rstrip(b"\n") for line in source))
    flow = document(
        work, f"kafka://{broker}/{topic}", rules.name, str(work / "matches.ndjson"), format="windows",
        lateness="3650d", max_ahead="36500d",
    )  # fmt: skip
    took: dict[str, list[float]] = {"bare": [], "ours": []}
    for _ in range(rounds):
        took["bare"] += side("bare", broker, topic, str(count))
        (work / "matches.ndjson").unlink(missing_ok=True)
        took["ours"] += side("ours", str(flow), str(count), str(rows))
    theirs, ours = (statistics.median(took[name]) for name in ("bare", "ours"))
    print(
        f"rate: {count:,} Windows events, {ours:,.0f} events/s to matches, a bare client {theirs:,.0f}: "
        f"{ours / theirs:.2f} of it (wanted: {WANTED}); {took}",
        flush=True,
    )


RULE = {
    "title": "hundredth",
    "name": "hundredth",
    "logsource": {"product": "p"},
    "level": "low",
    "detection": {"s": {"event.action": "failed"}, "condition": "s"},
}


def made_at(rate_: int, seconds: float) -> Iterator[bytes]:
    """Give events at a rate, each with the time at which it is made."""
    begun, number = time.time(), 0
    while (now := time.time()) < begun + seconds:
        while number < (now - begun) * rate_:
            action = "failed" if number % HUNDREDTH == 0 else "login"
            stamp = time.time_ns()
            event = {"@timestamp": stamp / 1e9, "event.id": f"t{stamp}", "event.action": action}
            yield json.dumps({**event, "source.ip": "10.0.0.1", "host.name": "hub"}).encode()
            number += 1
        time.sleep(0.001)


def latency(broker: str, work: Path, rate_: int, seconds: float, flink: Sequence[str]) -> None:
    """Print how long it takes from produce to report, on the local engine or where Flink is."""
    topic, bus = topic_of(broker, "latency"), topic_of(broker, "reports")
    (work / "hundredth").mkdir(exist_ok=True)
    (work / "hundredth/rule.yml").write_text(yaml.safe_dump(RULE))
    flow = document(work, f"kafka://{broker}/{topic}", "hundredth", f"kafka://{broker}/{bus}", format="json")
    with (work / "stream.log").open("wb") as log:
        port = str(free_port())
        words = ["stream", str(flow), "--from", "latest", "--quiet", "--metrics", port]
        words += ["--dead-letters", str(work / "dead.ndjson")]
        if flink:
            words += ["--engine", "flink", "--job-server", flink[0], "--flink-rest", flink[1]]
            words += ["--checkpoint", "2"]
        process = subprocess.Popen([sys.executable, "-m", "rms_flows", *words], stderr=log)  # noqa: S603  ours
        found: list[float] = []
        over = threading.Event()

        def consume() -> None:
            consumer = reader(broker, bus, OFFSET_END)
            while not over.is_set():
                for one in consumer.consume(1_000, 0.01):
                    if one.error() is None:
                        sent = int(json.loads(one.value())["rms.evidence"][0][1:])
                        found.append((time.time_ns() - sent) / 1e6)

        thread = threading.Thread(target=consume)
        thread.start()
        try:
            ready(port)
            count = produced_now(broker, topic, made_at(rate_, seconds))
            time.sleep(3)
        finally:
            over.set()
            thread.join()
            process.terminate()
            assert process.wait(60) == 0, (work / "stream.log").read_text()
    settled = found[len(found) // 4 :]
    centiles = statistics.quantiles(settled, n=100)
    print(
        f"latency, {'Flink' if flink else 'local'}: {count:,} events at {rate_:,}/s, {len(found):,} reports: "
        f"median {centiles[49]:.0f} ms, 99 % {centiles[98]:.0f} ms, most {max(settled):.0f} ms "
        f"(wanted: {'99 % below 2,000' if flink else 'below 100 and 500'})",
        flush=True,
    )
    for power in range(3, 16):
        low, high = 1 << power if power > 3 else 0, 2 << power
        share = sum(low <= one < high for one in settled) / len(settled)
        print(f"  {low:5} to {high:5} ms {100 * share:5.1f} % {'#' * round(60 * share)}", flush=True)


READERS = (1, 2, 4)
TIMES = 5
"""So often is each event there: what is compiled and loaded at the start would else be most of it."""

SHARED = 8
"""Partitions, a multiple of them all."""


def parallel(broker: str, work: Path, rounds: int, flink: Sequence[str]) -> None:
    """Print what the busiest process takes for a million events, by the number of readers."""
    from against_rsigma import unpacked  # noqa: PLC0415

    rules, _, lines = unpacked(work)
    topic = topic_of(broker, "parallel", SHARED)
    again = lines.read_bytes().splitlines() * TIMES
    count = produced(broker, topic, iter(again), SHARED)
    flow = document(
        work, f"kafka://{broker}/{topic}", str(rules), str(work / "matches.ndjson"), format="windows",
        lateness="3650d", max_ahead="36500d",
    )  # fmt: skip
    took: dict[int, list[tuple[float, float, int]]] = {readers: [] for readers in READERS}
    for _ in range(rounds):
        for readers in READERS:
            took[readers].append(shared(work, flow, readers, count, flink))
    alone = statistics.median(busiest for busiest, _, _ in took[1])
    for readers, found in took.items():
        busiest, each = (statistics.median(one[which] for one in found) for which in (0, 1))
        print(
            f"parallel, {readers} readers: the busiest process takes {busiest:.1f} s for a million "
            f"events, {alone / busiest:.2f} times less than the one reader's; {each:,.0f} events/s here "
            f"({os.cpu_count()} cores, shared with the broker and Flink); {found[0][2]:,} matches; {found}",
            flush=True,
        )


def shared(
    work: Path, flow: Path, readers: int, count: int, flink: Sequence[str]
) -> tuple[float, float, int]:
    """Stream by some readers; give the busiest's seconds for a million events, events/s, and matches."""
    out, positions = work / "matches.ndjson", work / "positions"
    for one in (out, positions):
        one.unlink(missing_ok=True)
    rms = [sys.executable, "-m", "rms_flows"]
    pool = subprocess.Popen([*rms, "worker", "--listen", "127.0.0.1:0"], stdout=subprocess.PIPE, text=True)  # noqa: S603  ours
    assert pool.stdout is not None
    address = pool.stdout.readline().split("external:")[1].strip()
    words = ["stream", str(flow), "--positions", str(positions), "--from", "earliest", "--quiet"]
    words += ["--engine", "flink", "--job-server", flink[0], "--flink-rest", flink[1]]
    words += ["--workers", f"external:{address}", "--parallelism", str(readers)]
    with (work / "stream.log").open("wb") as log:
        process = subprocess.Popen([*rms, *words], stderr=log)  # noqa: S603  ours
        try:
            first = once(positions, count // TIMES, pool.pid)
            last = once(positions, count, pool.pid)
        finally:
            for one in (process, pool):
                one.terminate()
                one.wait(60)
    busy = max(seconds - first.busy.get(pid, 0.0) for pid, seconds in last.busy.items())
    events = last.read - first.read
    return 1e6 * busy / events, events / (last.at - first.at), out.read_bytes().count(b"\n")


class Look(NamedTuple):
    """What a stream was seen to have done: messages read, by the clock, and each process's seconds."""

    read: int
    at: float
    busy: dict[int, float]


def once(positions: Path, count: int, pool: int) -> Look:
    """Wait until so much is committed."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        if positions.exists():
            spots = json.loads(positions.read_text())["sources"]["a"]["at"][0]
            if (read := sum(offset for offset, _ in spots.values())) >= count:
                busy = {one.pid: sum(one.cpu_times()[:2]) for one in psutil.Process(pool).children()}
                return Look(read, time.monotonic(), busy)
        time.sleep(0.05)
    raise TimeoutError(f"{count} messages were not read")


def free_port() -> int:
    """Give a port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def ready(port: str) -> None:
    """Wait until a stream is ready."""
    end = time.monotonic() + 120
    while time.monotonic() < end:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    raise TimeoutError("the stream did not get ready")


def produced_now(broker: str, topic: str, values: Iterator[bytes]) -> int:
    """Write messages one by one, without waiting for others."""
    producer, count = Producer({"bootstrap.servers": broker, "linger.ms": 1}), 0
    for count, value in enumerate(values, 1):
        producer.produce(topic, value, partition=count % PARTITIONS)
        producer.poll(0)
    assert not producer.flush(60)
    return count


CORRELATED = [
    {"title": f"over {span}", "correlation": {**kind, "group-by": ["source.ip"], "timespan": span}}
    for span, kind in {
        "10m": {"type": "event_count", "rules": ["hundredth"], "condition": {"gte": 3}},
        "6h": {"type": "value_count", "rules": ["hundredth"], "condition": {"field": "user.name", "gte": 12}},
    }.items()
]


def day(count: int) -> Iterator[bytes]:
    """Give the events of a day."""
    chance = random.Random(1)  # noqa: S311  seeded
    for number in range(count):
        stamp = 1_767_225_600 + number * DAY / count - chance.random()
        action = "failed" if chance.random() < 1 / HUNDREDTH else "login"
        event = {
            "@timestamp": stamp,
            "event.id": f"d{number}",
            "event.action": action,
            "host.name": f"h{number % 50}",
            "source.ip": f"10.0.{chance.randrange(4)}.{chance.randrange(250)}",
            "user.name": f"u{chance.randrange(40)}",
        }
        yield msgspec.json.encode(event)


def memory(broker: str, work: Path, count: int) -> None:
    """Print how much a day makes a stream grow."""
    topic = topic_of(broker, "memory")
    produced(broker, topic, day(count))
    rules = work / "day"
    rules.mkdir(exist_ok=True)
    (rules / "rules.yml").write_text(yaml.safe_dump_all([RULE, *CORRELATED]))
    flow = document(
        work, f"kafka://{broker}/{topic}", "day", str(work / "day.ndjson"), format="json", max_ahead="36500d"
    )
    (work / "day.ndjson").unlink(missing_ok=True)
    each, early, late, most = side("memory", str(flow), str(count))
    print(
        f"memory: {count:,} events of a day, {each:,.0f} events/s; {early:.0f} MB after a fifth, "
        f"{late:.0f} MB at the end, {most:.0f} MB at most: "
        f"{100 * (most / early - 1):+.1f} % (wanted: below 10 %)",
        flush=True,
    )


def resident() -> float:
    """Give the megabytes of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def measured(name: str, *words: str) -> list[float]:
    """Run one side here."""
    pa.set_cpu_count(1)
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    if name == "bare":
        broker, topic, count = words
        return [bare(broker, topic, int(count))]
    flow, count = Path(words[0]), int(words[1])
    if name == "ours":
        return [streamed(flow, count, int(words[2]))]
    sizes: list[float] = []

    def look(seen: Any) -> None:
        if seen.rows > count / 5:
            sizes.append(resident())

    each = streamed(flow, count, look=look)
    early = statistics.median(sizes[: max(1, len(sizes) // 20)])
    return [each, early, statistics.median(sizes[-max(1, len(sizes) // 20) :]), max(sizes)]


def main() -> None:
    """Print the figures that are asked for."""
    if sys.argv[1:2] == ["side"]:
        print(json.dumps(measured(*sys.argv[2:])))
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("figures", nargs="*", default=["rate", "latency", "memory"])
    parser.add_argument("--broker", default="localhost:9092")
    parser.add_argument("--work", type=Path, help="folder for what is made, kept for the next time")
    parser.add_argument("--rounds", type=int, default=3, help="times that each side runs (3)")
    parser.add_argument("--batch", type=int, default=10_000, help="events of a batch at most (10,000)")
    parser.add_argument("--events", type=int, default=4_000_000, help="of the day (4,000,000)")
    parser.add_argument("--per-second", type=int, default=5_000, help="events a second (5,000)")
    parser.add_argument(
        "--flink",
        nargs=2,
        default=(),
        metavar=("JOB_SERVER", "REST"),
        help="latency there, not on the local one",
    )
    parser.add_argument("--seconds", type=float, default=40, help="of the latency (40)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        work = (options.work or Path(aside)).resolve()
        work.mkdir(parents=True, exist_ok=True)
        if "rate" in options.figures:
            rate(options.broker, work, options.rounds, options.batch)
        if "latency" in options.figures:
            latency(options.broker, work, options.per_second, options.seconds, options.flink)
        if "parallel" in options.figures:
            parallel(options.broker, work, options.rounds, options.flink)
        if "memory" in options.figures:
            memory(options.broker, work, options.events)


if __name__ == "__main__":
    main()
