"""A server behind a flow: a stream that polls it finds what a replay finds, and shows how it goes."""

from datetime import UTC, datetime, timedelta
from itertools import repeat

import pytest
from evented import correlation, flow, folded, lines, rule, sigma, write_rules
from followed import streamed_until, told
from polling import serving
from prometheus_client import generate_latest
from test_cli import run as run_rms

import rms_flows as rms
from rms_flows.cli import watch
from rms_flows.cli.figures import Figures
from rms_flows.errors import DocumentError, SourceError
from rms_flows.io.poll import bounded, tail
from rms_flows.model import Orchestrator
from rms_flows.replay import replay

BEGAN = datetime(2026, 3, 1, tzinfo=UTC)
RULES = [
    rule("login"),
    correlation("many", "event_count", "login", "source.ip", "20s", {"gte": 3}, generate=True),
]
POLL = {
    "interval": "100ms",
    "records": "data.items",
    "cursor": {"parameter": "lastdate", "field": "time"},
    "next": {"link": "data.next"},
}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(tail, "PAUSE", 0.05)
    monkeypatch.setattr(bounded, "PATIENCE", 0.2)


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *RULES)
    return tmp_path


class Honeypot:
    """A server with events, the latest first, three a page; it may have other answers to give before."""

    def __init__(self, *events):
        self.events = list(events)
        self.broken = iter(())

    def __call__(self, _path, asked, _headers):
        if (broken := next(self.broken, None)) is not None:
            return broken
        found = [one for one in reversed(self.events) if one["time"] >= asked.get("lastdate", "")]
        at = int(asked.get("at", 0))
        more = f"/events?at={at + 3}&lastdate={asked.get('lastdate', '')}" if at + 3 < len(found) else None
        return {"data": {"items": found[at : at + 3], "next": more}}


def event(second, ip="10.0.0.1", number=0):
    time = (BEGAN + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"time": time, "event": {"action": "login"}, "source": {"ip": ip}, "number": number}


def document(site, **poll):
    made = flow([("a", "any", "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")}).model_dump(
        mode="json"
    )
    made["sources"][0] |= {
        "live": site.url,
        "archive": site.url,
        "poll": {**POLL, **poll},
        "time_column": "time",
        "idle": "1h",
    }
    return Orchestrator.model_validate(made)


def test_stream_and_replay_of_one_server_agree_over_restarts_and_failures(home):
    honeypot = Honeypot(*[event(5 * n, f"10.0.0.{n % 2}", n) for n in range(20)])
    with serving(honeypot) as site:
        flow_ = document(site)
        first = streamed_until(lambda found: len(found) >= 20, home, flow_, {}, 120)
        assert first.sources["a"]["answered"] > 0
        honeypot.events += [event(100 + 5 * n, f"10.0.0.{n % 2}", 20 + n) for n in range(8)]
        honeypot.broken = repeat((500, {}, b"out of order"), 3)
        second = streamed_until(lambda found: len(found) >= 38, home, flow_, {}, 120)
        honeypot.events += [event(140 + 5 * n, "10.0.0.0", 28 + n) for n in range(6)]
        replay(flow_, folder=home, sinks={"out": str(home / "replayed.ndjson")})
        wanted = folded(home / "replayed.ndjson")
        third = streamed_until(lambda found: evidence(found) == evidence(wanted), home, flow_, {}, 120)
        begin = BEGAN + timedelta(seconds=60)
        replay(flow_, folder=home, start=begin, sinks={"out": str(home / "part.ndjson")})
        asked = site.questions[-1]["lastdate"]
    assert len(wanted) > 50
    assert evidence(told(home)) == evidence(wanted)
    late = {name: one for name, one in evidence(wanted).items() if wanted[name]["@timestamp"] >= begin}
    assert evidence(folded(home / "part.ndjson")) == late
    assert asked == "2026-02-28T23:55:40Z", "a window's events that may be ahead, and what matters before it"
    assert second.sources["a"]["failed"] == 3
    assert sum(one.sources["a"]["late"] for one in (first, second, third)) == 0
    assert not lines(home / "out.dead-letters.ndjson")


def evidence(reports):
    return {name: (one["rms.count"], tuple(one["rms.evidence"])) for name, one in reports.items()}


def test_a_page_that_is_none_is_one_dead_letter_and_all_comes_when_it_is_mended(home):
    honeypot = Honeypot(event(0), event(5, number=1))
    with serving(honeypot) as site:
        honeypot.broken = repeat((200, {"Content-Type": "text/html"}, b"<html>Log in</html>"), 3)
        done = streamed_until(lambda found: len(found) >= 2, home, document(site), {}, 120)
    assert done.sources["a"]["failed"] == 3
    [letter] = lines(home / "out.dead-letters.ndjson")
    assert (letter["error.type"], letter["rms.origin"].partition("#")[0]) == ("html", site.url)


def test_a_server_in_trouble_is_seen_and_what_comes_again_is_counted(home, capsys):
    looks, honeypot = [], Honeypot(event(0))
    figures = Figures("t")

    def watch_(look):
        figures.look_at(look)
        looks.append(look)
        return _nothing()

    def seen(found):
        look = looks[0]() if looks else None
        if look and look.sources["a"].answered and look.sources["a"].repeated:
            honeypot.broken = repeat((503, {}, b""))
        if look and look.unready and "503" in look.unready:
            looks.append((look, generate_latest(figures.registry).decode()))
            return True
        return False

    with serving(honeypot) as site:
        streamed_until(seen, home, document(site), {}, 120, watch=watch_)
    look, page = looks[-1]
    assert look.unready == "a: the server answers 503"
    assert look.ill is None, "to be started again would help nobody"
    assert watch.line(look, 0, 0).endswith(look.unready)
    for name in ("polls", "failed_polls", "repeated_records"):
        assert f'rms_stream_{name}_total{{flow="t",source="a"}}' in page


class _nothing:  # noqa: N801  a context
    def __enter__(self):
        pass

    def __exit__(self, *_):
        pass


def test_a_replay_of_a_server_in_trouble_fails_and_leaves_what_was_there(home):
    honeypot = Honeypot(event(0))
    with serving(honeypot) as site:
        replay(document(site), folder=home)
        before = (home / "out.ndjson").read_bytes()
        honeypot.broken = repeat((500, {}, b""))
        with pytest.raises(SourceError, match="the server answers 500; see the server's log"):
            replay(document(site), folder=home)
    assert (home / "out.ndjson").read_bytes() == before


def test_the_command_line_without_a_document(home, monkeypatch, capsys):
    honeypot = Honeypot(*[event(n, number=n) for n in range(7)])
    with serving(honeypot) as site:
        place = f"{site.url}#records=data.items&link=data.next&time_column=time"
        out = home / "found.ndjson"
        command = ("detect", home / "rules", "--in", place, "--out", out, "--quiet")
        assert run_rms(monkeypatch, capsys, *command)[0] == 0
        assert len(folded(out)) > 7
        honeypot.broken = repeat((404, {}, b""))
        code, _, said = run_rms(monkeypatch, capsys, *command)
    assert code == 2
    assert "the server answers 404; check the path" in said


def test_a_notebook_looks_at_a_server_and_follows_it():
    honeypot = Honeypot(*[event(n, number=n) for n in range(7)])
    with serving(honeypot) as site:
        place = f"{site.url}#records=data.items&link=data.next&time_column=time"
        assert len(rms.open(place).head(10)) == 7
        with rms.tail(place) as live:
            assert len(live.wait(7, seconds=60).head(10)) == 7


def test_a_server_takes_no_reports(home):
    with serving(Honeypot()) as site, pytest.raises(DocumentError, match="nothing can write this"):
        replay(document(site), folder=home, sinks={"out": site.url})
