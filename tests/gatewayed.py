"""What the tests of gateways share: one at work, a real server, whose answers a test can change."""

import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Gate:
    """What a gateway answers.

    Args:
        known: Probe → the object that it is described by; changed by tests.
    """

    def __init__(self, known):
        self.known = known
        self.asked = []
        self.authorized = []
        self.lists = False
        self.status = None  # instead of an answer
        self.body = None
        self.url = ""

    def answer(self, path):
        """Give status, body and ETag."""
        if self.status is not None:
            return self.status, b"not now", None
        if self.body is not None:
            return 200, self.body, None
        if path.endswith("/probes"):
            found = {"probes": [*self.known.values()]} if self.lists else None
        else:
            found = self.known.get(path.rpartition("/")[2])
        body = json.dumps(found).encode()
        return (404, b"", None) if found is None else (200, body, f'"{hash(body)}"')


@contextmanager
def gateway(known, context=None):
    """A gateway that listens at `url`."""
    gate = Gate(known)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            status, body, tag = gate.answer(self.path)
            gate.asked.append(self.path)
            gate.authorized.append(self.headers.get("Authorization"))
            if tag and self.headers.get("If-None-Match") == tag:
                status, body = 304, b""
            self.send_response(status)
            if tag:
                self.send_header("ETag", tag)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    gate.url = f"http{'s' * bool(context)}://127.0.0.1:{server.server_port}/gate"
    try:
        yield gate
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
