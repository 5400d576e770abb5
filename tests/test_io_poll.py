"""A server that is asked once, as a replay does: what comes of its answers, whatever it answers."""

import gzip
import json
import ssl
import time
from datetime import UTC, datetime, timedelta

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polling import dead, ids, read, rows, serving, source

from rms_flows.errors import DocumentError, SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Window
from rms_flows.io.poll import bounded, tail

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
ASKED = {"parameter": "since", "field": "time"}


def record(number, second=None, **fields):
    time = BEGAN + timedelta(seconds=number if second is None else second)
    return {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ"), "number": number, **fields}


RECORDS = [record(n) for n in range(25)]


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(bounded, "PATIENCE", 0.5)
    monkeypatch.setattr(tail, "PAUSE", 0.01)


@pytest.fixture(scope="module")
def plain():
    """Ids of the records where one answer has them all."""
    with serving(lambda *_: RECORDS) as site:
        yield lambda url: [one.replace(site.url, url) for one in _origins(read(source(site.url)))]


def _origins(batches):
    return [row["rms.origin"] for row in rows(batches)]


def test_what_an_answer_can_be():
    bodies = {
        "list": RECORDS[:2],
        "lines": b"".join(json.dumps(one).encode() + b"\r\n" for one in RECORDS[:2]),
        "one": RECORDS[0],
        "marked": b"\xef\xbb\xbf" + json.dumps(RECORDS[:2]).encode(),
        "named": (200, {"Content-Type": "text/html"}, RECORDS[:2]),
        "nothing": b"",
        "none": [],
    }
    with serving(lambda path, *_: bodies[path[1:]]) as site:
        counts = {name: len(rows(read(source(site.url.replace("events", name))))) for name in bodies}
    assert counts == {"list": 2, "lines": 2, "one": 1, "marked": 2, "named": 2, "nothing": 0, "none": 0}


def test_records_at_a_path_and_lines_of_another_format():
    syslog = b"Mar 14 02:00:01 hub sshd[1]: Failed password for root from 203.0.113.5 port 4711 ssh2\n" * 2
    answers = {"/deep": {"data": {"items": RECORDS[:3]}}, "/null": {"data": {"items": None}}, "/log": syslog}
    with serving(lambda path, *_: answers[path]) as site:
        base = site.url.removesuffix("/events")
        deep = read(source(f"{base}/deep", {"records": "data.items"}))
        assert [row["number"] for row in rows(deep)] == ["0", "1", "2"]
        assert read(source(f"{base}/null", {"records": "data.items"}))[-1].rows.num_rows == 0
        assert ids(read(source(f"{base}/deep#records=data.items"))) == ids(deep), (
            "the same without a document"
        )
        [login] = rows(read(source(f"{base}/log#year=2026")))
        assert (login["source.ip"], login["event.ingested"]) == ("203.0.113.5", None)


def test_records_that_are_equal_to_the_byte_are_one_and_counted():
    with serving(lambda *_: [RECORDS[0], RECORDS[1], RECORDS[0]]) as site:
        batches = read(source(site.url))
    assert len(ids(batches)) == 2
    assert sum(one.counts.duplicates for one in batches) == 1
    assert all(one.counts.balanced() for one in batches)


def test_an_id_of_its_own_counts_and_other_bytes_under_it_are_a_conflict():
    one, other = record(1, **{"event.id": "a"}), record(1, **{"event.id": "a", "state": "closed"})
    with serving(lambda *_: [one, other]) as site:
        batches = read(source(site.url))
    first, second = ids(batches)
    assert first == "a"
    assert len(second) == 32
    assert batches[-1].counts.conflicts == 1


def by_link(size, path="next"):
    def answer(_path, asked, _headers):
        at = int(asked.get("at", 0))
        more = f"?at={at + size}" if at + size < len(RECORDS) else None
        return {"items": RECORDS[at : at + size], path: more}

    return answer, {"records": "items", "next": {"link": path}}


def by_header(size):
    def answer(_path, asked, _headers):
        at = int(asked.get("at", 0))
        links = [f'</events?at={max(0, at - size)}>; rel="prev"']
        links += [f'</events?at={at + size}>; title="a, b"; rel=next'] if at + size < len(RECORDS) else []
        return 200, {"Link": ", ".join(links)}, RECORDS[at : at + size]

    return answer, {"next": {"header": True}}


def by_page(size):
    def answer(_path, asked, _headers):
        at = (int(asked["page"]) - 1) * size
        return RECORDS[at : at + size]

    return answer, {"next": {"parameter": "page"}}


def by_offset(size):
    def answer(_path, asked, _headers):
        return RECORDS[int(asked["offset"]) :][:size]

    return answer, {"next": {"parameter": "offset", "first": 0, "step": size}, "limit": size}


def by_token(size):
    def answer(_path, asked, _headers):
        at = int(asked.get("after", 0))
        return {"items": RECORDS[at : at + size], "meta": {"after": at + size if at + size < 25 else None}}

    return answer, {"records": "items", "next": {"parameter": "after", "token": "meta.after"}}


def by_cursor(size, *, inclusive=True):
    """Give no pages: the oldest that came since something, not more than so many."""

    def answer(_path, asked, _headers):
        since = asked.get("since", "")
        found = [one for one in RECORDS if one["time"] > since or (inclusive and one["time"] == since)]
        return found[:size]

    return answer, {"cursor": ASKED}


@pytest.mark.parametrize("kind", [by_link, by_header, by_page, by_offset, by_token, by_cursor])
@pytest.mark.parametrize("size", [7, 25])
def test_ids_do_not_depend_on_how_pages_fall(kind, size, plain):
    answer, poll = kind(size)
    with serving(answer) as site:
        batches = read(source(site.url, poll))
    assert sorted(_origins(batches)) == sorted(plain(site.url))
    assert sum(one.counts.rows for one in batches) == 25
    assert all(one.counts.balanced() for one in batches)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    seconds=st.lists(st.integers(0, 6), min_size=1, max_size=30),
    size=st.integers(12, 20),
    inclusive=st.booleans(),
)
def test_nothing_is_lost_where_many_have_one_time(shared, seconds, size, inclusive):
    """The trap: a server that gives no more than so many at once, with its border among equal times."""
    found = [record(n, second) for n, second in enumerate(sorted(seconds))]
    most = max(seconds.count(second) + seconds.count(second - 1) for second in seconds)

    def answer(_path, asked, _headers):
        since = asked.get("since", "")
        return [one for one in found if one["time"] > since or (inclusive and one["time"] == since)][
            : max(size, most + 1)
        ]

    shared.answer = answer
    batches = read(source(shared.url, {"cursor": ASKED}))
    assert sorted(int(row["number"]) for row in rows(batches)) == list(range(len(found)))


@pytest.fixture(scope="module")
def shared():
    with serving(lambda *_: []) as site:
        yield site


def test_a_window_is_asked_for_from_before_what_may_be_ahead(shared):
    shared.answer = lambda *_: []
    shared.asked.clear()
    window = Window.of(BEGAN + timedelta(hours=1), BEGAN + timedelta(hours=2))
    poll = {"cursor": {**ASKED, "written": "seconds", "until": "before", "start": "2026-01-01T00:00:00Z"}}
    read(source(f"{shared.url}?site=3", poll), window)
    begin = int(BEGAN.timestamp())
    assert shared.questions == [
        {"site": "3", "since": str(begin + 3_600 - 300), "before": str(begin + 7_200 + 1)}
    ]


def refused(answer, match, poll=None, **options):
    with serving(answer) as site, pytest.raises(SourceError, match=match):
        read(source(site.url, poll, **options))
    return site


def moved(place):
    return lambda *_: (302, {"Location": place}, b"")


@pytest.mark.parametrize(
    ("answer", "poll", "match"),
    [
        (lambda *_: (500, {}, b"out of order"), {}, r"/events: the server answers 500 \(out of order\); see the server's log"),
        (lambda *_: (503, {"Retry-After": "7200"}, b""), {}, "the server answers 503; see the server's log"),
        (lambda *_: (401, {}, b"who?"), {}, r"the server answers 401 \(who\?\); say who we are with poll: \{auth: …\}"),
        (lambda *_: (403, {}, b""), {}, "the server answers 403; say who we are .* or give that login the right"),
        (lambda *_: (404, {}, b""), {}, "the server answers 404; check the path"),
        (lambda *_: (418, {}, b"teapot"), {}, r"the server answers 418 \(teapot\); mend what it names"),
        (lambda *_: b"<!DOCTYPE html><p>Log in", {}, "the answer is a page of HTML: '<!DOCTYPE html><p>Log in'; expected JSON"),
        (lambda *_: (200, {"Content-Type": "text/html; charset=utf-8"}, b"hello"), {}, "the answer is a page of HTML: 'hello'"),
        (lambda *_: b'[{"time": "2026-03-01T00:00:00Z"}, {"ti', {}, "the answer is no JSON, or not all of it"),
        (lambda *_: b'{"time": "2026-03-', {}, "the answer is no JSON, or not all of it"),
        (lambda *_: {"data": {"items": {"a": 1}}}, {"records": "data.items"}, r"the answer has no list but \{.* at data.items"),
        (lambda *_: {"data": []}, {"records": "data.items"}, "the answer has nothing at data.items"),
        (lambda *_: RECORDS, {"max_answer": 100}, "the answer is longer than 100 bytes; ask for less at once"),
        (lambda *_: (200, {"Content-Length": "99999"}, b"[]"), {"timeout": "200ms"}, "breaks off|no answer within 0.2 s"),
        (lambda *_: (200, {"Content-Encoding": "gzip"}, b"no gzip"), {}, "the answer can't be unpacked"),
        (moved("http://elsewhere.example/events"), {}, r"the server sends us elsewhere \(http://elsewhere.example/events\); we follow it to the same host only"),
        (moved("/events"), {}, "the server sends us on more than 5 times; check the path"),
        (lambda *_: {"items": RECORDS, "next": "http://elsewhere.example/2"}, {"records": "items", "next": {"link": "next"}}, r"the next page is said to be on another server \(http://elsewhere.example/2\); we go on at the same host only"),
        (lambda *_: {"items": RECORDS, "next": "/events"}, {"records": "items", "next": {"link": "next"}}, "its pages go in a circle: .*/events gives what was there before"),
        (lambda *_: RECORDS, {"next": {"parameter": "page"}}, "its pages go in a circle: .*page=2 gives what was there before"),
        (lambda *_: {"items": RECORDS, "next": [1]}, {"records": "items", "next": {"link": "next"}}, "the answer has no address and no token at next"),
        (lambda *_: RECORDS, {"cursor": {"parameter": "since", "field": "tmie"}}, "none of 25 records has a value of the cursor at tmie; see field and written"),
    ],
)  # fmt: skip
def test_answers_that_are_of_no_use_are_told_as_what_to_mend(answer, poll, match):
    refused(answer, match, poll)


def test_a_server_that_never_answers_ends_a_replay():
    site = refused(
        lambda *_: hang(),
        "there is no answer within 0.1 s; see whether the server hangs",
        {"timeout": "100ms"},
    )
    assert len(site.asked) >= 2, "it was asked again"


def hang():
    time.sleep(0.4)
    return []


def test_a_server_that_gives_byte_after_byte_ends_a_replay():
    """The trap: each byte comes in time, and the last one never."""

    def drips():
        for _ in range(40):
            time.sleep(0.03)
            yield b" "

    refused(
        lambda *_: (200, {"Content-Length": "9999"}, drips()), "no answer within 0.2 s", {"timeout": "200ms"}
    )


def test_nobody_there_and_no_such_host(shared):
    with serving(lambda *_: []) as site:
        gone = site.url
    with pytest.raises(SourceError, match=r"can't be reached \(Connection refused\); check host and port"):
        read(source(gone))
    with pytest.raises(SourceError, match="the name of the host is not known; check the host"):
        read(source("http://no-such-host.invalid/events"))


def test_a_server_that_was_down_is_asked_again_and_nothing_is_lost():
    failures = [500, 503, 429]

    def answer(*_):
        return (failures.pop(), {"Retry-After": "0"}, b"") if failures else RECORDS

    with serving(answer) as site:
        assert len(ids(read(source(site.url)))) == 25
    assert len(site.asked) == 4


def test_it_is_followed_on_its_own_host_and_unpacked():
    def answer(path, *_):
        if path == "/events":
            return 307, {"Location": "/v2/events"}, b""
        return 200, {"Content-Encoding": "gzip"}, gzip.compress(json.dumps(RECORDS).encode())

    with serving(answer) as site:
        batches = read(source(site.url))
    assert len(ids(batches)) == 25
    assert _origins(batches)[0].startswith(f"{site.url}#"), "where it lies is where it was asked for"


def test_an_answer_that_grows_when_it_is_unpacked_is_cut_off():
    body = gzip.compress(b"[" + b" " * 50_000_000 + b"]")
    refused(
        lambda *_: (200, {"Content-Encoding": "gzip"}, body),
        "longer than 1,000,000 bytes",
        {"max_answer": 1_000_000},
    )


def test_tls_by_the_authority_that_is_named(tmp_path, monkeypatch):
    authority, context = trustme.CA(), ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.delenv("RMS_POLL_CA", raising=False)
    with serving(lambda *_: RECORDS, context=context) as site:
        with pytest.raises(
            SourceError, match=r"TLS fails .*; name the authority's certificates with ca_file"
        ):
            read(source(site.url))
        assert len(ids(read(source(site.url, {"ca_file": "ca.pem"}, folder=tmp_path)))) == 25
        monkeypatch.setenv("RMS_POLL_CA", str(tmp_path / "ca.pem"))
        assert len(ids(read(source(site.url)))) == 25
        monkeypatch.setenv("RMS_POLL_CA", str(tmp_path / "none.pem"))
        with pytest.raises(DocumentError, match=r"RMS_POLL_CA: .*none.pem can't be read as certificates"):
            read(source(site.url))


@pytest.mark.parametrize(
    ("uri", "poll", "match"),
    [
        ("http://ann:s3cret@hub/a", {}, r"^http://hub/a: credentials don't belong in a URI, which is logged; name a file"),
        ("http://hub/a?api_key=s3cret", {}, r"^http://hub/a: credentials don't belong in a URI, which is logged \(api_key=…\)"),
        ("http:///a", {}, "is no address of a server; write https://HOST"),
        ("http://hub:x/a", {}, "is no address of a server"),
        ("http://hub/a b", {}, "is no address of a server"),
        ("http://hub/a?since=3", {"cursor": ASKED}, "the parameter since is set by poll:; take it out of the URI"),
        ("http://hub/a#formt=json", {}, "no option is called 'formt'"),
        ("http://hub/a#format=csv", {}, "csv needs a first line that tells its columns, and a server tells what comes later"),
    ],
)  # fmt: skip
def test_addresses_that_are_none(uri, poll, match):
    with pytest.raises(DocumentError, match=match) as told:
        source(uri, poll)
    assert "s3cret" not in str(told.value)


def test_what_can_not_be_followed_or_written_says_so(tmp_path):
    with pytest.raises(DocumentError, match=r"'http' can't be followed; .* http: and https: go without it"):
        open_source("follow:http://hub/a", base=tmp_path, endless=True)


def test_a_record_that_is_none_is_a_dead_letter_and_the_others_come():
    with serving(
        lambda *_: [RECORDS[0], {"time": "noon"}, RECORDS[1], {**RECORDS[2], "x": "y" * 500}]
    ) as site:
        batches = read(source(site.url, max_record=400))
    assert len(ids(batches)) == 2
    assert [one["error.type"] for one in dead(batches)] == ["timestamp", "too-long"]
    assert dead(batches)[0]["event.original"] == b'{"time": "noon"}'
    assert dead(batches)[0]["rms.origin"].startswith(f"{site.url}#")
