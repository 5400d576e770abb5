"""Line logs, most of them real; the verdicts of `scenario.assert` name the addresses."""

from collections import Counter

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from decoding import run

from rms_flows.decode import sshd


def read(path, **options):
    return run(path.read_bytes(), path.name, **options)


def column(result, name):
    return result.rows[name].to_pylist()


@pytest.mark.parametrize(
    ("message", "outcome", "user", "address", "port"),
    [
        ("Failed password for root from 10.0.0.1 port 22 ssh2", "failure", "root", "10.0.0.1", "22"),
        ("Failed password for invalid user a b from 10.0.0.1 port 22 ssh2", "failure", "a b", "10.0.0.1", "22"),
        ("Accepted publickey for ana from fe80::1%eth0 port 22 ssh2: RSA SHA256:x", "success", "ana", "fe80::1%eth0", "22"),
        ("Invalid user  from 10.0.0.1", "failure", None, "10.0.0.1", None),
        ("Invalid user pi from 10.0.0.1 port 1", "failure", "pi", "10.0.0.1", "1"),
        (
            "error: maximum authentication attempts exceeded for invalid user x from 10.0.0.1 port 1 ssh2 [preauth]",
            "failure", "x", "10.0.0.1", "1",
        ),
        (
            "pam_unix(sshd:auth): authentication failure; logname= uid=0 euid=0 tty=ssh ruser= rhost=10.0.0.1  user=root",
            "failure", "root", "10.0.0.1", None,
        ),
        ("Connection closed by authenticating user root 10.0.0.1 port 1 [preauth]", None, "root", "10.0.0.1", "1"),
        ("Disconnected from 10.0.0.1 port 1 [preauth]", None, None, "10.0.0.1", "1"),
        ("Received disconnect from 10.0.0.1 port 1:11: Bye Bye [preauth]", None, None, "10.0.0.1", "1"),
        ("Did not receive identification string from 10.0.0.1 port 1", None, None, "10.0.0.1", "1"),
        # names that attackers choose: the last address is the server's word
        ("Failed password for invalid user x from 1.1.1.1 port 9 ssh2 from 6.6.6.6 port 22 ssh2", "failure", "x from 1.1.1.1 port 9 ssh2", "6.6.6.6", "22"),
        ("Invalid user x from 1.1.1.1 port 9 from 6.6.6.6 port 22", "failure", "x from 1.1.1.1 port 9", "6.6.6.6", "22"),
        ("Invalid user Accepted password for root from 1.1.1.1 port 1 ssh2 from 6.6.6.6 port 22", "failure", "Accepted password for root from 1.1.1.1 port 1 ssh2", "6.6.6.6", "22"),
        ("Server listening on 0.0.0.0 port 22.", None, None, None, None),
    ],
)  # fmt: skip
def test_sshd_says_who_from_where_and_how_it_ended(message, outcome, user, address, port):
    got = sshd.fields(pa.array([message]))
    found = [got[name][0].as_py() for name in ("event.outcome", "user.name", "source.ip", "source.port")]
    assert found == [outcome, user, address, port]


def test_sshd_names_of_hosts_are_no_addresses():
    got = sshd.fields(pa.array(["Failed password for root from evil.example port 22 ssh2"]))
    assert got["source.ip"].to_pylist() == [None]
    assert got["source.address"].to_pylist() == ["evil.example"]


def test_a_real_month_of_guessing(datasets):
    """Counted with grep: 'sshd.*Failed ', 'sshd.*Accepted ', 'sshd.*Invalid user'."""
    path = datasets / "ssh_auth" / "auth.log"
    got = read(path, year=2017)
    assert got.counts.rows == 7121
    text = path.read_text()
    counted = Counter(zip(column(got, "event.action"), column(got, "event.outcome"), strict=True))
    for action, outcome, words in (
        ("ssh_login", "failure", ": Failed "),
        ("ssh_login", "success", ": Accepted "),
        ("ssh_invalid_user", "failure", ": Invalid user "),
    ):
        assert counted[action, outcome] == sum(
            words in line and " sshd[" in line for line in text.splitlines()
        ), action
    times = column(got, "@timestamp")
    assert times == sorted(times)
    assert str(times[0]) == "2017-03-27 13:06:56+00:00"


@pytest.mark.parametrize(
    ("folder", "address", "dataset"),
    [
        ("ssh-bf", "35.188.49.176", "system.auth"),
        ("ssh-slow-bf", "103.100.210.198", "system.auth"),
        ("ssh-time-based-bf", "10.0.0.101", "system.auth"),
        ("iptables-scan-multi-port", "62.34.17.168", "iptables.log"),
        ("mikrotik-scan-multi_ports", "36.97.161.219", "mikrotik.log"),
        ("home-assistant", "192.168.254.4", "home_assistant.log"),
    ],
)
def test_the_address_of_each_verdict_is_read(datasets, folder, address, dataset):
    path = next((datasets / "crowdsec" / folder).glob("*.log"))
    assert f'"{address}" in results' in (path.parent / "scenario.assert").read_text()
    got = read(path, year=2023)
    assert address in column(got, "source.ip")
    assert set(column(got, "event.dataset")) == {dataset}
    assert not got.dead
    if folder != "home-assistant":
        assert got.rows["source.port"].null_count < got.rows.num_rows


def test_sessions_that_close_are_no_failures(datasets):
    """crowdsec's negatives."""
    got = read(datasets / "crowdsec" / "sshd-logs-fp" / "sshd-logs.log", year=2023)
    assert got.rows["event.outcome"].null_count == got.rows.num_rows == 6


def test_lines_without_a_year_need_one_from_somewhere():
    line = b"Mar 27 13:06:56 hub cron[1]: x\n"
    got = run(line)
    assert got.reasons == {"timestamp": 1}
    assert "set year= to that of the first record" in got.dead[0]["error.message"]
    assert str(column(run(line, "auth.log-20240401"), "@timestamp")[0]) == "2024-03-27 13:06:56+00:00"
    assert str(column(run(line, year=2021), "@timestamp")[0]) == "2021-03-27 13:06:56+00:00"


def test_the_year_turns_within_a_file_also_between_blocks():
    lines = (
        b"Dec 31 23:59:59 h a: 1\n" * 70_000 + b"Jan  1 00:00:01 h a: 2\n" + b"Dec 31 23:59:59 h a: late\n"
    )
    times = column(run(lines, year=2022), "@timestamp")
    assert [str(time) for time in times[-3:]] == [
        "2022-12-31 23:59:59+00:00",
        "2023-01-01 00:00:01+00:00",
        "2022-12-31 23:59:59+00:00",
    ]


def test_rfc5424_with_structured_data_and_dashes():
    line = b'<34>1 2003-10-11T22:14:15.003Z mymachine.example.com su - ID47 [a@1 b="x\\]y" c="]"][d] \xef\xbb\xbf\'su root\' failed\n'
    got = run(line + b"<0>1 2026-01-01T00:00:00Z - - - - -\n")
    first = got.rows.to_pylist()[0]
    assert first["message"] == "'su root' failed"
    assert first["log.syslog.structured_data"] == '[a@1 b="x\\]y" c="]"][d]'
    assert (first["log.syslog.facility.code"], first["log.syslog.severity.code"]) == (4, 2)
    assert got.rows["host.hostname"].to_pylist() == ["mymachine.example.com", None]


def test_what_is_no_syslog_is_a_dead_letter_that_shows_the_form():
    got = run(b"Mar 27 13:06:56 hub a: x\nhello\n<999>Mar 27 13:06:56 hub a: y\n", year=2026)
    assert got.counts.rows == 2
    assert got.reasons == {"syslog": 1}
    assert "expected 'Mar 27 13:06:56 host program[1]: text'" in got.dead[0]["error.message"]
    assert got.rows["log.syslog.priority"].to_pylist() == [None, None]


@pytest.mark.parametrize(
    ("message", "action", "client"),
    [
        ("New connection from 192.168.1.5:51234 on port 1883.", "mqtt_connection", None),
        ("New client connected from 192.168.1.5:51234 as a b (p2, c1, k60, u'bob').", "mqtt_connect", "a b"),
        ("Client a, b disconnected, not authorised.", "mqtt_connect_refused", "a, b"),
        ("Client a [192.168.1.5:51234] disconnected: not authorised.", "mqtt_connect_refused", "a"),
        ("Client <unknown> disconnected due to protocol error.", "mqtt_connect_refused", "<unknown>"),
        ("Sending CONNACK to a (0, 5)", "mqtt_connect_refused", "a"),
        ("Sending CONNACK to a (0, 0)", None, None),
        ("Client a disconnected.", "mqtt_disconnect", "a"),
        ("Socket error on client a, disconnecting.", "mqtt_disconnect", "a"),
        ("mosquitto version 2.0.11 starting", None, None),
    ],
)
@pytest.mark.parametrize("stamp", ["1679930000", "2023-03-27T15:13:20"])
def test_mosquitto(stamp, message, action, client):
    got = run(f"{stamp}: {message}\n".encode(), format="mosquitto")
    assert column(got, "event.action") == [action]
    assert column(got, "mqtt.client_id") == [client]


def test_tracebacks_belong_to_the_message_before_them():
    lines = b"  lost\n2021-12-12 12:32:19 ERROR (MainThread) [a.b] it broke\nTraceback:\n  File x\n2021-12-12 12:32:20 INFO (x) [a] y\n"
    got = run(lines, format="home-assistant")
    assert column(got, "message") == ["it broke\nTraceback:\n  File x", "y"]
    assert (got.counts.framed, got.counts.rows, got.counts.blank, got.counts.dead) == (5, 2, 2, 1)


def test_home_assistant_logins(datasets):
    got = read(datasets / "crowdsec" / "home-assistant" / "home-assistant-logs.log")
    assert got.format == "home-assistant"
    refused = pc.equal(got.rows["event.outcome"].cast("string"), "failure")
    assert pc.sum(refused).as_py() == 14
