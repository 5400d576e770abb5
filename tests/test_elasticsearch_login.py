"""TLS and logins through a real proxy: who is let in, what the others are told, and that no secret is shown."""

from __future__ import annotations

import base64
import logging
import os
from pathlib import Path

import pytest
import repository
from corridor_fakes import rows_of
from servers.home import MissingToolError
from servers.tls_proxy import tls_proxy
from test_cli import run as run_rms

from rms_flows.errors import SinkError

PASSWORD, WRONG, KEY = "s3cret-w0rd", "wr0ng", "a1b2c3s3cret"


@pytest.fixture(scope="module")
def proxy(elasticsearch_node, tmp_path_factory):
    """URL of the node behind TLS and a login, and the file of its authority."""
    folder = tmp_path_factory.mktemp("proxy")
    target = elasticsearch_node.partition("://")[2]
    try:
        with tls_proxy(target, folder, password=PASSWORD, key=KEY) as url:
            yield url, folder / "ca.pem"
    except MissingToolError as error:
        if "CI" in os.environ:
            pytest.fail(str(error))
        pytest.skip(str(error))


@pytest.fixture
def known(monkeypatch, proxy):
    """Say who we are; give the URL."""

    def say(**values):
        for name in ("API_KEY", "API_KEY_FILE", "USER", "PASSWORD", "PASSWORD_FILE", "CA"):
            monkeypatch.delenv(f"RMS_ELASTICSEARCH_{name}", raising=False)
        for name, value in {"CA": str(proxy[1]), **values}.items():
            if value is not None:
                monkeypatch.setenv(f"RMS_ELASTICSEARCH_{name}", value)
        return proxy[0]

    return say


def write(url, index):
    sink = repository.sink(url, index)
    sink.prepare()
    part = sink.part("0")
    part.write(rows_of(0, 100))
    assert part.close().num_rows == 0
    return sink.commit()


@pytest.mark.parametrize("how", ["password", "password file", "key", "key file"])
def test_who_has_a_login_is_let_in(known, tmp_path, how):
    values = {"USER": "ann", "PASSWORD": PASSWORD} if how.startswith("password") else {"API_KEY": KEY}
    if how.endswith("file"):
        secret = tmp_path / "secret"
        name = [*values][-1]
        secret.write_text(f"{values.pop(name)}\n")
        values[f"{name}_FILE"] = str(secret)
    assert write(known(**values), f"login-{how.replace(' ', '-')}") == 100


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "it wants a login, and not this one; set RMS_ELASTICSEARCH_API_KEY, or"),
        ({"USER": "ann", "PASSWORD": WRONG}, "it wants a login, and not this one; set"),
        ({"API_KEY": WRONG}, "it wants a login, and not this one; set"),
        (
            {"CA": None, "USER": "ann", "PASSWORD": PASSWORD},
            r"TLS fails \(certificate verify failed.*\); name the authority's certificates with RMS_ELASTICSEARCH_CA",
        ),
    ],
)
def test_who_has_none_is_told_without_the_secret(known, values, message):
    url = known(**values)
    with pytest.raises(SinkError, match=message) as caught:
        write(url, "login-none")
    assert WRONG not in str(caught.value)
    assert PASSWORD not in str(caught.value)


def test_a_certificate_for_another_host_is_told(known):
    url = known(USER="ann", PASSWORD=PASSWORD).replace("localhost", "127.0.0.1")
    with pytest.raises(
        SinkError, match=r"TLS fails \(hostname '127.0.0.1' doesn't match 'localhost'\).*, and check the host"
    ):
        write(url, "login-host")


def test_tls_and_plain_text_do_not_fit(known, elasticsearch_node):
    url = known()
    with pytest.raises(SinkError, match=r"TLS fails \(WRONG_VERSION_NUMBER\); name the authority"):
        write(elasticsearch_node.replace("http:", "https:"), "login-plain")
    with pytest.raises(SinkError, match=r"can't be reached \(.*\); check host and port"):
        write(url.replace("https:", "http:"), "login-plain")


def test_by_the_command_line_a_secret_is_in_no_output_log_or_file(
    known, tmp_path, monkeypatch, capsys, caplog
):
    """Written and read again, with every logger on; and refused."""
    monkeypatch.chdir(tmp_path)
    url = known(USER="ann", PASSWORD=PASSWORD)
    place = repository.uri(url, "login-cli")
    Path("a.ndjson").write_text('{"@timestamp": "2026-01-01T00:00:00Z", "event.id": "e1", "a": "1"}\n')
    dead = ("--dead-letters", "dead.ndjson")
    with caplog.at_level(logging.DEBUG):
        written = run_rms(monkeypatch, capsys, "archive", "a.ndjson", place, *dead)
        read = run_rms(monkeypatch, capsys, "archive", f"{place}-*", "parquet:archive")
        known(USER="ann", PASSWORD=WRONG)
        refused = run_rms(monkeypatch, capsys, "archive", "a.ndjson", place, *dead)
    assert [code for code, _, _ in (written, read, refused)] == [0, 0, 2], (written, read, refused)
    shown = caplog.text + "".join(out + err for _, out, err in (written, read, refused))
    files = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    for secret in (PASSWORD, WRONG):
        coded = base64.b64encode(f"ann:{secret}".encode()).decode()
        for word in (secret, coded):
            assert word not in shown
            assert word.encode() not in files
