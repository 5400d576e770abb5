"""What was planted in the smart home's day is found, event for event, and nothing else is."""

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rms_flows.model import load_orchestrator
from rms_flows.replay import replay
from rms_flows.report import read_reports, write_html

ROOT = Path(__file__).parents[1]


def generate(folder, *options):
    command = [sys.executable, ROOT / "datasets/smart_home.py", folder, *options]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603  our own script
    return json.loads((folder / "truth.json").read_text())["planted"]


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    folder = tmp_path_factory.mktemp("day")
    planted = generate(folder)
    replay(load_orchestrator(ROOT / "datasets/smart-home.yaml"), folder=ROOT / "datasets", data_folder=folder)
    return folder, planted, read_reports([str(folder / "reports.ndjson")]).to_pylist()


def test_every_event_that_a_rule_can_find_is_reported(day):
    _, planted, reports = day
    rules = {
        "overload": "High CPU load",
        "guessed-log-in": "Failed SSH log-in",
        "refused-connect": "MQTT connect refused",
    }
    for kind, rule in rules.items():
        second = 19 if kind != "overload" else 23
        expected = sorted(one["time"][:second] for one in planted if one["kind"] == kind)
        extra = sorted(
            one["time"][:second] for one in planted if one["kind"] == "mistyped" and kind == "guessed-log-in"
        )
        got = sorted(
            f"{one['@timestamp']:%Y-%m-%dT%H:%M:%S.%f}"[:second]
            for one in reports
            if one["rule.name"] == rule
        )
        assert expected
        assert got == sorted(expected + extra), kind


def test_the_guessers_are_named(day):
    _, planted, reports = day
    addresses = {one["address"] for one in planted if one["kind"] == "guessing"}
    assert len(addresses) == 3
    named = {one["rms.request_source"] for one in reports if one["rule.name"] == "Failed SSH log-in"}
    assert addresses <= named
    assert len(named - addresses) <= 5  # people of the house who mistyped


def test_what_takes_many_events_together_is_reported(day):
    """Guessing, fast and slow, the scan and the beacon; and of what nobody planted nothing."""
    _, planted, reports = day
    truth = {kind: {one.get("address") or one["source"] for one in planted if one["kind"] == kind}
             for kind in ("guessing", "port-scan", "beacon")}  # fmt: skip
    found = {}
    for one in reports:
        found.setdefault(one["rule.name"], set()).add(one["rms.request_source"])
    assert found["SSH log-ins guessed"] | found["SSH log-ins guessed slowly"] == truth["guessing"]
    assert found["Port scan"] == truth["port-scan"]
    assert found["Beacon"] == truth["beacon"]
    scan = next(one for one in reports if one["rule.name"] == "Port scan")
    assert (scan["rms.measurement"], scan["rms.count"]) == ([{"name": "value_count", "value": 250.0}], 250)


def test_the_truth_says_what_needs_more_than_single_events(day):
    _, planted, _ = day
    assert {one["kind"]: one["found_by"] for one in planted} == {
        "overload": "rule",
        "guessed-log-in": "rule",
        "refused-connect": "rule",
        "mistyped": "noise",
        "guessing": "correlation",
        "port-scan": "correlation",
        "beacon": "baseline",
    }


def test_the_page_shows_what_was_found(day):
    folder, _, reports = day
    page = folder / "report.html"
    write_html(read_reports([str(folder / "reports.ndjson")]), page, title="A day")
    text = page.read_text()
    assert all(name in text for name in ("High CPU load", "Failed SSH log-in", "MQTT connect refused"))
    assert text.count('<td class="time">') == len(reports)


def test_the_same_seed_gives_the_same_day_and_another_another(tmp_path):
    one, again, other = (tmp_path / name for name in ("one", "again", "other"))
    generate(one)
    generate(again)
    generate(other, "--seed", "8")
    for name in ("metrics.ndjson", "auth.log", "conn.log", "mosquitto.log", "truth.json", "labels.csv"):
        assert (one / name).read_bytes() == (again / name).read_bytes()
        assert (one / name).read_bytes() != (other / name).read_bytes()


def test_the_manifest_of_public_data_says_where_from_and_for_what():
    for entry in yaml.safe_load((ROOT / "datasets/public.yaml").read_text())["datasets"]:
        assert {"name", "repository", "commit", "licence", "good_for", "files"} <= entry.keys()
        assert re.fullmatch(r"[0-9a-f]{7,40}|main", entry["commit"])
        assert all(re.fullmatch(r"[0-9a-f]{64}", digest) for digest in entry["files"].values())


def test_real_data_is_what_the_manifest_says(datasets):
    for entry in yaml.safe_load((ROOT / "datasets/public.yaml").read_text())["datasets"]:
        for name, digest in entry["files"].items():
            assert hashlib.sha256((datasets / name).read_bytes()).hexdigest() == digest, name
