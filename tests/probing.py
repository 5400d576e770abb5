"""What the tests of the probe share: one with its key and manifest, started as a process of its own."""

import json
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import yaml

from rms_flows.envelope import public_text
from rms_flows.model.documents import DataInterface, DataKind, DataSourceDefinition
from rms_flows.probe import key
from rms_flows.registry import FolderStore, Registry

PATIENCE = 120.0
"""Seconds for what takes one on a quiet machine."""

SILENT = """
title: Sign of life
name: alive
logsource: {product: iot, service: probe}
detection:
  beat: {event.dataset: probe.heartbeat}
  condition: beat
---
title: A probe fell silent
level: high
correlation: {type: flatline, rules: alive, group-by: rms.source, timespan: TIME}
"""
"""Rules that report a probe that has said nothing for a time."""


def manifest(folder, *, name="hub", trust=None, **parameters):
    """Write the manifest of a probe, with a key of its own unless there is one."""
    private = folder / f"{name}.key"
    made = key.load(private) if private.exists() else key.make(private)
    given = {"key": private.name, "output": "envelopes.ndjson", "heartbeat": "200ms", **parameters}
    content = {
        "id": name,
        "name": "Hub",
        "dataSourceDefinitionReferenceID": "gateway",
        "parameters": [{"key": one, "value": value} for one, value in given.items()],
        "trust": {"publicKey": public_text(made), **(trust or {})},
    }
    path = folder / f"{name}.yaml"
    aside = folder / f"{name}.yaml.new"  # a running probe sees one or the other
    aside.write_text(yaml.safe_dump(content))
    aside.replace(path)
    return path


def registry(folder, *manifests):
    """Keep manifests in a registry, with what they refer to; give it."""
    kept = Registry(FolderStore(folder))
    definition = {"dataInterfaceReferenceID": "bus", "dataKindReferenceID": "any"}
    kept.apply(
        [
            DataKind(id="any", name="Any", quantityKind="any"),
            DataInterface(id="bus", name="Bus", communicationProtocol="Kafka"),
            DataSourceDefinition(id="gateway", name="Gateway", **definition),
            *manifests,
        ]
    )
    return kept


def start(path, *options, **given):
    command = [sys.executable, "-m", "rms_flows", "probe", "run", str(path), *map(str, options)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, **given)  # noqa: S603  our own program


def end(process, number=signal.SIGTERM):
    """Stop a probe; give its exit code and what it said."""
    process.send_signal(number)
    _, said = process.communicate(timeout=PATIENCE)
    return process.returncode, said


@contextmanager
def probing(path, *options, **given):
    """A probe at work, stopped at the end."""
    process = start(path, *options, **given)
    try:
        yield process
        code, said = end(process)
        assert (code, said) == (0, "")
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


def sent(path):
    """Give the envelopes of a file, whole lines of it: the last may be on its way."""
    path = Path(path)
    return [json.loads(line) for line in path.read_bytes().split(b"\n")[:-1]] if path.exists() else []


def until(true, what="that"):
    """Wait until something is true; give it."""
    end_ = time.monotonic() + PATIENCE
    while not (found := true()):
        assert time.monotonic() < end_, f"{what} did not happen"
        time.sleep(0.02)
    return found


def states(path):
    return [
        (one["payload"]["probe.state"], one["payload"].get("probe.collector"))
        for one in sent(path)
        if one["kind"] == "probe.state"
    ]
