"""Figures of a running stream for Prometheus, with what asks for its health: over HTTP, or in a file."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from rms_flows.errors import FlowError, SinkError
from rms_flows.io.staging import writing

try:
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest, write_to_textfile
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.exposition import CONTENT_TYPE_PLAIN_1_0_0
    from prometheus_client.registry import Collector
except ImportError:
    raise FlowError(
        "--metrics needs prometheus-client, which is not installed", remedy="pip install 'rms-flows[monitor]'"
    ) from None

if TYPE_CHECKING:
    from rms_flows.beam.seen import Seen

_LOG = logging.getLogger(__name__)

LOOPBACK = "127.0.0.1"
"""Where figures are given unless another address is named: they tell what a site does."""

_PLACE = re.compile(r"(?:(?P<host>\[[0-9a-fA-F:]+\]|[A-Za-z0-9.-]+):)?(?P<port>[0-9]{1,5})")


_COUNTERS = {
    "events",
    "late_events",
    "reports",
    "sink_rows",
    "dead_letters",
    "polls",
    "failed_polls",
    "repeated_records",
}
"""What only grows while a stream runs; the others are as they are at a moment."""


class Figures(Collector):
    """Collects the figures of one stream whenever it is asked.

    Args:
        flow: Its id, a label of each figure.
    """

    def __init__(self, flow: str) -> None:
        self._flow = flow
        self._look: Callable[[], Seen] | None = None
        self.registry = CollectorRegistry()
        self.registry.register(self)
        ProcessCollector(registry=self.registry)

    def look_at(self, look: Callable[[], Seen]) -> None:
        """Say how to look at the stream, which has begun."""
        self._look = look

    def ill(self) -> str | None:
        """Say why the stream is not healthy; one that has not begun is."""
        return None if self._look is None else self._look().ill

    def unready(self) -> str | None:
        """Say why it is not ready."""
        return "it has not begun" if self._look is None else self._look().unready

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        if self._look is None:
            return
        seen = self._look()
        of = seen.sources.items()
        whole = {
            "dead_letters": ("Dead letters appended.", seen.dead_letters),
            "idle_reader_seconds": ("Since the reader last looked for events.", seen.unread),
            "unflushed_seconds": ("For which sinks have owed an acknowledgement.", seen.unflushed),
            "healthy": ("1 if it reads and its sinks flush.", float(seen.ill is None)),
            "ready": ("1 if it is healthy and has warmed up.", float(seen.unready is None)),
        }
        parts: dict[str, tuple[str, str, Mapping[str, float | None]]] = {
            "events": ("Events read.", "source", {name: one.rows for name, one in of}),
            "late_events": ("Events that came too late.", "source", {name: one.late for name, one in of}),
            "reports": ("Rows found, while warming up too.", "processor", seen.reports),
            "sink_rows": ("Rows appended.", "sink", seen.sinks),
            "unread_messages": (
                "Messages that brokers hold and that were not read.",
                "source",
                {name: one.left for name, one in of},
            ),
            "watermark_timestamp_seconds": (
                "Time up to which all events have come.",
                "source",
                {name: one.settled for name, one in of},
            ),
            "polls": (
                "Questions that a server answered.",
                "source",
                {name: one.answered for name, one in of},
            ),
            "failed_polls": ("Questions that it didn't.", "source", {name: one.failed for name, one in of}),
            "repeated_records": (
                "Records in its answers that had come before.",
                "source",
                {name: one.repeated for name, one in of},
            ),
        }
        for name, (words, value) in whole.items():
            yield self._family(name, words, [], {(): value})
        for name, (words, label, values) in parts.items():
            known: dict[tuple[str, ...], float] = {
                (key,): one for key, one in values.items() if one is not None
            }
            yield self._family(name, words, [label], known)

    def _family(
        self, name: str, words: str, labels: Sequence[str], values: Mapping[tuple[str, ...], float]
    ) -> Metric:
        kind = CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily
        made = kind(f"rms_stream_{name}", words, labels=["flow", *labels])
        for key, value in values.items():
            made.add_metric([self._flow, *key], value)
        return made


def port_of(text: str) -> tuple[str, int] | None:
    """Read `PORT` or `HOST:PORT`; None for what is a file.

    Example:
        >>> port_of("9464"), port_of("0.0.0.0:9464"), port_of("rms.prom")
        (('127.0.0.1', 9464), ('0.0.0.0', 9464), None)
    """
    found = _PLACE.fullmatch(text)
    return (found["host"] or LOOPBACK, int(found["port"])) if found else None


@contextmanager
def serving(figures: Figures, host: str, port: int) -> Iterator[int]:
    """Answer `/metrics`, `/healthz` and `/readyz` from a thread of its own; give the port.

    Raises:
        FlowError: The port can't be had.
    """
    handler = type("Answers", (_Answers,), {"figures": figures})
    try:
        server = ThreadingHTTPServer((host.strip("[]"), port), handler)
    except (OSError, OverflowError) as error:
        raise FlowError(
            f"figures can't be given at {host}:{port} ({error})", remedy="name a free port with --metrics"
        ) from None
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Answers(BaseHTTPRequestHandler):
    """Answers one question."""

    figures: Figures

    def do_GET(self) -> None:
        """Give figures, or 200 where all is well and 503 where it isn't, with the reason."""
        if self.path == "/metrics":
            self._answer(200, generate_latest(self.figures.registry), CONTENT_TYPE_PLAIN_1_0_0)
        elif self.path in {"/healthz", "/readyz"}:
            reason = self.figures.ill() if self.path == "/healthz" else self.figures.unready()
            self._answer(503 if reason else 200, f"{reason or 'ok'}\n".encode())
        else:
            self._answer(404, b"there are /metrics, /healthz and /readyz\n")

    def _answer(self, code: int, body: bytes, kind: str = "text/plain; charset=utf-8") -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing of each question."""


def write(figures: Figures, path: str) -> None:
    """Write figures to a file, whole or not at all; raises SinkError."""
    with writing(path):
        write_to_textfile(path, figures.registry)


def write_again(figures: Figures, path: str) -> None:
    """Write them while the stream runs, which goes on where that fails."""
    try:
        write(figures, path)
    except SinkError as error:
        _LOG.warning("%s", error)
