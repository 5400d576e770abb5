"""What the tests of the service share: one that is started as a process of its own, and how it is asked."""

import http.client
import json
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import NamedTuple
from urllib.parse import urlsplit

from probing import PATIENCE

from rms_flows.envelope import Observed, Signer


class Answer(NamedTuple):
    status: int
    body: object
    headers: dict


class Service:
    """One at work.

    Args:
        process: Its own.
        url: Where it listens.
    """

    def __init__(self, process, url, context=None):
        self.process = process
        self.url = url
        self._context = context

    def connect(self):
        at = urlsplit(self.url)
        if self._context is not None:
            return http.client.HTTPSConnection(at.hostname, at.port, timeout=PATIENCE, context=self._context)
        return http.client.HTTPConnection(at.hostname, at.port, timeout=PATIENCE)

    def ask(self, method, path, body=None, token=None, connection=None):
        here = connection or self.connect()
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        try:
            here.request(method, path, json.dumps(body) if isinstance(body, dict) else body, headers)
            with here.getresponse() as answer:
                text = answer.read()
        finally:
            if connection is None:
                here.close()
        return Answer(answer.status, json.loads(text), {k.lower(): v for k, v in answer.getheaders()})

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        _, said = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, said


@contextmanager
def serving(folder, *options, context=None):
    """A service whose registry is in the folder; ended in order unless the test did so."""
    command = [
        sys.executable,
        "-m",
        "rms_flows",
        "serve",
        "--port",
        "0",
        "--registry",
        str(folder / "registry"),
    ]
    process = subprocess.Popen(  # noqa: S603  our own program
        [*command, *map(str, options)], stderr=subprocess.PIPE, text=True
    )
    try:
        line = process.stderr.readline()
        assert line.startswith("rms serve: http"), line + process.stderr.read()
        service = Service(process, line.split()[2], context)
        yield service
        if process.poll() is None:
            assert service.end() == (0, "")
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def envelopes(key, probe, first, count, time=1_700_000_000_000_000):
    """Sign some envelopes of a probe; a body of lines."""
    signer = Signer(key, probe)
    seen = (Observed("test", {"n": n}, time + n) for n in range(first, first + count))
    return b"".join(signer.line(first + at, one) + b"\n" for at, one in enumerate(seen))
