"""A probe as it is run: a process of its own, stopped, killed, starved of what it observes and reconfigured."""

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest
import yaml
from probing import end, manifest, probing, registry, sent, start, states, until

from rms_flows import cli, envelope
from rms_flows.envelope import public_text
from rms_flows.errors import BusyError, DocumentError
from rms_flows.model import DataSourceManifest, load
from rms_flows.probe import crew, key
from rms_flows.probe.collectors.contract import Look
from rms_flows.probe.run import Probe
from rms_flows.probe.settings import from_file, settings

ALL = [
    {"collect": name, "interval": "200ms", **({"top": 1} if name == "processes" else {})}
    for name in ("cpu", "memory", "network", "processes")
]
LIMIT = 60 * 1024
"""KiB that a probe may take."""


def rms(*arguments):
    command = [sys.executable, "-m", "rms_flows", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own program


def wrong(problem):
    return f"rms: {problem}\n"


def test_it_observes_signs_and_says_that_it_runs_and_stops(tmp_path):
    path, out = manifest(tmp_path, collectors=ALL), tmp_path / "envelopes.ndjson"
    kinds = {"system.cpu", "system.memory", "system.network", "system.process", "probe.heartbeat"}
    with probing(path):
        until(lambda: kinds <= {one["kind"] for one in sent(out)})
    found = sent(out)
    assert [one["sequence"] for one in found] == list(range(1, len(found) + 1))
    assert {one["probe"] for one in found} == {"hub"}
    assert states(out) == [("RUNNING", None), ("STOPPED", None)]
    cpu = next(one["payload"] for one in found if one["kind"] == "system.cpu")
    shares = [value for name, value in cpu.items() if name.endswith(".norm.pct") and "total" not in name]
    assert sum(shares) == pytest.approx(1, abs=0.01)
    assert 0 <= cpu["host.cpu.usage"] <= 1
    memory = next(one["payload"] for one in found if one["kind"] == "system.memory")
    assert memory["system.memory.total"] == psutil.virtual_memory().total
    names = {one["payload"]["system.network.name"] for one in found if one["kind"] == "system.network"}
    assert names == set(psutil.net_io_counters(pernic=True))
    verified = rms("probe", "verify", out, "--manifest", path)
    assert (verified.returncode, verified.stdout) == (
        0, f"hub: {len(found)} signed, 1 to {len(found)}\nnothing is wrong\n",
    )  # fmt: skip


def test_it_is_light(tmp_path):
    """Guards against an import that costs a small gateway its memory."""
    path = manifest(tmp_path, collectors=ALL)
    with probing(path) as process:
        until(lambda: len(sent(tmp_path / "envelopes.ndjson")) > 20)
        of = Path(f"/proc/{process.pid}")
        status = dict(line.split(":", 1) for line in (of / "status").read_text().splitlines())
        mapped = (of / "maps").read_text()
    assert int(status["VmHWM"].split()[0]) < LIMIT
    for library in ("arrow", "numpy", "llvmlite", "grpc"):
        assert library not in mapped


def test_its_room_imports_neither_arrow_nor_beam():
    code = (
        "import sys, rms_flows.cli.app, rms_flows.probe.run, rms_flows.probe.verify\n"
        "heavy = {'pyarrow', 'numpy', 'apache_beam', 'altair', 'sigma', 'msgspec', 'multiprocessing'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert done.stdout == "[]\n"


def test_killed_again_and_again_it_leaves_no_number_out_and_gives_none_twice(tmp_path):
    collectors = [{"collect": "memory", "interval": "100ms"}]
    path, out = manifest(tmp_path, collectors=collectors, heartbeat="100ms"), tmp_path / "envelopes.ndjson"
    for _ in range(4):
        before = len(sent(out))
        process = start(path)
        until(lambda before=before: len(sent(out)) > before + 5)
        end(process, signal.SIGKILL)
    before = len(sent(out))
    with probing(path):
        until(lambda: len(sent(out)) > before + 5)
    found = sent(out)
    assert [one["sequence"] for one in found] == list(range(1, len(found) + 1))
    assert states(out) == [("RUNNING", None)] * 5 + [("STOPPED", None)]


def test_an_output_that_was_moved_away_begins_anew(tmp_path):
    """Guards against `logrotate`: envelopes that go on into the file of yesterday."""
    path, out = manifest(tmp_path, heartbeat="100ms"), tmp_path / "envelopes.ndjson"
    with probing(path):
        until(lambda: len(sent(out)) > 2)
        out.rename(tmp_path / "old.ndjson")
        until(lambda: len(sent(out)) > 2)
    found = sent(tmp_path / "old.ndjson") + sent(out)
    assert [one["sequence"] for one in found] == list(range(1, len(found) + 1))


def test_envelopes_wait_where_the_output_can_not_be_written(tmp_path):
    path = manifest(tmp_path, output="absent/envelopes.ndjson", heartbeat="100ms")
    process = start(path)
    try:
        journal = tmp_path / "probe-state"
        until(lambda: sum(one.read_bytes().count(b"heartbeat") for one in journal.glob("*.ndjson")) > 5)
        (tmp_path / "absent").mkdir()
        out = tmp_path / "absent/envelopes.ndjson"
        until(lambda: len(sent(out)) > 5)
    finally:
        code, said = end(process)
    assert code == 0
    assert "envelopes wait on disk: " in said
    assert "can't be written (No such file or directory); check path and rights" in said
    assert "envelopes are sent again" in said
    assert [one["sequence"] for one in sent(out)] == list(range(1, len(sent(out)) + 1))


class Failing:
    """A collector that works only while it may."""

    may = threading.Event()

    def __init__(self, entry, position):
        pass

    def look(self):
        if not self.may.is_set():
            raise OSError(5, "sensor gone")
        return Look([])

    def close(self):
        pass


@pytest.fixture
def inside(tmp_path):
    """Run a probe in a thread, so that it can be tampered with."""
    stop = threading.Event()
    threads = []

    def begin(**parameters):
        path = manifest(tmp_path, **parameters)
        probe = Probe(from_file(path), str(path), tmp_path)
        threads.append(threading.Thread(target=probe.run, args=(stop,)))
        threads[0].start()
        return tmp_path / "envelopes.ndjson"

    yield begin
    stop.set()
    threads[0].join(30)
    assert not threads[0].is_alive()


def test_a_collector_that_fails_is_told_of_once_and_holds_up_no_other(inside, monkeypatch):
    Failing.may.clear()
    monkeypatch.setitem(crew.open_collector.__globals__["COLLECTORS"], "cpu", Failing)
    out = inside(collectors=ALL[:2])
    until(lambda: sum(one["kind"] == "system.memory" for one in sent(out)) > 5)
    told = [one["payload"] for one in sent(out) if one["kind"] == "probe.state"]
    assert [one["probe.state"] for one in told] == ["RUNNING", "FAILED"]
    assert told[1]["probe.collector"] == "cpu"
    assert told[1]["error.message"] == "OSError: [Errno 5] sensor gone"
    beats = [one["payload"]["probe.failed"] for one in sent(out) if one["kind"] == "probe.heartbeat"]
    assert beats[-1] == ["cpu"]
    Failing.may.set()
    until(lambda: states(out)[2:] == [("RUNNING", "cpu")])


class Hanging(Failing):
    """A collector that never comes back."""

    def look(self):
        threading.Event().wait(3)
        return Look([])


def test_a_collector_that_hangs_silences_nobody(inside, monkeypatch):
    monkeypatch.setitem(crew.open_collector.__globals__["COLLECTORS"], "cpu", Hanging)
    out = inside(collectors=ALL[:2])
    until(lambda: sum(one["kind"] == "system.memory" for one in sent(out)) > 2)
    until(lambda: sum(one["kind"] == "probe.heartbeat" for one in sent(out)) > 2)


def test_it_follows_its_manifest_while_it_runs(tmp_path, inside):
    """Guards against a restart for every change, which would lose what is seen meanwhile."""
    out = inside(collectors=[{"collect": "memory", "interval": "100ms"}])
    until(lambda: sum(one["kind"] == "system.memory" for one in sent(out)) > 2)
    fields = ["system.memory.used.*"]
    manifest(tmp_path, collectors=[{"collect": "memory", "interval": "100ms", "fields": fields}, ALL[2]])
    until(lambda: any(one["kind"] == "system.network" for one in sent(out)))
    changed = next(
        one["sequence"] for one in sent(out) if one["payload"].get("message") == "manifest changed"
    )
    later = [one for one in sent(out) if one["kind"] == "system.memory" and one["sequence"] > changed]
    assert {frozenset(one["payload"]) for one in later} == {
        frozenset({"host.name", "system.memory.used.bytes", "system.memory.used.pct"})
    }
    high = {"system.memory.used.pct": {"gt": 1.5}}
    manifest(tmp_path, collectors=[{"collect": "memory", "interval": "100ms", "thresholds": high}])
    until(lambda: sent(out)[-1]["payload"].get("probe.held_back", 0) > 3)
    begins = max(one["sequence"] for one in sent(out) if one["payload"].get("message") == "manifest changed")
    assert {one["kind"] for one in sent(out) if one["sequence"] > begins} == {"probe.heartbeat"}


def test_it_follows_the_registry_while_it_runs(tmp_path):
    collectors = [{"collect": "memory", "interval": "1h"}]
    kept = registry(
        tmp_path / "registry", load(manifest(tmp_path, collectors=collectors), DataSourceManifest)
    )
    out = tmp_path / "envelopes.ndjson"

    def seen(kind):
        return sum(one["kind"] == kind for one in sent(out))

    with probing("hub", "--registry", "registry", cwd=tmp_path):
        until(lambda: seen("system.memory") == 1)
        faster = [{"collect": "memory", "interval": "100ms"}, {"collect": "network"}]
        kept.update(load(manifest(tmp_path, collectors=faster), DataSourceManifest))
        until(lambda: seen("system.memory") > 3 and seen("system.network"))
        kept.delete(DataSourceManifest, "hub")
        until(lambda: ("FAILED", "manifest") in states(out))
        before = seen("system.memory")
        until(lambda: seen("system.memory") > before + 2)
    reasons = [one["payload"].get("error.message") for one in sent(out) if one["kind"] == "probe.state"]
    assert "no DataSourceManifest is called 'hub'; there are none" in reasons


def test_a_manifest_that_became_wrong_is_told_of_and_changes_nothing(tmp_path, inside):
    out = inside(collectors=[ALL[1]])
    manifest(tmp_path, collectors=[{"collect": "weather"}])
    until(lambda: ("FAILED", "manifest") in states(out))
    told = [one["payload"] for one in sent(out) if one["payload"].get("probe.state") == "FAILED"]
    assert "collectors[0]" in told[0]["error.message"]
    manifest(tmp_path, collectors=[ALL[1]], output="elsewhere.ndjson")
    until(lambda: states(out).count(("FAILED", "manifest")) == 2)
    last = [one["payload"] for one in sent(out) if one["payload"].get("probe.state") == "FAILED"][-1]
    assert "output has changed, which a running probe can't follow; start it anew" in last["error.message"]
    manifest(tmp_path, collectors=[ALL[1]])
    until(lambda: ("RUNNING", "manifest") in states(out))
    count = len(sent(out))
    until(lambda: any(one["kind"] == "system.memory" for one in sent(out)[count:]))


def test_processes_that_start_and_end_are_told_of(inside):
    out = inside(collectors=[{"collect": "processes", "interval": "100ms", "top": 0}])
    until(lambda: any(one["kind"] == "probe.heartbeat" for one in sent(out)[3:]))
    marked = "import time; time.sleep(60)  # marked"
    child = subprocess.Popen([sys.executable, "-c", marked])  # noqa: S603  our own child

    def told(action):
        return [
            one["payload"]
            for one in sent(out)
            if one["payload"].get("event.action") == action and one["payload"]["process.pid"] == child.pid
        ]

    [began] = until(lambda: told("process_started"))
    child.kill()
    child.wait()
    until(lambda: told("process_stopped"))
    assert began["process.parent.pid"] == os.getpid()
    assert began["process.executable"] == str(Path(sys.executable).resolve())
    assert began["user.name"] == psutil.Process().username()
    assert began["event.category"] == ["process"]


def test_the_key_is_its_owners_alone(tmp_path):
    path = tmp_path / "hub.key"
    made = rms("probe", "key", path)
    assert made.returncode == 0
    trust = yaml.safe_load(made.stdout)["trust"]
    assert trust["publicKey"] == public_text(key.load(path))
    assert trust["fingerprint"].startswith("sha256:")
    assert path.stat().st_mode & 0o777 == 0o600
    again = rms("probe", "key", path)
    assert (again.returncode, again.stderr) == (
        2, wrong(f"{path}: there is a file already; name another, or move it away"),
    )  # fmt: skip
    assert public_text(key.load(path)) == trust["publicKey"]
    path.chmod(0o640)
    with pytest.raises(DocumentError, match=r"others may read or write the key \(mode 0640\); chmod 600 "):
        key.load(path)
    with pytest.raises(DocumentError, match=r"absent: the key can't be read \(No such file.*`rms probe key`"):
        key.load(tmp_path / "absent")
    with pytest.raises(DocumentError, match=r"can't be written \(No such file or directory\); check path"):
        key.make(tmp_path / "absent/hub.key")
    path.write_text("no key")
    path.chmod(0o600)
    with pytest.raises(DocumentError, match="holds no key, which is 32 bytes in base64; make one"):
        key.load(path)


@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        ({"color": "red"}, r"parameters\.color: extra inputs are not permitted; docs/probe\.md lists"),
        ({"heartbeat": "soon"}, r"parameters\.heartbeat: string should match pattern"),
        ({"spool": 1}, r"parameters\.spool: input should be greater than or equal to 1048576"),
        ({"collectors": [{"collect": "weather"}]}, r"collectors\[0\]: input tag 'weather' .*'cpu'"),
        ({"collectors": [{"collect": "cpu", "every": 1}]}, r"collectors\[0\]\.cpu\.every: extra inputs"),
        (
            {"collectors": [ALL[0], dict(ALL[0])]},
            "two collectors are called 'cpu'; give one of them another `name`",
        ),
    ],
)
def test_parameters_that_are_wrong_are_named(tmp_path, parameters, said):
    path = manifest(tmp_path, **parameters)
    with pytest.raises(DocumentError, match=said):
        settings(load(path, DataSourceManifest), "hub.yaml")


def test_what_can_not_begin_says_why(tmp_path):
    path = manifest(tmp_path, output="gopher:hole")
    with pytest.raises(
        DocumentError, match="gopher:hole: a probe can't send to 'gopher'; there are file:, kafka"
    ):
        Probe(from_file(path), "hub.yaml", tmp_path)
    content = yaml.safe_load(path.read_text())
    content["parameters"] += [dict(content["parameters"][0])]
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(
        DocumentError, match=r"hub\.yaml: parameters: the parameter 'key' comes twice; keep one"
    ):
        Probe(from_file(path), "hub.yaml", tmp_path)


def test_one_that_runs_already_is_left_alone(tmp_path):
    path = manifest(tmp_path)
    with probing(path):
        until(lambda: sent(tmp_path / "envelopes.ndjson"))
        with pytest.raises(BusyError, match="another probe keeps its state here"):
            Probe(from_file(path), str(path), tmp_path)


def test_a_defect_is_told_as_its_state_before_it_ends(tmp_path, monkeypatch):
    path = manifest(tmp_path)
    probe = Probe(from_file(path), str(path), tmp_path)
    monkeypatch.setattr(probe, "_heartbeat", lambda: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        probe.run(threading.Event())
    last = sent(tmp_path / "envelopes.ndjson")[-1]["payload"]
    assert (last["probe.state"], last["error.message"]) == ("FAILED", "ZeroDivisionError: division by zero")


def test_without_psutil_the_cure_is_told():
    code = (
        "import sys; sys.modules['psutil'] = None; sys.argv = ['rms', 'probe', 'run', 'hub.yaml']\n"
        "from rms_flows.cli import main; main()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
    said = "a probe needs psutil, which is not installed; pip install 'rms-flows[probe]'"
    assert (done.returncode, done.stderr) == (2, wrong(said))


def test_without_cryptography_the_cure_is_told(tmp_path, monkeypatch, capsys):
    envelope._ed25519.cache_clear()
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    monkeypatch.setattr(sys, "argv", ["rms", "probe", "key", str(tmp_path / "k")])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    envelope._ed25519.cache_clear()
    assert ended.value.code == 2
    assert "the library cryptography, which is not installed; pip install 'rms-flows[probe]'" in (
        capsys.readouterr().err
    )
