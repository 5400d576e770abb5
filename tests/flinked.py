"""A flow over a day of made-up events, streamed by Flink and replayed, and what of its reports is compared."""

from evented import CORRELATIONS, SINGLE, S, flow, folded, generated, sigma, write_events, write_rules

from rms_flows.flow.build import Choices, build
from rms_flows.replay import replay
from rms_flows.stream import Pace, run


def made(folder):
    write_rules(folder / "rules", *SINGLE, *CORRELATIONS.values())
    write_events(folder / "a.json", generated(1, jitter=30 * S))
    return folder


def document(source="a.json"):
    return flow([("a", source, "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})


def compared(reports):
    return {
        name: {key: one[key] for key in one if key not in {"event.ingested", "rms.origin"}}
        for name, one in reports.items()
    }


def replayed(home):
    replay(document(), folder=home, sinks={"out": str(home / "replayed.ndjson")})
    return compared(folded(home / "replayed.ndjson"))


def streamed(home, cluster, fault=None, pace=None):
    """Stream with a fault before a batch."""
    plan = build(document(), home, home, Choices(endless=True))
    pace = pace or Pace(50, bundle=0.2)
    return run(plan, home / "positions", pace, fault=fault, cluster=cluster, job=f"rms-{home.name}")
