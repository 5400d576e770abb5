"""Real servers that are polled: each answers what a test says, in the test's own process, on a free port."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

from rms_flows.decode.contract import Options
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Window
from rms_flows.io.poll.address import Polled
from rms_flows.model import Poll


class Site:
    """What a server answers, and what it was asked.

    `answer` is given the path, the parameters and the headers of a question; it gives the body, or status,
    headers and body; a body is bytes, what becomes JSON, or an iterator of pieces. `asked` has the questions: path with parameters, and headers.
    """

    def __init__(self, answer):
        self.answer = answer
        self.asked = []
        self.over = threading.Event()
        self.url = ""

    @property
    def questions(self):
        return [dict(parse_qsl(urlsplit(path).query)) for path, _ in self.asked]


class _Handler(BaseHTTPRequestHandler):
    site: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.site.asked.append((self.path, dict(self.headers.items())))
        parts = urlsplit(self.path)
        said = self.site.answer(parts.path, dict(parse_qsl(parts.query)), self.headers)
        status, headers, body = said if isinstance(said, tuple) else (200, {}, said)
        if not isinstance(body, bytes | Iterator):
            body = json.dumps(body).encode()
        pieces = [body] if isinstance(body, bytes) else body
        size = {"Content-Length": str(len(body))} if isinstance(body, bytes) else {}
        try:
            self.send_response(status)
            for name, value in {**size, **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            for piece in pieces:
                self.wfile.write(piece)
        except OSError:  # who asked has gone
            self.close_connection = True

    def log_message(self, *_):
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):  # a client that does not trust us, or went away
        pass


@contextmanager
def serving(answer, *, context=None):
    """Serve until the end of a test; give the site."""
    site = Site(answer)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"site": site}))
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    host = "localhost" if context else "127.0.0.1"
    site.url = f"http{'s' if context else ''}://{host}:{server.server_address[1]}/events"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield site
    finally:
        site.over.set()
        server.shutdown()
        server.server_close()
        thread.join()


def source(url, poll=None, *, endless=False, folder=".", **options):
    """Open a server as a document with this `poll` would."""
    return open_source(
        url,
        base=folder,
        options=Options(**options),
        endless=endless,
        polled=Polled(Poll.model_validate(poll or {}), folder),
    )


def read(opened, window=None):
    """Ask once for all; give the batches."""
    request = Request(window=window or Window())
    return [one for part in opened.fragments(request) for one in opened.read(part, request)]


def rows(batches):
    return [row for one in batches for row in one.rows.to_pylist()]


def ids(batches):
    return [row["event.id"] for row in rows(batches)]


def dead(batches):
    return [row for one in batches for row in one.dead.to_pylist()]


class Following:
    """A server that is asked for ever, as far as a test goes."""

    def __init__(self, opened, *, since=None, lateness=0):
        self.batches = []
        request = Request(since=since, lateness=lateness)
        self._given = opened.read(opened.fragments(request)[0], request)

    def until(self, done, seconds=10):
        """Read until something is true; give all batches so far."""
        end = time.monotonic() + seconds
        while not done():
            assert time.monotonic() < end, "it did not come"
            one = next(self._given)
            self.batches.append(one)
            if not one.rows.num_rows:
                time.sleep(0.005)
        return self.batches

    def answered(self, count=1):
        """Read until so many further questions were answered."""
        target = self.count("answered") + count
        return self.until(lambda: self.count("answered") >= target)

    def count(self, word):
        return sum(getattr(one.asked, word) for one in self.batches if one.asked)

    @property
    def trouble(self):
        return self.batches[-1].asked.trouble

    @property
    def place(self):
        return self.batches[-1].place

    def close(self):
        self._given.close()
