"""Where envelopes go: a real broker and a real server, that go away and come back; nothing is lost or doubled."""

import http.server
import json
import re
import ssl
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest
import topics
import trustme
from probing import end, manifest, probing, sent, start, until
from servers.kafka_broker import Broker

from rms_flows.decode.contract import Options
from rms_flows.envelope import Verifier, public_text
from rms_flows.errors import DocumentError, SinkError
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.model import Trust
from rms_flows.probe import key
from rms_flows.probe.outputs import open_output
from rms_flows.probe.outputs.http import Http

LIMIT = 60 * 1024
MEMORY = [{"collect": "memory", "interval": "200ms"}]


def resident(process):
    status = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])


def whole(folder, lines):
    """See that these are all envelopes of the probe, each as it was signed; repetitions are the same bytes."""
    known = Verifier(public_text(key.load(folder / "hub.key")))
    distinct = {}
    for line in lines:
        assert distinct.setdefault(json.loads(line)["sequence"], line) == line
        assert known.signed(line)
    assert sorted(distinct) == list(range(1, len(distinct) + 1))
    return [json.loads(distinct[number]) for number in sorted(distinct)]


def test_a_broker_gets_all_though_it_was_away(kafka_set_up, tmp_path):
    """Guards against the gap in the night when the bus was restarted."""
    with Broker(tmp_path / "broker") as broker:
        topic = topics.create(broker.url, "probe")
        path = manifest(tmp_path, output=f"kafka://{broker.url}/{topic}", collectors=MEMORY)
        process = start(path)
        try:
            until(lambda: len(topics.consume(broker.url, topic)) > 5)
            assert resident(process) < LIMIT
            broker.kill()
            away = process.stderr.readline()  # the library tries for ten seconds
            assert re.search(
                r"envelopes wait on disk: kafka://.*: no broker took it .*check hosts, ports", away
            )
            broker.start()
            before = len(topics.consume(broker.url, topic))
            until(lambda: len(topics.consume(broker.url, topic)) > before + 20)
        finally:
            code, said = end(process)
        assert code == 0
        assert "envelopes are sent again" in said
        messages = topics.consume(broker.url, topic)
        assert {one.key for one in messages} == {b"hub"}
        found = whole(tmp_path, [one.value for one in messages])
        assert found[-1]["payload"]["probe.state"] == "STOPPED"
        assert max(one["payload"].get("probe.waiting", 0) for one in found) > 10


def test_flows_read_what_probes_send_to_a_topic(kafka_broker, tmp_path):
    topic = topics.create(kafka_broker, "probe")
    path = manifest(tmp_path, output=f"kafka://{kafka_broker}/{topic}", collectors=MEMORY)
    with probing(path):
        until(lambda: len(topics.consume(kafka_broker, topic)) > 5)
    trust = Trust(publicKey=public_text(key.load(tmp_path / "hub.key")))
    source = open_source(topics.uri(kafka_broker, topic), base=tmp_path, options=Options(trust=trust))
    request = Request()
    batches = [one for part in source.fragments(request) for one in source.read(part, request)]
    rows = [row for one in batches for row in one.rows.to_pylist()]
    assert {row["rms.trust"] for row in rows} == {"trusted"}
    assert [row["probe.sequence"] for row in rows] == list(range(1, len(rows) + 1))


class Server(http.server.BaseHTTPRequestHandler):
    """Keeps what is posted; answers what it is told to."""

    got: list
    answers: list

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status = self.answers.pop(0) if self.answers else 200
        if status == 200:
            self.got.append((self.path, dict(self.headers), body))
        text = b"not now" if status != 200 else b""
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_):
        pass


@contextmanager
def serving(port=0, answers=(), tls=None, version="HTTP/1.0"):
    handler = type("Handler", (Server,), {"got": [], "answers": list(answers), "protocol_version": version})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", port), handler)
    server.daemon_threads = True
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], handler
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def lines(handler):
    return [line for _, _, body in handler.got for line in body.splitlines()]


def test_a_server_gets_all_though_it_refused_and_was_away(tmp_path):
    with serving(answers=[503]) as (port, first):
        path = manifest(tmp_path, output=f"http://127.0.0.1:{port}/envelopes?from=hub", collectors=MEMORY)
        process = start(path)
        try:
            until(lambda: len(lines(first)) > 5)
            assert resident(process) < LIMIT
        except BaseException:
            process.kill()
            process.communicate()
            raise
    try:
        with serving(port) as (_, second):
            until(lambda: len(lines(second)) > 5)
            code, said = end(process)
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()
    assert code == 0
    assert (
        "the server refused envelopes (503 not now); see what it says; RMS_PROBE_TOKEN is who we are" in said
    )
    assert "envelopes are sent again" in said
    found = whole(tmp_path, lines(first) + lines(second))
    assert found[-1]["payload"]["probe.state"] == "STOPPED"
    assert {one[0] for one in first.got} == {"/envelopes?from=hub"}
    assert first.got[0][1]["Content-Type"] == "application/x-ndjson"


def test_a_token_goes_over_tls_to_whom_we_trust(tmp_path, monkeypatch):
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    (tmp_path / "token").write_text("secret\n")
    monkeypatch.setenv("RMS_PROBE_TOKEN_FILE", str(tmp_path / "token"))
    with serving(tls=context, version="HTTP/1.1") as (port, server):
        stranger = Http(f"https://127.0.0.1:{port}/")
        with pytest.raises(
            SinkError, match=r"no server took it .*certificate verify failed.*check host and port"
        ):
            stranger.send([b"{}"], 1)
        monkeypatch.setenv("RMS_PROBE_CA", str(tmp_path / "ca.pem"))
        output = Http(f"https://127.0.0.1:{port}/")
        output.send([b"{1}", b"{2}"], 2)
        output.send([b"{3}"], 3)
        output.close()
    assert lines(server) == [b"{1}", b"{2}", b"{3}"]
    assert server.got[0][1]["Authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("kafka://host", "is no topic; write kafka://HOST"),
        ("kafka://a:b/topic", "is no topic; write kafka://HOST"),
        ("kafka://host/a,b", "is no topic"),
        ("http://", "is no address of a server; write https://HOST"),
        ("http://host:port/", "is no address of a server"),
        ("https://me:secret@host/", "^host/: is no address of a server"),
        ("gopher://hole", "a probe can't send to 'gopher'; there are file:, kafka://, http:// and https://"),
    ],
)
def test_places_that_are_none(uri, said, tmp_path):
    with pytest.raises(DocumentError, match=said):
        open_output(uri, tmp_path, "hub")


def test_a_token_never_crosses_a_network_in_plain_text(tmp_path, monkeypatch):
    monkeypatch.setenv("RMS_PROBE_TOKEN", "secret")
    with pytest.raises(
        DocumentError, match="a token would cross the network in plain text; write https:, or unset"
    ):
        Http("http://example.org/")
    Http("http://localhost/")
    monkeypatch.setenv("RMS_PROBE_TOKEN_FILE", str(tmp_path / "absent"))
    with pytest.raises(
        DocumentError, match=r"RMS_PROBE_TOKEN_FILE: .*absent can't be read \(No such file.*name a"
    ):
        Http("https://localhost/")


def test_without_the_library_of_kafka_the_cure_is_told(monkeypatch, tmp_path):
    monkeypatch.setitem(__import__("sys").modules, "kafka", None)
    with pytest.raises(
        DocumentError, match="needs kafka-python, which is not installed; pip install 'rms-flows"
    ):
        open_output("kafka://localhost/topic", tmp_path, "hub")


def test_a_file_that_was_half_written_is_mended(tmp_path):
    """Guards against a crash in the middle of a line, which would join it to the next one."""
    out = tmp_path / "out.ndjson"
    path = manifest(tmp_path, heartbeat="100ms", output=str(out))
    with probing(path):
        until(lambda: len(sent(out)) > 5)
    with out.open("ab") as file:
        file.write(b'{"@timest')
    with probing(path):
        until(lambda: len(sent(out)) > 10)
    found = sent(out)
    assert [one["sequence"] for one in found] == list(range(1, len(found) + 1))
