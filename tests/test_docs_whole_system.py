"""The whole system of the page, really running: probe, service, bus, flow, trust, repository, picture.

Its documents and commands are taken from the page word for word, but for the places where servers listen and
the names of topics and indices, which are this test's own.
"""

import json
import re
import signal
import socket
import subprocess
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest
import repository
import topics
from probing import PATIENCE, sent, until

PAGE = (Path(__file__).parents[1] / "docs/whole-system.md").read_text(encoding="utf-8")
COMMANDS = [
    line
    for text in re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    for line in text.splitlines()
]
METRICS = [("2026-03-14T06:07:30Z", 0.84), ("2026-03-14T06:08:00Z", 0.3), ("2026-03-14T06:08:30Z", 0.97)]


def documents():
    """Give each document with the file that the text before it names last."""
    pieces = re.split(r"^```yaml\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)
    return {
        re.findall(r"`([\w./-]+\.yaml)`", before)[-1]: text
        for before, text in zip(pieces[:-1:2], pieces[1::2], strict=True)
    }


def test_the_readme_types_the_same_commands():
    readme = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
    [block] = re.findall(r"^## The whole system.*?^```sh\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert [line.partition("     #")[0] for line in block.splitlines() if line] == COMMANDS


class House:
    """A folder in which the page is followed."""

    def __init__(self, folder, broker, node):
        self.folder = folder
        self.topic = f"envelopes-{uuid4().hex[:8]}"
        self.reports = f"IOTAC.RMS.SPM-{uuid4().hex[:8]}"
        self.index = f"threat-reports-{uuid4().hex[:8]}"
        self.metrics = topics.create(broker, "metricbeat")
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        self._places = {
            "localhost:9092/envelopes": f"{broker}/{self.topic}",
            "localhost:9092/metricbeat": f"{broker}/{self.metrics}",
            "localhost:9092/IOTAC.RMS.SPM": f"{broker}/{self.reports}",
            "localhost:9200/threat-reports": f"{node.partition('://')[2]}/{self.index}",
            "127.0.0.1:8642": f"127.0.0.1:{port}",
            "rms serve": f"rms serve --port {port}",
        }

    def here(self, text):
        for said, ours in self._places.items():
            text = text.replace(said, ours)
        return text

    def start(self, command):
        return subprocess.Popen(  # noqa: S603  the page's own words
            ["bash", "-c", f"exec {self.here(command)}"],  # noqa: S607
            cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, command):
        process = self.start(command)
        said, problem = process.communicate(timeout=2 * PATIENCE)
        assert process.returncode == 0, f"{command}\n{problem}"
        return said

    @contextmanager
    def at_work(self, command):
        """A command that runs until it is stopped, in order."""
        process = self.start(command)
        try:
            yield process
        except AssertionError as error:
            process.kill()
            _, said = process.communicate()
            raise AssertionError(f"{command}\n{said}") from error
        else:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=PATIENCE)
            assert process.returncode == 0, said
        finally:
            if process.poll() is None:
                process.kill()
                process.communicate()


@pytest.mark.timeout(600)
def test_what_nobody_confirmed_is_set_aside_and_comes_back(shell, tmp_path, kafka_broker, elasticsearch_node):
    apply, discover, key, serve, probe, stream, update, replay, report = COMMANDS
    house = House(tmp_path, kafka_broker, elasticsearch_node)
    for name, text in documents().items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(house.here(text))
    (tmp_path / "load.json").write_text('{"cpu": {"usage": 0.93}}')
    assert house.run(apply).count("\n") == 4
    assert "hub" in house.run(discover)
    trust = house.run(key)

    with house.at_work(serve) as service:
        assert service.stderr.readline().startswith("rms serve: ")
        with house.at_work(probe):
            until(lambda: loads(kafka_broker, house.topic) >= 3, "three looks of the hub")
    envelopes = topics.consume(kafka_broker, house.topic)
    hub = loads(kafka_broker, house.topic)
    assert {one.key for one in envelopes} == {b"hub"}

    topics.produce(kafka_broker, house.metrics, [(0, metricbeat(*one), 0) for one in METRICS])
    with house.at_work(stream):
        until(lambda: len(sent(tmp_path / "reports.ndjson")) == 2, "the reports of the back end")
        until(lambda: len(sent(tmp_path / "quarantine.ndjson")) == len(envelopes), "the quarantine")
    assert {one["error.type"] for one in sent(tmp_path / "quarantine.ndjson")} == {"unknown"}

    manifest = documents()["documents/DataSourceManifest/hub.yaml"]
    (tmp_path / "confirmed.yaml").write_text(house.here(manifest) + trust)
    for command in (update, replay, report):
        house.run(command)
    assert not (tmp_path / "left.ndjson").exists()
    confirmed = sent(tmp_path / "confirmed.ndjson")
    assert sorted(one["rms.source"] for one in confirmed) == ["backend"] * 2 + ["hub"] * hub
    ids = sorted(one["event.id"] for one in confirmed)
    assert sorted(repository.ids(elasticsearch_node, house.index)) == ids
    told = topics.consume(kafka_broker, house.reports)
    assert sorted({json.loads(one.value)["id"] for one in told}) == ids
    assert {json.loads(one.value)["dataSourceID"] for one in told} == {"hub", "backend"}
    assert {one["event.id"] for one in sent(tmp_path / "reports.ndjson")} < {*ids}
    assert "Hub" in manifest
    assert (tmp_path / "report.html").stat().st_size > 100_000


def loads(broker, topic):
    """Count what the hub's program said, in a topic that may not be there yet."""
    if topic not in topics.admin(broker).list_topics(timeout=PATIENCE).topics:
        return 0
    return sum(json.loads(one.value)["kind"] == "host" for one in topics.consume(broker, topic))


def metricbeat(when, usage):
    cpu = {"cores": 4, "total": {"norm": {"pct": usage}, "pct": 4 * usage}}
    return json.dumps({
        "@timestamp": when, "agent": {"type": "metricbeat", "version": "8.11.0"}, "host": {"name": "pi"},
        "event": {"dataset": "system.cpu", "module": "system"}, "metricset": {"name": "cpu"}, "system": {"cpu": cpu},
    }).encode()  # fmt: skip
