"""Calls of Elasticsearch: where a URI leads, who we are there, what is tried again, what a person reads."""

from __future__ import annotations

import json
import pickle
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from rms_flows.errors import DocumentError, SinkError
from rms_flows.io import uri as uris
from rms_flows.io.elasticsearch import cluster as module
from rms_flows.io.elasticsearch.address import Address, address
from rms_flows.io.elasticsearch.away import Away
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.login import login


def at(uri: str, **options) -> Address:
    return address(uris.split(uri, Path("folder"), confined=True), **options)


def cluster(url: str, **options) -> Cluster:
    return Cluster(url, "elasticsearch://there/index", SinkError, **options)


@pytest.fixture(autouse=True)
def no_login(monkeypatch):
    for name in ("API_KEY", "API_KEY_FILE", "USER", "PASSWORD", "PASSWORD_FILE", "CA"):
        monkeypatch.delenv(f"RMS_ELASTICSEARCH_{name}", raising=False)


@pytest.mark.parametrize(
    ("uri", "url", "index"),
    [
        ("elasticsearch:///reports", "http://localhost:9200", "reports"),
        ("elasticsearch://es1/reports", "http://es1:9200", "reports"),
        ("elasticsearch://es1:19200/a-b_c.d", "http://es1:19200", "a-b_c.d"),
        ("elasticsearch+https://es1/reports", "https://es1:9200", "reports"),
        ("elasticsearch://[::1]:9201/reports", "http://[::1]:9201", "reports"),
    ],
)
def test_a_uri_leads_to_a_cluster_and_an_index(uri, url, index):
    found = at(uri)
    assert found == Address(url, index)
    assert at(found.uri) == found


@pytest.mark.parametrize(
    "index", ["Big", "_own", "-x", "+x", ".kibana", "a*", "a,b", "a b", "a/b", 'a"b', "a#b", "a:b", "ü?"]
)
def test_an_index_has_a_name_that_the_server_takes(index):
    with pytest.raises(DocumentError, match="can't name an index; use lower-case letters"):
        at(f"elasticsearch://es1/{index}")


def test_a_source_may_name_many():
    assert at("elasticsearch://es1/logs-*,-logs-old,.ds-metrics-*", pattern=True).index.startswith("logs-*,")


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("elasticsearch://es1", "no index; write elasticsearch://HOST"),
        ("elasticsearch://es1:port/a", "no host and port .*; write elasticsearch://HOST"),
        (f"elasticsearch://es1/{'a' * 245}", "a name of 245 bytes is too long; use 244 at most"),
    ],
)
def test_a_uri_that_leads_nowhere_is_told(uri, message):
    with pytest.raises(DocumentError, match=message):
        at(uri)


def test_credentials_in_a_uri_are_refused_and_not_repeated():
    with pytest.raises(DocumentError, match="credentials don't belong in a URI") as caught:
        at("elasticsearch+https://me:s3cret@es1/reports?a=1&a=2")
    assert "s3cret" not in str(caught.value)
    assert "me" not in str(caught.value).partition("@")[0].rpartition("//")[2]


def test_a_login_comes_from_the_environment_or_a_file(monkeypatch, tmp_path):
    assert login("http://es1:9200") == {}
    monkeypatch.setenv("RMS_ELASTICSEARCH_USER", "me")
    monkeypatch.setenv("RMS_ELASTICSEARCH_PASSWORD", "s3cret")
    assert login("https://es1:9200") == {"basic_auth": ("me", "s3cret")}
    monkeypatch.delenv("RMS_ELASTICSEARCH_PASSWORD")
    (tmp_path / "password").write_text("from a file\n")
    monkeypatch.setenv("RMS_ELASTICSEARCH_PASSWORD_FILE", str(tmp_path / "password"))
    assert login("http://localhost:9200") == {"basic_auth": ("me", "from a file")}
    monkeypatch.delenv("RMS_ELASTICSEARCH_USER")
    monkeypatch.delenv("RMS_ELASTICSEARCH_PASSWORD_FILE")
    monkeypatch.setenv("RMS_ELASTICSEARCH_API_KEY", "k3y")
    (tmp_path / "ca.pem").write_text("")
    monkeypatch.setenv("RMS_ELASTICSEARCH_CA", str(tmp_path / "ca.pem"))
    assert login("https://es1:9200") == {"api_key": "k3y", "ca_certs": str(tmp_path / "ca.pem")}


@pytest.mark.parametrize(
    ("known", "message"),
    [
        (
            {"API_KEY": "k", "USER": "u", "PASSWORD": "p"},
            "API_KEY: there are an API key and a user; unset it",
        ),
        ({"USER": "u"}, "USER: a user needs a password, .*; set both"),
        ({"PASSWORD": "p"}, "PASSWORD: a user needs a password, .*; set both"),
        ({"API_KEY": "k", "API_KEY_FILE": "f"}, "API_KEY: there are a value and a file; unset it"),
        ({"API_KEY_FILE": "not/there"}, "API_KEY_FILE: not/there can't be read .*; name a file"),
        ({"CA": "not/there"}, "CA: not/there can't be read .*; name a file"),
    ],
)
def test_a_login_that_is_none_is_told(monkeypatch, known, message):
    for name, value in known.items():
        monkeypatch.setenv(f"RMS_ELASTICSEARCH_{name}", value)
    with pytest.raises(DocumentError, match=f"RMS_ELASTICSEARCH_{message}"):
        login("https://es1:9200")


def test_a_login_does_not_cross_a_network_in_plain_text(monkeypatch):
    monkeypatch.setenv("RMS_ELASTICSEARCH_API_KEY", "k3y")
    with pytest.raises(
        DocumentError, match=r"http://es1:9200: a login would cross .*; write elasticsearch\+https"
    ):
        login("http://es1:9200")


class Fake:
    """A server that says what it is told, one answer a call; the last one for good."""

    def __init__(self, *answers: tuple[int, object], product: bool = True) -> None:
        self.calls: list[str] = []
        left = list(answers)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(handler) -> None:  # noqa: N805  as the library calls it
                self.calls.append(handler.path)
                status, body = left.pop(0) if len(left) > 1 else left[0]
                data = body if isinstance(body, bytes) else json.dumps(body).encode()
                handler.send_response(status)
                if product:
                    handler.send_header("X-Elastic-Product", "Elasticsearch")
                handler.send_header(
                    "Content-Type", "text/html" if isinstance(body, bytes) else "application/json"
                )
                handler.send_header("Content-Length", str(len(data)))
                handler.end_headers()
                handler.wfile.write(data)

            def log_message(handler, *_: object) -> None:  # noqa: N805
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self):
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


NINE = {"version": {"number": "9.1.0"}, "tagline": "You Know, for Search"}
BUSY = {"error": {"type": "es_rejected_execution_exception", "reason": "no room"}, "status": 429}


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_what_passes_is_tried_again(status):
    with Fake((status, BUSY), (status, b"<html>later</html>"), (200, NINE)) as fake:
        assert cluster(fake.url).call("GET", "/").json(dict) == NINE
        assert len(fake.calls) == 3


def test_patience_ends_with_what_was_said_last():
    with (
        Fake((429, BUSY)) as fake,
        pytest.raises(SinkError, match=r"too busy, and stays so \(no room\); give it time"),
    ):
        cluster(fake.url, patience=0.5).call("GET", "/")
    assert len(fake.calls) > 1


def test_what_does_not_pass_is_not_tried_again():
    with Fake(
        (400, {"error": {"type": "parse", "reason": "no JSON", "caused_by": {"type": "x", "reason": "at 3"}}})
    ) as fake:
        with pytest.raises(SinkError, match=r"refuses a call with 400 \(no JSON: at 3\); mend"):
            cluster(fake.url).call("GET", "/")
        assert len(fake.calls) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ((401, {"error": "who?"}), "it wants a login, and not this one; set RMS_ELASTICSEARCH_API_KEY, or"),
        ((401, b"<html>who?</html>"), "it wants a login, and not this one"),
        ((403, {"error": {"type": "security_exception", "reason": "not you"}}), "no right to do this .not you.; give it"),
        ((404, {"error": {"type": "index_not_found_exception", "reason": "no such index [a]"}}), r"no such index \[a\]; check"),
        ((503, {"error": {"type": "x", "reason": "all shards failed"}}), "not available .all shards failed.; mend the red"),
        ((200, {"version": {"number": "8.19.0"}}), "Elasticsearch 8.19.0 is too old; use version 9"),
        ((400, {"error": {"type": "media_type_header_exception", "reason": "9"}}), "is too old; use version 9"),
        ((200, {"hello": "world"}), "what answers is no Elasticsearch; check host and port"),
        ((200, b"<html>welcome</html>"), "what answers is no Elasticsearch; check host and port"),
    ],
)  # fmt: skip
def test_the_first_contact_says_what_is_wrong(answer, message):
    with Fake(answer) as fake, pytest.raises(SinkError, match=f"elasticsearch://there/index: .*{message}"):
        cluster(fake.url).check()
    assert len(fake.calls) == 1


def test_another_product_is_told():
    with (
        Fake((200, NINE), product=False) as fake,
        pytest.raises(SinkError, match="no Elasticsearch; check host"),
    ):
        cluster(fake.url).check()


def test_a_wrong_host_is_told_at_once():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # nobody listens
        url = f"http://127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(SinkError, match=r"can't be reached \(Connection refused\); check host and port"):
            cluster(url).check()
    with pytest.raises(SinkError, match=r"can't be reached \(.*[Nn]ame.*\); check host and port"):
        cluster("http://no-such-host.invalid:9200").check()


def test_no_answer_is_told(monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    deaf = socket.create_server(("127.0.0.1", 0))
    with deaf, pytest.raises(SinkError, match="no answer in time; see whether the cluster is overloaded"):
        cluster(f"http://127.0.0.1:{deaf.getsockname()[1]}").check()


def test_a_status_that_is_asked_for_is_given():
    with Fake((404, {"error": {"type": "gone", "reason": "it went"}})) as fake:
        said = cluster(fake.url).call("GET", "/x", accept=(404,))
    assert (said.status, said.failure.type, str(said.failure)) == (404, "gone", "it went")


def test_without_its_extra_the_cure_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "elasticsearch", None)
    with pytest.raises(
        SinkError, match=r"client of Elasticsearch, .*; pip install 'rms-flows\[elasticsearch\]'"
    ):
        cluster("http://127.0.0.1:9").check()


def test_it_crosses_to_workers_without_a_login(monkeypatch):
    monkeypatch.setenv("RMS_ELASTICSEARCH_API_KEY", "k3y")
    with Fake((200, NINE)) as fake:
        here = cluster(fake.url)
        here.check()
        data = pickle.dumps(here)
        assert b"k3y" not in data
        assert "k3y" not in repr(here)
        pickle.loads(data).check()  # noqa: S301  ours
        assert len(fake.calls) == 2


def test_a_real_node_answers(elasticsearch_node):
    here = cluster(elasticsearch_node)
    here.check()
    with pytest.raises(SinkError, match=r"no such index \[cluster-not-there\]; check the name"):
        here.call("GET", "/cluster-not-there")


def test_a_cluster_that_is_away_is_said_once_and_once_that_it_is_back(caplog):
    """What passes soon is nobody's business, and many calls at once meet the same."""
    away, trouble = Away("here"), SinkError("can't be reached", where="here")
    away.failed(trouble, 1.9, 120)
    away.answered()
    assert caplog.messages == []
    for _ in range(2):
        away.failed(trouble, 2.1, 120)
    for _ in range(2):
        away.answered()
    assert caplog.messages == [
        "here: can't be reached; it is tried for 120 s",
        "here: answers again, after 2 s",
    ]
