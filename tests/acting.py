"""What tests of action share: reports, a web server that answers as it is told, and an outgoing notification."""

import http.server
import json
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from aiosmtpd.controller import Controller

from rms_flows.action.receivers import Outgoing
from rms_flows.report import WRITERS
from rms_flows.schema import REPORT

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
KEY = "a secret of more than 24 bytes"


def report(name="r1", seconds=0, *, noon=NOON, ip="203.0.113.7", **columns):
    moment = noon + timedelta(seconds=seconds)
    return {
        "@timestamp": moment,
        "event.id": name,
        "rms.source": "hub",
        "rms.report_type": "sigma",
        "rule.id": "rule-1",
        "rule.name": "Guessing",
        "rule.level": "high",
        "rule.tags": ["attack.t1110"],
        "message": "many failures",
        "rms.first": moment - timedelta(seconds=20),
        "rms.last": moment,
        "rms.count": 5,
        "rms.revision": 5,
        "rms.request_source": ip,
        "rms.group": f'{{"source.ip":"{ip}"}}',
        **columns,
    }


def table(*rows):
    return pa.Table.from_pylist(list(rows), REPORT)


def lines(*rows, form="ecs"):
    return b"".join(line + b"\n" for batch in table(*rows).to_batches() for line in WRITERS[form](batch))


def outgoing(*rows, name="n1"):
    return Outgoing(
        name, "soc", "2026-03-01T12:00:30.000000Z", {"rule.id": "rule-1"}, table(*(rows or [report()]))
    )


class Hook(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted; answers what it is told to, else 200."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        status, headers = server.answers.pop(0) if server.answers else (server.always, {})
        server.got.append(
            (self.path, {name.lower(): value for name, value in self.headers.items()}, body, status)
        )
        text = b"see the manual"
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(text))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def hook(*answers, always=200, tls=None, port=0):
    """Serve; `got` has path, headers, body and answer of each request, `url` is where."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Hook)
    server.daemon_threads = True
    server.answers = [one if isinstance(one, tuple) else (one, {}) for one in answers]
    server.always, server.got = always, []
    scheme = "http" if tls is None else "https"
    server.url = f"{scheme}://localhost:{server.server_address[1]}"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def bodies(server):
    """What it took, as values."""
    return [json.loads(body) for _, _, body, status in server.got if status == 200]


class Box:
    """Takes mails; refuses addresses and contents as it is told."""

    def __init__(self):
        self.got, self.rcpt, self.data = [], {}, None

    async def handle_RCPT(self, server, session, envelope, address, options):  # noqa: N802  aiosmtpd's name
        if address in self.rcpt:
            return self.rcpt[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):  # noqa: N802
        if self.data:
            return self.data
        self.got.append((envelope, session.ssl is not None, session.authenticated))
        return "250 taken"


class Postman(Controller):
    """A server of mail at a free port."""

    def _trigger_server(self):
        self.port = self.server.sockets[0].getsockname()[1]
        super()._trigger_server()


@contextmanager
def postman(**parameters):
    """Serve: `handler` is its box, `port` is where."""
    server = Postman(
        Box(), hostname="127.0.0.1", port=0, ready_timeout=60, server_hostname="localhost", **parameters
    )
    server.start()
    try:
        yield server
    finally:
        server.stop(no_assert=True)
