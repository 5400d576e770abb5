"""The service over HTTP: the registry, what probes send, who is let in, and what happens when things fail."""

import os
import signal
import ssl
import subprocess
import sys
import threading
from http.client import HTTPException

import pytest
import topics
import trustme
from browsing import browser
from probing import PATIENCE, manifest, sent, until
from servers.kafka_broker import Broker
from serving import envelopes, serving

from rms_flows.envelope import Observed, Signer, generate, public_text
from rms_flows.errors import BusyError, DocumentError, FlowError, SinkError
from rms_flows.io.kafka import confluent
from rms_flows.serve import access, intake, outlets, server
from rms_flows.serve.intake import Broken, Intake
from rms_flows.serve.outlets import Sent, open_outlet
from rms_flows.serve.server import Listening

pytestmark = pytest.mark.timeout(900)  # many processes start, and machines may be slow

LOAD = {"id": "load", "name": "CPU load", "quantityKind": "ratio"}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    folder = tmp_path_factory.mktemp("serve")
    with serving(folder, "--out", folder / "out.ndjson") as one:
        one.out = folder / "out.ndjson"
        yield one


def test_a_document_is_kept_found_changed_and_forgotten(service):
    # The trap: an id with a slash, which no path segment holds.
    kind = "/v1/documents/DataKind"
    document = {**LOAD, "id": "site/load"}
    assert service.ask("POST", kind, document)[:2] == (201, {"id": "site/load"})
    assert service.ask("GET", f"{kind}/site%2Fload").body == document
    assert service.ask("PUT", f"{kind}/site/load", {**document, "name": "Load"}).body == {"changed": True}
    assert service.ask("PUT", f"{kind}/site/load", {**document, "name": "Load"}).body == {"changed": False}
    assert service.ask("GET", kind).body == [{**document, "name": "Load"}]
    assert service.ask("POST", "/v1/discover/DataKind", {"quantityKind": "ratio"}).body[0]["name"] == "Load"
    before, now = service.ask("GET", "/v1/history/DataKind/site/load").body
    assert (before["document"], before["until"]) == (document, now["since"])
    assert now["until"] is None
    assert service.ask("DELETE", f"{kind}/site/load").status == 200
    assert service.ask("GET", f"{kind}/site/load").status == 404
    assert service.ask("GET", kind).body == []


def test_a_read_embeds_what_a_document_refers_to_and_goes_back_in_time(service):
    made = b"id: bus\nname: Bus\ncommunicationProtocol: MQTT\n"  # YAML, too
    assert service.ask("POST", "/v1/documents/DataInterface", made).status == 201
    service.ask("PUT", "/v1/documents/DataKind/load", LOAD)
    document = {"id": "d", "name": "d", "dataInterfaceReferenceID": "bus", "dataKindReferenceID": "load"}
    assert service.ask("POST", "/v1/documents/DataSourceDefinition", document).status == 201
    read = service.ask("GET", "/v1/documents/DataSourceDefinition/d?expanded=true").body
    assert read["dataKind"] == LOAD
    answer = service.ask("GET", "/v1/documents/DataSourceDefinition/d?at=2001-01-01")
    assert (answer.status, answer.body["problem"]) == (
        404, "no DataSourceDefinition is called 'd' at 2001-01-01T00:00:00Z",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "problem"),
    [
        ("GET", "/v1/documents/Foo", None, 404, "no document is called 'Foo'"),
        ("GET", "/v1/documents/DataKind/none", None, 404, "no DataKind is called 'none'"),
        ("GET", "/v1/documents/DataKind?at=noon", None, 422, "Input should be a valid datetime"),
        ("POST", "/v1/documents/DataKind", b"{", 422, "no YAML"),
        ("POST", "/v1/documents/DataKind", {"id": "x", "nmae": "x"}, 422, "nmae"),
        ("PUT", "/v1/documents/DataKind/y", LOAD, 422, "the document's id is 'load'"),
        ("POST", "/v1/documents/DataKind", b" " * 1_048_577, 413, "the body is longer than 1,048,576 bytes"),
        ("POST", "/v1/discover/DataKind", {"nmae": "x"}, 422, "a DataKind has no field 'nmae'"),
        ("POST", "/v1/discover/DataKind", b"[]", 422, "the example is no JSON object"),
        ("POST", "/v1/envelopes", b"{}", 422, "line 1: no envelope"),
        ("GET", "/v1/envelopes", None, 405, "Method Not Allowed"),
        ("POST", "/v1/envelopes", b"\n" * 16_777_217, 413, "the body is longer than 16,777,216 bytes"),
        ("GET", "/v1/nothing", None, 404, "Not Found"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told(service, method, path, body, status, problem):
    answer = service.ask(method, path, body)
    assert answer.status == status
    assert problem in str(answer.body)


def test_who_is_referred_to_stays(service):
    service.ask("PUT", "/v1/documents/DataKind/kept", {**LOAD, "id": "kept"})
    service.ask(
        "PUT", "/v1/documents/DataInterface/i", {"id": "i", "name": "i", "communicationProtocol": "MQTT"}
    )
    service.ask("PUT", "/v1/documents/DataSourceDefinition/u",
        {"id": "u", "name": "u", "dataInterfaceReferenceID": "i", "dataKindReferenceID": "kept"},
    )  # fmt: skip
    answer = service.ask("DELETE", "/v1/documents/DataKind/kept")
    assert (answer.status, answer.body["remedy"]) == (409, "change or delete that first")
    again = service.ask("POST", "/v1/documents/DataKind", {**LOAD, "id": "kept"})
    assert (again.status, again.body["problem"]) == (409, "there is a DataKind 'kept' already")


def test_envelopes_are_kept_all_of_a_body_or_none(service):
    key = generate()
    good = envelopes(key, "whole", 1, 3)
    assert service.ask("POST", "/v1/envelopes", good)[:2] == (200, {"kept": 3})
    answer = service.ask("POST", "/v1/envelopes", envelopes(key, "half", 1, 2) + b'{"probe": 1}\n')
    assert (answer.status, answer.body["problem"][:21]) == (422, "line 3: no envelope: ")
    long = Signer(key, "long").line(1, Observed("test", {"text": "x" * 900_000}, 0))
    assert service.ask("POST", "/v1/envelopes", long).status == 413
    assert service.ask("POST", "/v1/envelopes", b"\n \n")[:2] == (200, {"kept": 0})
    assert {one["probe"] for one in sent(service.out)} & {"whole", "half", "long"} == {"whole"}


def test_the_page_of_what_there_is_to_ask_for_needs_nothing_from_elsewhere(service, chromium):
    with browser(chromium) as seen:
        page, asked, problems = seen.new_page(), [], []
        page.on("request", lambda one: asked.append(one.url))
        page.on("pageerror", lambda one: problems.append(str(one)))
        page.goto(f"{service.url}/docs")
        page.get_by_text("/v1/envelopes", exact=True).first.wait_for()
        shown = page.locator(".opblock").count()
    assert shown == 14
    assert problems == []
    assert [url for url in asked if not url.startswith((service.url, "data:"))] == []


def load(service, keys, rounds, each, pause=0.0):
    """Let probes send at once, each in turn `rounds` bodies of `each` envelopes; give what they were told."""
    told, lock = [], threading.Lock()

    def probe(name, key):
        connection = service.connect()
        for number in range(rounds):
            body = envelopes(key, name, 1 + number * each, each)
            status = service.ask("POST", "/v1/envelopes", body, connection=connection).status
            with lock:
                told.append((name, number, status))
            if pause:
                threading.Event().wait(pause)
        connection.close()

    threads = [threading.Thread(target=probe, args=item) for item in keys.items()]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return told


@pytest.mark.parametrize(("rounds", "each"), [(3, 10), pytest.param(120, 10, marks=pytest.mark.soak)])
def test_200_probes_at_once_lose_nothing(tmp_path, rounds, each):
    keys = {f"probe-{number}": generate() for number in range(200)}
    out = tmp_path / "out.ndjson"
    with serving(tmp_path, "--out", out) as one:
        told = load(one, keys, rounds, each)
    assert {status for *_, status in told} == {200}
    folder = tmp_path / "registry/DataSourceManifest"
    folder.mkdir(parents=True)
    for name, key in keys.items():
        text = f"id: {name}\nname: p\ndataSourceDefinitionReferenceID: d\ntrust: {{publicKey: '{public_text(key)}'}}\n"
        (folder / f"{name}.yaml").write_text(text)
    verify = [
        sys.executable,
        "-m",
        "rms_flows",
        "probe",
        "verify",
        str(out),
        "--registry",
        str(tmp_path / "registry"),
    ]
    done = subprocess.run(verify, capture_output=True, text=True, check=False, timeout=300)  # noqa: S603
    assert done.stdout.splitlines()[-1] == "nothing is wrong"
    assert done.stdout.count(f": {rounds * each} signed, 1 to {rounds * each}\n") == len(keys)


def test_what_was_answered_for_survives_kill_9(tmp_path):
    # The trap: an answer before the disk has it, and half a line that a later one is glued to.
    out, key = tmp_path / "out.ndjson", generate()
    answered = 0
    for turn in range(2):
        with serving(tmp_path, "--out", out) as one:
            before = answered
            try:
                while True:
                    body = envelopes(key, f"turn-{turn}", answered + 1, 5)
                    assert one.ask("POST", "/v1/envelopes", body).status == 200
                    if answered == before:
                        threading.Timer(0.2, one.process.kill).start()
                    answered += 5
            except (OSError, HTTPException):
                one.process.wait()
        with out.open("ab") as file:
            file.write(b'{"half')
    assert answered >= 10
    open_outlet(str(out)).close()
    kept = {one["sequence"] for one in sent(out)}
    assert kept >= set(range(1, answered + 1))
    assert out.read_bytes().endswith(b"\n")


def test_tokens_say_who_may_do_what(tmp_path):
    tokens = {"probe": "p" * 16, "reader": "r" * 16, "admin": "a" * 16}
    file = tmp_path / "tokens"
    file.write_text("# ours\n\n" + "".join(f"{role} {token}\n" for role, token in tokens.items()))
    file.chmod(0o600)
    body = envelopes(generate(), "hub", 1, 1)
    asked = {
        "keep": ("POST", "/v1/envelopes", body),
        "read": ("GET", "/v1/documents/DataKind", None),
        "write": ("PUT", "/v1/documents/DataKind/load", LOAD),
        "delete": ("DELETE", "/v1/documents/DataKind/load", None),
    }
    may = {"probe": {"keep", "read"}, "reader": {"read"}, "admin": {*asked}}
    with serving(tmp_path, "--out", tmp_path / "o.ndjson", "--tokens", file) as one:
        for role, token in tokens.items():
            for what, words in asked.items():
                expected = 200 if what in may[role] else 403
                assert one.ask(*words, token=token).status == expected, (role, what)
        for token in (None, "x" * 16, "é".encode().decode("latin-1")):
            answer = one.ask("GET", "/v1/documents/DataKind", token=token)
            assert (answer.status, answer.headers["www-authenticate"]) == (401, "Bearer")
        assert one.ask("GET", "/healthz").status == 200
        one.process.send_signal(signal.SIGINT)  # Ctrl-C is an end in order, too
        _, said = one.process.communicate(timeout=PATIENCE)
    assert (one.process.returncode, said) == (0, "")
    assert "aaaa" not in repr(access.Access(access.tokens(file)))


@pytest.mark.parametrize(
    ("text", "mode", "problem"),
    [
        ("root abcdefghijklmnop", 0o600, r"tokens:1: expected a role, a blank and a token; roles are probe, reader, admin"),
        ("probe short", 0o600, r"a token has at least 16 characters"),
        ("# none", 0o600, r"holds no token; write lines such as `admin TOKEN`"),
        ("admin abcdefghijklmnop", 0o640, r"others may read or write the tokens \(mode 0640\); chmod 600"),
        (None, 0o600, r"the tokens can't be read \(No such file or directory\); make some with .*, or check path and rights"),
        (b"\xff\xff", 0o600, r"tokens can't be read \(no UTF-8\)"),
    ],
)  # fmt: skip
def test_tokens_that_are_none_are_refused_and_not_shown(tmp_path, text, mode, problem):
    file = tmp_path / "tokens"
    if text is not None:
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        file.chmod(mode)
    with pytest.raises(DocumentError, match=problem) as caught:
        access.tokens(file)
    assert "abcdef" not in str(caught.value)


def test_a_certificate_is_asked_for(tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    own = authority.issue_cert("localhost", "127.0.0.1")
    own.private_key_pem.write_to_path(tmp_path / "key.pem")
    own.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    shown = ssl.create_default_context(cafile=tmp_path / "ca.pem")
    authority.issue_cert("hub").configure_cert(shown)
    tls = ("--tls-certificate", tmp_path / "cert.pem", "--tls-key", tmp_path / "key.pem")
    ca = ("--client-ca", tmp_path / "ca.pem")
    with serving(tmp_path, "--out", tmp_path / "o.ndjson", *tls, *ca, context=shown) as one:
        assert one.url.startswith("https://")
        assert one.ask("POST", "/v1/envelopes", envelopes(generate(), "hub", 1, 1)).status == 200
        assert one.ask("DELETE", "/v1/documents/DataKind/load").status == 403  # it is a probe
        for other in (None, stranger):
            context = ssl.create_default_context(cafile=tmp_path / "ca.pem")
            if other:
                other.issue_cert("hub").configure_cert(context)
            one._context = context
            with pytest.raises((ssl.SSLError, ConnectionError)):
                one.ask("GET", "/healthz")
        one._context = shown


@pytest.mark.parametrize(
    ("listening", "closed", "problem"),
    [
        (Listening("0.0.0.0"), True, r"--host 0.0.0.0: others than this machine would reach it without TLS"),  # noqa: S104
        (Listening("hub", certificate="c", key="k"), False, r"without a token or a certificate; name --tls"),
        (Listening(certificate="c"), True, r"--tls-key: TLS needs a certificate and its key; name both"),
        (Listening(key="c"), True, r"--tls-certificate: TLS needs"),
        (Listening(authorities="c"), True, r"--client-ca: certificates are asked for only with TLS"),
    ],
)  # fmt: skip
def test_what_would_let_everybody_in_is_refused(listening, closed, problem):
    with pytest.raises(DocumentError, match=problem):
        listening.check(closed=closed)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.8.8.8"])
def test_this_machine_is_let_in(host):
    Listening(host).check(closed=False)


def test_tls_that_cannot_be_set_up_is_told(tmp_path):
    (tmp_path / "x.pem").write_text("x")
    with pytest.raises(DocumentError, match=r"TLS can't be set up \(.*\); they have to be PEM"):
        Listening(certificate=tmp_path / "x.pem", key=tmp_path / "x.pem").context()


@pytest.mark.parametrize(
    ("host", "problem"),
    [
        ("127.0.0.1", r"127.0.0.1:\d+: can't listen there \(Address already in use\); another program may"),
        ("nowhere.invalid", r"nowhere.invalid:\d+: can't listen there \(.*not known.*|.*resolution.*\)"),
    ],
)
def test_where_nobody_can_listen_is_told(service, host, problem):
    taken = int(service.url.rpartition(":")[2])
    with pytest.raises(FlowError, match=problem):
        server.serve(None, Listening(host, taken), print)


def test_two_services_do_not_write_one_file(service):
    with pytest.raises(BusyError, match="another service or stream writes to it; stop it, or name another"):
        open_outlet(str(service.out))


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("reports.csv", r"nothing puts envelopes there; name a file that ends in .ndjson, or kafka://HOST/TOPIC"),
        ("parquet:there", "nothing puts envelopes there"),
        ("a.ndjson?format=probe", "envelopes are kept as they come, so format= can't change that; leave it out"),
    ],
)  # fmt: skip
def test_a_place_for_envelopes_that_is_none_is_refused(uri, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DocumentError, match=problem):
        open_outlet(uri)


def test_a_folder_that_can_not_be_written_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(
        SinkError, match=r"can't be written \((File exists|Not a directory)\); check path, rights and room"
    ):
        open_outlet(str(tmp_path / "file/out.ndjson"))


def test_a_full_disk_is_told_and_what_it_tore_is_gone(tmp_path, monkeypatch):
    # The trap: half a batch on disk, answered with an error, sent again, and then there one and a half times.
    out = tmp_path / "o.ndjson"
    taking = Intake(open_outlet(str(out)))
    assert taking.put([Sent("a", b"1")]).result(PATIENCE) is None
    real, room = os.pwrite, [3]

    def full(handle, data, at):
        if not room[0]:
            raise OSError(28, "No space left on device")
        written = real(handle, bytes(data)[: room[0]], at)
        room[0] -= written
        return written

    monkeypatch.setattr(outlets.os, "pwrite", full)
    why = taking.put([Sent("a", b"23456")]).result(PATIENCE)
    assert why == f"{out}: can't be written (No space left on device); check path, rights and room"
    assert taking.trouble == why
    monkeypatch.setattr(outlets.os, "pwrite", real)
    assert taking.put([Sent("a", b"23456")]).result(PATIENCE) is None
    assert taking.trouble is None
    taking.close()
    assert out.read_bytes() == b"1\n23456\n"


def test_who_comes_when_too_many_wait_is_sent_away(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "WAITING", 1)
    held = threading.Event()

    class Slow:
        def put(self, given):
            del given
            held.wait(PATIENCE)

        def close(self):
            pass

    taking = Intake(Slow())
    first = taking.put([Sent("a", b"1")])
    with pytest.raises(SinkError, match="too many envelopes wait to be kept; send them again later"):
        until(lambda: [taking.put([Sent("a", b"2")]) for _ in range(3)])
    assert first.cancel()  # who sent it has gone
    held.set()
    taking.close()


def test_lines_are_told_apart():
    line = Signer(generate(), "hub").line(1, Observed("test", {}, 0))
    assert intake.envelopes(line + b"\r\n\n" + line) == [Sent("hub", line)] * 2
    assert isinstance(intake.envelopes(line + b"\n" + line[1:]), Broken)


def test_a_topic_has_a_probes_envelopes_in_their_order_also_over_a_brokers_death(
    tmp_path, kafka_set_up, monkeypatch
):
    monkeypatch.setattr(confluent, "_WRITING", {**confluent._WRITING, "message.timeout.ms": 10_000})
    with Broker(tmp_path / "broker") as broker:
        topic = topics.create(broker.url, "envelopes", partitions=3)
        taking = Intake(open_outlet(f"kafka://{broker.url}/{topic}"))
        given = [Sent(f"p{n % 5}", b"%d" % n) for n in range(50)]
        assert taking.put(given).result(PATIENCE) is None
        broker.kill()
        why = taking.put([Sent("p0", b"50")]).result(PATIENCE)
        assert why.startswith(f"kafka://{broker.url}/{topic}: ")
        broker.start()
        until(lambda: taking.put([Sent("p0", b"50")]).result(PATIENCE) is None)
        taking.close()
        found = topics.consume(broker.url, topic)
    for probe in range(5):
        own = [one for one in found if one.key == b"p%d" % probe]
        assert len({one.partition for one in own}) == 1
        values = list(dict.fromkeys(int(one.value) for one in own))
        assert values == [n for n in range(51) if n % 5 == probe]


def test_no_broker_is_told_at_the_start(monkeypatch):
    monkeypatch.setattr(confluent, "ANSWER", 1.0)
    with pytest.raises(SinkError, match=r"kafka://127.0.0.1:9/t: no broker answers"):
        open_outlet("kafka://127.0.0.1:9/t")


def test_a_probe_without_what_the_service_needs_is_told(monkeypatch):
    from typer.testing import CliRunner  # noqa: PLC0415

    from rms_flows.cli.app import app  # noqa: PLC0415

    monkeypatch.setitem(sys.modules, "rms_flows.serve.api", None)
    done = CliRunner().invoke(app, ["serve"])
    assert isinstance(done.exception, FlowError)
    assert "pip install 'rms-flows[serve]'" in str(done.exception)


def test_manifest_of_a_probe_comes_over_http(service, tmp_path):
    text = (
        manifest(tmp_path)
        .read_bytes()
        .replace(b"dataSourceDefinitionReferenceID: gateway", b"dataSourceDefinitionReferenceID: d2")
    )
    service.ask(
        "PUT", "/v1/documents/DataInterface/i2", {"id": "i2", "name": "i", "communicationProtocol": "MQTT"}
    )
    service.ask("PUT", "/v1/documents/DataKind/k2", {**LOAD, "id": "k2"})
    service.ask("PUT", "/v1/documents/DataSourceDefinition/d2",
        {"id": "d2", "name": "u", "dataInterfaceReferenceID": "i2", "dataKindReferenceID": "k2"},
    )  # fmt: skip
    assert service.ask("PUT", "/v1/documents/DataSourceManifest/hub", text).status == 200
    assert (
        service.ask("GET", "/v1/documents/DataSourceManifest/hub")
        .body["trust"]["publicKey"]
        .startswith("ed25519:")
    )
