"""Events that tests make up, a flow over them, and what is found in it counted the plainest way."""

import json
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import yaml

from rms_flows.model import Orchestrator
from rms_flows.report import read_reports

DAY = datetime(2026, 1, 1, tzinfo=UTC)
S, M, H = 1_000_000, 60_000_000, 3_600_000_000
ZERO = int(DAY.timestamp()) * S


def at(time):
    """Microseconds → ISO 8601."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=time)).isoformat()


def event(name, time, action, **fields):
    return {"@timestamp": at(time), "event.id": name, "event.action": action, **fields}


def time_of(document):
    return int(datetime.fromisoformat(document["@timestamp"]).timestamp() * S + 0.5)


def generated(seed, count=600, *, span=24 * H, start=ZERO, jitter=20 * S, prefix="e"):
    """Events of four actions over a span, out of order by up to `jitter`; ids are no hexadecimal digits.

    Attacks come in bursts, so that groups fill up, and a part of the stamps fall on whole minutes: ties.
    """
    rng = random.Random(seed)  # noqa: S311  seeded
    found = []
    while len(found) < count:
        burst = start + rng.randrange(span)
        ip, host = f"10.0.0.{rng.randrange(6)}", f"h{rng.randrange(4)}"
        for _ in range(rng.randrange(1, 12)):
            time = burst + rng.randrange(12 * M)
            time -= time % M if rng.random() < 0.3 else time % 1000
            if not start <= time < start + span:
                continue
            action = rng.choices(["failed", "login", "sent", "reading"], [6, 1, 3, 2])[0]
            fields = {"source.ip": ip, "host.name": host, "user.name": rng.choice(["ann", "Ann", "bo", "cy"])}
            if rng.random() < 0.05:
                del fields["source.ip"]
            if action == "sent":
                fields["n"] = rng.choice([1, 7, "30", 2.5, "none", -3])
            found.append(event(f"{prefix}-{len(found)}", time, action, **fields))
    return sorted(found, key=lambda one: (time_of(one) + rng.randrange(jitter or 1), one["event.id"]))


def rule(name, **detection):
    found = {"title": name, "name": name, "logsource": {"product": "p"}, "level": "low"}
    return {**found, "detection": {"s": {"event.action": name, **detection}, "condition": "s"}}


def correlation(title, kind, rules, group_by, timespan, condition=None, **more):
    level, generate = more.pop("level", "high"), more.pop("generate", None)
    said = {"type": kind, "rules": rules, "group-by": group_by, "timespan": timespan, **more}
    said |= {"condition": condition} if condition is not None else {}
    said |= {"generate": generate} if generate is not None else {}
    return {"title": title, "name": title, "level": level, "correlation": said}


SINGLE = [rule(name) for name in ("failed", "login", "sent", "reading")]
KEYS = [
    "h0",
    {"host.name": "h1", "valid-from": DAY.isoformat()},
    {"host.name": "gone", "valid-from": DAY.isoformat()},
]
CORRELATIONS = {
    one["title"]: one
    for one in [
        correlation("many", "event_count", ["failed"], ["source.ip", "user.name"], "10m", {"gte": 2}),
        correlation("spread", "value_count", ["many"], ["source.ip"], "1h", {"field": "user.name", "gte": 2}),
        correlation("users", "value_count", ["failed", "login"], "source.ip", "10m", {"field": "user.name", "gte": 3}),
        correlation("sum", "value_sum", "sent", "host.name", "15m", {"field": "n", "gt": 30}),
        correlation("median", "value_median", "sent", "source.ip", "1h", {"field": "n", "lt": 7}),
        correlation("few", "event_count", "login", "source.ip", "2h", {"lte": 1}),
        correlation("both", "temporal", ["many", "login"], "source.ip", "20m"),
        correlation("order", "temporal_ordered", ["many", "login"], "source.ip", "20m"),
        correlation("unfinished", "temporal", ["failed", "login"], "source.ip", "10m", "failed and not login"),
        correlation("hourly", "event_count", "failed", "source.ip", "5m", {"gte": 2}, suppress="1h"),
        correlation("silent", "flatline", "reading", "host.name", "40m"),
        correlation("waited", "flatline", "reading", "host.name", "70m", keys=KEYS, suppress="3h"),
        correlation("new", "new_terms", "login", "user.name", "6h", field="source.ip"),
        correlation("regular", "baseline", "reading", "host.name", "12h", {"gte": 0.1}, baseline={"method": "regularity", "least": 4}),
        correlation("after", "event_count", "unfinished", "source.ip", "1h", {"gte": 3}),
    ]
}  # fmt: skip


def write_events(path: Path, events):
    path.write_text("".join(json.dumps(one) + "\n" for one in events))


def write_rules(folder: Path, *documents):
    folder.mkdir(exist_ok=True)
    (folder / "rules.yml").write_text(yaml.safe_dump_all(documents, sort_keys=False))


def sigma(name, *inputs, rules="rules"):
    return {"id": name, "processor": "sigma", "inputs": [*inputs], "parameters": {"rules": [rules]}}


def flow(sources, processors, sinks):
    """A flow; `sources` are (id, file, lateness), `sinks` id → (inputs, uri)."""
    return Orchestrator.model_validate(
        {
            "orchestrator": "t",
            "sources": [
                {"id": name, "archive": file, "format": "json", "lateness": lateness}
                for name, file, lateness in sources
            ],
            "processors": processors,
            "sinks": [{"id": name, "inputs": inputs, "uri": uri} for name, (inputs, uri) in sinks.items()],
        }
    )


def lines(path: Path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def folded(path: Path):
    """Reports by id, the highest revision of each."""
    return {row["event.id"]: row for row in read_reports([str(path)]).to_pylist()}


def named(reports, name):
    """(time, group, evidence) of the reports of one rule."""
    return {
        (int(row["@timestamp"].timestamp() * S + 0.5), row["rms.group"], tuple(row["rms.evidence"] or ()))
        for row in reports.values()
        if row["rule.name"] == name
    }
