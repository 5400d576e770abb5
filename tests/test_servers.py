"""The servers of tests: one for all who use it, gone with the last of them, however that ends."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from kafka.admin import KafkaAdminClient
from servers import home
from servers.flink_cluster import Cluster
from servers.kafka_broker import Broker
from servers.shared import shared

USER = """
import sys
from pathlib import Path
from servers.shared import shared

def start(folder, stdin):
    import subprocess
    child = subprocess.Popen([sys.executable, "-c", "import sys, os; sys.stdin.read()"], stdin=stdin)
    child.returncode = 0  # it outlives us
    return str(child.pid)

with shared(Path(sys.argv[1]), start) as pid:
    print(pid, flush=True)
    sys.stdin.read()
"""


def user(folder: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(  # noqa: S603  our own interpreter
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
    )


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def ends(pid: int) -> bool:
    end = time.monotonic() + 20
    while runs(pid) and time.monotonic() < end:
        time.sleep(0.02)
    return not runs(pid)


@pytest.mark.parametrize("signals", [(signal.SIGKILL, signal.SIGKILL), (None, signal.SIGKILL), (None, None)])
def test_a_shared_server_ends_with_the_last_who_uses_it_also_when_that_is_killed(tmp_path, signals):
    users = [user(tmp_path / "server") for _ in signals]
    pids = {int(one.stdout.readline()) for one in users}
    assert len(pids) == 1
    [pid] = pids
    for one, how in zip(users, signals, strict=True):
        assert runs(pid)
        if how is None:
            one.stdin.close()
        else:
            one.send_signal(how)
        one.wait(20)
        one.stdin.close()
        one.stdout.close()
    assert ends(pid)


def test_a_shared_server_that_is_gone_is_started_anew(tmp_path):
    started = []

    def start(folder, stdin):
        del folder, stdin  # it is gone at once
        started.append(1)
        return f"server {len(started)}"

    with shared(tmp_path / "server", start) as first, shared(tmp_path / "server", start) as second:
        assert (first, second) == ("server 1", "server 2")


def test_a_home_is_made_once_and_again_when_its_sources_change(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "CACHE", tmp_path / "cache")
    source = tmp_path / "pom.xml"
    source.write_text("one")
    made = []
    folders = [home.home("fake", [source], "1", made.append) for _ in range(2)]
    source.write_text("two")
    folders.append(home.home("fake", [source], "1", made.append))
    assert folders == [made[0], made[0], made[1]]
    assert made[0] != made[1]


def test_a_home_that_was_half_made_is_made_anew(tmp_path, monkeypatch):
    monkeypatch.setattr(home, "CACHE", tmp_path)

    def cut(folder):
        (folder / "half").touch()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        home.home("fake", [], "1", cut)
    folder = home.home("fake", [], "1", lambda folder: (folder / "whole").touch())
    assert {path.name for path in folder.iterdir()} == {"whole", "ready"}


def test_without_maven_there_is_a_word_on_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(home.MissingToolError, match="there is no mvn: install Maven"):
        home.jars(tmp_path / "pom.xml", tmp_path)


def test_the_node_is_a_real_one(elasticsearch_node):
    with urllib.request.urlopen(elasticsearch_node) as answer:  # noqa: S310  loopback
        assert json.load(answer)["version"]["number"].startswith("9.")
    assert elasticsearch_node.startswith("http://127.0.0.1:")


def asking(host, what):
    client = KafkaAdminClient(bootstrap_servers=host)
    try:
        return what(client)
    finally:
        client.close()


def test_the_broker_is_a_real_one_and_is_found_again_after_a_kill(kafka_set_up, tmp_path):
    with Broker(tmp_path / "broker") as broker:
        first = broker.url
        asking(
            first,
            lambda client: client.create_topics({"mine": {"num_partitions": 3, "replication_factor": 1}}),
        )
        time.sleep(1)  # until what is new is on disk
        broker.kill()
        broker.start()
        assert broker.url == first
        found = asking(first, lambda client: client.describe_topics(["mine"]))
        assert len(found[0]["partitions"]) == 3


def overview(rest):
    with urllib.request.urlopen(f"{rest}/overview") as answer:  # noqa: S310  loopback
        return json.load(answer)


def test_flink_is_a_real_one_and_is_found_again_after_a_kill(flink_set_up, tmp_path):
    with Cluster(tmp_path / "flink") as cluster:
        first = cluster.address
        assert (overview(first.rest)["flink-version"], overview(first.rest)["taskmanagers"]) == ("1.19.0", 1)
        cluster.kill()
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(tuple(first.job_server.split(":"))).close()
        cluster.start()
        assert cluster.address == first
        socket.create_connection(tuple(first.job_server.split(":"))).close()
        assert overview(first.rest)["slots-available"] > 1


def test_a_broker_that_can_not_start_says_why(kafka_set_up, tmp_path):
    with pytest.raises(RuntimeError, match=r"(?s)no server answers .*exit code 1.*process.roles"):
        Broker(tmp_path, {"process.roles": "nothing"}).start()


def test_services_start_for_a_person_say_where_they_are_and_end_when_told(kafka_set_up):
    words = [sys.executable, "-m", "servers", "kafka", "--kafka-port", "0"]
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "XDG_CACHE_HOME": str(home.CACHE.parent)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=env) as person:  # noqa: S603  our own interpreter
        said = person.stdout.readline()
        host = re.search(r"kafka://([\d.:]+)/TOPIC", said)[1]
        assert asking(host, lambda client: client.list_topics()) == []
        person.send_signal(signal.SIGINT)
        assert person.wait(60) == 0
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(tuple(host.split(":"))).close()
