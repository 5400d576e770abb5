"""Webhooks: signed, never redirected, tried again or given up as the answer says."""

import base64
import hashlib
import hmac
import json
import socket
import ssl

import pytest
import trustme
from acting import KEY, hook, outgoing, report

from rms_flows.action.receivers import post
from rms_flows.action.receivers.webhook import Webhook, key, signature
from rms_flows.errors import DocumentError
from rms_flows.model.actions import Secret
from rms_flows.model.actions import Webhook as Document

NOW = 1_772_366_430.0


@pytest.fixture
def made(tmp_path):
    (tmp_path / "key").write_text(KEY + "\n")
    (tmp_path / "token").write_text("letmein\n")

    def make(url, **others):
        given = {"secret": Secret(file="key"), **others}
        return Webhook(Document(url=url, **given), tmp_path, "actions.yaml: receivers[0].webhook")

    return make


def test_what_it_posts_is_signed_and_says_which_it_is(made):
    with hook() as server:
        assert made(f"{server.url}/in?x=1", token=Secret(file="token")).send(outgoing(), NOW).state == "sent"
    [(path, headers, body, _)] = server.got
    assert path == "/in?x=1"
    assert headers["authorization"] == "Bearer letmein"
    assert headers["idempotency-key"] == headers["webhook-id"] == "n1"
    assert headers["webhook-timestamp"] == str(int(NOW))
    signed = hmac.new(KEY.encode(), f"n1.{int(NOW)}.".encode() + body, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
    said = json.loads(body)
    assert (said["type"], said["timestamp"]) == ("rms.reports", "2026-03-01T12:00:30.000000Z")
    assert said["data"]["reports"][0]["event.id"] == "r1"
    assert (said["data"]["id"], said["data"]["count"], said["data"]["group"]) == (
        "n1",
        1,
        {"rule.id": "rule-1"},
    )


def test_the_standards_own_example():
    """From the tests of the standard's libraries: they would verify what we sign."""
    known = key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "")
    body = b'{"test": 2432232314}'
    assert signature(known, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body) == (
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    )


@pytest.mark.parametrize("form", ["ecs", "iotac", "iotac-strict", "ocsf"])
def test_a_try_again_has_the_same_body(made, form):
    with hook(503) as server:
        one = made(server.url, form=form)
        assert one.send(outgoing(), NOW).state == "later"
        assert one.send(outgoing(), NOW + 60).state == "sent"
    first, second = server.got
    assert first[2] == second[2]
    assert first[1]["webhook-signature"] != second[1]["webhook-signature"]


@pytest.mark.parametrize(
    ("answer", "state", "said", "after"),
    [
        ((204, {}), "sent", "", None),
        ((500, {}), "later", "not now (500 see the manual)", None),
        ((429, {"Retry-After": "120"}), "later", "not now (429", 120.0),
        ((503, {"Retry-After": "999999999"}), "later", "not now (503", 3600.0),
        ((408, {}), "later", "not now (408", None),
        ((400, {}), "refused", "refused (400 see the manual)", None),
        ((410, {}), "refused", "refused (410", None),
        (
            (307, {"Location": "http://192.0.2.1/secret?x"}),
            "refused",
            "leads on to http://192.0.2.1 (307)",
            None,
        ),
    ],
)
def test_answers(made, answer, state, said, after):
    """Guards against reports that follow a redirect elsewhere, and against trying for ever what never goes."""
    with hook(answer) as server:
        found = made(server.url).send(outgoing(), NOW)
    assert (found.state, found.after) == (state, after)
    assert said in found.said
    assert len(server.got) == 1


def test_who_is_not_there_is_tried_again_and_no_secret_is_told(made, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as held:
        monkeypatch.setattr(post, "SECONDS", 0.2)
        one = made(f"http://localhost:{held.getsockname()[1]}/T0KEN/path", token=Secret(file="token"))
        silent = one.send(outgoing(), NOW)
    closed = one.send(outgoing(), NOW)
    assert (silent.state, closed.state) == ("later", "later")
    assert "not reached (TimeoutError" in silent.said
    assert "not reached (ConnectionRefusedError" in closed.said
    for text in (silent.said, closed.said, one.uri, repr(one._poster)):
        assert "T0KEN" not in text
        assert "letmein" not in text


def test_certificates_are_checked(made, tmp_path):
    authority, stranger = trustme.CA(), trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    stranger.cert_pem.write_to_path(str(tmp_path / "other.pem"))
    with hook(tls=context) as server:
        assert made(server.url, ca="ca.pem").send(outgoing(), NOW).state == "sent"
        refused = made(server.url, ca="other.pem").send(outgoing(), NOW)
    assert refused.state == "later"
    assert "CERTIFICATE_VERIFY_FAILED" in refused.said
    assert len(server.got) == 1


@pytest.mark.parametrize(
    ("url", "others", "said"),
    [
        (
            "ftp://x/",
            {},
            r"actions.yaml: receivers\[0\].webhook.url: is no address of a web server.*write https",
        ),
        ("https://ann:pw@x/", {}, "or holds a login; write https://HOST.*as token"),
        ("https://x:y/", {}, "is no address of a web server"),
        ("https://x/a b", {}, "is no address of a web server"),
        (
            "https://x/",
            {"token": Secret(file="lines")},
            "webhook.token: holds what no header can; write one line",
        ),
        (
            "http://example.org/",
            {"token": Secret(file="token")},
            "a token would cross the network in plain text; write",
        ),
        ("https://x/", {"ca": "no.pem"}, r"webhook.ca: .*no.pem holds no certificates .*name a PEM file"),
        (
            "https://x/",
            {"secret": Secret(file="no")},
            r"webhook.secret: the file .*no can't be read \(No such file",
        ),
        ("https://x/", {"secret": Secret(env="RMS_NO")}, "the variable RMS_NO holds no secret; put it there"),
        (
            "https://x/",
            {"secret": Secret(file="short")},
            "the secret has 5 bytes; take 24 random bytes or more",
        ),
        ("https://x/", {"secret": Secret(file="odd")}, "what follows whsec_ is no base64; write it as"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_sent(made, tmp_path, url, others, said):
    (tmp_path / "short").write_text("short")
    (tmp_path / "odd").write_text("whsec_***")
    (tmp_path / "lines").write_text("pw\r\nX-Evil: pw")
    with pytest.raises(DocumentError, match=said) as raised:
        made(url, **others)
    assert "pw" not in str(raised.value)


def test_the_address_may_be_a_secret(made, tmp_path):
    with hook() as server:
        (tmp_path / "url").write_text(f"{server.url}/hooks/T0KEN\n")
        assert made(Secret(file="url")).send(outgoing(report()), NOW).state == "sent"
    assert server.got[0][0] == "/hooks/T0KEN"
