"""Flink runs the steps of a stream in processes of their own: killed, stopped and told, they lose nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from evented import folded
from flinked import compared, jobs_of, made, replayed, streamed, streamed_while, until
from followed import told

from rms_flows.beam.cluster import Cluster
from rms_flows.beam.reading import LEFT
from rms_flows.errors import BusyError, DocumentError, FlowError, SinkError
from rms_flows.stream import Pace

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow


@pytest.fixture
def home(tmp_path):
    return made(tmp_path)


@pytest.fixture
def pool(flink_set_up, tmp_path):
    words = [sys.executable, "-m", "rms_flows", "worker", "--listen", "127.0.0.1:0"]
    with (
        (tmp_path / "pool.log").open("w") as log,
        subprocess.Popen(words, stdout=subprocess.PIPE, stderr=log, text=True) as process,  # noqa: S603  our own words
    ):
        process.address = process.stdout.readline().split("external:")[1].strip()
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    assert children(process.pid) == []


@pytest.fixture
def cluster(flink_cluster, pool):
    return Cluster(*flink_cluster, pool.address)


def children(pid):
    try:
        return [
            int(one)
            for thread in Path(f"/proc/{pid}/task").iterdir()
            for one in (thread / "children").read_text().split()
        ]
    except FileNotFoundError:
        return []


def size(home):
    out = home / "out.ndjson"
    return out.stat().st_size if out.exists() else 0


HANGS = 300.0
"""Seconds for what takes forty: one run, among dozens, did not go on in fifteen minutes, and nobody knows why."""


@contextmanager
def unless_it_hangs(home, cluster):
    """Do what a person does with a job that does nothing for good: cancel it, start again; nothing is lost."""
    hung = threading.Event()

    def cancel():
        hung.set()
        for one in jobs_of(cluster, home):
            sys.stderr.write(f"{one}\n")
            cluster.cancel(one["name"])

    timer = threading.Timer(HANGS, cancel)
    timer.start()
    try:
        yield
    except FlowError:
        if not hung.is_set():
            raise
        streamed(home, cluster)
    finally:
        timer.cancel()


def test_they_find_what_a_replay_finds_and_tell_of_it(home, cluster):
    done = streamed(home, cluster)
    assert compared(folded(home / "out.ndjson")) == replayed(home)
    assert done.sources["a"] == {"rows": 602, "late": 0}
    again = streamed(home, cluster)
    assert again.sources["a"].get("rows", 0) == 0, "all was committed"


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_lost(home, cluster, pool):
    killed = []

    def kill():
        for _ in range(2):
            before = size(home)
            until(lambda before=before: size(home) > before and children(pool.pid))
            for one in children(pool.pid):
                os.kill(one, signal.SIGKILL)
                killed.append(one)

    killer = threading.Thread(target=kill)
    killer.start()
    with unless_it_hangs(home, cluster):
        streamed(home, cluster, pace=Pace(20, 30.0, 0.2))
    killer.join()
    assert len(killed) >= 2
    assert compared(folded(home / "out.ndjson")) == replayed(home)


def test_with_checkpoints_flink_goes_on_from_the_last_when_a_worker_is_killed(home, cluster, pool):
    """The trap: from there on, the runner counts batches from where it was, and the new worker from one."""
    wanted = replayed(home)
    cluster, pace = replace(cluster, checkpoint=0.5), Pace(20, 50.0, 0.1)

    def kept(word):
        """Say how many checkpoints of the job there are, or how often it began from one."""
        ours = jobs_of(cluster, home)
        with suppress(FlowError):  # there are none before a job has begun
            return ours and cluster._ask("GET", f"/jobs/{ours[0]['jid']}/checkpoints")["counts"][word]
        return 0

    def kill():
        until(lambda: kept("completed") and size(home) and children(pool.pid))
        for one in children(pool.pid):
            os.kill(one, signal.SIGKILL)
        assert compared(told(home)) != wanted, "there is more to read"
        until(lambda: kept("restored"))
        until(lambda: compared(told(home)) == wanted)

    streamed_while(kill, home, cluster, pace)
    assert kept("restored") == 1
    assert compared(folded(home / "out.ndjson")) == wanted


def test_it_is_stopped_by_flink_goes_on_and_there_is_but_one_of_a_flow(home, cluster):
    def start_another():
        until(lambda: size(home))
        with pytest.raises(
            BusyError, match=r"the job \w+ of this flow is RUNNING; leave it be, or cancel it"
        ):
            streamed(home, cluster)

    streamed_while(start_another, home, cluster, Pace(20, 30.0, 0.2))
    assert {*folded(home / "out.ndjson")} < {*replayed(home)}
    streamed(home, cluster)
    assert compared(folded(home / "out.ndjson")) == replayed(home)


LEFT_ALONE = """
import sys
from rms_flows.beam.load import load
load()
from rms_flows.beam.ledger import Ledger
from rms_flows.beam.reading import LIVE, Live, watched
from rms_flows.io.position import Position
LIVE["run"] = Live(None, None, {})
with LIVE["run"].working():
    pass
if sys.argv[2] == "over":
    del LIVE["run"]
elif sys.argv[2] in {"owing", "done"}:
    LIVE["run"].over = True
    LIVE["run"].ledger = Ledger(None, {"a": 1}, {"a": 0})
    LIVE["run"].ledger.issue("a", 1, Position(), 0)
    if sys.argv[2] == "done":
        LIVE["run"].ledger.acknowledge("a", 1)
watched("run", float(sys.argv[1]))
"""


@pytest.mark.parametrize("when", ["on", "owing"])
def test_a_worker_that_the_runner_leaves_alone_ends_so_that_another_goes_on(when):
    """As runners do that lose what is left of a reader, or what it gave last; nobody else could tell."""
    words = [sys.executable, "-c", LEFT_ALONE, "0.1", when]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603  our own words
    assert done.returncode == LEFT
    assert "the runner has run no step for 1 s; it has to start anew" in done.stderr


@pytest.mark.parametrize("when", ["over", "done"])
def test_who_watches_a_run_ends_with_it(when):
    """The trap: it went on, and a minute later ended a process that had other things to do."""
    words = [sys.executable, "-c", LEFT_ALONE, "0.0", when]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603  our own words
    assert (done.returncode, done.stderr) == (0, "")


LOST = """
import sys, time
from rms_flows.beam.load import load
load()
from rms_flows.beam import reading
reading.STALLED = 0.5
made = lambda: (time.sleep(2), sys.exit("it makes what it works on"))
reader = reading.ReadLive("run", 1.0, None if sys.argv[1] == "here" else made)
tracker = reader.create_tracker(reader.initial_restriction(None))
if sys.argv[1] == "begun":
    next(reader.process(None, tracker))
time.sleep(3 if sys.argv[1] == "here" else 60)
"""


@pytest.mark.parametrize("when", ["lost", "begun", "here"])
def test_a_reader_that_is_lost_before_its_first_step_is_noticed(when):
    """The traps: the watch began with that step, so that the job was RUNNING for good; it ended programs of others."""
    words = [sys.executable, "-c", LOST, when]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=200)  # noqa: S603  our own words
    if when == "here":
        assert (done.returncode, done.stderr) == (0, "")
    elif when == "begun":
        assert (done.returncode, done.stderr.strip()) == (1, "it makes what it works on")
    else:
        assert done.returncode == LEFT
        assert "the runner has not begun to read for 0 s; it has to start anew" in done.stderr


def test_what_a_step_says_there_is_told_here(home, cluster, monkeypatch):
    monkeypatch.setattr("rms_flows.beam.flink.RETRIES", 0)
    (home / "out.ndjson").mkdir()
    with pytest.raises(SinkError, match=r"out.ndjson"):
        streamed(home, cluster)


def test_a_port_that_is_taken_is_told(pool):
    words = [sys.executable, "-m", "rms_flows", "worker", "--listen", pool.address]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=100)  # noqa: S603  our own words
    assert done.returncode == 2
    assert f"{pool.address}: can't listen here" in done.stderr
    assert "name another with --listen" in done.stderr


def test_what_is_no_address_of_workers_is_told():
    with pytest.raises(
        DocumentError, match=r"the address of a pool of workers is HOST:PORT; write --workers external:"
    ):
        Cluster(workers="somewhere")
