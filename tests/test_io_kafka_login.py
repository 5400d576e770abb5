"""A real broker behind TLS and a login: who is let in, what the others are told, and that no secret is shown."""

from __future__ import annotations

import logging
import os

import pytest
import topics
import trustme
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from evented import SINGLE, ZERO, event, write_events, write_rules
from servers.kafka_broker import Broker
from test_cli import run as run_rms

from rms_flows.errors import DocumentError, SinkError
from rms_flows.io.kafka import confluent, pure
from rms_flows.kafka_login import Login, login

PASSWORD, WRONG = "s3cret-w0rd", "wr0ng-w0rd"
PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
NAMES = ("TLS", "USER", "PASSWORD", "PASSWORD_FILE", "MECHANISM", "CA", "CERTIFICATE", "KEY", "KEY_PASSWORD")


def settings_of(folder) -> dict[str, str]:
    """Make certificates for `localhost`; give the settings of a broker that wants TLS and a login."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    made = authority.issue_cert("localhost", "127.0.0.1")
    key = load_pem_private_key(made.private_key_pem.bytes(), None)
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (folder / "server.pem").write_bytes(data + b"".join(one.bytes() for one in made.cert_chain_pems))
    return {
        "listener.security.protocol.map": "PLAINTEXT:SASL_SSL,CONTROLLER:PLAINTEXT",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(folder / "server.pem"),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(folder / "ca.pem"),
        "sasl.enabled.mechanisms": "PLAIN",
        "sasl.mechanism.inter.broker.protocol": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f'{PLAIN} username="broker" password="b" user_broker="b" user_ann="{PASSWORD}";',
    }


@pytest.fixture(scope="module")
def guarded(kafka_set_up, tmp_path_factory):
    """`HOST:PORT` of the broker, and the file of its authority."""
    folder = tmp_path_factory.mktemp("guarded")
    with Broker(folder / "broker", settings_of(folder)) as broker:
        yield broker.url, folder / "ca.pem"


@pytest.fixture
def known(monkeypatch):
    """Say who we are."""

    def say(**values):
        for name in NAMES:
            monkeypatch.delenv(f"RMS_KAFKA_{name}", raising=False)
        for name, value in values.items():
            monkeypatch.setenv(f"RMS_KAFKA_{name}", str(value))

    return say


@pytest.fixture
def impatient(monkeypatch):
    for module in (confluent, pure):
        monkeypatch.setattr(module, "ANSWER", 3.0)


@pytest.mark.parametrize("how", ["password", "password file"])
def test_who_knows_the_password_is_let_in(guarded, kafka_client, known, tmp_path, how):
    broker, authority = guarded
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    secret = {"PASSWORD": PASSWORD} if how == "password" else {"PASSWORD_FILE": tmp_path / "password"}
    known(TLS="true", CA=authority, USER="ann", **secret)
    sink = topics.sink(broker, f"t-{kafka_client}")
    sink.prepare()
    assert sink.commit() == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"PASSWORD": WRONG}, r"the brokers don't let us in \(.*RMS_KAFKA_USER, RMS_KAFKA_PASSWORD"),
        ({"CA": None}, r"TLS fails \(.*RMS_KAFKA_CA"),
    ],
    ids=["password", "authority"],
)
def test_others_are_told_why_not_and_no_secret_is_shown(
    guarded, kafka_client, impatient, known, caplog, wrong, message
):
    broker, authority = guarded
    given = {"TLS": "true", "CA": authority, "USER": "ann", "PASSWORD": PASSWORD, **wrong}
    known(**{name: value for name, value in given.items() if value is not None})
    caplog.set_level(logging.DEBUG)
    with pytest.raises(SinkError, match=message) as told:
        topics.sink(broker, "t").prepare()
    assert not {PASSWORD, WRONG} & {
        word for word in (PASSWORD, WRONG) if word in str(told.value) + caplog.text
    }


def test_the_command_line_shows_no_secret_either(guarded, known, tmp_path, monkeypatch, capsys):
    broker, authority = guarded
    known(TLS="true", CA=authority, USER="ann", PASSWORD=WRONG)
    write_events(tmp_path / "in.ndjson", [event("e", ZERO, "failed")])
    write_rules(tmp_path / "rules", SINGLE[0])
    words = (
        "detect",
        tmp_path / "rules",
        "--in",
        tmp_path / "in.ndjson",
        "--out",
        f"kafka://{broker}/t",
        "--dead-letters",
        tmp_path / "dead.ndjson",
    )
    code, out, err = run_rms(monkeypatch, capsys, *words)
    assert code == 2
    assert "the brokers don't let us in" in err
    assert WRONG not in out + err


def test_a_login_does_not_show_its_password():
    assert PASSWORD not in repr(Login(user="ann", password=PASSWORD, key_password=PASSWORD))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"USER": "ann"}, "RMS_KAFKA_USER: a user needs a password, and a password a user; set both"),
        ({"PASSWORD": "x"}, "RMS_KAFKA_PASSWORD: a user needs a password, and a password a user; set both"),
        ({"TLS": "yes"}, "RMS_KAFKA_TLS: 'yes' is not true or false; mend or unset it"),
        (
            {"MECHANISM": "GSSAPI"},
            "RMS_KAFKA_MECHANISM: 'GSSAPI' is not PLAIN or SCRAM-SHA-256 or SCRAM-SHA-512",
        ),
        (
            {"PASSWORD": "x", "PASSWORD_FILE": "y"},
            "there are a value and a file; unset it, or RMS_KAFKA_PASSWORD_FILE",
        ),
        ({"CA": "/none"}, "RMS_KAFKA_CA: /none can't be read .*; name a file that this user may read"),
        (
            {"USER": "ann", "PASSWORD": "x"},
            "kafka://far:9092: a password would cross the network in plain text; set RMS_KAFKA_TLS=true",
        ),
    ],
)
def test_what_is_missing_or_unknown_is_told(known, values, message):
    known(**values)
    with pytest.raises(DocumentError, match=message):
        login(("far:9092",))


def test_a_login_to_this_machine_needs_no_tls(known):
    known(USER="ann", PASSWORD=WRONG)
    assert login(("127.0.0.1:9092", "localhost:1")).protocol == "SASL_PLAINTEXT"
    assert "RMS_KAFKA_TLS" not in os.environ
