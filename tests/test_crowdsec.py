"""CrowdSec's own cases: its scenarios, written as correlations, name the same sources."""

import re
from pathlib import Path

import pytest

from rms_flows.replay import detect
from rms_flows.report import read_reports

pytestmark = pytest.mark.datasets

RULES = Path(__file__).parent / "data" / "crowdsec" / "rules.yml"

UNSAID = {
    "crowdsecurity/ssh-time-based-bf": "asks for the median of the last three intervals of a queue",
    "crowdsecurity/ssh-time-based-bf_user-enum": "the same, over distinct users",
}
"""Scenarios that Sigma's correlations can't say: they are listed, not imitated."""

CASES = {
    "home-assistant/home-assistant-logs.log": "",
    "iptables-scan-multi-port/iptables-scan-multi-port.log": "?year=2026",
    "mikrotik-scan-multi_ports/mikrotik-scan-multi_ports.log": "",
    "ssh-bf/ssh-bf.log": "?year=2026",
    "ssh-slow-bf/ssh-slow-bf.log": "?year=2026",
    "ssh-time-based-bf/ssh-time-based-bf.log": "?year=2026",
    "sshd-logs-fp/sshd-logs.log": "?year=2026",
    "suricata-eve-detect/suricata-eve-detect.log": "",
}
_RESULT = re.compile(r'^"([^"]+)" in results\[(\d+)\]\.Overflow\.GetSources\(\)$', re.MULTILINE)
_SCENARIO = re.compile(r'^results\[(\d+)\]\.Overflow\.Alert\.GetScenario\(\) == "([^"]+)"$', re.MULTILINE)


def expected(folder):
    """Read scenario and source of each alert from CrowdSec's assertions; a case without any expects none."""
    path = folder / "scenario.assert"
    text = path.read_text("utf-8") if path.exists() else ""
    sources = {number: source for source, number in _RESULT.findall(text)}
    scenarios = dict(_SCENARIO.findall(text))
    assert sources.keys() == scenarios.keys()
    return {(scenario, sources[number]) for number, scenario in scenarios.items()}


@pytest.mark.parametrize("case", CASES)
def test_scenario_and_source_are_those_of_crowdsec(datasets, tmp_path, case):
    path = datasets / "crowdsec" / case
    detect([RULES], source=f"{path}{CASES[case]}", sink=str(tmp_path / "found.ndjson"))
    reports = read_reports([str(tmp_path / "found.ndjson")]).to_pylist()
    found = {(one["rule.name"], one["rms.request_source"]) for one in reports}
    said = {pair for pair in expected(path.parent) if pair[0] not in UNSAID}
    assert found == said
    assert said or "fp" in case or "time-based" in case
