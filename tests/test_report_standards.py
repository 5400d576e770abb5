"""Reports in the forms of standards, each held against its published schema or library."""

import builtins
import json
import os
import subprocess
import sys
from functools import cache

import jsonschema
import ocsf_json_schema
import pyarrow as pa
import pytest
import stix2
from decoding import run
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.errors import DocumentError, SinkError
from rms_flows.report import WRITERS, read_reports, stix, whole
from rms_flows.schema import REPORT

REPORT_OF_SSH = {
    "@timestamp": 1_700_000_060_000_000,
    "event.id": "656ca63767d655a486082c6928bdbd0e",
    "event.dataset": "system.auth",
    "rms.source": "backend-auth",
    "rms.processor": "intrusions",
    "rms.report_type": "event_count",
    "rule.id": "5c1d9b7e-0b3e-4c4a-9d7b-0b0a1b1c1d1e",
    "rule.name": "SSH brute force",
    "rule.author": "Ann Analyst",
    "rule.level": "high",
    "rule.tags": ["attack.credential_access", "attack.t1110.001", "cve.2018-15473"],
    "message": "12 failed log-ins in 60 s",
    "rms.first": 1_700_000_000_000_000,
    "rms.last": 1_700_000_060_000_000,
    "rms.count": 12,
    "rms.evidence": ["e1", "e2"],
    "rms.revision": 12,
    "rms.status": "open",
    "rms.measurement": [{"name": "failures", "value": 12.0}],
    "rms.monitored_asset_id": ["hub"],
    "rms.monitored_asset_ip": ["10.0.0.5", "2001:db8::5"],
    "rms.request_source": "203.0.113.9",
    "rms.system_id": "smart-home",
    "rms.location": "cellar",
}


def batch(*rows):
    return pa.RecordBatch.from_pylist(list(rows), REPORT)


@cache
def finding_schema():
    """Give OCSF's own schema of a Detection Finding: unknown attributes are errors in it."""
    schema = ocsf_json_schema.OcsfJsonSchemaEmbedded(ocsf_json_schema.get_ocsf_schema("1.8.0"))
    return jsonschema.Draft202012Validator(schema.get_class_schema("detection_finding"))


def ocsf(**changes):
    (line,) = WRITERS["ocsf"](batch({**REPORT_OF_SSH, **changes}))
    found = json.loads(line)
    finding_schema().validate(found)
    return found


def sighted(*rows):
    """Read a bundle with the library, which checks types, references, ids and their order in time."""
    found = stix2.parse(whole(pa.Table.from_batches([batch(*rows)]), "stix"), version="2.1")
    by_type = {}
    for one in found.objects:
        by_type.setdefault(one.type, []).append(one)
    return by_type


def test_ocsf_says_who_did_what_to_whom():
    found = ocsf()
    assert (found["class_uid"], found["type_uid"], found["severity_id"], found["count"]) == (
        2004,
        200401,
        4,
        12,
    )
    assert (found["time"], found["start_time"], found["end_time"]) == (
        1_700_000_060_000,
        1_700_000_000_000,
        1_700_000_060_000,
    )
    assert {one["src_endpoint"]["ip"] for one in found["evidences"]} == {"203.0.113.9"}
    assert [one["dst_endpoint"]["ip"] for one in found["evidences"]] == ["10.0.0.5", "2001:db8::5"]
    assert found["resources"] == [{"name": "hub", "role_id": 1, "role": "Target"}]
    assert [one["value"] for one in found["observables"]] == ["203.0.113.9", "10.0.0.5", "2001:db8::5"]
    info = found["finding_info"]
    assert (info["uid"], info["analytic"]["uid"]) == (REPORT_OF_SSH["event.id"], REPORT_OF_SSH["rule.id"])
    assert info["attacks"] == [
        {"tactic": {"name": "Credential Access"}},
        {"technique": {"uid": "T1110"}, "sub_technique": {"uid": "T1110.001"}},
    ]
    assert found["unmapped"]["rule.author"] == "Ann Analyst"


def test_revisions_of_a_finding_are_events_of_one_finding():
    early, late = ocsf(**{"rms.revision": 1}), ocsf(**{"rms.revision": 2})
    assert early["finding_info"]["uid"] == late["finding_info"]["uid"]
    assert early["metadata"]["uid"] != late["metadata"]["uid"]


def test_what_ocsf_requires_is_missed_by_its_schema():
    """Guards against a schema that lets everything pass."""
    found = ocsf()
    for broken in (
        {**found, "class_uid": 2001},
        {**found, "asset": 1},
        {k: v for k, v in found.items() if k != "metadata"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            finding_schema().validate(broken)


def test_stix_says_who_did_what_to_whom():
    found = sighted(REPORT_OF_SSH)
    (sighting,), (data,), (rule,) = found["sighting"], found["observed-data"], found["attack-pattern"]
    assert sighting.sighting_of_ref == rule.id
    assert sighting.observed_data_refs == [data.id]
    assert (sighting["count"], data.number_observed, sighting.labels) == (12, 12, ["high"])
    assert "failures = 12.0" in sighting.description
    (hub,) = [one for one in found["identity"] if one.name == "hub"]
    assert sighting.where_sighted_refs == [hub.id]
    addresses = {one.id: one.value for one in found["ipv4-addr"] + found["ipv6-addr"]}
    flows = [(addresses[one.src_ref], addresses[one.dst_ref]) for one in found["network-traffic"]]
    assert flows == [("203.0.113.9", "10.0.0.5"), ("203.0.113.9", "2001:db8::5")]
    assert {one.get("external_id") for one in rule.external_references} == {
        REPORT_OF_SSH["rule.id"],
        "T1110.001",
    }
    assert "Rule by Ann Analyst" in str(rule.external_references)
    assert rule.kill_chain_phases[0].phase_name == "credential-access"


def test_a_bundle_names_each_object_once_and_every_line_stands_alone():
    rows = [REPORT_OF_SSH, {**REPORT_OF_SSH, "event.id": "other"}]
    found = sighted(*rows)
    assert {kind: len(all_) for kind, all_ in found.items()} == {
        "identity": 2, "attack-pattern": 1, "ipv4-addr": 2, "ipv6-addr": 1, "network-traffic": 2,
        "observed-data": 2, "sighting": 2,
    }  # fmt: skip
    for line in WRITERS["stix"](batch(*rows)):
        stix2.parse(line, version="2.1")
        assert b"\n" not in line


def test_a_report_that_grew_is_a_later_version_of_the_same_sighting():
    (early,) = sighted({**REPORT_OF_SSH, "rms.revision": 1})["sighting"]
    (late,) = sighted({**REPORT_OF_SSH, "rms.revision": 2})["sighting"]
    assert early.id == late.id
    assert early.created == late.created
    assert early.modified < late.modified


def test_what_a_report_names_twice_is_referred_to_once():
    twice = {
        "rms.monitored_asset_id": ["hub", "hub"],
        "rms.monitored_asset_ip": ["10.0.0.5", "10.0.0.5", "203.0.113.9"],
    }
    found = sighted({**REPORT_OF_SSH, **twice})
    refs = found["observed-data"][0].object_refs
    assert (len(refs), len(set(refs))) == (4, 4)  # two addresses, and what went to each
    assert len(found["sighting"][0].where_sighted_refs) == 1


def test_addresses_that_are_none_are_names_and_lose_nothing():
    found = ocsf(**{"rms.request_source": "router-7", "rms.monitored_asset_ip": None})
    assert found["evidences"] == [{"src_endpoint": {"name": "router-7"}}]
    by_type = sighted({**REPORT_OF_SSH, "rms.request_source": "router-7", "rms.monitored_asset_ip": None})
    assert "observed-data" not in by_type
    assert "from router-7" in by_type["sighting"][0].description


@pytest.mark.parametrize("form", sorted(WRITERS))
def test_every_form_is_the_same_bytes_in_every_process(form):
    """What is written is folded by bytes and ids: a clock or a seed of hashes would double it."""
    code = (
        "import json, sys; import pyarrow as pa; from rms_flows.report import WRITERS; from rms_flows.schema import REPORT;"
        "sys.stdout.buffer.write(WRITERS[sys.argv[1]](pa.RecordBatch.from_pylist([json.loads(sys.argv[2])], REPORT))[0])"
    )
    command = [sys.executable, "-c", code, form, json.dumps(REPORT_OF_SSH)]
    there = subprocess.run(  # noqa: S603  our own command
        command, capture_output=True, check=True, env={**os.environ, "PYTHONHASHSEED": "7"}
    ).stdout
    assert [there] == WRITERS[form](batch(REPORT_OF_SSH))


texts = st.text(max_size=6) | st.sampled_from(
    ["10.0.0.1", "fe80::1%eth0", "attack.t1110", "attack.", "attack.x_y"]
)
micros = st.integers(0, 4_000_000_000_000_000) | st.just(253_402_300_799_999_999)
any_reports = st.fixed_dictionaries(
    {"@timestamp": micros, "event.id": st.text(min_size=1, max_size=6), "rms.report_type": st.sampled_from(["sigma", None]), "rule.id": st.none() | texts, "rule.name": st.none() | texts},
    optional={
        "message": texts, "rule.level": st.sampled_from(["low", "critical", "odd"]), "rule.author": texts,
        "rule.tags": st.lists(texts, max_size=3), "rms.count": st.integers(0, 2**40), "rms.revision": st.integers(0, 2**30),
        "rms.evidence": st.lists(texts, max_size=3), "rms.monitored_asset_id": st.lists(texts, max_size=3),
        "rms.monitored_asset_ip": st.lists(texts, max_size=3), "rms.request_source": texts,
        "rms.measurement": st.lists(st.fixed_dictionaries({"name": texts, "value": st.none() | st.floats(allow_nan=False, allow_infinity=False)}), max_size=2),
    },
)  # fmt: skip


@given(any_reports)
def test_whatever_a_report_says_its_documents_are_valid(row):
    finding_schema().validate(json.loads(WRITERS["ocsf"](batch(row))[0]))
    stix2.parse(WRITERS["stix"](batch(row))[0], version="2.1")
    strict = json.loads(WRITERS["iotac-strict"](batch(row))[0])
    assert [*strict] == ["id", "dataSourceID", "systemID", "reportType", "_timestamp", "location", "value"]
    assert [*strict["value"]] == [
        "type",
        "monitoredAssetID",
        "monitoredAssetIP",
        "measurement",
        "requestSource",
        "_timestamp",
    ]


def test_reports_without_the_library_name_what_to_install(monkeypatch):
    real = builtins.__import__

    def lacking(name, *args, **kwargs):
        if name == "stix2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    stix._v21.cache_clear()
    monkeypatch.setattr(builtins, "__import__", lacking)
    with pytest.raises(SinkError, match=r"stix2 is not installed; pip install 'rms-flows\[stix\]'"):
        WRITERS["stix"](batch(REPORT_OF_SSH))


SWAPPED = {**REPORT_OF_SSH, "rms.monitored_asset_ip": ["203.0.113.9"], "rms.request_source": "10.0.0.5"}


def test_the_switch_mends_what_one_producer_swapped(tmp_path):
    path = tmp_path / "r.ndjson"
    path.write_bytes(WRITERS["iotac"](batch(SWAPPED))[0])
    for switch, attacker, victims in (
        (True, "203.0.113.9", ["10.0.0.5"]),
        (False, "10.0.0.5", ["203.0.113.9"]),
    ):
        (row,) = read_reports([str(path)], swapped_roles=switch).to_pylist()
        assert (row["rms.request_source"], row["rms.monitored_asset_ip"]) == (attacker, victims)
        (row,) = run(path.read_bytes(), format="iotac", swapped_roles=switch).rows.to_pylist()
        assert (row["rms.request_source"], row["rms.monitored_asset_ip"]) == (attacker, victims)


def test_the_switch_leaves_absent_roles_absent_and_reports_of_ours_alone(tmp_path):
    path = tmp_path / "r.ndjson"
    nobody = {**SWAPPED, "rms.monitored_asset_ip": None, "rms.request_source": None}
    path.write_bytes(
        WRITERS["iotac"](batch(nobody))[0] + b"\n" + WRITERS["ecs"](batch({**SWAPPED, "event.id": "own"}))[0]
    )
    found = {row["event.id"]: row for row in read_reports([str(path)], swapped_roles=True).to_pylist()}
    assert found["own"]["rms.request_source"] == "10.0.0.5"
    assert found[REPORT_OF_SSH["event.id"]]["rms.monitored_asset_ip"] is None
    (row,) = run(WRITERS["iotac"](batch(nobody))[0], format="iotac", swapped_roles=True).rows.to_pylist()
    assert (row["rms.request_source"], row["rms.monitored_asset_ip"]) == (None, None)


def test_of_several_attackers_none_is_lost():
    both = {**SWAPPED, "rms.monitored_asset_ip": ["203.0.113.9", "203.0.113.10"]}
    (row,) = run(WRITERS["iotac"](batch(both))[0], format="iotac", swapped_roles=True).rows.to_pylist()
    assert (row["rms.request_source"], row["related.ip"]) == ("203.0.113.9", ["203.0.113.9", "203.0.113.10"])


def told(*arguments):
    return CliRunner().invoke(app, ["report", *map(str, arguments)])


def test_the_command_writes_the_forms_to_a_file_or_the_terminal(tmp_path):
    path, out = tmp_path / "r.ndjson", tmp_path / "bundle.json"
    path.write_bytes(b"\n".join(WRITERS["ecs"](batch(REPORT_OF_SSH, {**REPORT_OF_SSH, "event.id": "other"}))))
    assert told(path, "--as", "stix", "--out", out).stdout == f"2 reports in {out}\n"
    assert len([one for one in stix2.parse(out.read_bytes()).objects if one.type == "sighting"]) == 2
    lines = told(path, "--as", "ocsf").stdout.splitlines()
    assert {json.loads(line)["finding_info"]["uid"] for line in lines} == {"other", REPORT_OF_SSH["event.id"]}


def test_the_command_says_which_forms_there_are_and_what_it_can_not_write(tmp_path):
    path = tmp_path / "r.ndjson"
    path.write_bytes(WRITERS["ecs"](batch(REPORT_OF_SSH))[0])
    with pytest.raises(
        DocumentError, match="can't be written as 'xml'; there are ecs, iotac, iotac-strict, ocsf"
    ):
        raise told(path, "--as", "xml").exception
    with pytest.raises(
        SinkError, match=r"can't be written \(No such file or directory\); choose another --out"
    ):
        raise told(path, "--as", "ecs", "--out", tmp_path / "nowhere" / "out.ndjson").exception
