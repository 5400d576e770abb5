"""Scheduled replays: each span once, whatever happens, and together what one replay gives."""

import json
import re
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta

import home_day
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rms_flows.beam.workers import Crew
from rms_flows.cli.app import app
from rms_flows.errors import BusyError, DocumentError
from rms_flows.flow.build import Choices
from rms_flows.model import load_orchestrator
from rms_flows.replay import replay
from rms_flows.schedule import Replayed, Timetable, outlook, scheduled
from rms_flows.schedule import watermark as mark
from rms_flows.schedule.metrics import metrics

DAY = datetime(2026, 3, 14, tzinfo=UTC)
HOUR = timedelta(hours=1)

FLOW = """
orchestrator: doors
sources:
  - {id: doors, archive: "doors.ndjson"}
processors:
  - {id: found, processor: sigma, inputs: [doors], parameters: {rules: [rules], routing: false}}
sinks:
  - {id: repository, inputs: [found], uri: "reports.ndjson"}
"""
OPENED = """
title: Opened
name: opened
logsource: {product: doors}
detection: {opened: {event.action: opened}, condition: opened}
level: low
"""
OFTEN = """
title: Often
correlation: {type: event_count, rules: [opened], group-by: [user.name], timespan: 45m, condition: {gte: 3}}
level: high
"""
LEFT_OPEN = """
title: Left open
name: left
logsource: {product: doors}
detection: {opened: {event.action: opened}, condition: opened}
---
title: Closed
name: closed
logsource: {product: doors}
detection: {closed: {event.action: closed}, condition: closed}
---
title: Left open for long
correlation: {type: temporal, rules: [left, closed], group-by: [user.name], timespan: 2h, condition: left and not closed}
"""
BEGIN = datetime(2020, 1, 1, tzinfo=UTC)


def doors(folder, *, rules=OPENED + "---" + OFTEN, hours=12, bad=1):
    (folder / "rules").mkdir()
    (folder / "rules/doors.yml").write_text(rules)
    (folder / "flow.yaml").write_text(FLOW)
    lines = [
        json.dumps({"@timestamp": (BEGIN + timedelta(minutes=10 * n)).isoformat(), "event.action": "opened", "user.name": "ana"})
        for n in range(6 * hours)
    ]  # fmt: skip
    (folder / "doors.ndjson").write_text("\n".join([*lines, *["{"] * bad]) + "\n")
    return Replayed(load_orchestrator(folder / "flow.yaml"), folder, folder, Choices(), folder / "state")


def run(replayed, table, now):
    with Crew(1) as crew:
        return scheduled(replayed, table, crew, now=now)


def test_24_replays_of_an_hour_equal_one_of_a_day(tmp_path):
    """Also over the borders of hours: log-ins guessed slowly, a port scan, and a beacon that calls all day."""
    home = home_day.generate(tmp_path / "home")
    flow = load_orchestrator(home_day.FLOW)
    whole, parts = tmp_path / "whole.ndjson", tmp_path / "parts.ndjson"
    replay(
        flow,
        folder=home_day.FLOW.parent,
        data_folder=home,
        sinks={"repository": str(whole)},
        end=DAY + 24 * HOUR,
    )
    choices = Choices(sinks={"repository": str(parts)})
    replayed = Replayed(flow, home_day.FLOW.parent, home, choices, tmp_path / "state")
    done = run(replayed, Timetable(HOUR, start=DAY, end=DAY + 24 * HOUR), DAY + 72 * HOUR)
    assert len(done.spans) == 24
    assert parts.read_bytes() == whole.read_bytes()
    assert sum(one.reports for _, one in done.spans) == len(whole.read_text().splitlines())
    assert b"SSH log-ins guessed slowly" in whole.read_bytes()


def test_a_gap_is_filled_and_what_is_done_is_not_done_again(tmp_path):
    replayed = doors(tmp_path)
    table = Timetable(HOUR, lag=timedelta(minutes=10), start=BEGIN)
    assert len(run(replayed, table, BEGIN + 2 * HOUR).spans) == 1  # the second is not old enough
    assert run(replayed, table, BEGIN + 2 * HOUR).spans == ()
    after_an_outage = run(replayed, table, BEGIN + 9.5 * HOUR)
    assert [span.start.hour for span, _ in after_an_outage.spans] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert run(replayed, table, BEGIN + 12.5 * HOUR).mark.done == BEGIN + 12 * HOUR
    replay(replayed.orchestrator, folder=tmp_path, sinks={"repository": str(tmp_path / "whole.ndjson")})
    assert (tmp_path / "reports.ndjson").read_bytes() == (tmp_path / "whole.ndjson").read_bytes()
    dead = (tmp_path / "reports.dead-letters.ndjson").read_bytes()
    assert dead == (tmp_path / "whole.dead-letters.ndjson").read_bytes()
    assert len(dead.splitlines()) == 1


def test_a_span_waits_until_all_that_matters_to_its_rules_is_there(tmp_path):
    replayed = doors(tmp_path, rules=LEFT_OPEN, hours=4)
    table = Timetable(HOUR, start=BEGIN)
    early = run(replayed, table, BEGIN + 2.5 * HOUR)
    assert early.spans == ()
    assert early.waiting == BEGIN + 3 * HOUR  # two hours beyond the span
    assert len(run(replayed, table, BEGIN + 3 * HOUR).spans) == 1


@given(
    st.integers(1, 400), st.integers(0, 100), st.lists(st.integers(0, 5_000), max_size=8), st.integers(0, 300)
)
def test_spans_cover_all_time_once_whenever_one_looks(every, lag, looks, begin):
    table = Timetable(timedelta(minutes=every), timedelta(minutes=lag))
    done, found = BEGIN + timedelta(minutes=begin), []
    for minutes in sorted(looks):
        for span in table.due(done, BEGIN + timedelta(minutes=minutes)):
            assert span.start == done < span.end <= BEGIN + timedelta(minutes=minutes - lag)
            done = span.end
            found.append(span)
    if looks and found:
        assert BEGIN + timedelta(minutes=max(looks) - lag) - done < table.every
    assert all((one.end - datetime(1970, 1, 1, tzinfo=UTC)) % table.every == timedelta(0) for one in found)


def test_one_instance_works_at_a_time(tmp_path):
    replayed = doors(tmp_path, hours=1)
    with (
        mark.alone(replayed.state),
        pytest.raises(BusyError, match=r"state: another instance is at work; it does what"),
    ):
        run(replayed, Timetable(HOUR, start=BEGIN), BEGIN + HOUR)
    command = [
        sys.executable,
        "-m",
        "rms_flows",
        "replay",
        tmp_path / "flow.yaml",
        "--every",
        "1h",
        "--from",
        "2020-01-01",
    ]
    with mark.alone(tmp_path / "flow.watermark"):
        busy = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert (busy.returncode, busy.stdout) == (75, "")
    assert "another instance is at work" in busy.stderr
    assert not (tmp_path / "reports.ndjson").exists()


@pytest.mark.parametrize(
    ("text", "start", "match"),
    [
        (None, None, r"state: there is no watermark yet, so nobody knows what was replayed; say with --from"),
        ("{", BEGIN, r"is no watermark of this version \(JSONDecodeError.*name another with --state, or remove"),
        ('{"version": 2, "flow": "doors", "done": "2020-01-01T00:00:00Z", "spans": 1}', BEGIN, r"AssertionError: version 2"),
        ('{"version": 1, "flow": "pumps", "done": "2020-01-01T00:00:00Z", "spans": 1}', BEGIN, r"flow 'pumps', not of 'doors'"),
    ],
)  # fmt: skip
def test_nobody_guesses_where_to_begin(tmp_path, text, start, match):
    replayed = doors(tmp_path, hours=1)
    if text is not None:
        replayed.state.write_text(text)
    with pytest.raises(DocumentError, match=match):
        run(replayed, Timetable(HOUR, start=start), BEGIN + HOUR)


def test_a_plan_tells_what_is_due_and_what_it_costs(tmp_path):
    replayed = doors(tmp_path, bad=0)
    known = outlook(replayed, Timetable(HOUR, start=BEGIN), now=BEGIN + 12 * HOUR)
    size = (tmp_path / "doors.ndjson").stat().st_size
    assert len(known.spans) == 12
    assert known.total.bytes == 12 * size  # a file is read whole for each
    assert known.total.rows == 12 * 72
    assert 0 < known.total.seconds < 5
    assert {path.name for path in tmp_path.iterdir()} == {"doors.ndjson", "flow.yaml", "rules"}


def test_figures_are_those_of_the_start(tmp_path):
    replayed = doors(tmp_path, hours=3)
    done = run(replayed, Timetable(HOUR, start=BEGIN), BEGIN + 3 * HOUR)
    figures = dict(line.rsplit(" ", 1) for line in metrics(done, DAY).splitlines() if line[0] != "#")
    assert float(figures['rms_replay_done_timestamp_seconds{flow="doors"}']) == (BEGIN + 3 * HOUR).timestamp()
    assert figures['rms_replay_spans{flow="doors"}'] == "3"
    assert figures['rms_replay_reports{flow="doors"}'] == str(
        len((tmp_path / "reports.ndjson").read_text().splitlines())
    )
    assert figures['rms_replay_dead_letters{flow="doors"}'] == "3"  # one, seen by each


def command(folder, *options):
    here = [
        "replay",
        str(folder / "flow.yaml"),
        "--every",
        "2h",
        "--from",
        "2020-01-01",
        "--to",
        "2020-01-01T12:00",
    ]
    return [*here, *map(str, options)]


def test_from_the_command_line(tmp_path):
    doors(tmp_path)
    runner = CliRunner()
    planned = runner.invoke(app, command(tmp_path, "--plan"))
    assert "6 spans are due: about 432 rows" in planned.stdout
    assert "2020-01-01T00:00:00Z to 2020-01-01T02:00:00Z: about 72 rows" in planned.stdout
    done = runner.invoke(app, command(tmp_path, "--json", "--metrics", tmp_path / "rms.prom"))
    assert [one["reports"] for one in json.loads(done.stdout)["spans"]] == [
        10,
        *[12] * 5,
    ]  # the first two are not often
    assert 'rms_replay_spans{flow="doors"} 6' in (tmp_path / "rms.prom").read_text()
    again = runner.invoke(app, command(tmp_path, "--strict"))
    assert (again.exit_code, again.stderr) == (0, "done up to 2020-01-01T12:00:00Z\n")
    lonely = runner.invoke(app, ["replay", str(tmp_path / "flow.yaml"), "--lag", "1h"])
    assert lonely.exit_code == 2
    assert "add --every 1h" in lonely.stderr
    wrong = runner.invoke(app, ["replay", str(tmp_path / "flow.yaml"), "--every", "soon"])
    assert "--every: 'soon' is no length of time; write 10m, 1h or 1d" in str(wrong.exception)


def test_killed_between_spans_and_in_one_nothing_is_doubled_or_lost(tmp_path):
    replayed = doors(tmp_path)
    for seen, later in ((0, 0.0), (1, 0.0), (2, 0.15), (4, 0.3)):
        process = subprocess.Popen([sys.executable, "-m", "rms_flows", *command(tmp_path, "-q")])  # noqa: S603
        with process:
            until = time.monotonic() + 60
            while spans_done(tmp_path) < seen and process.poll() is None and time.monotonic() < until:
                time.sleep(0.005)
            time.sleep(later)
            process.kill()
    assert spans_done(tmp_path) >= 4
    last = subprocess.run([sys.executable, "-m", "rms_flows", *command(tmp_path, "-q")], check=False)  # noqa: S603
    assert (last.returncode, spans_done(tmp_path)) == (0, 6)
    replay(replayed.orchestrator, folder=tmp_path, sinks={"repository": str(tmp_path / "whole.ndjson")})
    assert (tmp_path / "reports.ndjson").read_bytes() == (tmp_path / "whole.ndjson").read_bytes()
    assert not [
        path.name for path in tmp_path.iterdir() if "staging" in path.name or path.name.endswith(".new")
    ]


def spans_done(folder):
    path = folder / "flow.watermark"
    return json.loads(path.read_text())["spans"] if path.exists() else 0


def test_what_the_documentation_shows_runs(tmp_path, monkeypatch):
    doors(tmp_path, hours=1)
    (tmp_path / "flow.yaml").rename(tmp_path / "home.yaml")
    monkeypatch.chdir(tmp_path)
    page = (home_day.ROOT / "docs/scheduled-replays.md").read_text()
    [job] = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)]
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    shown = [line.split("   #")[0].split()[1:] for line in re.findall(r"rms replay home.yaml [^`\n]*", page)]
    shown.append(pod["containers"][0]["command"][1:])
    assert len(shown) == 6
    for words in shown:
        early = ["--to", "2026-03-01T03:00"] if "--to" not in words else []
        ran = CliRunner().invoke(app, [*words, *early], catch_exceptions=False)
        assert ran.exit_code == 0, ran.stderr
    assert json.loads((tmp_path / "home.watermark").read_text())["done"] == "2026-03-01T03:00:00Z"
    assert (tmp_path / "rms.prom").exists()
