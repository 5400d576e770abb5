"""Who we are to a server that is polled: from files and the environment, shown to nobody else."""

import logging

import pytest
from polling import Following, dead, ids, read, serving, source

from rms_flows.errors import DocumentError, SourceError
from rms_flows.io.poll import bounded, tail

TOKEN = "s3cret-t0ken"  # noqa: S105  of a test
RECORDS = [{"time": "2026-03-01T00:00:00Z", "number": 1}]
BASIC = "YW5uOnMzY3JldC10MGtlbg=="  # ann:s3cret-t0ken


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bounded, "PATIENCE", 0.3)
    monkeypatch.setattr(tail, "PAUSE", 0.01)


@pytest.mark.parametrize(
    ("auth", "content", "header"),
    [
        ("bearer_file", TOKEN, ("Authorization", f"Bearer {TOKEN}")),
        ("basic_file", f"ann:{TOKEN}\n", ("Authorization", f"Basic {BASIC}")),
        ("header_file", f"X-Api-Key: {TOKEN}\n", ("X-Api-Key", TOKEN)),
        ("bearer_env", TOKEN, ("Authorization", f"Bearer {TOKEN}")),
        ("header_env", f"x-api-key: {TOKEN}", ("x-api-key", TOKEN)),
    ],
)
def test_who_we_are_is_sent(auth, content, header, tmp_path, monkeypatch):
    name, value = header
    kind = auth.partition("_")[2]
    named = "RMS_POLL_HUB" if kind == "env" else "login.txt"
    (tmp_path / "login.txt").write_text(content)
    if kind == "env":
        monkeypatch.setenv("RMS_POLL_HUB_FILE", str(tmp_path / "login.txt"))
    poll = {"auth": {auth: named}, "headers": {"X-Site": "cellar", "accept": "application/json"}}
    with serving(lambda *_: RECORDS) as site:
        assert len(ids(read(source(site.url, poll, folder=tmp_path)))) == 1
    [(path, headers)] = site.asked
    assert (headers[name], headers["X-Site"], headers["accept"]) == (value, "cellar", "application/json")
    assert "Accept" not in headers, "what the document says goes before ours"
    assert TOKEN not in path


def test_a_secret_that_a_server_repeats_is_in_no_message_log_or_dead_letter(tmp_path, caplog):
    caplog.set_level(logging.DEBUG)
    (tmp_path / "token").write_text(TOKEN)
    poll = {"auth": {"bearer_file": "token"}, "interval": "10ms"}

    def echo(_path, _asked, headers):
        return status, {}, f"<html>what is {headers['Authorization']}?".encode()

    with serving(echo) as site:
        status = 403
        with pytest.raises(SourceError, match=r"403 \(<html>what is Bearer \[secret\]\?\)") as told:
            read(source(site.url, poll, folder=tmp_path))
        status = 200
        following = Following(source(site.url, poll, endless=True, folder=tmp_path))
        [letter] = dead(following.until(lambda: following.count("failed") >= 2))
        following.close()
        said = repr(source(site.url, poll, folder=tmp_path)) + following.trouble
    assert b"[secret]" in letter["event.original"]
    assert not [text for text in (str(told.value), caplog.text, said, str(letter)) if TOKEN in text]


def test_a_token_that_is_renewed_is_taken_from_the_next_poll_on(tmp_path):
    (tmp_path / "token").write_text("old")

    def answer(_path, _asked, headers):
        return RECORDS if headers["Authorization"] == f"Bearer {good}" else (401, {}, b"")

    good = "old"
    with serving(answer) as site:
        poll = {"auth": {"bearer_file": "token"}, "interval": "10ms"}
        following = Following(source(site.url, poll, endless=True, folder=tmp_path))
        following.answered()
        good = "new"
        (tmp_path / "token").unlink()
        following.until(lambda: following.count("failed") >= 2)
        (tmp_path / "token").write_text("new")
        following.answered()
        following.close()
    assert following.trouble is None


@pytest.mark.parametrize(
    ("auth", "content", "match"),
    [
        ({"bearer_file": "login"}, None, "poll.auth.bearer_file: .*login can't be read .*; name a file that this user may read"),
        ({"bearer_file": "login"}, "", "poll.auth.bearer_file: login holds nothing; put it there"),
        ({"bearer_env": "RMS_POLL_X"}, None, "poll.auth.bearer_env: RMS_POLL_X holds nothing; put it there, or set RMS_POLL_X_FILE"),
        ({"bearer_file": "login"}, "a\nb", "login holds what is no single line of ASCII; write one line"),
        ({"basic_file": "login"}, "ann", "login holds no user:password; write user:password"),
        ({"header_file": "login"}, "ann", "login holds no header; write one such as X-Api-Key"),
        ({"bearer_file": "../login"}, "a", "the path '../login' leaves the folder of the document"),
    ],
)  # fmt: skip
def test_logins_that_are_none(auth, content, match, tmp_path, monkeypatch):
    monkeypatch.delenv("RMS_POLL_X", raising=False)
    folder = tmp_path / "flow"
    folder.mkdir()
    if content is not None:
        (folder / "login").write_text(content)
    with pytest.raises(DocumentError, match=match):
        read(source("http://localhost:9/events", {"auth": auth}, folder=folder))


def test_a_secret_crosses_no_network_in_plain_text(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    with pytest.raises(DocumentError, match="a login would cross the network in plain text; write https://"):
        read(source("http://hub.example/events", {"auth": {"bearer_file": "token"}}, folder=tmp_path))


def test_both_a_value_and_a_file_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("RMS_POLL_HUB", TOKEN)
    monkeypatch.setenv("RMS_POLL_HUB_FILE", str(tmp_path / "x"))
    with pytest.raises(DocumentError, match="RMS_POLL_HUB: there are a value and a file"):
        read(source("http://localhost:9/a", {"auth": {"bearer_env": "RMS_POLL_HUB"}}, folder=tmp_path))
