"""Mail through a real server: TLS, a login, what it refuses; and nothing of a report in a header or as markup."""

import email
import email.policy
import ssl

import pytest
import trustme
from acting import outgoing, postman, report
from aiosmtpd.smtp import AuthResult, LoginPassword

from rms_flows.action.receivers.mail import SHOWN, Mail
from rms_flows.errors import DocumentError
from rms_flows.model.actions import Login, Secret
from rms_flows.model.actions import Mail as Document

NOW = 1_772_366_430.0
EVIL = "x\r\nBcc: all@example.com\r\n\r\n<script>alert(1)</script>\u202e"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """A server that wants STARTTLS and a login; its folder has its authority and the password."""
    folder = tmp_path_factory.mktemp("mail")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(folder / "other.pem"))
    (folder / "password").write_text("geheim\n")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    def known(_server, _session, _envelope, _mechanism, data):
        good = data == LoginPassword(b"rms", b"geheim")
        return AuthResult(success=good, handled=False)

    with postman(tls_context=context, require_starttls=True, auth_required=True, authenticator=known) as one:
        one.folder = folder
        yield one


@pytest.fixture
def box(server):
    server.handler.__init__()
    return server.handler


def mail(one, **others):
    given = {
        "server": f"localhost:{one.port}",
        "sender": "rms@example.org",
        "to": ("soc@example.org", "on-call@example.org"),
        "login": Login(user="rms", password=Secret(file="password")),
        "ca": "ca.pem",
    }
    return Mail(Document(**{**given, **others}), one.folder, "actions.yaml: receivers[0].mail")


def test_a_mail_arrives_by_tls_with_a_login(server, box):
    assert mail(server).send(outgoing(report(), report("r2", 5)), NOW).state == "sent"
    [(envelope, tls, authenticated)] = box.got
    assert (tls, authenticated) == (True, True)
    assert envelope.rcpt_tos == ["soc@example.org", "on-call@example.org"]
    found = email.message_from_bytes(envelope.content, policy=email.policy.default)
    assert found["Subject"] == "[high] Guessing: 2 reports"
    assert found["Message-ID"] == "<n1.soc@example.org>"
    assert found["Auto-Submitted"] == "auto-generated"
    text, html = (part.get_content() for part in found.iter_parts())
    assert "from: 203.0.113.7" in text
    assert text.count("message: many failures") == html.count("<td>many failures</td>") == 2


def test_nothing_of_a_report_becomes_a_header_or_markup(server, box):
    """Guards against an attacker who chooses a user name that sends mail to others."""
    names = {"rule.name": EVIL, "message": EVIL, "rms.source": EVIL, "rms.request_source": EVIL}
    one = outgoing(report(**names))
    one.group["rms.source"] = EVIL
    assert mail(server).send(one, NOW).state == "sent"
    found = email.message_from_bytes(box.got[0][0].content, policy=email.policy.default)
    assert found["Bcc"] is None
    assert len(found["Subject"]) <= 120
    assert "\u202e" not in found["Subject"]
    text, html = (part.get_content() for part in found.iter_parts())
    assert "<script" not in html
    assert "&lt;script&gt;" in html
    assert not any(line.startswith("Bcc") for line in text.splitlines())


def test_a_long_one_says_how_many_more_there_are(server, box):
    many = [report(f"r{number}", number) for number in range(SHOWN + 7)]
    assert mail(server).send(outgoing(*many), NOW).state == "sent"
    text = email.message_from_bytes(box.got[0][0].content, policy=email.policy.default).get_body(["plain"])
    assert "… and 7 more reports" in text.get_content()


@pytest.mark.parametrize(
    ("rcpt", "data", "state", "said"),
    [
        ({"soc@example.org": "550 unknown"}, None, "sent", "refused for soc@example.org: 550 unknown"),
        (dict.fromkeys(("soc@example.org", "on-call@example.org"), "550 no"), None, "refused", "all addresses refused"),
        (dict.fromkeys(("soc@example.org", "on-call@example.org"), "450 busy"), None, "later", "soc@example.org: 450"),
        ({}, "554 smells of spam", "refused", "refused (554 smells of spam)"),
        ({}, "452 disk full", "later", "refused (452 disk full)"),
    ],
)  # fmt: skip
def test_what_the_server_refuses(server, box, rcpt, data, state, said):
    box.rcpt, box.data = rcpt, data
    found = mail(server).send(outgoing(), NOW)
    assert found.state == state
    assert said in found.said


def test_a_wrong_password_or_stranger_waits_and_nothing_secret_is_told(server, box, tmp_path):
    (server.folder / "wrong").write_text("wr0ng")
    denied = mail(server, login=Login(user="rms", password=Secret(file="wrong"))).send(outgoing(), NOW)
    assert denied.state == "later"
    assert "not now (535" in denied.said
    assert "wr0ng" not in denied.said
    stranger = mail(server, ca="other.pem").send(outgoing(), NOW)
    assert stranger.state == "later"
    assert "CERTIFICATE_VERIFY_FAILED" in stranger.said
    gone = mail(server, server="localhost:1").send(outgoing(), NOW)
    assert gone.state == "later"
    assert "not reached (ConnectionRefusedError" in gone.said
    assert box.got == []


def test_mail_does_not_cross_a_network_in_plain_text(server):
    with pytest.raises(
        DocumentError, match=r"mail.security: mail would cross the network in plain text; write starttls"
    ):
        mail(server, server="mail.example.org:25", security="none")
