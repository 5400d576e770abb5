"""A probe that is killed is reported by a stream, while it runs: the whole way, from the machine to the report."""

import json
import signal
import subprocess
import sys

import yaml
from probing import PATIENCE, SILENT, end, manifest, sent, start, until

FLOW = """
orchestrator: home
sources:
  - {{id: hub, live: "follow:envelopes.ndjson", trust: {{publicKey: "{key}"}}, untrusted: quarantine, lateness: 1s, idle: 2s}}
processors:
  - {{id: silent, processor: sigma, inputs: [hub], parameters: {{rules: [silent.yml]}}}}
sinks: [{{id: out, inputs: [silent], uri: reports.ndjson}}]
"""
RULES = SILENT.replace("TIME", "10s")


def test_a_stream_reports_the_probe_that_was_killed(tmp_path):
    path, out = manifest(tmp_path), tmp_path / "envelopes.ndjson"
    public = yaml.safe_load(path.read_text())["trust"]["publicKey"]
    (tmp_path / "flow.yaml").write_text(FLOW.format(key=public))
    (tmp_path / "silent.yml").write_text(RULES)
    probe = start(path)
    until(lambda: sent(out))
    command = [sys.executable, "-m", "rms_flows", "stream", "flow.yaml"]
    stream = subprocess.Popen(  # noqa: S603  our own program
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        until((tmp_path / "flow.positions").exists, "a first commit")
        assert sent(tmp_path / "reports.ndjson") == []
        end(probe, signal.SIGKILL)
        [report] = until(lambda: sent(tmp_path / "reports.ndjson"), "a report")
        code, said = end(stream)
        assert code == 0, said
    finally:
        for one in (probe, stream):
            if one.poll() is None:
                one.kill()
                one.communicate(timeout=PATIENCE)
    assert json.loads(report["rms.group"]) == {"rms.source": "hub"}
    last = max(one["@timestamp"] for one in sent(out) if one["kind"] == "probe.heartbeat")
    assert report["rms.last"] == last
