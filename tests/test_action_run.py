"""Telling, with receivers that fail, refuse and come back: nothing is lost, nothing is told twice."""

import json
import logging
import sqlite3
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from acting import KEY, NOON, bodies, hook, lines, report

from rms_flows.action import run
from rms_flows.action.dry import dry
from rms_flows.action.policy import Policy
from rms_flows.action.reading import open_reports
from rms_flows.action.run import LONGEST_PAUSE, acting
from rms_flows.errors import BusyError, DocumentError, SourceError
from rms_flows.io import open_sink
from rms_flows.io.contract import Window
from rms_flows.model import Actions, load

START = NOON.timestamp()
DOCUMENT = """
actions: home
lateness: 10s
receivers:
  - {{id: soc, webhook: {{url: "{url}/soc", secret: {{file: key}}}}}}
  - {{id: other, webhook: {{url: "{other}/other"}}}}
routes:
  - {{receiver: soc, group_by: [rule.id, group.source.ip], group_wait: 30s, continue: true}}
  - {{receiver: other, matchers: {{rule.level: critical}}, group_by: ["..."], group_wait: 0s}}
"""


class Place:
    """A folder with a document of actions and reports."""

    def __init__(self, folder):
        self.folder = folder
        self.reports = folder / "reports.ndjson"
        (folder / "key").write_text(KEY)

    def write(self, url, other=None, text=DOCUMENT):
        (self.folder / "actions.yaml").write_text(text.format(url=url, other=other or url))

    def add(self, *rows, form="ecs"):
        with self.reports.open("ab") as file:
            file.write(lines(*rows, form=form))

    @contextmanager
    def acting(self, begin=NOON, now=START, uri=None):
        source = open_reports(uri or str(self.reports), self.folder)
        with acting(self.folder / "actions.yaml", source, begin=begin, now=now) as known:
            yield known

    def once(self, now, **others):
        with self.acting(now=now, **others) as known:
            known.look(now)
            known.tell(lambda: now)
            return known.counts

    @property
    def letters(self):
        path = self.folder / "actions.dead-letters.ndjson"
        return [json.loads(line) for line in path.read_bytes().splitlines()]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


def told(server):
    """Give the ids of reports of each notification that was taken."""
    return [[one["event.id"] for one in body["data"]["reports"]] for body in bodies(server)]


def test_each_is_told_once_however_often_it_is_started(place):
    with hook() as server:
        place.write(server.url)
        place.add(report("a"), report("b", 10), report("c", 5, ip="198.51.100.1"))
        assert place.once(START + 35).sent == 0  # not settled yet
        assert place.once(START + 50).sent == 2
        assert sorted(told(server)) == [["a", "b"], ["c"]]
        place.add(report("d", 60, **{"rms.request_source": "198.51.100.1"}))
        assert place.once(START + 60).sent == 0
        assert place.once(START + 341).sent == 1  # five minutes after the last telling of the group
        again = place.once(START + 9_999)
        assert (again.sent, again.reports) == (0, 0)
    assert told(server)[2:] == [["d"]]


def test_what_is_sent_is_what_a_dry_run_shows(place):
    rows = [
        report(f"{n:03}", 17 * n, **{"rule.level": "critical" if n % 5 == 0 else "low", "rms.count": n})
        for n in range(60)
    ]
    with hook() as server:
        place.write(server.url)
        place.reports.write_bytes(b"")
        with place.acting() as known:
            for number, one in enumerate(rows):
                place.add(one)
                if number % 7 == 0:
                    known.look(START + 17 * number + 3)
                    known.tell(lambda: 0.0)
            known.look(START + 99_999)
            known.tell(lambda: START)
    document = load(place.folder / "actions.yaml", Actions)
    before = sorted(place.folder.iterdir())
    with hook() as silent:
        place.write(silent.url)
        found = dry(Policy(document, "x"), open_reports(str(place.reports), place.folder), Window())
    assert silent.got == []
    assert sorted(place.folder.iterdir()) == before
    sent = {(body["data"]["receiver"], body["data"]["id"], body["timestamp"][:19]) for body in bodies(server)}
    plain = found.plain()["notifications"]
    assert sent == {(one["receiver"], one["id"], one["due"][:19]) for one in plain}
    assert len(server.got) == len(plain)
    assert {one["time"][:19] for one in found.rows()} == {one["due"][:19] for one in plain}


def test_an_hour_without_a_server_loses_nothing(place, caplog, monkeypatch):
    """Guards against what is lost, sent twice, or hammered, while a receiver is away; restarts in between."""
    monkeypatch.setattr("random.uniform", lambda _, most: most)
    with hook(always=503) as server, hook() as other, caplog.at_level(logging.WARNING):
        place.write(server.url, other.url)
        place.reports.write_bytes(b"")
        failed = 0
        for begun in range(0, 3600, 1200):
            with place.acting() as known:
                for second in range(begun, begun + 1200, 5):
                    if second % 100 == 0:
                        critical = {"rule.level": "critical"}
                        place.add(report(f"{second:04}", second, ip=f"{second}", **critical))
                        known.look(START + second)
                    known.tell(lambda second=second: START + second)
                failed += known.counts.failed
                assert known.waits["soc"] >= begun // 100
                assert "not now (503 see the manual)" in known.trouble["soc"]
        assert failed == len(server.got) < 60
        assert caplog.text.count("soc: notifications wait on disk: http://localhost") == 3  # one a start
        server.always, server.got, before = 200, [], len(other.got)
        counts = place.once(START + 9_000)
        assert (counts.sent, counts.failed) == (36 + 36 - before, 0)
        assert len({body["data"]["id"] for body in bodies(other)}) == len(other.got) == 36
        assert sorted(told(server)) == [[f"{second:04}"] for second in range(0, 3600, 100)]


def test_a_kill_after_the_answer_sends_the_same_again(place, monkeypatch):
    """Guards against an id that is made anew: the receiver could not know that it has it."""
    with hook() as server:
        place.write(server.url)
        place.add(report("a"), report("b", 3))
        with monkeypatch.context() as patch:
            patch.setattr(run.Outbox, "told", lambda *_: pytest.fail("killed"))
            with pytest.raises(pytest.fail.Exception):
                place.once(START + 60)
        assert place.once(START + 61).sent == 1
    first, second = server.got
    assert first[1]["idempotency-key"] == second[1]["idempotency-key"]
    assert first[2] == second[2]


def test_a_step_that_fails_leaves_nothing_half_done(place, monkeypatch):
    with hook() as server:
        place.write(server.url)
        place.add(report("a"))
        with place.acting() as known:
            with monkeypatch.context() as patch:
                patch.setattr(
                    run.Outbox,
                    "_forget",
                    lambda *_: (_ for _ in ()).throw(sqlite3.OperationalError("disk full")),
                )
                with pytest.raises(
                    DocumentError, match=r"the outbox can't be used .disk full.; check path, rights and room"
                ):
                    known.look(START + 60)
            known.look(START + 60)
            known.tell(lambda: START + 60)
    assert told(server) == [["a"]]


def test_one_that_the_server_fails_of_keeps_no_other_back(place):
    with hook(500, 200, 200, 500) as server:
        place.write(server.url)
        place.add(*(report(name, ip=name) for name in "abc"))
        with place.acting() as known:
            known.look(START + 60)
            for second in range(60, 80):
                known.tell(lambda second=second: START + second)
    statuses = [status for *_, status in server.got]
    assert statuses == [500, 200, 200, 500, 200]
    assert sorted(told(server)) == [["a"], ["b"], ["c"]]
    assert server.got[0][2] == server.got[-1][2]


def test_a_receiver_that_asks_for_time_gets_it(place):
    with hook((429, {"Retry-After": "1000"})) as server:
        place.write(server.url)
        place.add(report("a"))
        with place.acting() as known:
            known.look(START + 60)
            for second in (60, 60 + LONGEST_PAUSE, 1_059):
                known.tell(lambda second=second: START + second)
            assert len(server.got) == 1
            known.tell(lambda: START + 1_061)
    assert told(server) == [["a"]]


def test_what_is_refused_is_a_dead_letter_and_can_be_tried_again(place):
    with hook(410) as server:
        place.write(server.url)
        place.add(report("a"))
        counts = place.once(START + 60)
        assert (counts.sent, counts.refused) == (0, 1)
        [letter] = place.letters
        assert letter["error.type"] == "notification"
        assert (
            "refused (410 see the manual); see what the receiver says, and try again with --retry-refused"
            in letter["error.message"]
        )
        assert letter["rms.origin"] == "soc/a"
        assert place.once(START + 70).sent == 0
        with place.acting() as known:
            assert known.outbox.retry() == 1
            known.tell(lambda: START + 80)
    assert told(server) == [["a"]]


def test_bad_lines_are_dead_letters_once_and_the_rest_is_told(place):
    with hook() as server:
        place.write(server.url)
        place.reports.write_bytes(
            b'{"@timestamp": "2026-03-01T12:00:00Z", "event.id": "x"}\n'
            b'{"@timestamp": "2026-03-01T12:00:00Z", "event.id": "y", "rms.report_type": "sigma", "rms.count": "many"}\n'
            b"{torn"
        )
        with place.acting() as known:
            known.look(START, sure=False)
            assert known.counts.dead == 0  # it may be half written
            place.reports.write_bytes(place.reports.read_bytes().removesuffix(b"{torn") + lines(report("a")))
            known.look(START, sure=False)
            known.look(START + 60, sure=False)
            assert known.counts.dead == 2
            known.tell(lambda: START + 60)
        place.once(START + 70)
    assert told(server) == [["a"]]
    assert len(place.letters) == 2
    said = " ".join(one["error.message"] for one in place.letters)
    assert "JSON, but no threat report; expected ECS or IoTAC" in said
    assert "no threat report: " in said


def test_the_highest_revision_is_told_and_later_ones_change_nothing(place):
    with hook() as server:
        place.write(server.url)
        place.add(report("a"))
        place.once(START + 5)
        place.add(report("a", **{"rms.revision": 9, "rms.count": 9}))
        place.once(START + 15)
        place.once(START + 60)
        place.add(report("a", **{"rms.revision": 12, "rms.count": 12}))
        place.once(START + 9_000)
    [body] = bodies(server)
    assert body["data"]["reports"][0]["rms.count"] == 9


def test_reports_of_before_the_start_and_of_long_ago_are_not_told_of(place):
    """Guards against a thousand mails on the day that it is installed."""
    with hook() as server:
        place.write(server.url)
        place.add(report("before", -1), report("a"))
        place.once(START + 60)
        place.once(START + 3 * 86_400)
        place.add(report("old", 10, ip="x"), report("late", 3 * 86_400 - 60, ip="y"))
        counts = place.once(START + 3 * 86_400)
        assert (counts.late, counts.forgotten) == (1, 1)
        assert place.once(START + 3 * 86_400 + 60).sent == 1
        assert place.once(START + 4 * 86_400).forgotten == 1  # old, not those told of long ago
    assert told(server) == [["a"], ["late"]]


def test_one_from_the_future_is_told_of_now(place):
    """Guards against a wrong clock, or an attacker's, that puts a report off for years."""
    with hook() as server:
        place.write(server.url)
        place.add(report("a", 10**8))
        place.once(START)
        assert place.once(START + 60).sent == 1
    assert told(server) == [["a"]]


def test_iotac_reports_are_read(place):
    with hook() as server:
        place.write(server.url)
        place.add(report("a"), report("b", 2), form="iotac")
        assert place.once(START + 60).sent == 1
    assert told(server) == [["a", "b"]]


def test_other_actions_and_other_processes_are_kept_out(place):
    with hook() as server:
        place.write(server.url)
        place.add(report("a"))
        with (
            place.acting(),
            pytest.raises(BusyError, match="another process tells of what is in it; wait"),
            place.acting(),
        ):
            pass
        place.write(server.url, text=DOCUMENT.replace("actions: home", "actions: mill"))
        with (
            pytest.raises(
                DocumentError, match="is the outbox of the actions 'home', not of 'mill'; name another"
            ),
            place.acting(),
        ):
            pass
    (place.folder / "actions.outbox").write_bytes(b"no database, but long enough to be read as one" * 30)
    with pytest.raises(DocumentError, match="the outbox can't be used"), place.acting():
        pass


def test_somebody_has_to_say_where_to_begin(place):
    place.write("http://localhost:1")
    place.add(report("a"))
    with (
        pytest.raises(DocumentError, match=r"actions.outbox: there is no outbox yet, .*say with --from"),
        place.acting(begin=None),
    ):
        pass
    with (
        pytest.raises(DocumentError, match=r"--from: .* is longer ago than the 1d .*--dry-run shows"),
        place.acting(now=START + 90_000),
    ):
        pass


def test_what_waits_for_a_receiver_that_is_gone_is_told_of(place):
    with hook(always=503) as server:
        place.write(server.url)
        place.add(report("a"))
        place.once(START + 60)
        gone = DOCUMENT.replace("id: soc", "id: new").replace("receiver: soc", "receiver: new")
        place.write(server.url, text=gone)
        with place.acting() as known:
            assert known.waits == {"soc": 1}


def test_it_follows_until_told_to_stop(place, caplog):
    """With reports that can't be read for a while."""
    now = time.time()
    begin = NOON.fromtimestamp(now - 100, NOON.tzinfo)
    with hook() as server, caplog.at_level(logging.WARNING):
        place.write(server.url)
        place.add(report("a", noon=begin))
        stop, shown = threading.Event(), []

        def show(known):
            shown.append(known.counts.sent)
            if len(shown) == 2:
                place.reports.rename(place.folder / "aside")
            if "can't be read" in caplog.text and not place.reports.exists():
                (place.folder / "aside").rename(place.reports)
                place.add(report("b", 1, noon=begin, ip="b", **{"rule.level": "critical"}))
            if known.counts.sent == 2 or time.time() > now + 60:
                stop.set()

        with place.acting(begin=begin, now=now) as known:
            known.follow(stop, 0.1, show)
    assert told(server) == [["a"], ["b"]]
    assert "reports can't be read, and are looked for again: " in caplog.text


def test_the_first_look_has_to_work(place):
    place.write("http://localhost:1")
    with place.acting() as known, pytest.raises(SourceError, match=r"reports.ndjson"):
        known.follow(threading.Event(), 1.0)


def test_no_sink_of_a_flow_sends():
    """Guards against a replay that tells people anew of what was long ago."""
    for uri in (
        "https://soc.example/hook",
        "webhook:x",
        "mailto:soc@example.org",
        "alertmanager://localhost:9093",
    ):
        with pytest.raises(DocumentError, match="nothing can write this"):
            open_sink(uri, base=Path())
