"""What is seen of a running stream: by a person in place, by Prometheus, by what asks for health, in a log."""

import builtins
import io
import json
import re
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
import yaml
from evented import CORRELATIONS, SINGLE, flow, generated, sigma, time_of, write_events, write_rules
from forge import forge
from prometheus_client.parser import text_string_to_metric_families
from test_stream_faults import Stream
from test_stream_kafka import closing as closing_events
from test_stream_kafka import messages

import rms_flows.cli
from rms_flows.beam import seen as module
from rms_flows.beam.seen import Seen, SourceSeen
from rms_flows.cli import watch
from rms_flows.errors import FlowError
from rms_flows.flow.build import Choices, build
from rms_flows.io.log_sink import LogSink
from rms_flows.stream import Pace, run

EVENTS = generated(1, 200, jitter=0)


@pytest.fixture(scope="module")
def rms():
    with forge() as start:
        yield start


@pytest.fixture
def port():
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def asked(port, path):
    """Give code and body; None where nobody answers."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except urllib.error.URLError:
        return None


def figures(text):
    return {
        (one.name, *(value for name, value in sorted(one.labels.items()) if name != "flow")): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def test_machines_are_told_how_a_stream_over_a_topic_goes(rms, tmp_path, kafka_broker, port):
    one = Stream(rms, tmp_path, kafka_broker)
    one.produce([*messages(EVENTS, 3), (0, b"{", 0), *closing_events(3)])
    running = one.start("--metrics", str(port), "--log", "json")
    running.until(lambda: asked(port, "/readyz") == (200, "ok\n"))
    assert asked(port, "/healthz") == (200, "ok\n")

    def enough():
        found = figures(asked(port, "/metrics")[1])
        return (
            found.get(("rms_stream_events_total", "a")) == one.given - 1
            and found["rms_stream_unread_messages", "a"] == 0
            and found["rms_stream_sink_rows_total", "bus"] > 50
        )

    running.until(enough)
    running.until(lambda: figures(asked(port, "/metrics")[1])["rms_stream_unflushed_seconds",] == 0)
    found = figures(asked(port, "/metrics")[1])
    assert found["rms_stream_dead_letters_total",] == 1
    assert found["rms_stream_late_events_total", "a"] == 0
    assert found["rms_stream_reports_total", "s"] == found["rms_stream_sink_rows_total", "out"]
    assert found["rms_stream_watermark_timestamp_seconds", "a"] * 1e6 > max(map(time_of, EVENTS))
    assert found["process_resident_memory_bytes",] > 1e7
    page = (Path(__file__).parents[1] / "docs/streaming.md").read_text(encoding="utf-8")
    assert set(re.findall(r"rms_stream_\w+(?=`)", page)) == {name for name, *_ in found if "rms_" in name}
    assert asked(port, "/else")[0] == 404
    running.send(signal.SIGTERM)
    assert running.ended() == 0
    strange = [line for line in running.errors.splitlines() if not line.startswith("{")]
    assert not strange, "libraries are silent"
    told = [json.loads(line) for line in running.errors.splitlines()]
    assert [line["event"] for line in told if line["event"] == "told"] == ["told", "told"]
    last = told[-1]
    assert (last["event"], last["level"], last["flow"], last["stopped"]) == ("ended", "info", "flow", True)
    assert last["sources"]["a"]["rows"] == one.given - 1
    assert told[-2]["event"] == "progress"
    assert (told[-2]["events"], told[-2]["dead_letters"]) == (one.given - 1, 1)


def test_what_stops_it_is_told_to_machines_too(rms, tmp_path, port):
    (tmp_path / "flow.yaml").write_text("orchestrator: [")
    running = rms("stream", "flow.yaml", "--log", "json", folder=tmp_path)
    assert running.ended() == 2
    told = json.loads(running.errors)
    assert (told["event"], told["level"], told["where"]) == ("failed", "error", "flow.yaml:2")
    with closing(socket.socket()) as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        running = rms("stream", "flow.yaml", "--metrics", str(port), folder=tmp_path)
        assert running.ended() == 2
    assert f"figures can't be given at 127.0.0.1:{port} (" in running.errors
    assert "; name a free port with --metrics" in running.errors
    running = rms("stream", "flow.yaml", "--metrics", "none/rms.prom", folder=tmp_path)
    assert running.ended() == 2
    assert "none/rms.prom: can't be written: No such file or directory" in running.errors


def laid(home):
    write_events(home / "a.ndjson", EVENTS)
    write_rules(home / "rules", *SINGLE, *CORRELATIONS.values())
    return flow([("a", "a.ndjson", "30s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})


def test_figures_in_a_file_are_those_of_the_end(rms, tmp_path):
    (tmp_path / "flow.yaml").write_text(
        yaml.safe_dump(laid(tmp_path).model_dump(mode="json", exclude_none=True))
    )
    running = rms("stream", "flow.yaml", "--metrics", "rms.prom", "--quiet", folder=tmp_path)
    assert running.ended() == 0
    assert running.errors == ""
    found = figures((tmp_path / "rms.prom").read_text())
    assert found["rms_stream_events_total", "a"] == len(EVENTS)
    assert ("rms_stream_unread_messages", "a") not in found, "of a file it is not known"


def watching(home, pace, at):
    """Run a stream and look at it before each batch."""
    looks = []

    @contextmanager
    def watched(look):
        looks.append(look)
        yield

    plan = build(laid(home), home, home, Choices())
    run(plan, home / "positions", pace, fault=lambda: at(looks[0]()), watch=watched)
    return looks[0]()


def test_a_stream_that_warms_up_is_healthy_and_not_ready(tmp_path):
    pace, states = Pace(rows=20, bundle=0.001), []

    def half(seen):
        states.append(seen.unready)
        if seen.rows >= len(EVENTS) // 2:
            pace.stop()

    last = watching(tmp_path, pace, half)
    assert states[1:] == [None] * (len(states) - 1)
    assert last.unready == "it was told to stop"
    states.clear()
    watching(tmp_path, Pace(rows=20, bundle=0.001), lambda seen: states.append((seen.unready, seen.rows)))
    warm = [rows for state, rows in states if state == "warming up: a"]
    assert len(warm) > 1
    assert set(warm) == {0}, "what was read before is not counted again"
    assert states[-1][0] is None


def test_a_sink_that_hangs_makes_it_ill(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PATIENCE", 0.2)
    found = []

    def flush(self):
        time.sleep(0.3)
        found.append(look[0]().ill)

    look = []
    monkeypatch.setattr(LogSink, "flush", flush)

    @contextmanager
    def watched(given):
        look.append(given)
        yield

    run(build(laid(tmp_path), tmp_path, tmp_path, Choices()), None, Pace(rows=200), watch=watched)
    assert any("a sink has not flushed for" in str(ill) for ill in found)


def of(**more):
    made = {
        "sources": {"a": SourceSeen(12_345, 1, 7, 1_000.0, warming=False)},
        "reports": {"s": 30, "t": 1},
        "sinks": {"out": 31},
        "dead_letters": 2,
        "unread": 0.0,
        "unflushed": 0.0,
        "stopping": False,
    }
    return Seen(**{**made, **more})


SAID = "12,345 events, 4,980/s, 7 unread, time 1.5 s behind, 31 reports, 2 dead letters"


@pytest.mark.parametrize(
    ("seen", "now", "said"),
    [
        (of(), 1_001.5, SAID),
        (of(stopping=True), 1_001.5, f"{SAID}, stopping"),
        (of(unflushed=61.0), 1_001.5, f"{SAID}, a sink has not flushed for 61 s"),
        (of(), 1_600, SAID.replace("1.5 s", "10 min")),
        (of(), 1_000 + 50 * 3_600, SAID.replace("1.5 s", "2 d")),
        (
            of(sources={"a": SourceSeen(0, 0, None, None, warming=True)}),
            0,
            "0 events, 4,980/s, 31 reports, 2 dead letters, warming up: a",
        ),
    ],
)
def test_a_person_reads_one_line(seen, now, said):
    assert watch.line(seen, 4_980.4, now) == said


class _Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_a_terminal_shows_it_in_place(monkeypatch, terminal):
    monkeypatch.setattr(sys, "stderr", _Terminal() if terminal else io.StringIO())
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setattr(watch, "PERSON_EVERY", 0.01)
    monkeypatch.setattr(watch, "TEXT_EVERY", 0.01)
    with watch.watched("t", None, "text", quiet=False) as told, told.watch(of):
        time.sleep(0.2)
    shown = sys.stderr.getvalue()
    begin = SAID[:10]
    if terminal:
        first, *others = shown.split("\r\x1b[K")[1:]
        assert len(first) == 39
        assert others[-1] == f"{first.partition(',')[0]},345 events, {others[-1].partition('events, ')[2]}"
        assert shown.count("\n") == 1
    else:
        assert all(line.startswith(f"rms: {begin}") for line in shown.splitlines())
        assert len(shown.splitlines()) > 1


@pytest.mark.parametrize(
    ("library", "options", "match"),
    [
        ("structlog", (None, "json"), r"--log json needs structlog, which is not installed; pip install 'rms-flows\[monitor\]'"),
        ("prometheus_client", ("9464", "text"), r"--metrics needs prometheus-client, which is not installed; pip install 'rms-flows\[monitor\]'"),
    ],
)  # fmt: skip
def test_without_the_libraries_it_says_what_to_install(monkeypatch, library, options, match):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.delitem(sys.modules, "rms_flows.cli.figures", raising=False)
    monkeypatch.delattr(
        rms_flows.cli, "figures", raising=False
    )  # `from rms_flows.cli import` looks there first
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(FlowError, match=match), watch.watched("t", *options, quiet=True):
        pass
