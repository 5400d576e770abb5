"""A flow over a day of made-up events, streamed by Flink and replayed, and what of its reports is compared."""

import threading
import time

import yaml
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


def streamed_while(act, home, cluster, pace):
    """Stream while something is done, and stop with its end."""

    def watch():
        try:
            act()
        finally:
            pace.stop()

    watcher = threading.Thread(target=watch)
    watcher.start()
    assert streamed(home, cluster, pace=pace).stopped
    watcher.join()


def written(home):
    """Write the flow into a file, under the name of its folder: others use the cluster meanwhile."""
    plain = {**document().model_dump(mode="json", exclude_none=True), "orchestrator": home.name}
    (home / "flow.yaml").write_text(yaml.safe_dump(plain))


def jobs_of(cluster, home):
    """Give what Flink tells of the flow's jobs."""
    found = cluster._ask("GET", "/jobs/overview")["jobs"]
    return [one for one in found if one["name"].rpartition("-")[0] == f"rms-{home.name}"]


def until(what, seconds=120):
    """Wait for something; give it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.05)
    return found
