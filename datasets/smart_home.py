"""A day of a smart home's back end, with attacks planted in it and the truth beside them.

    python datasets/smart_home.py out/smart-home [--day 2026-03-14] [--seed 7]

Writes, the same for the same day and seed, byte for byte:

- `metrics.ndjson`: Metricbeat documents of the hub's CPU every 15 seconds, with episodes of overload;
- `auth.log`: syslog lines of its SSH server, with guessing from three addresses among honest log-ins;
- `conn.log`: Zeek's connections, with a port scan and a beacon;
- `mosquitto.log`: lines of the MQTT broker, with connects that it refused;
- `truth.json`: every event that was planted, and which kind of rule can find it;
- `labels.csv`: the same as incidents, for `rms backtest`.

Addresses are those that RFC 5737 and RFC 1918 keep for documents and homes.
"""

from __future__ import annotations

import argparse
import json
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

HUB = "192.168.1.10"
CORES = 4
GUESSERS = ("203.0.113.5", "198.51.100.23", "192.0.2.77")
SCANNER = "192.168.1.99"
BEACON = ("192.168.1.31", "203.0.113.200")
DEVICES = {f"sensor-{n:02d}": f"192.168.1.{20 + n}" for n in range(1, 11)}
STRANGERS = ("admin-panel", "sensor-99", "paho-7731")


@dataclass
class Truth:
    """What was planted: `rule` events a single-event rule reports one by one, the rest needs more."""

    planted: list[dict[str, Any]] = field(default_factory=list)

    def add(self, kind: str, found_by: str, when: datetime, **what: Any) -> None:
        """Note one event."""
        self.planted.append({"kind": kind, "found_by": found_by, "time": stamp(when), **what})


def stamp(when: datetime) -> str:
    """Write a time as Metricbeat does."""
    return when.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def metrics(day: datetime, rng: random.Random, truth: Truth) -> Iterator[str]:
    """Give the hub's CPU: a calm day, honest peaks below 0.8, and four episodes of overload."""
    starts = sorted(rng.sample(range(2 * 240, 23 * 240, 30), 4))
    episodes = [range(start, start + rng.randint(12, 48)) for start in starts]
    for tick in range(24 * 240):
        when = day + timedelta(seconds=15 * tick, milliseconds=rng.randint(0, 400))
        overload = any(tick in episode for episode in episodes)
        calm = 0.22 + 0.12 * math.sin(tick / 5760 * 2 * math.pi) + rng.gauss(0, 0.05)
        peak = 0.35 if rng.random() < 0.01 else 0.0
        usage = rng.uniform(0.82, 0.99) if overload else min(0.78, max(0.01, calm + peak))
        norm = round(usage, 4)
        if overload:
            truth.add("overload", "rule", when, usage=norm)
        document = {
            "@timestamp": stamp(when),
            "event": {"dataset": "system.cpu", "module": "system", "duration": rng.randint(90_000, 200_000)},
            "host": {"name": "hub", "ip": [HUB]},
            "metricset": {"name": "cpu", "period": 15_000},
            "service": {"type": "system"},
            "system": {
                "cpu": {
                    "cores": CORES,
                    "total": {"pct": round(norm * CORES, 4), "norm": {"pct": norm}},
                    "idle": {"pct": round((1 - norm) * CORES, 4)},
                }
            },
        }
        yield json.dumps(document, separators=(",", ":"))


def auth(day: datetime, rng: random.Random, truth: Truth) -> Iterator[str]:
    """Give the SSH server's log: honest log-ins, now and then mistyped, and guessing from three addresses."""
    lines: list[tuple[datetime, int, str]] = []

    def say(when: datetime, process: int, message: str) -> None:
        lines.append((when, len(lines), f"hub sshd[{process}]: {message}"))

    for _ in range(40):
        when = day + timedelta(seconds=rng.randint(6 * 3600, 23 * 3600))
        user, address, port = (
            rng.choice(("ana", "jon")),
            f"192.168.1.{rng.randint(2, 9)}",
            rng.randint(40_000, 60_000),
        )
        process = rng.randint(1_000, 30_000)
        if rng.random() < 0.1:
            say(
                when - timedelta(seconds=4),
                process,
                f"Failed password for {user} from {address} port {port} ssh2",
            )
            truth.add("mistyped", "noise", when - timedelta(seconds=4), user=user, address=address)
        way = rng.choice(("publickey", "password"))
        say(when, process, f"Accepted {way} for {user} from {address} port {port} ssh2")
        say(when, process, f"pam_unix(sshd:session): session opened for user {user} by (uid=0)")
    for address, count, pause in zip(GUESSERS, (60, 25, 12), (3, 20, 900), strict=True):
        when = day + timedelta(seconds=rng.randint(3600, 12 * 3600))
        for _ in range(count):
            when += timedelta(seconds=pause + rng.randint(0, 2))
            user, port = rng.choice(("root", "admin", "pi", "ubnt", "test")), rng.randint(30_000, 60_000)
            unknown = "" if user == "root" else "invalid user "
            process = rng.randint(1_000, 30_000)
            say(when, process, f"Failed password for {unknown}{user} from {address} port {port} ssh2")
            truth.add("guessed-log-in", "rule", when, user=user, address=address)
        truth.add("guessing", "correlation", when, address=address, attempts=count)
    for when, _, rest in sorted(lines):
        yield f"{when:%b} {when.day:2d} {when:%H:%M:%S} {rest}"


def conn(day: datetime, rng: random.Random, truth: Truth) -> Iterator[str]:
    """Give Zeek's connections: devices that talk to the hub and the cloud, a port scan, a beacon."""
    names = (
        "ts", "uid", "id.orig_h", "id.orig_p", "id.resp_h", "id.resp_p", "proto", "service", "duration",
        "orig_bytes", "resp_bytes", "conn_state",
    )  # fmt: skip
    types = (
        "time",
        "string",
        "addr",
        "port",
        "addr",
        "port",
        "enum",
        "string",
        "interval",
        "count",
        "count",
        "string",
    )
    rows: list[tuple[datetime, tuple[Any, ...]]] = []

    def add(when: datetime, source: str, target: str, port: int, service: str, size: int, state: str) -> None:
        uid = "C" + "".join(rng.choices("0123456789abcdefghijkmnpqrstuvwxyz", k=16))
        spent = f"{rng.uniform(0.01, 2):.6f}" if state == "SF" else "-"
        rows.append(
            (
                when,
                (
                    uid,
                    source,
                    rng.randint(1024, 65535),
                    target,
                    port,
                    "tcp",
                    service,
                    spent,
                    size,
                    size * 2,
                    state,
                ),
            )
        )

    for address in DEVICES.values():
        when = day + timedelta(seconds=rng.uniform(0, 300))
        while when < day + timedelta(days=1):
            add(when, address, HUB, 1883, "mqtt", rng.randint(80, 400), "SF")
            when += timedelta(seconds=rng.expovariate(1 / 600))
    when = day + timedelta(seconds=rng.uniform(0, 300))
    while when < day + timedelta(days=1):
        add(when, BEACON[0], BEACON[1], 443, "ssl", rng.randint(300, 320), "SF")
        truth.add("beacon", "baseline", when, source=BEACON[0], target=BEACON[1])
        when += timedelta(seconds=300 + rng.uniform(-4, 4))
    start = day + timedelta(seconds=rng.randint(13 * 3600, 20 * 3600))
    for at, port in enumerate(rng.sample(range(1, 10_000), 250)):
        add(start + timedelta(seconds=0.2 * at), SCANNER, HUB, port, "-", 0, rng.choice(("REJ", "S0")))
    truth.add("port-scan", "correlation", start, source=SCANNER, target=HUB, ports=250)
    yield "#separator \\x09"
    yield "#set_separator\t,"
    yield "#empty_field\t(empty)"
    yield "#unset_field\t-"
    yield "#path\tconn"
    yield "\t".join(("#fields", *names))
    yield "\t".join(("#types", *types))
    for when, cells in sorted(rows):
        yield "\t".join((f"{when.timestamp():.6f}", *map(str, cells)))


def broker(day: datetime, rng: random.Random, truth: Truth) -> Iterator[str]:
    """Give the MQTT broker's log: devices that come and go, and strangers that it refuses."""
    lines: list[tuple[datetime, int, str]] = []

    def say(when: datetime, message: str) -> None:
        lines.append((when.replace(microsecond=0), len(lines), message))

    for client, address in DEVICES.items():
        for _ in range(rng.randint(4, 9)):
            when, port = day + timedelta(seconds=rng.randint(60, 85_000)), rng.randint(40_000, 60_000)
            say(when, f"New connection from {address}:{port} on port 1883.")
            say(when, f"New client connected from {address}:{port} as {client} (p2, c1, k60, u'{client}').")
            say(when + timedelta(seconds=rng.randint(30, 900)), f"Client {client} disconnected.")
    for _ in range(35):
        client = rng.choice(STRANGERS)
        when, port = day + timedelta(seconds=rng.randint(9 * 3600, 11 * 3600)), rng.randint(40_000, 60_000)
        say(when, f"New connection from 192.168.1.{rng.randint(100, 120)}:{port} on port 1883.")
        say(when, f"Client {client} disconnected, not authorised.")
        truth.add("refused-connect", "rule", when, client=client)
    for when, _, message in sorted(lines):
        yield f"{int(when.timestamp())}: {message}"


def labels(truth: Truth) -> Iterator[tuple[str, str, str, str, str]]:
    """Give the incidents: kind, entity, start, end, and the rules that alone may find it."""
    yield "kind", "entity", "start", "end", "rules"
    spans: list[tuple[str, str, list[datetime]]] = []
    for one in truth.planted:
        when = datetime.fromisoformat(one["time"])
        kind, who = one["kind"], one.get("address") or one.get("source") or ("hub" if "usage" in one else "")
        if kind in {"mistyped", "guessing"}:  # no attack; its single events are there too
            continue
        pause = timedelta(minutes=2 if kind == "overload" else 24 * 60)
        last = next((s for s in reversed(spans) if s[:2] == (kind, who)), None)
        if last is None or when - max(last[2]) > pause:
            spans.append((kind, who, [when]))
        else:
            last[2].append(when)
        if kind == "port-scan":
            spans[-1][2].append(when + timedelta(minutes=1))
    for kind, who, times in spans:
        rules = {"overload": "High CPU load", "refused-connect": "MQTT connect refused"}.get(kind, "")
        end = max(times) + timedelta(milliseconds=1)  # stamps are cut, and the last event is inside
        yield kind, who, stamp(min(times)), stamp(end), rules


def main() -> None:
    """Write the day."""
    parser = argparse.ArgumentParser(description="Generate a day of a smart home with attacks planted in it.")
    parser.add_argument("out", type=Path, help="folder to write to")
    parser.add_argument(
        "--day", type=date.fromisoformat, default=date(2026, 3, 14), help="which day (2026-03-14)"
    )
    parser.add_argument("--seed", type=int, default=7, help="another seed, another day (7)")
    options = parser.parse_args()
    day = datetime(options.day.year, options.day.month, options.day.day, tzinfo=UTC)
    truth = Truth()
    options.out.mkdir(parents=True, exist_ok=True)
    files = {"metrics.ndjson": metrics, "auth.log": auth, "conn.log": conn, "mosquitto.log": broker}
    for name, make in files.items():
        rng = random.Random(f"{options.seed} {name}")
        lines = list(make(day, rng, truth))
        (options.out / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        print(f"{options.out / name}: {len(lines):,} lines")
    whole = {"day": options.day.isoformat(), "seed": options.seed, "planted": truth.planted}
    (options.out / "truth.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    incidents = list(labels(truth))
    (options.out / "labels.csv").write_text(
        "".join(f"{','.join(row)}\n" for row in incidents), encoding="utf-8"
    )
    print(f"{options.out / 'labels.csv'}: {len(incidents) - 1} incidents")
    print(f"{options.out / 'truth.json'}: {len(truth.planted):,} events planted")


if __name__ == "__main__":
    main()
