"""What the registry knows of the flows that run: started, seen, stopped from elsewhere, failed, killed."""

import json
import os
import signal
import time
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import repository
from evented import lines as lines_of
from forge import forge
from serving import serving
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.cli.engine import Described, replaying
from rms_flows.errors import BusyError, DocumentError, FlowError, MissingError, UnreachableError
from rms_flows.io.registry import registry as opened
from rms_flows.model import Orchestrator, OrchestratorInstance
from rms_flows.registry import FolderStore, Registry, Running, Sign, instance, instances, wish_to_stop

FLOW = Orchestrator.model_validate(
    {
        "orchestrator": "home",
        "sources": [
            {"id": "hub", "format": "json", "live": "follow:events.ndjson", "archive": "events.ndjson"}
        ],
        "processors": [
            {
                "id": "high",
                "processor": "filter",
                "inputs": ["hub"],
                "parameters": {"field": "x", "operator": "GT", "threshold": 1},
            }
        ],
        "sinks": [{"id": "out", "inputs": ["high"], "uri": "reports.ndjson"}],
    }
)
LONG = timedelta(seconds=31)


@pytest.fixture(params=["folder", "elasticsearch"])
def registry(request, tmp_path):
    place = str(tmp_path / "registry")
    if request.param == "elasticsearch":
        place = repository.uri(request.getfixturevalue("elasticsearch_node"), f"registry-{uuid4().hex[:8]}")
    made = opened(place)
    made.create(FLOW)
    return made


@pytest.fixture
def folder(tmp_path):
    made = Registry(FolderStore(tmp_path / "registry"))
    made.create(FLOW)
    return made


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr("rms_flows.registry.running.BEAT", 0.02)


def running(registry, name="home", said=None, stop=lambda: None):
    return Running(registry, name, stop, (said if said is not None else []).append)


def wait(condition):
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_an_instance_turns_and_says_how_it_is(registry, quick):
    one = running(registry)
    with one.of("home", "stream", "local"):
        assert instance(registry, "home").state == "STARTING"
        one.sign = Sign("7 events", {"events": 7})
        one.running()
        now = instance(registry, "home")
        assert (now.state, now.sign.counts, now.instance.pid) == ("RUNNING", {"events": 7}, os.getpid())
    [now] = instances(registry)
    assert (now.state, now.instance.reason, now.sign.told) == ("STOPPED", None, "7 events")
    turns = [
        json.loads(json.dumps(one.data.decode())) for one in registry.history(OrchestratorInstance, "home")
    ]
    assert [next(word for word in ("STARTING", "RUNNING\nwanted", "STOPPED\nwanted") if word in turn) for turn in turns] == [
        "STARTING", "RUNNING\nwanted", "STOPPED\nwanted",
    ]  # fmt: skip


def test_a_wish_to_stop_reaches_it_wherever_it_was_made(registry, quick):
    asked = []
    one = running(registry, stop=lambda: asked.append(True))
    with one.of("home", "stream", "local"):
        one.running()
        assert wish_to_stop(registry, "home").state == "RUNNING"
        wait(lambda: asked)
    assert instance(registry, "home").instance.reason == "as wanted"
    with pytest.raises(
        DocumentError, match=r"'home' is STOPPED and can't be stopped \(as wanted\); rms engine"
    ):
        wish_to_stop(registry, "home")
    with pytest.raises(MissingError, match="no OrchestratorInstance is called 'hut'"):
        wish_to_stop(registry, "hut")


@pytest.mark.parametrize(
    ("error", "reason"),
    [(FlowError("no room", remedy="make some"), "no room; make some"), (KeyError("x"), "KeyError('x')")],
)
def test_what_ended_it_is_its_reason(folder, error, reason):
    with pytest.raises(type(error)), running(folder).of("home", "stream", "local"):
        raise error
    assert (instance(folder, "home").state, instance(folder, "home").instance.reason) == ("FAILED", reason)


def test_it_runs_once(folder, monkeypatch):
    """Guards against two streams that write to the same sinks; also where both looked before either began."""
    with running(folder).of("home", "stream", "local"):
        with (
            pytest.raises(BusyError, match=r"'home' runs already, as process \d+ of .*rms engine stop home"),
            running(folder).of("home", "stream", "local"),
        ):
            pass
        with running(folder, "second").of("home", "stream", "local"):
            assert [one.alive for one in instances(folder)] == [True, True]
    before = instance(folder, "home")
    with running(folder).of("home", "stream", "local"):
        monkeypatch.setattr("rms_flows.registry.running.instance", lambda *_: before)
        with (
            pytest.raises(BusyError, match="was started by another process at the same time"),
            running(folder).of("home", "stream", "local"),
        ):
            pass


def test_it_begins_once_also_where_nobody_knew_it(folder, monkeypatch):
    with running(folder).of("home", "stream", "local"):
        monkeypatch.setattr("rms_flows.registry.running.instance", missing)
        with (
            pytest.raises(BusyError, match="by another process at the same time; rms engine list shows"),
            running(folder).of("home", "stream", "local"),
        ):
            pass


def missing(*_):
    raise MissingError("no")


def test_one_that_is_silent_is_lost_and_another_takes_its_place(folder, quick, monkeypatch):
    """Guards against a process that was suspended, wakes up, and goes on beside its successor."""
    said, asked = [], []
    old = running(folder, said=said, stop=lambda: asked.append(True))
    monkeypatch.setattr(old, "_live_once", lambda: None)
    with old.of("home", "stream", "local"):
        old.running()
        late = datetime.now(UTC) + LONG
        assert instance(folder, "home").state == "RUNNING"
        assert instance(folder, "home", late).state == "LOST"
        monkeypatch.setattr("rms_flows.registry.running.DEADLINE", -1.0)
        new = running(folder)
        with new.of("home", "stream", "local"):
            monkeypatch.setattr("rms_flows.registry.running.DEADLINE", 30.0)
            monkeypatch.delattr(old, "_live_once")
            new.running()
            wait(lambda: asked)
            old._turn("STOPPED", "woke up")
            assert instance(folder, "home").state == "RUNNING"
    assert "runs the instance 'home' now" in said[0]


def test_a_flow_goes_on_where_the_registry_is_away_and_says_so_once(folder, quick, monkeypatch):
    said, beats = [], []

    def away(*_):
        beats.append(True)
        raise UnreachableError("can't be reached")

    one = running(folder, said=said)
    with one.of("home", "stream", "local"):
        monkeypatch.setattr(folder, "beat", away)
        wait(lambda: len(beats) > 3)
    assert said == ["the registry is not told how the flow is: can't be reached"]


def test_ids_that_no_instance_can_have(folder):
    with (
        pytest.raises(DocumentError, match=r"no instance can be called '../x'; choose a name of letters"),
        running(folder, "../x").of("home", "stream", "local"),
    ):
        pass


def test_what_was_said_by_hand_is_no_sign_of_life(folder):
    with running(folder).of("home", "stream", "local"):
        folder.beat("home", b"{}")
        assert instance(folder, "home").sign is None


def test_a_replay_is_interrupted_by_a_wish(folder, quick):
    one = Described(FLOW, None, None, folder)
    shown = []

    def replayed():
        with replaying(one, None, shown.append) as progress:
            progress(type("Progress", (), {"rows": 7})())
            wait(lambda: instance(folder, "home.replay").sign.counts == {"events": 7})
            wish_to_stop(folder, "home.replay")
            time.sleep(60)

    with pytest.raises(KeyboardInterrupt):
        replayed()
    assert shown
    assert instance(folder, "home.replay").instance.reason == "as wanted"


def rms(*words):
    return CliRunner().invoke(app, [*map(str, words)])


@pytest.mark.timeout(600)
def test_a_stream_is_seen_stopped_killed_and_started_again(folder, tmp_path):
    lines = [{"@timestamp": f"2026-01-01T00:00:0{n}Z", "x": n} for n in range(4)]
    (tmp_path / "events.ndjson").write_text("".join(json.dumps(one) + "\n" for one in lines))
    place = ("--registry", tmp_path / "registry")
    with forge() as start:
        first = start("stream", "home", "--registry", "registry", "--quiet", folder=tmp_path)
        first.until(lambda: known(folder) and instance(folder, "home").state == "RUNNING")
        first.until(lambda: instance(folder, "home").sign.counts.get("events") == 4)
        assert "4 events" in instance(folder, "home").sign.told
        listed = json.loads(rms("engine", "list", "--json", *place).stdout)
        assert [(one["id"], one["state"], one["pid"]) for one in listed] == [("home", "RUNNING", first.pid)]
        with serving(tmp_path) as service:
            assert service.ask("GET", "/v1/instances").body[0]["state"] == "RUNNING"
            assert service.ask("GET", "/v1/instances/hut").status == 404
            assert service.ask("POST", "/v1/instances/home/stop").body["wanted"] == "STOPPED"
            assert first.ended() == 0
            assert service.ask("GET", "/v1/instances/home").body["reason"] == "as wanted"
            assert service.ask("POST", "/v1/instances/home/stop").status == 422

        second = start("stream", "home", "--registry", "registry", "--quiet", folder=tmp_path)
        second.until(lambda: instance(folder, "home").state == "RUNNING")
        with (tmp_path / "events.ndjson").open("a") as file:
            file.write(json.dumps({"@timestamp": "2026-01-01T00:00:09Z", "x": 9}) + "\n")
        second.until(lambda: instance(folder, "home").sign.counts.get("events"))
        third = tmp_path / "third"
        third.mkdir()
        twice = start("stream", "home", "--registry", "../registry", "--quiet", folder=third)
        assert twice.ended() == 75
        assert "the instance 'home' runs already" in twice.errors
        second.send(signal.SIGKILL)
        assert second.ended() == -signal.SIGKILL
        assert instance(folder, "home").state == "LOST"
        assert "1 events" in rms("engine", "show", "home", *place).stdout
        assert "LOST" in rms("engine", "list", *place).stdout

        last = start("stream", "home", "--registry", "registry", "--quiet", folder=tmp_path)
        last.until(lambda: instance(folder, "home").state == "RUNNING")
        done = rms("engine", "stop", "home", *place)
        assert (done.exit_code, done.stdout) == (0, "home: STOPPED, as wanted\n")
        assert last.ended() == 0
    assert len({one["event.id"] for one in lines_of(tmp_path / "reports.ndjson")}) == 3
    with pytest.raises(DocumentError, match="the Orchestrator 'home' is referred to by the OrchestratorInst"):
        folder.delete(Orchestrator, "home")


def known(registry):
    return bool(registry.all(OrchestratorInstance))


def test_what_asks_of_a_registry_without_one_is_refused(tmp_path):
    done = rms("replay", tmp_path / "flow.yaml", "--at", "2026-01-01")
    assert "it is for flows of a --registry" in done.stderr
