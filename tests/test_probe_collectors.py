"""Files that grow, programs and topics: what they say is told once, whatever happens to them meanwhile."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt import publish
from probing import end, manifest, probing, sent, start, states, until

from rms_flows.errors import DocumentError
from rms_flows.probe.collectors import mqtt, open_collector
from rms_flows.probe.collectors.command import LONGEST
from rms_flows.probe.collectors.tail import LINES, Tail
from rms_flows.probe.collectors.tail import LONGEST as LONGEST_LINE
from rms_flows.probe.settings import Settings


def entry(**given):
    """Read the entry of a collector as a manifest has it."""
    return Settings.model_validate({"key": "k", "output": "o", "collectors": [given]}).collectors[0]


class Log:
    """A log that is written, moved and cut off, and a collector that follows it."""

    def __init__(self, folder):
        self.path = folder / "app.log"
        self.path.touch()
        self.written, self.half, self.moved, self.got, self.position = 0, b"", 0, [], None
        self.cut_off = False
        self.begin()
        self.look()

    def begin(self):
        self.tail = Tail(entry(collect="tail", path=str(self.path), from_start=True), self.position)

    def look(self):
        more, self.cut_off = True, False
        while more:
            look = self.tail.look()
            self.got += [one.payload["message"] for one in look.observed]
            # what a position travels through
            self.position = json.loads(json.dumps(look.position)) if look.position else self.position
            more = look.more

    def write(self, count):
        lines = [f"line {self.written + n}" for n in range(1, count + 1)]
        self.written += count
        text = "".join(f"{line}\n" for line in lines).encode()
        with self.path.open("ab") as file:
            file.write(self.half + text if self.half else text)
        self.half = b""

    def write_half(self):
        """Begin a line; the rest of it comes with the next write."""
        if not self.half:
            whole = f"line {self.written + 1}\n".encode()
            self.written += 1
            with self.path.open("ab") as file:
                file.write(whole[:3])
            self.half = whole[3:]

    def finish(self):
        if self.half:
            self.write(0)

    def rotate(self):
        self.finish()
        self.moved += 1
        self.path.rename(self.path.with_name(f"app.log.{self.moved}"))
        self.path.touch()

    def cut(self):
        """As `copytruncate` does: what was not read by then is lost, so it is read."""
        self.finish()
        self.look()
        os.truncate(self.path, 0)
        self.cut_off = True

    def close(self):
        """Cut off and moved away between two looks, a file is one that nobody knows."""
        if self.cut_off:
            self.look()
        self.tail.close()

    def restart(self):
        self.close()
        self.begin()


steps = st.lists(
    st.tuples(
        st.sampled_from(["write", "half", "look", "rotate", "cut", "restart", "moved away"]),
        st.integers(0, 4),
    ),
    max_size=30,
)


@given(steps)
@example([("write", 1), ("cut", 0), ("write", 1), ("moved away", 0)])
@example([("write", 1), ("cut", 0), ("write", 1), ("restart", 0), ("rotate", 0)])
def test_each_line_is_told_once_and_in_order(tmp_path_factory, actions):
    """Guards against lines lost or told twice at a rotation, a truncation, a restart, or half a line."""
    log = Log(tmp_path_factory.mktemp("log"))
    for action, count in actions:
        if action == "write":
            log.write(count)
        elif action == "half":
            log.write_half()
        elif action == "look":
            log.look()
        elif action == "rotate":
            log.rotate()
            log.look()  # between two rotations it looks, or what came between them is lost
        elif action == "cut":
            log.cut()
        elif action == "restart":
            log.restart()
        else:  # rotated while it was down
            log.close()
            log.rotate()
            log.begin()
            log.look()
    log.finish()
    log.look()
    log.look()
    assert log.got == [f"line {n}" for n in range(1, log.written + 1)]
    log.tail.close()


def test_at_a_first_start_only_what_is_new_is_told(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("old\n")
    tail = Tail(entry(collect="tail", path=str(path)), None)
    assert tail.look().observed == []
    with path.open("a") as file:
        file.write("new\n")
    [one] = tail.look().observed
    assert one.kind == "log"
    assert one.payload == {"message": "new", "log.file.path": str(path), "log.offset": 4}
    assert tail.look().position is None  # nothing to be written down
    tail.close()


def test_a_file_that_is_not_there_yet_is_waited_for_and_told_whole(tmp_path):
    path = tmp_path / "app.log"
    tail = Tail(entry(collect="tail", path=str(path)), None)
    assert tail.look().observed == []
    path.write_text("first\r\n")
    assert [one.payload["message"] for one in tail.look().observed] == ["first"]
    tail.close()


def test_lines_that_are_long_or_no_text_are_told_as_far_as_they_go(tmp_path):
    """Guards against a line without an end that fills the memory of a gateway."""
    path = tmp_path / "app.log"
    long = b"x" * (3 * 1024 * 1024)
    path.write_bytes(b"\xff\n" + long + b"\nafter\n" + long)
    tail = Tail(entry(collect="tail", path=str(path), from_start=True), None)
    found, more = [], True
    while more:
        look = tail.look()
        found += [one.payload for one in look.observed]
        more = look.more
    assert [one["message"][:9] for one in found] == [r"\xff", "x" * 9, "after", "x" * 9]
    assert [len(one["message"]) for one in found[1::2]] == [LONGEST_LINE] * 2
    assert [one.get("log.flags") for one in found] == [None, ["truncated"], None, ["truncated"]]
    with path.open("ab") as file:
        file.write(b"rest\nlast\n")
    assert [one.payload["message"] for one in tail.look().observed] == ["last"]
    tail.close()


def test_many_lines_come_in_pieces(tmp_path):
    path = tmp_path / "app.log"
    path.write_text("".join(f"{n}\n" for n in range(LINES + 1)))
    tail = Tail(entry(collect="tail", path=str(path), from_start=True), None)
    first, second = tail.look(), tail.look()
    assert (len(first.observed), first.more, len(second.observed), second.more) == (LINES, True, 1, False)
    tail.close()


def test_a_log_is_told_once_though_the_probe_is_killed(tmp_path):
    log, out = tmp_path / "app.log", tmp_path / "envelopes.ndjson"
    log.touch()
    collector = {"collect": "tail", "path": str(log), "from_start": True, "interval": "100ms"}
    path = manifest(tmp_path, collectors=[collector])

    def told():
        return [one["payload"]["message"] for one in sent(out) if one["kind"] == "log"]

    wanted = []
    for round_ in range(3):
        process = start(path)
        until(lambda begun=round_ + 1: states(out).count(("RUNNING", None)) == begun)
        for n in range(50):
            wanted.append(f"{round_} {n}")
            with log.open("a") as file:
                file.write(wanted[-1] + "\n")
        until(lambda least=50 * round_: len(told()) > least)
        end(process, signal.SIGKILL)
    with probing(path):
        until(lambda: len(told()) == len(wanted) and states(out).count(("RUNNING", None)) == 4)
    assert told() == wanted


def look(**given):
    [one] = open_collector(entry(collect="command", **given), None).look().observed
    return one


def test_what_a_program_says_is_told(tmp_path):
    one = look(run=[sys.executable, "-c", "import sys; print('out'); sys.exit('problem')"], name="check")
    assert (one.kind, one.payload["message"], one.payload["process.exit_code"]) == (
        "check",
        "out\nproblem",
        1,
    ) or (one.payload["message"] == "problem\nout")
    assert one.payload["event.duration"] > 0


def test_no_shell_reads_its_arguments(tmp_path):
    """Guards against a parameter that runs another command."""
    words = ["; touch made", "$(touch made)", "`touch made`", "> made", "*"]
    one = look(run=[sys.executable, "-c", "import sys; print(sys.argv[1:])", *words])
    assert one.payload["message"] == str(words)
    assert not Path("made").exists()


def test_json_of_a_program_becomes_fields():
    one = look(run=["echo", '{"pressure": {"bar": 1.5}}'], output="json", name="valve")
    assert one.payload["valve"] == {"pressure": {"bar": 1.5}}
    with pytest.raises(TypeError, match="expected a JSON object, not b'1"):
        look(run=["echo", "1"], output="json")


def test_a_program_that_says_much_is_cut_off():
    one = look(run=[sys.executable, "-c", f"print('x' * {3 * LONGEST})"])
    assert (len(one.payload["message"]), one.payload["log.flags"]) == (LONGEST, ["truncated"])


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started(tmp_path):
    """Guards against children that go on for ever, a new one at each interval."""
    mark = tmp_path / "pid"
    script = f"sleep 300 & echo $! > {mark}; wait"
    with pytest.raises(TimeoutError, match=r"sh took longer than 0\.5 s"):
        look(run=["sh", "-c", script], timeout="500ms")
    child = int(mark.read_text())
    until(lambda: not Path(f"/proc/{child}").exists() or "Z" in Path(f"/proc/{child}/stat").read_text())


def test_a_program_that_is_not_there_is_the_state_of_its_collector(tmp_path):
    out = tmp_path / "envelopes.ndjson"
    collectors = [{"collect": "command", "run": ["/absent/program"], "name": "check"}]
    with probing(manifest(tmp_path, collectors=collectors)):
        until(lambda: ("FAILED", "check") in states(out))
    [told] = [one["payload"]["error.message"] for one in sent(out) if one["payload"].get("probe.collector")]
    assert told.startswith("FileNotFoundError: ")


MOSQUITTO = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")


class Mosquitto:
    """A real broker on a free port."""

    def __init__(self, folder, *lines):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.file = folder / "mosquitto.conf"
        self.file.write_text(
            "\n".join([f"listener {self.port} 127.0.0.1", *(lines or ["allow_anonymous true"])])
        )
        self.start()

    def start(self):
        self.process = subprocess.Popen([MOSQUITTO, "-c", self.file], stderr=subprocess.DEVNULL)  # noqa: S603
        until(self.answers)

    def answers(self):
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self):
        self.process.terminate()
        self.process.wait(30)

    def publish(self, topic, payload, **given):
        publish.single(topic, payload, hostname="127.0.0.1", port=self.port, **given)


@pytest.fixture
def broker(tmp_path):
    if MOSQUITTO is None:
        if "CI" in os.environ:
            pytest.fail("there is no mosquitto; .ci/run installs it")
        pytest.skip("there is no mosquitto")
    made = []

    def begin(*lines):
        made.append(Mosquitto(tmp_path, *lines))
        return made[0]

    yield begin
    for one in made:
        one.stop()


def test_messages_of_topics_are_told_also_after_the_broker_was_away(broker, tmp_path):
    bus, out = broker(), tmp_path / "envelopes.ndjson"
    collector = {
        "collect": "mqtt", "broker": f"mqtt://127.0.0.1:{bus.port}", "topics": ["home/+/state", "raw/#"],
        "interval": "200ms",
    }  # fmt: skip

    def told():
        return [one["payload"] for one in sent(out) if one["kind"] == "mqtt"]

    with probing(manifest(tmp_path, collectors=[collector])) as process:
        until(lambda: bus.publish("home/kitchen/state", '{"temperature": 21.5}') or told())
        bus.publish("raw/bytes", b"\xff\x00", qos=1)
        bus.publish("other", b"not asked for")
        until(lambda: len(told()) > 1 and told()[-1]["mqtt.topic"] == "raw/bytes")
        bus.stop()
        until(lambda: states(out)[-1] == ("FAILED", "mqtt"))
        bus.start()
        until(lambda: states(out)[-1] == ("RUNNING", "mqtt"))
        count = len(told())
        bus.publish("home/attic/state", "on")
        until(lambda: len(told()) > count)
        used = int(Path(f"/proc/{process.pid}/status").read_text().split("VmHWM:")[1].split()[0])
    first, last = told()[0], told()[-1]
    assert first["mqtt.payload"] == {"temperature": 21.5}
    assert {one["mqtt.topic"] for one in told()} == {"home/kitchen/state", "raw/bytes", "home/attic/state"}
    assert next(one["message"] for one in told() if one["mqtt.topic"] == "raw/bytes") == "\\xff\x00"
    assert (last["message"], last["mqtt.retained"]) == ("on", False)
    assert used < 60 * 1024


def test_a_broker_keeps_messages_for_one_that_was_away(broker):
    bus = broker()
    given = {
        "collect": "mqtt",
        "broker": f"mqtt://127.0.0.1:{bus.port}",
        "topics": ["a"],
        "qos": 1,
        "name": "kept",
    }
    collector = open_collector(entry(**given), None)
    collector.close()
    bus.publish("a", "meanwhile", qos=1)
    collector = open_collector(entry(**given), None)
    found = until(lambda: collector.look().observed)
    assert [one.payload["message"] for one in found] == ["meanwhile"]
    collector.close()


def test_a_broker_that_lets_nobody_in_says_so(broker, tmp_path):
    bus = broker("allow_anonymous false")
    given = {"collect": "mqtt", "broker": f"mqtt://127.0.0.1:{bus.port}", "topics": ["a"]}
    collector = open_collector(entry(**given), None)
    with pytest.raises(ConnectionError, match=r"mqtt://.*: the broker doesn't let us in \(Not authorized\)"):
        collector.look()
    collector.close()


def test_more_messages_than_there_is_room_for_are_counted(broker, monkeypatch):
    monkeypatch.setattr(mqtt, "WAITING", 5)
    bus = broker()
    given = {"collect": "mqtt", "broker": f"mqtt://127.0.0.1:{bus.port}", "topics": ["a"]}
    collector = open_collector(entry(**given), None)
    for n in range(8):
        bus.publish("a", str(n))
    until(lambda: collector._dropped == 3)
    found = collector.look().observed
    assert [one.payload["message"] for one in found] == ["0", "1", "2", "3", "4"]
    assert found[-1].payload["mqtt.dropped"] == 3
    collector.close()


def test_what_mqtt_refuses_to_begin_with(monkeypatch):
    given = {"collect": "mqtt", "broker": "mqtt://example.org", "topics": ["a"], "user": "ann"}
    with pytest.raises(
        DocumentError, match=r"mqtt://example\.org: a password would cross the network in plain text"
    ):
        open_collector(entry(**given), None)
    monkeypatch.setitem(sys.modules, "paho.mqtt", None)
    with pytest.raises(
        DocumentError, match="needs paho-mqtt, which is not installed; pip install 'rms-flows"
    ):
        open_collector(entry(**given), None)
