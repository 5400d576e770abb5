"""Whom a gateway confirms while a stream runs: it is let in, and kept out again, without a restart."""

import json
import threading
import time

from gatewayed import gateway
from probing import PATIENCE

from rms_flows.confirm import cache
from rms_flows.envelope import Observed, Signer, generate, public_text
from rms_flows.model import load_orchestrator
from rms_flows.stream import Pace, stream

FLOW = """
orchestrator: home
sources:
  - {id: bus, format: probe, live: "follow:envelopes.ndjson", probes: "URL", unknown: quarantine, untrusted: quarantine}
processors:
  - {id: high, processor: filter, inputs: [bus], parameters: {field: host.cpu.usage, operator: GT, threshold: 0.8}}
sinks: [{id: out, inputs: [high], uri: out.ndjson}]
"""


def test_a_probe_is_confirmed_and_revoked_while_a_stream_runs(tmp_path, monkeypatch):
    """Guards against a stream that knows only what was confirmed when it began, and against one that ends with
    its gateway."""
    monkeypatch.setattr(cache, "FRESH", 0.2)
    monkeypatch.setattr(cache, "AGAIN", 0.2)
    key = generate()
    signer, numbers = Signer(key, "hub"), iter(range(1, 1_000_000))
    places = {
        name: tmp_path / name for name in ("envelopes.ndjson", "out.ndjson", "dead.ndjson", "flow.yaml")
    }
    begin, pace, said = time.time_ns() // 1_000, Pace(bundle=0.1), {}
    places["envelopes.ndjson"].touch()

    def count(name):
        return places[name].read_bytes().count(b"\n") if places[name].exists() else 0

    def until(name):
        """Send until a file grows."""
        before = [count("out.ndjson"), count("dead.ndjson")]
        end = time.monotonic() + PATIENCE
        while count(name) == before[name == "dead.ndjson"] and time.monotonic() < end:
            number = next(numbers)
            line = signer.line(number, Observed("system.cpu", {"host.cpu.usage": 0.9}, begin + number))
            with places["envelopes.ndjson"].open("ab") as file:
                file.write(line + b"\n")
            time.sleep(0.1)
        return count(name) > before[name == "dead.ndjson"]

    def life():
        try:
            said["unknown"] = until("dead.ndjson")
            gate.known["hub"] = {"id": "hub", "publicKey": public_text(key)}
            said["confirmed"] = until("out.ndjson")
            gate.status = 503
            time.sleep(0.5)
            said["away"] = until("out.ndjson")
            gate.status = None
            gate.known["hub"]["revokedAt"] = "2020-01-01T00:00:00Z"
            said["revoked"] = until("dead.ndjson")
        finally:
            pace.stop()

    with gateway({}) as gate:
        places["flow.yaml"].write_text(FLOW.replace("URL", gate.url))
        thread = threading.Thread(target=life)
        thread.start()
        done = stream(
            load_orchestrator(places["flow.yaml"]),
            folder=tmp_path,
            positions=tmp_path / "positions",
            dead_letters=str(places["dead.ndjson"]),
            pace=pace,
        )
        thread.join()
    assert said == {"unknown": True, "confirmed": True, "away": True, "revoked": True}
    assert done.sources["bus"]["unsure"] > 0
    dead = [json.loads(line)["error.type"] for line in places["dead.ndjson"].read_text().splitlines()]
    assert {*dead} == {"unknown", "untrusted"}
