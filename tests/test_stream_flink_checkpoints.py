"""Flink keeps checkpoints of a stream: brought back from the last one, it finds what a replay finds."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

import pytest
from evented import SINGLE, folded, write_rules
from flinked import compared, jobs_of, made, replayed, streamed, until, written
from followed import told
from servers.flink_cluster import Cluster as Server

from rms_flows.beam import flink
from rms_flows.beam.cluster import Cluster
from rms_flows.errors import DocumentError, FlowError
from rms_flows.stream import Pace

pytestmark = pytest.mark.timeout(7_200)  # so long takes the long form

EVERY = 0.5
"""Seconds between two checkpoints."""


@pytest.fixture
def home(tmp_path):
    return made(tmp_path)


@pytest.fixture
def server(flink_set_up, tmp_path):
    with Server(tmp_path / "flink") as server:
        yield server


def checkpoints(home):
    """Give those that are whole, the last one last."""
    found = (home / "flink/checkpoints").glob("*/chk-*/_metadata")
    return sorted((path.parent for path in found), key=lambda path: path.stat().st_mtime)


def begun(home, server, rate, *more):
    """Start a stream as a person does, in a process of its own."""
    written(home)
    pace = ["--batch", "20", "--bundle", "0.1", "--shards", "2", f"--rate={rate}"]
    where = [f"--job-server={server.address.job_server}", f"--flink-rest={server.address.rest}"]
    kept = [f"--checkpoint={EVERY}", *more]
    words = [sys.executable, "-m", "rms_flows", "stream", "flow.yaml", *pace, "--engine=flink", *where, *kept]
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with (home / "stream.log").open("a") as log:
        return subprocess.Popen(words, cwd=home, env=environment, stdout=log, stderr=log)  # noqa: S603  our own words


def test_a_stream_with_checkpoints_ends_when_its_sources_do_and_leaves_no_job(home, server):
    """The traps: Flink waits for more for good; what a bundle gave that a checkpoint closed never came."""
    cluster = Cluster(*server.address, checkpoint=0.2)
    done = streamed(home, cluster, pace=Pace(20, 150.0, 0.1))
    assert done.sources["a"] == {"rows": 602, "late": 0}
    assert done.sinks["out"] > 0
    assert compared(folded(home / "out.ndjson")) == replayed(home)
    assert checkpoints(home)
    assert [one["state"] for one in cluster._ask("GET", "/jobs/overview")["jobs"]] == ["CANCELED"]


@pytest.mark.parametrize("repeats", [2, pytest.param(50, marks=pytest.mark.soak)])
def test_a_job_brought_back_from_its_last_checkpoint_finds_what_a_replay_finds(home, server, repeats):
    """Flink, the stream and its workers are killed at random moments."""
    chance = random.Random(repeats)  # noqa: S311  seeded
    wanted = replayed(home)
    for number in range(repeats):
        for path in (home / "out.ndjson", home / "flow.positions"):
            path.unlink(missing_ok=True)
        known = set(checkpoints(home))
        process = begun(home, server, 60)
        until(
            lambda known=known, process=process: process.poll() is not None or set(checkpoints(home)) - known
        )
        time.sleep(4 * chance.random())
        server.kill()
        process.kill()
        process.wait()
        last = checkpoints(home)[-1]
        server.start()
        process = begun(home, server, 2_000, f"--savepoint={last.as_uri()}")
        assert process.wait(120) == 0, (home / "stream.log").read_text()
        cluster = Cluster(*server.address)
        (job,) = cluster._ask("GET", "/jobs/overview")["jobs"]
        of = cluster._ask("GET", f"/jobs/{job['jid']}/checkpoints")["latest"]["restored"]
        assert Path(urlsplit(of["external_path"]).path) == last
        assert compared(folded(home / "out.ndjson")) == wanted, number


def cancelled_while_it_reads(home, cluster, enough):
    """Stream until there is enough of the job, then end it the hard way; what Flink kept has a reader in it."""

    def cancel():
        until(lambda: told(home))
        (job,) = jobs_of(cluster, home)
        until(lambda: enough(job["jid"]))
        cluster.cancel(job["name"])

    watcher = threading.Thread(target=cancel)
    watcher.start()
    with pytest.raises(FlowError, match="Job was cancelled"):
        streamed(home, cluster, pace=Pace(20, 30.0, 0.1))
    watcher.join()


@pytest.mark.parametrize("rules", ["same", "others"])
def test_a_job_is_brought_back_from_a_savepoint(home, server, rules):
    cluster = Cluster(*server.address, checkpoint=3_600.0)
    data = json.dumps({"target-directory": (home / "savepoints").as_uri()}).encode()

    def kept(job):
        headers = {"Content-Type": "application/json"}
        words = Request(f"{cluster.rest}/jobs/{job}/savepoints", data, headers)  # noqa: S310  our own
        urlopen(words).close()  # noqa: S310  likewise
        return until(lambda: [*home.glob("savepoints/*/_metadata")])

    cancelled_while_it_reads(home, cluster, kept)
    assert set(compared(folded(home / "out.ndjson"))) < set(replayed(home))
    (savepoint,) = home.glob("savepoints/*")
    if rules == "others":
        write_rules(home / "rules", *SINGLE)  # none that keeps state: there are fewer steps
    done = streamed(home, replace(cluster, savepoint=savepoint.as_uri()))
    if rules == "same":
        assert compared(folded(home / "out.ndjson")) == replayed(home)
    assert done.sources["a"]["rows"] > 0


@pytest.mark.parametrize(
    ("checkpoint", "said"),
    [
        (EVERY, r"the job is RUNNING, and has run no step of it for 1\d s"),
        (None, "the job is DONE, before the end of what was to be read"),
    ],
)
def test_a_checkpoint_from_after_the_end_has_no_reader_and_that_is_told(
    home, server, monkeypatch, checkpoint, said
):
    """The trap: Flink brings back a job without one, which is RUNNING for good."""
    cancel = Cluster.cancel

    def late(*words):
        time.sleep(5 * EVERY)
        cancel(*words)

    with monkeypatch.context() as patch:
        patch.setattr(Cluster, "cancel", late)
        streamed(home, Cluster(*server.address, checkpoint=EVERY))
    monkeypatch.setattr(flink, "BEGINS", 10.0)
    other = Cluster(*server.address, checkpoint=checkpoint, savepoint=checkpoints(home)[-1].as_uri())
    with pytest.raises(FlowError, match=f"{said}.*; start it without --savepoint, it goes on"):
        streamed(home, other)
    streamed(home, replace(other, savepoint=None))
    assert compared(folded(home / "out.ndjson")) == replayed(home)


@pytest.mark.parametrize("seconds", [0.0, float("nan"), float("inf")])
def test_seconds_between_checkpoints_are_checked(seconds):
    with pytest.raises(DocumentError, match=r"checkpoints are some seconds apart.*; write --checkpoint 2"):
        Cluster(checkpoint=seconds)


@pytest.mark.parametrize("running", [False, True])
def test_a_job_that_does_not_begin_is_told(running, monkeypatch):
    monkeypatch.setattr(Cluster, "running", lambda *_: 61.0 if running else 0.0)
    kept = Cluster(savepoint="file:///kept")
    if running:
        with pytest.raises(FlowError, match="has run no step of it for 61 s; start it without --savepoint"):
            flink._begins(kept, "rms-x", "RUNNING", 62.0)
    for cluster in (Cluster(), *([] if running else [kept])):
        flink._begins(cluster, "rms-x", "RUNNING", 329.0)  # there may be a slot yet, and rules to load
        with pytest.raises(FlowError, match="hasn't begun after 331 s, it is STOPPED; see on Flink's page"):
            flink._begins(cluster, "rms-x", "STOPPED", 331.0)


def test_a_savepoint_that_is_not_there_is_told(home, server):
    cluster = Cluster(*server.address, savepoint=(home / "nothing").as_uri())
    with pytest.raises(FlowError, match=r"nothing"):
        streamed(home, cluster)
