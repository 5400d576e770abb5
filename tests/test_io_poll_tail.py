"""A server that is asked for ever: nothing lost, nothing twice, and no harm in what it answers."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from polling import Following, dead, ids, rows, serving, source
from test_io_poll import ASKED, record

from rms_flows.errors import SourceError
from rms_flows.io.contract import Request
from rms_flows.io.line import Feed
from rms_flows.io.poll import tail
from rms_flows.io.position import Position
from rms_flows.io.sliced import Sliced

S = 1_000_000


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tail, "PAUSE", 0.01)


def followed(site, poll=None, *, since=None, lateness=0, **options):
    poll = {"interval": "10ms", "timeout": "2s", **(poll or {})}
    return Following(source(site.url, poll, endless=True, **options), since=since, lateness=lateness)


def since(found, *, inclusive=True):
    def answer(_path, asked, _headers):
        begin = asked.get("since", "")
        return [one for one in found if one["time"] > begin or (inclusive and one["time"] == begin)]

    return answer


@pytest.mark.parametrize("inclusive", [True, False])
def test_equal_times_at_the_border_are_not_lost(inclusive):
    found = [record(n, 0) for n in range(3)]
    with serving(since(found, inclusive=inclusive)) as site:
        one = followed(site, {"cursor": ASKED})
        one.answered(2)
        found += [record(n, 0) for n in range(3, 5)]  # of the same second as the last ones
        one.answered(2)
        found.append(record(5, 9))
        one.answered(2)
        one.close()
    assert sorted(int(row["number"]) for row in rows(one.batches)) == [0, 1, 2, 3, 4, 5]
    assert "since" not in site.questions[0]
    assert site.questions[-1]["since"] == "2026-03-01T00:00:08Z"
    assert one.place == int(datetime(2026, 3, 1, 0, 0, 9, tzinfo=UTC).timestamp()) * S
    assert sum(batch.counts.duplicates for batch in one.batches) > 0


def test_what_is_shown_late_is_found_as_far_back_as_the_lateness():
    found = [record(100)]
    with serving(since(found)) as site:
        one = followed(site, {"cursor": ASKED}, lateness=30 * S)
        one.answered()
        found.append(record(75))
        one.answered(2)
        one.close()
    assert [row["number"] for row in rows(one.batches)] == ["100", "75"]
    assert site.questions[1]["since"] == "2026-03-01T00:01:10Z"


def test_a_restart_asks_from_where_it_was_with_the_same_ids():
    with serving(since([record(n) for n in range(5)])) as site:
        first = followed(site, {"cursor": ASKED})
        first.answered()
        first.close()
        second = followed(site, {"cursor": ASKED}, since=first.place)
        second.answered()
        second.close()
    assert site.questions[-1]["since"] == "2026-03-01T00:00:03Z"
    assert ids(second.batches) == ids(first.batches)[-2:]


def test_a_cursor_that_is_a_number():
    found = [record(n) for n in range(5)]

    def answer(_path, asked, _headers):
        return [one for one in found if one["number"] >= int(asked["id"])]

    cursor = {"parameter": "id", "field": "number", "written": "number", "start": 2}
    with serving(answer) as site:
        one = followed(site, {"cursor": cursor})
        one.answered()
        found.append(record(9, -500))  # its time does not matter
        one.answered(2)
        one.close()
    assert [int(row["number"]) for row in rows(one.batches)] == [2, 3, 4, 9]
    assert [question["id"] for question in site.questions[:2]] == ["2", "3"]


def test_without_a_cursor_what_was_there_is_left_out():
    found = [record(n) for n in range(3)]
    with serving(lambda *_: found) as site:
        one = followed(site)
        one.answered(2)
        found.insert(0, record(3))
        one.answered(2)
        one.close()
    assert [row["number"] for row in rows(one.batches)] == ["0", "1", "2", "3"]


def test_the_latest_first_over_pages_comes_in_the_order_of_time():
    """The trap: all but the first page would be late."""
    found = [record(n) for n in reversed(range(20))]

    def answer(_path, asked, _headers):
        at = int(asked["page"]) * 6
        return found[at : at + 6]

    with serving(answer) as site:
        one = followed(site, {"next": {"parameter": "page", "first": 0}, "limit": 6})
        one.answered()
        one.close()
    [batch] = [batch for batch in one.batches if batch.rows.num_rows]
    assert [int(row["number"]) for row in batch.rows.to_pylist()] == list(range(20))


def test_more_than_memory_should_hold_comes_in_parts(monkeypatch):
    monkeypatch.setattr(tail, "GATHERED", 300)
    found = [record(n) for n in range(20)]

    def answer(_path, asked, _headers):
        at = int(asked["page"]) * 5
        return found[at : at + 5]

    with serving(answer) as site:
        one = followed(site, {"next": {"parameter": "page", "first": 0}, "cursor": ASKED})
        one.answered()
        parts = [batch for batch in one.batches if batch.rows.num_rows]
        one.close()
    assert len(parts) > 1
    assert len(set(ids(parts))) == 20
    assert [part.place for part in parts[:-1]] == [0] * (len(parts) - 1), "the question is not over"


def test_an_answer_that_is_full_is_asked_on_at_once():
    found = [record(n) for n in range(50)]
    with serving(lambda path, asked, headers: since(found)(path, asked, headers)[:10]) as site:
        one = followed(site, {"cursor": ASKED, "limit": 10, "interval": "1h"}, lateness=30 * S)
        one.until(lambda: len(ids(one.batches)) == 50)
        one.close()
    assert len(site.asked) < 10


def test_more_of_one_time_than_an_answer_holds_is_told():
    found = [record(n, 0) for n in range(12)]
    with serving(lambda path, asked, headers: since(found)(path, asked, headers)[:10]) as site:
        one = followed(site, {"cursor": ASKED, "limit": 10})
        one.until(lambda: one.batches and one.trouble)
        one.close()
    assert "as many records as an answer holds have one value of the cursor" in one.trouble


def test_what_has_not_changed_is_not_sent_again():
    tag, found = "1", [record(0)]

    def answer(_path, _asked, headers):
        if headers.get("If-None-Match") == tag:
            return 304, {"ETag": tag}, b""
        return 200, {"ETag": tag, "Last-Modified": "Sun, 01 Mar 2026 00:00:00 GMT"}, found

    with serving(answer) as site:
        one = followed(site)
        one.answered(3)
        found, tag = [*found, record(1)], "2"
        one.answered(2)
        one.close()
    assert [row["number"] for row in rows(one.batches)] == ["0", "1"]
    assert site.asked[0][1].get("If-None-Match") is None
    assert site.asked[1][1]["If-Modified-Since"] == "Sun, 01 Mar 2026 00:00:00 GMT"


def test_no_page_is_left_out_because_the_first_has_not_changed():
    """The trap: the oldest come first, so that the first page is always as it was."""
    found = [record(n) for n in range(3)]

    def answer(_path, asked, headers):
        if headers.get("If-None-Match"):
            return 304, {}, b""
        at = (int(asked["page"]) - 1) * 3
        return 200, {"ETag": "x"}, found[at : at + 3]

    with serving(answer) as site:
        one = followed(site, {"next": {"parameter": "page"}})
        one.answered(2)
        found.append(record(3))
        one.answered(2)
        one.close()
    assert len(ids(one.batches)) == 4


BROKEN = [
    (b"<html>Log in</html>", "html"),
    (b'[{"time": "2026-03-01T00:00:01Z"}, {"ti', "json"),
    (b'"oops', "json"),
]


@pytest.mark.parametrize(("body", "kind"), BROKEN)
def test_a_broken_page_is_one_dead_letter_and_is_asked_for_again(body, kind):
    found, broken = [record(0)], False

    def answer(path, asked, headers):
        return body if broken else since(found)(path, asked, headers)

    with serving(answer) as site:
        one = followed(site, {"cursor": ASKED})
        one.answered()
        found.append(record(1))
        broken, place = True, one.place
        one.until(lambda: one.count("failed") >= 3)
        [letter] = dead(one.batches)
        assert (letter["error.type"], letter["event.original"]) == (kind, body)
        assert "it is asked for again" in letter["error.message"]
        assert one.place == place
        assert one.trouble
        questions = {question["since"] for question in site.questions[-2:]}
        broken = False
        one.answered()
        assert {question["since"] for question in site.questions[-1:]} == questions, "the place did not move"
        broken = True
        one.until(lambda: len(dead(one.batches)) == 2)  # another time that it breaks
        one.close()
    assert [row["number"] for row in rows(one.batches)] == ["0", "1"]


def test_of_pages_that_break_off_nothing_is_told_before_all_are_there():
    """The trap: the latest come first; told alone they would make those on the pages behind late."""
    pages, broken = [[record(9), record(8)], [record(7)], []], True

    def answer(_path, asked, _headers):
        at = int(asked["page"])
        return (500, {}, b"") if at and broken else pages[at]

    with serving(answer) as site:
        one = followed(site, {"next": {"parameter": "page", "first": 0}})
        one.until(lambda: one.count("failed") >= 2)
        assert not ids(one.batches)
        broken = False
        one.answered()
        one.close()
    assert [row["number"] for row in rows(one.batches)] == ["7", "8", "9"]


def test_an_event_from_the_future_is_one_dead_letter_and_moves_no_cursor():
    ahead = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    with serving(since([record(0), {"time": ahead, "number": 1}])) as site:
        one = followed(site, {"cursor": ASKED})
        one.answered(3)
        one.close()
    assert [letter["error.type"] for letter in dead(one.batches)] == ["future"]
    assert site.questions[-1]["since"] == "2026-02-28T23:59:59Z"
    assert rows(one.batches)[0]["event.ingested"] is not None


def test_ids_do_not_depend_on_when_it_is_asked():
    with serving(since([record(0)])) as site:
        found = []
        for _ in range(2):
            one = followed(site)
            one.answered()
            one.close()
            found += ids(one.batches)
    assert found[0] == found[1]


def test_a_server_that_asks_for_time_gets_it():
    answers = [(429, {"Retry-After": "1"}, b""), []]
    with serving(lambda *_: answers.pop(0) if len(answers) > 1 else answers[0]) as site:
        one, began = followed(site), time.monotonic()
        one.answered()
        one.close()
    assert time.monotonic() - began >= 1
    assert one.count("failed") == 1


def test_pauses_grow_up_to_a_border_and_differ(monkeypatch):
    monkeypatch.setattr(tail, "PAUSE", 1.0)
    drawn = [[tail.pause(failures) for _ in range(50)] for failures in (1, 3, 30)]
    assert [max(one) <= most for one, most in zip(drawn, (1, 4, 60), strict=True)] == [True] * 3
    assert [min(one) >= least for one, least in zip(drawn, (0.5, 2, 30), strict=True)] == [True] * 3
    assert len(set(drawn[2])) > 40


def test_what_a_person_has_to_mend_ends_it_at_the_first_question_only():
    status = 404
    with serving(lambda *_: (status, {}, b"") if status else []) as site:
        one = followed(site)
        with pytest.raises(SourceError, match="the server answers 404; check the path"):
            one.answered()
        status = 0
        two = followed(site)
        two.answered()
        status = 401
        two.until(lambda: two.count("failed") >= 2)
        two.close()
    assert two.trouble == "the server answers 401"


def test_a_server_that_never_answers_holds_nobody_up(monkeypatch):
    """The trap: the reader of all sources would wait with it."""
    with serving(lambda *_: time.sleep(1.5) or []) as site:
        one = followed(site, {"timeout": "500ms"})
        longest, end = 0.0, time.monotonic() + 10
        while not one.count("failed"):
            began = time.monotonic()
            assert began < end
            one.batches.append(next(one._given))
            longest = max(longest, time.monotonic() - began)
        one.close()
    assert longest < 0.3
    assert "no answer within 0.5 s" in one.trouble


def line(site, poll=None, *, idle=1):
    opened = source(site.url, {"interval": "10ms", **(poll or {})}, endless=True)
    return Sliced(Feed("a", opened, Request(lateness=0), 0, idle=idle), 10_000)


def test_only_a_server_that_answers_can_be_idle():
    """The trap: what happened while it was away would be too late for the clock when it is back."""
    status = 200

    with serving(lambda *_: (status, {}, [record(0)]) if status == 200 else (status, {}, b"")) as site:
        reading = line(site)
        until(reading, lambda: reading.quiet > 0)
        quiet, status = reading.quiet, 500
        until(reading, lambda: reading.trouble)
        quiet = reading.quiet
        counts = until(reading, lambda: False, seconds=0.3)
        assert reading.quiet == quiet
        assert counts["failed"] > 0
        reading.close()


def test_behind_a_restart_it_is_warm_when_all_has_come_though_nothing_is_new():
    """The trap: a probe of readiness waits for an event that may come tomorrow."""
    with serving(since([record(0), record(5)])) as site:
        reading = line(site, {"cursor": ASKED})
        until(reading, lambda: reading.latest > 0)
        at, settled = reading._position, reading.settled
        reading.close()
        poll = {"interval": "10ms", "cursor": ASKED}
        opened = source(site.url, poll, endless=True)
        feed = Feed("a", opened, Request(lateness=0), 0, Position(), at, settled, idle=1)
        again = Sliced(feed, 10_000)
        assert again.warming
        warm = []
        until(again, lambda: not again.warming, take=warm.append)
        again.close()
    assert not again.warming
    assert sum(taken.rows.num_rows for taken in warm) == 2
    assert again.settled == settled


def until(reading, done, seconds=20.0, take=lambda _: None):
    counts, end = {}, time.monotonic() + seconds
    while not done() and time.monotonic() < end:
        taken = reading.take()
        take(taken)
        for word, count in taken.counts.items():
            counts[word] = counts.get(word, 0) + count
        time.sleep(0.005)
    return counts
