"""Where Flink is: what is no address, and what isn't there, is said before a stream begins."""

import http.server
import socket
import threading

import pytest

from rms_flows.beam.cluster import Cluster
from rms_flows.errors import DocumentError, FlowError


@pytest.mark.parametrize(
    "address", ["localhost", "localhost:", "localhost:x", ":8099", "http://localhost:8099", "a:1/b"]
)
def test_what_is_no_address_of_a_job_server_is_told(address):
    with pytest.raises(
        DocumentError, match=r"the address of a job server is HOST:PORT; write --job-server localhost:8099"
    ):
        Cluster(job_server=address)


@pytest.mark.parametrize("address", ["localhost:8081", "file:///etc/passwd", "http://", "flink"])
def test_what_is_no_address_of_flink_is_told(address):
    with pytest.raises(
        DocumentError, match=r"is a URL of http or https; write --flink-rest http://localhost:8081"
    ):
        Cluster(rest=address)


def closed():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_a_flink_that_is_not_there_is_told():
    with pytest.raises(
        FlowError,
        match=r"Flink's REST interface doesn't answer as it should \(.*refused.*\); start Flink, or name it with --flink-rest",
    ):
        Cluster(rest=f"http://127.0.0.1:{closed()}").check()


class Answer(http.server.BaseHTTPRequestHandler):
    """Says to everybody what Elasticsearch says."""

    said = b'{"tagline": "you know, for search"}'

    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.said)

    def log_message(self, *_):
        pass


def test_another_server_is_told_from_flink():
    with http.server.HTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.handle_request).start()
        with pytest.raises(FlowError, match=r"this is no Flink; name Flink's with --flink-rest"):
            Cluster(rest=f"http://127.0.0.1:{server.server_port}").check()


def test_a_job_server_that_is_not_there_is_told(flink_cluster):
    with pytest.raises(
        FlowError, match=r"Beam's job server can't be reached \(.*refused.*\); start it, or name it"
    ):
        Cluster(f"127.0.0.1:{closed()}", flink_cluster.rest).check()


@pytest.mark.parametrize("readers", [-1, 0, 65])
def test_readers_are_some(readers):
    with pytest.raises(DocumentError, match=f"{readers}: a job has 1 to 64 readers; write --parallelism 4"):
        Cluster(workers="localhost:50000", parallelism=readers)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            {},
            "several readers need processes of their own; name a pool of workers with --workers external:HOST",
        ),
        ({"workers": "a:1", "checkpoint": 2.0}, "several readers begin together.*leave out --checkpoint and"),
        (
            {"workers": "a:1", "savepoint": "file:///a"},
            "several readers begin together.*leave out --checkpoint",
        ),
    ],
)
def test_several_readers_and_what_they_can_not_have(more, said):
    with pytest.raises(DocumentError, match=said):
        Cluster(parallelism=2, **more)


@pytest.mark.parametrize(
    ("task", "seconds"),
    [
        ({}, 7.0),
        ({"read": 3}, 0.0),
        ({"complete": False}, 0.0),
        ({"status": "FINISHED"}, 0.0),
        ({"name": "[5]{Read}"}, 0.0),
    ],
)
def test_how_long_a_step_has_waited_for_anything(monkeypatch, task, seconds):
    vertex = {
        "name": task.get("name", "[7]{Gather, a > s}"),
        "status": task.get("status", "RUNNING"),
        "duration": 7_000,
        "metrics": {"read-records": task.get("read", 0), "read-records-complete": task.get("complete", True)},
    }
    said = {
        "/jobs/overview": {"jobs": [{"jid": "j", "name": "rms-t", "state": "RUNNING"}]},
        "/jobs/j": {"vertices": [vertex]},
    }
    monkeypatch.setattr(Cluster, "_ask", lambda _self, _method, path: said[path])
    assert Cluster().waits("rms-t", "Gather") == seconds
    assert Cluster().waits("rms-u", "Gather") == 0
