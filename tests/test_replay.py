"""Whole replays through the doors that people use; small on purpose, with real files, workers and kills."""

import csv
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from rms_flows.errors import DocumentError, FlowError, SinkError, SourceError
from rms_flows.model import Orchestrator
from rms_flows.replay import archive, detect, replay

RULE = """
title: Failed log-in
id: 8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0a
author: A. Person
logsource: {product: linux, service: sshd}
detection: {s: {event.outcome: failure}, condition: s}
level: low
"""


def flow(**changes):
    document = {
        "orchestrator": "t",
        "sources": [
            {"id": "hub", "archive": "metrics-*.ndjson"},
            {"id": "auth", "year": 2026, "archive": "auth.log"},
        ],
        "processors": [
            {
                "id": "high",
                "processor": "filter",
                "inputs": ["hub"],
                "parameters": {"field": "host.cpu.usage", "operator": "GT", "threshold": 0.8},
            },
            {"id": "logins", "processor": "sigma", "inputs": ["auth"], "parameters": {"rules": ["rules"]}},
            {
                "id": "kept",
                "processor": "persist",
                "inputs": ["hub"],
                "parameters": {"fields": ["host.cpu.usage"]},
            },
        ],
        "sinks": [
            {"id": "reports", "inputs": ["high", "logins"], "uri": "out/reports.ndjson"},
            {"id": "archive", "inputs": ["kept"], "uri": "parquet:out/archive"},
        ],
        **changes,
    }
    return Orchestrator.model_validate(document)


def metric(minute, usage):
    document = {
        "@timestamp": f"2026-01-{1 + minute // 1440:02d}T{minute // 60 % 24:02d}:{minute % 60:02d}:00Z",
        "metricset": {"name": "cpu", "module": "system"},
        "system": {"cpu": {"total": {"norm": {"pct": usage}}}},
    }
    return json.dumps(document) + "\n"


@pytest.fixture
def home(tmp_path):
    (tmp_path / "rules").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "rules" / "a.yml").write_text(RULE)
    for part in range(5):
        minutes = range(part * 700, (part + 1) * 700)
        (tmp_path / f"metrics-{part}.ndjson").write_text(
            "".join(metric(m, (m * 7 % 100) / 100) for m in minutes)
        )
    (tmp_path / "auth.log").write_text(
        "Jan  1 10:00:00 hub sshd[1]: Failed password for root from 10.0.0.9 port 22 ssh2\n"
        "what is this\n"
        "Jan  1 10:00:01 hub sshd[1]: Accepted password for ana from 10.0.0.2 port 22 ssh2\n"
    )
    return tmp_path


def outputs(home):
    return {
        str(p.relative_to(home)): p.read_bytes() for p in sorted((home / "out").rglob("*")) if p.is_file()
    }


def test_a_replay_finds_what_is_there_and_accounts_for_the_rest(home):
    got = replay(flow(), folder=home)
    assert got.reports == 5 * 7 * 19 + 1  # 81 to 99 of each hundred, and one log-in
    assert got.rows == 3500 + 2
    assert got.dead_letters == {"syslog": 1}
    assert got.dead_letters_uri.endswith("reports.dead-letters.ndjson")
    assert got.formats == {"hub": {"metricbeat": 5}, "auth": {"syslog": 1}}
    lines = [json.loads(line) for line in (home / "out/reports.ndjson").read_text().splitlines()]
    assert len(lines) == got.reports
    login = next(line for line in lines if line["rms.processor"] == "logins")
    assert login["rule.author"] == "A. Person"
    assert login["rms.request_source"] == "10.0.0.9"
    assert login["rms.source"] == "auth"
    assert [line["@timestamp"] for line in lines] == sorted(line["@timestamp"] for line in lines)
    dead = json.loads((home / "out/reports.dead-letters.ndjson").read_text())
    assert dead["rms.origin"] == "auth.log#1"
    assert pq.read_table(home / "out/archive").num_rows == 3500


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_runs_leave_the_same_bytes_with_any_number_of_workers(home, workers):
    replay(flow(), folder=home)
    first = outputs(home)
    replay(flow(), folder=home, workers=workers)
    assert outputs(home) == first
    for path in (home / "out").rglob("*.parquet"):
        path.unlink()
    replay(flow(), folder=home, workers=workers)
    assert outputs(home) == first


def test_a_period_is_half_open_and_hours_add_up_to_a_day(home):
    def ids(start, end):
        replay(flow(), folder=home, start=start, end=end)
        return {
            json.loads(line)["event.id"] for line in (home / "out/reports.ndjson").read_text().splitlines()
        }

    def at(hour):
        return datetime(2026, 1, 1 + hour // 24, hour % 24, tzinfo=UTC)

    day = ids(at(0), at(24))
    hours = [ids(at(hour), at(hour + 6)) for hour in range(0, 24, 6)]
    assert set().union(*hours) == day
    assert sum(map(len, hours)) == len(day)
    assert len(ids(None, None)) > len(day)


def test_what_an_archive_gives_is_what_its_source_gave(home):
    """A rule means the same over files and over the archive made of them, id for id."""
    reports = home / "out/reports.ndjson"
    archive(str(home / "auth.log?year=2026"), f"parquet:{home}/ar", name="input")
    detect([home / "rules"], source=str(home / "auth.log?year=2026"), sink=str(reports))
    before = reports.read_bytes()
    detect([home / "rules"], source=f"parquet:{home}/ar", sink=str(reports))
    assert reports.read_bytes() == before
    assert before.count(b"\n") == 1


def test_a_run_that_finds_nothing_replaces_old_results(home):
    replay(flow(), folder=home)
    (home / "auth.log").write_text("Jan  1 10:00:00 hub cron[1]: x\n")
    for path in home.glob("metrics-*"):
        path.write_text(metric(0, 0.1))
    got = replay(flow(), folder=home)
    assert got.reports == 0
    assert (home / "out/reports.ndjson").read_bytes() == b""
    assert not (home / "out/reports.dead-letters.ndjson").exists()


def test_empty_inputs_are_no_error(home):
    (home / "auth.log").write_bytes(b"")
    assert replay(flow(), folder=home).sources["auth"]["rows"] == 0


def test_overrides_replace_sources_and_sinks(home, monkeypatch):
    monkeypatch.chdir(home)
    (home / "other.log").write_text(
        "Jan  1 10:00:00 hub sshd[1]: Failed password for root from 10.0.0.9 port 22 ssh2\n" * 3
    )
    got = replay(
        flow(), folder=home, sources={"auth": "other.log?year=2025"}, sinks={"reports": "r.ndjson?as=iotac"},
        dead_letters="dead.ndjson",
    )  # fmt: skip
    assert got.sinks["reports"] == 665 + 3
    first = json.loads(Path("r.ndjson").read_text().splitlines()[0])
    assert first["_timestamp"].startswith("2025-01-01")
    assert first["value"]["requestSource"] == "10.0.0.9"


@pytest.mark.parametrize(
    ("changes", "choices", "error", "match"),
    [
        ({}, {"sources": {"x": "y"}}, DocumentError, "--source: the flow has no source 'x'; it has hub, auth"),
        ({}, {"sinks": {"x": "y"}}, DocumentError, "--sink: the flow has no sink 'x'; it has reports, archive"),
        ({"sources": [{"id": "hub"}, {"id": "auth"}]}, {}, DocumentError, "the source 'hub' has no archive to replay; give it archive:, or --source hub=URI"),
        ({"sinks": []}, {}, FlowError, "t: dead letters have nowhere to go; give the flow a sink that is a file, or --dead-letters FILE"),
        ({"sources": [{"id": "hub", "archive": "none*"}, {"id": "auth", "archive": "auth.log"}]}, {}, SourceError, "none.*: no such file"),
        ({}, {"dead_letters": "/proc/x.ndjson"}, SinkError, "/proc/x.ndjson: can't be written"),
    ],
)  # fmt: skip
def test_what_cannot_run_says_so_and_touches_nothing(home, changes, choices, error, match):
    replay(flow(), folder=home)
    before = outputs(home)
    with pytest.raises(error, match=match):
        replay(flow(**changes), folder=home, **choices)
    assert outputs(home) == before


@pytest.mark.parametrize(
    ("sinks", "choices", "error", "match"),
    [
        ([("a", "high", "x.ndjson"), ("b", "high", "out/../x.ndjson")], {}, DocumentError, "the sinks 'a' and 'b' write to one place; name two"),
        ([("a", "high", "parquet:ar")], {}, DocumentError, "a: an archive keeps observations, and 'high' gives threat reports"),
        ([("a", "high", "x.ndjson")], {"dead_letters": "x.ndjson"}, DocumentError, "x.ndjson: dead letters and the sink 'a' go to one place"),
        ([("a", "high", "auth.log.ndjson")], {"sources": {"auth": "auth.log.ndjson"}}, FlowError, "auth.log.ndjson: the run would read what it writes"),
        ([("a", "hub", "parquet:ar")], {"sources": {"auth": "ar/x/auth.log"}}, FlowError, "the run would read what it writes"),
    ],
)  # fmt: skip
def test_places_that_would_overwrite_each_other_are_refused(home, monkeypatch, sinks, choices, error, match):
    monkeypatch.chdir(home)
    (home / "ar" / "x").mkdir(parents=True)
    for name in ("auth.log.ndjson", "ar/x/auth.log"):
        (home / name).write_bytes((home / "auth.log").read_bytes())
    before = (home / "auth.log.ndjson").read_bytes()
    written = [{"id": name, "inputs": [reads], "uri": uri} for name, reads, uri in sinks]
    with pytest.raises(error, match=match):
        replay(flow(sinks=written), folder=home, **choices)
    assert (home / "auth.log.ndjson").read_bytes() == before


def test_rules_that_changed_between_two_runs_of_a_process_are_read_again(home):
    def reports():
        return detect(
            [home / "rules"], source=f"{home}/auth.log?year=2026", sink=str(home / "r.ndjson")
        ).reports

    assert reports() == 1
    (home / "rules" / "a.yml").write_text(RULE.replace("failure", "nothing"))
    assert reports() == 0


def test_a_fault_in_the_middle_leaves_the_old_results_and_no_litter(home):
    replay(flow(), folder=home)
    before = outputs(home)
    (home / "metrics-3.ndjson").write_bytes(b"\x7fELF" * 100)
    for workers in (1, 2):
        with pytest.raises(Exception, match="format can't be guessed"):
            replay(flow(), folder=home, workers=workers)
        assert outputs(home) == before


def test_a_cpu_series_of_nab_gives_its_735_reports(datasets, tmp_path):
    """The series has 735 values above 80 and 3 of exactly 80: GT and GE must not be mixed up by a float."""
    series = datasets / "nab/data/realKnownCause/cpu_utilization_asg_misconfiguration.csv"
    with series.open() as rows, (tmp_path / "m.ndjson").open("w") as out:
        for row in csv.DictReader(rows):
            # as Metricbeat rounds: four digits
            norm = round(float(row["value"]) / 100, 5)
            document = {
                "@timestamp": row["timestamp"].replace(" ", "T") + ".000Z",
                "event": {"dataset": "system.cpu", "module": "system"},
                "metricset": {"name": "cpu", "period": 300_000},
                "system": {"cpu": {"cores": 4, "total": {"pct": norm * 4, "norm": {"pct": norm}}}},
            }
            out.write(json.dumps(document) + "\n")

    def reports(operator, source):
        document = {
            "orchestrator": "nab",
            "sources": [{"id": "hub", "archive": source}],
            "processors": [
                {
                    "id": "high",
                    "processor": "filter",
                    "inputs": ["hub"],
                    "parameters": {"field": "host.cpu.usage", "operator": operator, "threshold": 0.8},
                }
            ],
            "sinks": [{"id": "out", "inputs": ["high"], "uri": "out.ndjson"}],
        }
        return replay(Orchestrator.model_validate(document), folder=tmp_path).reports

    assert reports("GT", "m.ndjson") == 735
    assert reports("GE", "m.ndjson") == 738
    (tmp_path / "24.json").write_bytes((datasets / "metricbeat/cpu-8x-24core.json").read_bytes())
    assert reports("GT", "24.json") == 0


def rms(home, *arguments):
    (home / "tmp").mkdir(exist_ok=True)
    return subprocess.Popen(  # noqa: S603  our own command
        [sys.executable, "-m", "rms_flows", *map(str, arguments)],
        cwd=home,
        env={**os.environ, "TMPDIR": str(home / "tmp")},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def killed_and_again(make, folder, delays):
    """Kill a command after each delay, then let it run to its end; what lies in `folder` then."""
    hit = 0
    for delay in delays:
        process = make()
        try:
            process.wait(delay)
        except subprocess.TimeoutExpired:
            hit += 1
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
        process.communicate()
    process = make()
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said.decode()
    names = [path.relative_to(folder) for path in sorted(folder.rglob("*"))]
    assert not [
        name for name in names if "staging" in str(name) or "lock" in name.name or name.name.startswith(".")
    ]
    return hit, {str(name): (folder / name).read_bytes() for name in names if (folder / name).is_file()}


@pytest.mark.parametrize("command", ["archive", "replay"])
@pytest.mark.parametrize("delays", [pytest.param([3.0, 3.6], id="short"), pytest.param([0.5 + 0.15 * n for n in range(40)], id="long", marks=pytest.mark.soak)])  # fmt: skip
def test_kill_9_and_again_leaves_what_one_run_leaves(home, command, delays):
    for part in range(5):
        path = home / f"metrics-{part}.ndjson"
        path.write_text(path.read_text() * 30)
    document = home / "flow.json"
    document.write_text(flow().model_dump_json(exclude_none=True, exclude_defaults=True))

    def make():
        if command == "archive":
            return rms(home, "archive", "metrics-*.ndjson", "parquet:out/ar", "--workers", 2)
        return rms(home, "replay", document, "--workers", 2)

    clean = make()
    _, said = clean.communicate(timeout=300)
    assert clean.returncode == 0, said.decode()
    expected = outputs(home)
    for path in sorted((home / "out").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    hit, left = killed_and_again(make, home / "out", delays)
    assert hit
    assert list((home / "tmp").iterdir()) == []  # Beam makes folders for itself
    assert left == {name.removeprefix("out/"): content for name, content in expected.items()}


def test_progress_is_told_while_a_run_lasts(home):
    seen = []
    began = time.monotonic()
    replay(flow(), folder=home, progress=seen.append)
    assert seen[-1].done == seen[-1].total > 0
    assert seen[-1].rows == 3502
    assert seen[-1].seconds <= time.monotonic() - began
