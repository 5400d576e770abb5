"""The pipelines that come with the package: rules in Sigma's names find events in other names."""

import json
from pathlib import Path

import pyarrow as pa
import pytest

from rms_flows import sigma
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.sigma.expression import digest, fields
from rms_flows.sigma.load import read
from rms_flows.sigma.pipelines import ours, resolve
from rms_flows.sigma.tree import tree

ARCHIVE = "sigmahq-rules-8eaafff1f.tar.gz"
PROCESS = {"product": "windows", "category": "process_creation"}


@pytest.fixture
def hits(tmp_path):
    def run(pipeline, logsource, detection, events):
        rule = {"title": "t", "logsource": logsource, "detection": {"condition": "s", **detection}}
        (tmp_path / "r.yml").write_text(json.dumps(rule))
        loaded = sigma.load([tmp_path / "r.yml"], [Path(pipeline)])
        assert not loaded.refused
        found = sigma.compile(loaded).match(pa.RecordBatch.from_pylist(events))
        return found.row.tolist()

    return run


SYSMON = {"event.dataset": "windows.sysmon", "Channel": "Microsoft-Windows-Sysmon/Operational", "EventID": 1}
AUDIT = {"event.dataset": "windows.security", "Channel": "Security", "EventID": 4688}


@pytest.mark.parametrize(
    ("pipeline", "logsource", "selection", "event"),
    [
        ("windows", PROCESS, {"Image|endswith": "\\cmd.exe"}, {**AUDIT, "NewProcessName": "C:\\cmd.exe"}),
        ("windows", PROCESS, {"Image|endswith": "\\cmd.exe"}, {**SYSMON, "Image": "C:\\cmd.exe"}),
        (
            "windows",
            {"product": "windows", "service": "system"},
            {"Provider_Name": "Service Control Manager"},
            {"event.dataset": "windows.system", "Channel": "System", "SourceName": "Service Control Manager"},
        ),
        (
            "ecs",
            PROCESS,
            {"Image|endswith": "\\cmd.exe", "IntegrityLevel": "High"},
            {
                "event.dataset": "windows.sysmon_operational",
                "winlog": {
                    "channel": "Microsoft-Windows-Sysmon/Operational",
                    "event_data": {"IntegrityLevel": "High"},
                },
                "event.code": "1",
                "process": {"executable": "C:\\cmd.exe"},
            },
        ),
        (
            "ecs",
            {"category": "webserver"},
            {"cs-method": "GET", "c-uri|contains": "../"},
            {
                "event.dataset": "nginx.access",
                "http.request.method": "GET",
                "url.original": "/../x",
            },
        ),
        (
            "zeek",
            {"category": "dns"},
            {"query|endswith": ".onion", "record_type": "TXT"},
            {"event.dataset": "zeek.dns", "query": "a.onion", "qtype_name": "TXT"},
        ),
        (
            "zeek",
            {"product": "zeek", "service": "http"},
            {"c-useragent|contains": "curl", "dst_ip|cidr": "10.0.0.0/8"},
            {"event.dataset": "zeek.http", "user_agent": "curl/8", "id.resp_h": "10.0.0.1"},
        ),
        (
            "iot",
            {"category": "firewall"},
            {"dst_port": 23, "src_ip|cidr": "192.0.2.0/24"},
            {"event.dataset": "iptables.log", "destination.port": 23, "source.ip": "192.0.2.1"},
        ),
        (
            "iot",
            {"product": "zeek", "service": "conn"},
            {"dst_port": 23, "src_ip|cidr": "192.0.2.0/24"},
            {"event.dataset": "zeek.conn", "id.resp_p": 23, "id.orig_h": "192.0.2.1"},
        ),
    ],
)
def test_a_rule_in_the_names_of_sigma_finds_the_event(hits, pipeline, logsource, selection, event):
    """The route's own fields are mapped with the rule's: else ECS events have no channel and are never looked at."""
    other = {"event.dataset": "none"}
    assert hits(pipeline, logsource, {"s": selection}, [event, other]) == [0]


def test_what_is_said_of_an_absent_field_holds_where_all_its_names_are_absent(hits):
    """pySigma joins the names by or: `Image: null` would be true of each event of the Security log."""
    events = [
        {**AUDIT, "NewProcessName": "C:\\cmd.exe", "Image": None},
        {**SYSMON, "NewProcessName": None, "Image": "C:\\cmd.exe"},
        {**SYSMON, "NewProcessName": None, "Image": None},
        {**AUDIT, "NewProcessName": "C:\\sh.exe", "Image": None},
    ]
    assert hits("windows", PROCESS, {"s": {"Image": None}}, events) == [2]
    assert hits("windows", PROCESS, {"s": {"Image|exists": False}}, events) == [2]
    assert hits("windows", PROCESS, {"s": {"Image": [None, "C:\\sh.exe"]}}, events) == [2, 3]
    assert hits("windows", PROCESS, {"s": {"Image|neq": "C:\\cmd.exe"}}, events) == [2, 3]
    assert hits("windows", PROCESS, {"s": [{"Image": None}, {"User": None}]}, events) == [0, 1, 2, 3]
    assert hits("windows", PROCESS, {"s": {"Image": None}, "condition": "not s"}, events) == [0, 1, 3]


def test_a_file_goes_before_a_name_of_ours(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert resolve(Path("zeek")) == ours()["zeek"]
    Path("zeek").write_text("name: x\ntransformations: []\n")
    assert resolve(Path("zeek")) == Path("zeek")


@pytest.mark.datasets
@pytest.mark.parametrize("name", [None, *sorted(ours())])
def test_each_keeps_all_rules_of_sigmahq_and_what_explains_them_means_the_same(datasets, name):
    """All that is asked of these rules at once: to read them takes longest."""
    loaded, parsed = read([datasets / ARCHIVE], [ours()[name]] if name else [])
    assert (len(loaded.rules), len(loaded.refused)) == (3755, 2)
    assert [
        rule.where for rule in loaded.rules if digest(tree(parsed[rule.id]).meaning) != rule.meaning
    ] == []
    if (
        name == "ecs"
    ):  # a field of Windows that is forgotten keeps its name, which no document of Winlogbeat has
        names = {f for rule in loaded.rules if "windows" in rule.logsource for f in fields(rule.detection)}
        assert [one for one in sorted(names) if not one[0].islower() or "." not in one] == []


@pytest.mark.datasets
def test_with_the_windows_pipeline_the_security_log_is_no_blind_spot(datasets):
    """Real events: what pipelines add they add to what was found, of the log that Sysmon's names leave out."""
    source = open_source(str(datasets / "windows_events" / "*mshta_javascript*.zip"), base=Path())
    request = Request()
    batches = [d.rows for f in source.fragments(request) for d in source.read(f, request)]
    found = []
    for pipelines in ([], [Path("windows")]):
        plan = sigma.compile(sigma.load([datasets / ARCHIVE], pipelines))
        pairs = set()
        for number, batch in enumerate(batches):
            matches = plan.match(batch)
            codes = batch.column("EventID").to_pylist()
            ids = [plan.rules[rule].id for rule in matches.rule]
            pairs |= {
                (number, row, codes[row], one) for row, one in zip(matches.row.tolist(), ids, strict=True)
            }
        found.append(pairs)
    assert found[0] < found[1]
    assert {code for _, _, code, _ in found[1] - found[0]} == {"4688", "104", "1102"}
