"""A stream on a real Flink finds what a replay finds, and says so where Flink doesn't do all of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import home_day
import pytest
import topics
import yaml
from evented import CORRELATIONS, SINGLE, folded, write_rules
from flinked import compared, document, jobs_of, made, replayed, streamed, written
from followed import streamed_until, told
from servers.flink_cluster import Cluster as Server
from typer.testing import CliRunner

from rms_flows.beam import flink
from rms_flows.beam.cluster import OVER, Cluster
from rms_flows.beam.live import WriteLive
from rms_flows.beam.reading import ReadLive
from rms_flows.cli.app import app
from rms_flows.errors import FlowError, SourceError
from rms_flows.model import load_orchestrator
from rms_flows.replay import replay
from rms_flows.stream import Pace, stream

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow


@pytest.fixture
def cluster(flink_cluster):
    return Cluster(*flink_cluster)


@pytest.fixture
def home(tmp_path):
    return made(tmp_path)


def raising(error, batch):
    left = iter(range(batch))

    def fault():
        if next(left, None) is None:
            raise error

    return fault


def test_it_finds_what_a_replay_finds_counts_it_and_leaves_no_job(home, cluster):
    wanted = replayed(home)
    done = stream(
        document(), folder=home, positions=home / "positions", pace=Pace(50, bundle=0.2), cluster=cluster
    )
    assert compared(folded(home / "out.ndjson")) == wanted
    assert len({one["rule.name"] for one in wanted.values()}) > 10
    assert done.sources["a"] == {"rows": 602, "late": 0}
    assert (done.sinks["out"] >= len(wanted), done.dead_letters, done.stopped) == (True, 0, False)


def test_what_a_step_says_of_its_failure_is_told_and_the_next_start_goes_on(home, cluster):
    error = SourceError("a source that went away", where="a.json", remedy="bring it back")
    with pytest.raises(SourceError, match=r"^a\.json: a source that went away; bring it back"):
        streamed(home, cluster, raising(error, 6))
    with pytest.raises(FlowError, match=r"the job ended as FAILED: .*ZeroDivisionError.*the stream goes on without loss"):  # fmt: skip
        streamed(home, cluster, raising(ZeroDivisionError("nothing"), 3))
    done = streamed(home, cluster)
    assert done.sources["a"]["rows"] < 602, "what was committed is not counted again"
    assert compared(folded(home / "out.ndjson")) == replayed(home)


def test_a_runner_that_does_nothing_is_told_and_its_job_ended(home, cluster, monkeypatch):
    """As one does that has lost what is left of a reader: the job is RUNNING for good."""
    begin, left = WriteLive.start_bundle, iter(range(6))

    def hang(self):
        begin(self)
        if next(left, None) is None:
            time.sleep(8)

    monkeypatch.setattr(WriteLive, "start_bundle", hang)
    monkeypatch.setattr(flink, "STALLED", 2.0)
    said = r"Flink says that the job is RUNNING, and has run no step of it for \d+ s; start it again, .* use 2.76"
    with pytest.raises(FlowError, match=said):
        streamed(home, cluster)
    assert not left_over(cluster, home)


def left_over(cluster, home):
    """Jobs of a flow that are not over; other tests use the cluster meanwhile."""
    ours = jobs_of(cluster, home)
    assert ours
    return [one["jid"] for one in ours if one["state"] not in OVER]


def test_a_job_that_is_done_before_all_was_read_is_an_error(home, cluster, monkeypatch):
    def short(self, live, tracker):
        tracker.try_claim(-1)
        yield from ()

    monkeypatch.setattr(ReadLive, "_read", short)
    said = (
        r"the job is DONE, before the end of what was to be read, where sinks have 0 acknowledgements to give"
    )
    with pytest.raises(FlowError, match=said):
        streamed(home, cluster)


def test_a_flink_that_is_killed_ends_the_stream_and_the_next_start_goes_on(home, flink_set_up, tmp_path):
    with Server(tmp_path / "flink") as server:
        cluster = Cluster(*server.address)
        left = iter(range(8))

        def fault():
            if next(left, None) is None and server.process is not None:
                server.kill()

        with pytest.raises(FlowError, match=r"Beam's job server no longer answers .*goes on without loss"):
            streamed(home, cluster, fault)
        server.start()
        streamed(home, cluster)
    assert compared(folded(home / "out.ndjson")) == replayed(home)


def killed(home, cluster, kills, seed):
    written(home)
    script = Path(__file__).with_name("killed_stream.py")
    arguments = ["flow.yaml", "--batch", "20", "--bundle", "0.1", "--shards", "2", "--rate=150"]
    where = ["--engine=flink", f"--job-server={cluster.job_server}", f"--flink-rest={cluster.rest}"]
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, str(script), str(kills), str(seed), "out.ndjson", *arguments, *where],
        cwd=home, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONWARNINGS": "ignore"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("kills", "seed"), [(2, 0), *(pytest.param(20, seed, marks=pytest.mark.soak) for seed in range(1, 3))]
)
def test_kill_9_at_any_moment_loses_no_report_and_leaves_no_job(home, cluster, kills, seed):
    assert killed(home, cluster, kills, seed) >= 2
    assert compared(folded(home / "out.ndjson")) == replayed(home)
    end = time.monotonic() + 60
    while left := left_over(cluster, home):
        assert time.monotonic() < end, f"{left} of clients that were killed still run"
        time.sleep(0.2)


def test_the_smart_home_by_way_of_a_broker_is_what_its_replay_finds(tmp_path, kafka_broker, cluster):
    """The stream is told to stop in the middle of the day, and started again when all of it is there."""
    home_day.generate(tmp_path)
    one = load_orchestrator(home_day.FLOW)
    logs = {
        source.id: (tmp_path / source.archive).read_text().splitlines()
        for source in one.sources
        if source.format != "zeek"  # whose log has a header, which a topic has not
    }
    day = {name: topics.create(kafka_broker, name) for name in logs}
    uris = {name: topics.uri(kafka_broker, topic) for name, topic in day.items()}
    sources = [
        source.model_copy(update={"archive": uris.get(source.id, source.archive), "idle": "1s"})
        for source in one.sources
    ]
    shutil.copytree(home_day.RULES, tmp_path / "rules")
    sinks = [one.sinks[0].model_copy(update={"uri": "out.ndjson"})]
    one = one.model_copy(update={"sources": tuple(sources), "sinks": tuple(sinks)})
    received = int(datetime(2026, 3, 16, tzinfo=UTC).timestamp() * 1_000)

    def produce(part):
        for name, lines in logs.items():
            middle = len(lines) // 2
            half = lines[middle:] if part else lines[:middle]
            topics.produce(kafka_broker, day[name], [(0, line.encode(), received) for line in half])

    def replayed_topics():
        replay(one, folder=tmp_path, sinks={"repository": str(tmp_path / "replayed.ndjson")})
        return compared(folded(tmp_path / "replayed.ndjson"))

    for part in range(2):
        produce(part)
        wanted = replayed_topics() if part else {}
        given = sum(len(lines) if part else len(lines) // 2 for lines in logs.values())

        def enough(reports, wanted=wanted, given=given):
            return committed(tmp_path) == given and (not wanted or compared(reports) == wanted)

        # The last reports wait for the day's end and the lateness, by the clock: nothing comes any more.
        streamed_until(enough, tmp_path, one, {}, 200, cluster=cluster)
        assert committed(tmp_path) == given
    assert compared(told(tmp_path)) == wanted
    assert len({one["rule.name"] for one in wanted.values()}) > 3


def committed(home):
    """Give how many messages the positions say that were read."""
    if not (home / "positions").exists():
        return 0
    known = json.loads((home / "positions").read_text())["sources"].values()
    spots = [one["at"][0] for one in known if isinstance(one["at"][0], dict)]
    return sum(offset for one in spots for offset, _ in one.values())


def test_parity_is_the_same_by_all_doors(home, cluster):
    write_rules(
        home / "rules", *SINGLE, *(CORRELATIONS[name] for name in ("users", "sum", "hourly", "silent"))
    )
    (home / "flow.yaml").write_text(yaml.safe_dump(document().model_dump(mode="json", exclude_none=True)))
    where = ["--job-server", cluster.job_server, "--flink-rest", cluster.rest]
    words = [
        "parity",
        str(home / "flow.yaml"),
        "--doors",
        "replay,local,flink",
        "-n",
        "2",
        "--seed",
        "2",
        "--json",
    ]
    done = CliRunner().invoke(app, [*words, *where])
    assert done.exit_code == 0, done.output
    certificate = json.loads(done.stdout)
    assert (certificate["equal"], certificate["permutations"], certificate["differences"]) == (True, 4, [])
    assert certificate["crashes"] >= 2


def test_figures_of_workers_elsewhere_are_not_promised(home):
    flow = home / "flow.yaml"
    flow.write_text(yaml.safe_dump(document().model_dump(mode="json", by_alias=True, exclude_none=True)))
    where = ["--engine", "flink", "--job-server", "localhost:1", "--flink-rest", "http://localhost:1"]
    words = ["stream", str(flow), *where, "--workers", "external:localhost:2", "--metrics", "0"]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 2
    assert "external workers are other processes: ask Flink for their figures" in " ".join(
        done.output.split()
    )
