"""Parity: a flow finds the same through both doors, and a door that is off by the least is found out."""

import json
import os
import subprocess
import sys
from collections import Counter
from itertools import count
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    M,
    correlation,
    event,
    flow,
    generated,
    rule,
    sigma,
    time_of,
    write_events,
    write_rules,
)
from typer.testing import CliRunner

from rms_flows import parity as parities
from rms_flows.cli.app import app
from rms_flows.correlate import step
from rms_flows.errors import FlowError
from rms_flows.model import Orchestrator, load_orchestrator
from rms_flows.parity import parity
from rms_flows.processors import correlation as processor

PERMUTATIONS = int(os.environ.get("RMS_PERMUTATIONS", "1000"))
SHORT = 3
HERE = Path(__file__).parents[1]

A, B = generated(1, 250), generated(2, 100, jitter=4 * M, prefix="b")


@pytest.fixture
def home(tmp_path):
    write_events(tmp_path / "a.ndjson", A)
    write_events(tmp_path / "b.ndjson", B)
    write_rules(
        tmp_path / "rules", *SINGLE, *(CORRELATIONS[name] for name in ("users", "sum", "hourly", "silent"))
    )
    return tmp_path


def document():
    return flow(
        [("a", "a.ndjson", "30s"), ("b", "b.ndjson", "5m")],
        [sigma("s", "a", "b")],
        {"out": (["s"], "out.ndjson")},
    )


def test_a_flow_finds_the_same_as_a_replay_and_as_a_stream(home):
    write_rules(home / "rules", *SINGLE, *CORRELATIONS.values())
    heard = []
    got = parity(document(), folder=home, permutations=4, progress=lambda *now: heard.append(now))
    assert got.equal, got.differences[:3]
    assert (got.flow, got.seed, got.permutations) == ("t", 0, 4)
    assert heard == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert got.reports > 300
    assert got.crashes > 0
    assert {name: known["events"] for name, known in got.corpus.items()} == {"a": len(A), "b": len(B)}
    assert (got.late, got.counts) == ({}, {})
    assert not (home / "out.ndjson").exists()  # the flow's own sinks are left alone
    told = json.loads(got.to_json())
    assert (told["equal"], told["differences"], told["corpus"]) == (True, [], got.corpus)


def test_a_certificate_names_its_corpus_and_rules_by_what_they_are(home):
    first, again = (parity(document(), folder=home, permutations=1) for _ in range(2))
    assert again == first
    write_rules(
        home / "rules",
        *reversed([*SINGLE, *(CORRELATIONS[name] for name in ("users", "sum", "hourly", "silent"))]),
    )
    assert parity(document(), folder=home, permutations=1).rules == first.rules
    write_rules(home / "rules", *SINGLE, CORRELATIONS["users"])
    write_events(home / "a.ndjson", A[1:])
    other = parity(document(), folder=home, permutations=1)
    assert other.rules != first.rules
    assert other.corpus["a"] != first.corpus["a"]
    assert other.corpus["b"] == first.corpus["b"]


def test_events_that_come_too_late_in_the_corpus_s_own_order_are_listed_and_no_difference(home):
    behind = [event(f"late-{n}", ZERO + n * H, "failed", **{"source.ip": "10.0.0.1", "user.name": "bo"}) for n in range(1, 6)]  # fmt: skip
    write_events(home / "a.ndjson", [*A, *behind])
    got = parity(document(), folder=home, permutations=2)
    assert got.late == {"a": 5}
    assert got.equal, got.differences[:3]


def shorter(one, rows, most, judge=step.judge):
    """A window that is off by a microsecond."""
    return judge(msgspec.structs.replace(one, timespan=one.timespan - 1), rows, most)


ARRIVALS = count()


def by_arrival(found, said, made=processor.correlated, **more):
    """A report whose id tells when it came."""
    reports = made(found, said, **more)
    names = pa.array([f"{next(ARRIVALS):032x}" for _ in range(reports.num_rows)])
    return reports.set_column(reports.schema.get_field_index("event.id"), "event.id", names)


def rash(one):
    """What has to wait is told at once."""
    return True


@pytest.mark.parametrize(
    ("room", "name", "mutant"),
    [(step, "judge", shorter), (processor, "correlated", by_arrival), (step, "is_early", rash)],
)
def test_a_mutant_in_the_stream_is_caught(home, monkeypatch, room, name, mutant):
    edges = [
        event(f"x-{n}", ZERO + 12 * H + n * 5 * M, "failed", **{"source.ip": "10.9.9.9"}) for n in (0, 1)
    ]
    edges += [event("y", ZERO + 12 * H + 15 * M, "login", **{"source.ip": "10.9.9.9"})]
    write_events(home / "a.ndjson", sorted([*A[:100], *edges], key=time_of))
    write_rules(
        home / "rules",
        *SINGLE,
        correlation("edge", "event_count", "failed", "source.ip", "5m", {"gte": 2}),
        correlation("alone", "temporal", ["failed", "login"], "source.ip", "10m", "failed and not login"),
    )
    run = parities.run

    def mutated(*arguments, **more):
        with monkeypatch.context() as patch:
            patch.setattr(room, name, mutant)
            return run(*arguments, **more)

    monkeypatch.setattr(parities, "run", mutated)
    got = parity(document(), folder=home, permutations=2, most=10_000)
    assert not got.equal
    assert {one.rule for one in got.differences} <= {"edge", "alone"}
    assert all(one.evidence for one in got.differences)
    if mutant is shorter:
        assert ("edge", "replay", {"x-0", "x-1"}) in [
            (one.rule, one.only, {*one.evidence}) for one in got.differences
        ]
        assert got.differences[0].permutation.startswith("0: in order, 0 crashes, ")
    if mutant is by_arrival:
        assert {one.only for one in got.differences} == {"replay", "stream"}


def test_no_more_differences_are_listed_than_wanted(home, monkeypatch):
    monkeypatch.setattr(parities, "_reports", lambda path: {} if path.name.startswith("stream") else {str(n): {"rule.name": "r", "rms.evidence": None} for n in range(30)})  # fmt: skip
    got = parity(document(), folder=home, permutations=5, most=10)
    assert (len(got.differences), got.permutations) == (10, 1)


def test_a_flow_without_reports_or_a_source_without_events_can_not_be_compared(home):
    kept = {"id": "k", "processor": "persist", "inputs": ["a"], "parameters": {"fields": ["n"]}}
    one = flow([("a", "a.ndjson", "30s")], [kept], {"out": (["k"], "out.ndjson")})
    with pytest.raises(
        FlowError, match="the flow gives no reports to compare; give it a processor that reports"
    ):
        parity(one, folder=home)
    (home / "a.ndjson").write_text("")
    with pytest.raises(FlowError, match=r"a.ndjson: the source 'a' has no events; name another"):
        parity(document(), folder=home)


FLOW = """
orchestrator: t
sources: [{id: a, format: json, archive: a.ndjson}]
processors: [{id: s, processor: sigma, inputs: [a], parameters: {rules: [rules]}}]
sinks: [{id: out, inputs: [s], uri: out.ndjson}]
"""


def invoked(*arguments):
    return CliRunner().invoke(app, ["parity", *map(str, arguments)])


def test_the_command_prints_a_certificate(home):
    (home / "flow.yaml").write_text(FLOW)
    got = invoked(home / "flow.yaml", "-n", 2, "--quiet")
    assert got.exit_code == 0
    assert f"a: {len(A)} events, corpus " in got.output
    assert "2 streams with " in got.output
    assert got.output.endswith("equal\n")
    (home / "other.ndjson").write_text((home / "b.ndjson").read_text())
    told = json.loads(
        invoked(home / "flow.yaml", "--in", home / "other.ndjson?format=json", "-n", 1, "--json").output
    )
    assert (told["equal"], told["corpus"]["a"]["events"], told["permutations"]) == (True, len(B), 1)


def test_the_command_names_what_differs_and_exits_with_1(home, monkeypatch):
    (home / "flow.yaml").write_text(FLOW)
    run = parities.run

    def mutated(*arguments, **more):
        with monkeypatch.context() as patch:
            patch.setattr(processor, "correlated", by_arrival)
            return run(*arguments, **more)

    monkeypatch.setattr(parities, "run", mutated)
    got = invoked(home / "flow.yaml", "-n", 1, "--quiet")
    assert got.exit_code == 1
    assert "differs: " in got.output
    assert ", stream, in permutation 0: in order" in got.output
    assert got.output.endswith("100 differences\n")


def test_what_the_command_can_not_do_it_says(home):
    two = FLOW.replace("archive: a.ndjson}]", "archive: a.ndjson}, {id: b, archive: b.ndjson}]").replace(
        "[a]", "[a, b]"
    )
    (home / "flow.yaml").write_text(two)
    got = invoked(home / "flow.yaml", "--in", "x.ndjson")
    assert got.exit_code == 2
    assert "the flow has several sources (a, b); use --source" in " ".join(
        got.output.replace("│", " ").split()
    )
    got = invoked(home / "flow.yaml", "--doors", "notebook")
    assert got.exit_code == 2
    assert (
        "'notebook' is no list of doors; write replay,local, replay,flink or replay,local,flink"
        in " ".join(got.output.replace("│", " ").split())
    )


@pytest.mark.parametrize("command", ["stream", "parity"])
def test_the_commands_have_help_with_examples(command):
    got = CliRunner().invoke(app, [command, "--help"])
    assert got.exit_code == 0
    assert "Examples:" in got.output
    assert f"rms {command}" in got.output


# The corpora of the promise.


def smart_home(tmp_path, _datasets):
    subprocess.run([sys.executable, HERE / "datasets/smart_home.py", tmp_path / "day"], check=True, capture_output=True)  # noqa: S603  # fmt: skip
    return load_orchestrator(HERE / "datasets/smart-home.yaml"), HERE / "datasets", tmp_path / "day"


def sshd(name, **detection):
    return rule(name) | {"logsource": {"product": "linux", "service": "sshd"}, "detection": {"s": detection, "condition": "s"}}  # fmt: skip


def ssh_auth(tmp_path, _datasets):
    write_rules(
        tmp_path / "rules",
        sshd("failed", **{"event.action": "ssh_login", "event.outcome": "failure"}),
        sshd("accepted", **{"event.action": "ssh_login", "event.outcome": "success"}),
        sshd("unknown", **{"event.action": "ssh_invalid_user"}),
        correlation("guessing", "event_count", "failed", "source.ip", "10m", {"gte": 5}, suppress="1h"),
        correlation("spraying", "value_count", ["failed", "unknown"], "source.ip", "1h", {"field": "user.name", "gte": 4}),
        correlation("guessed", "temporal_ordered", ["failed", "accepted"], "source.ip", "1d", generate=True),
        correlation("alone", "temporal", ["unknown", "failed"], "source.ip", "5m", "unknown and not failed"),
        correlation("again", "event_count", "guessing", "source.ip", "6h", {"gte": 20}, suppress="1d"),
        correlation("rare", "event_count", "accepted", "user.name", "7d", {"lte": 2}),
    )  # fmt: skip
    return corpus("auth.log", "syslog", year=2016), tmp_path, None


def apt29_zeek(tmp_path, _datasets):
    def zeek(name, service, **detection):
        return rule(name) | {"logsource": {"product": "zeek", "service": service}, "detection": {"s": detection, "condition": "s"}}  # fmt: skip

    write_rules(
        tmp_path / "rules",
        zeek("connection", "conn", **{"id.orig_h|exists": True}),
        zeek("lookup", "dns", **{"id.orig_h|exists": True}),
        zeek("tls", "ssl", **{"id.orig_h|exists": True}),
        correlation("busy", "event_count", "connection", ["id.orig_h", "id.resp_h"], "1m", {"gte": 10}, suppress="10m"),
        correlation("scan", "value_count", "connection", "id.orig_h", "5m", {"field": "id.resp_p", "gte": 8}),
        correlation("sent", "value_sum", "connection", "id.orig_h", "5m", {"field": "orig_bytes", "gt": 100_000}),
        correlation("slow", "value_percentile", "connection", "id.resp_h", "10m", {"field": "duration", "percentile": 95, "gte": 10}),
        correlation("resolved", "temporal_ordered", ["lookup", "connection"], "id.orig_h", "2s"),
        correlation("direct", "temporal", ["connection", "lookup"], "id.orig_h", "30s", "connection and not lookup"),
        correlation("quiet", "flatline", "connection", "id.orig_h", "3m"),
        correlation("newly", "new_terms", "connection", "id.orig_h", "30m", field="id.resp_h"),
        correlation("clockwork", "baseline", "connection", ["id.orig_h", "id.resp_h"], "1h", {"gte": 0.8}, baseline={"method": "regularity", "least": 20}),
    )  # fmt: skip
    return corpus("day1.ndjson", None), tmp_path, None


def corpus(archive, form, **more):
    return Orchestrator.model_validate(
        {
            "orchestrator": archive,
            "sources": [{"id": "in", "archive": archive, "format": form, **more}],
            "processors": [sigma("s", "in")],
        }
    )


CORPORA = {
    "smart-home": (smart_home, None),
    "ssh": (ssh_auth, "ssh_auth"),
    "zeek": (apt29_zeek, "apt29_zeek"),
}


@pytest.mark.parametrize("permutations", [SHORT, pytest.param(PERMUTATIONS, marks=pytest.mark.soak)])
@pytest.mark.parametrize("name", CORPORA)
def test_no_report_differs_on_any_permutation_of_a_corpus(request, tmp_path, name, permutations):
    make, folder = CORPORA[name]
    datasets = folder and request.getfixturevalue("datasets") / folder
    document, rules, data = make(tmp_path, datasets)
    got = parity(document, folder=rules, data_folder=data or datasets, permutations=permutations)
    assert got.equal, Counter((one.rule, one.only) for one in got.differences)
    assert got.permutations == permutations
    assert got.reports > 100
    assert not got.counts
