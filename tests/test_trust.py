"""Whom a gateway confirmed: what is believed of a probe, and what happens to the events of the others."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from decoding import run
from hypothesis import given
from hypothesis import strategies as st

from rms_flows import replay
from rms_flows.annotate import annotator
from rms_flows.confirm import Confirmed, Memory
from rms_flows.errors import DocumentError
from rms_flows.io import open_source
from rms_flows.model import Key, Source, Trust, load_orchestrator
from rms_flows.schema import TIMESTAMP
from rms_flows.trust import FORGED, judge, judge_signed

KEY = {"fingerprint": "ab:cd"}
moments = st.integers(0, 6)
NAMES = ("validFrom", "validTo", "revokedAt")


def stamp(second):
    return None if second is None else f"1970-01-01T00:00:{second:02}Z"


@given(
    st.lists(st.tuples(moments, st.none() | moments), min_size=1, max_size=5),
    st.fixed_dictionaries({}, optional=dict.fromkeys(("validFrom", "validTo", "revokedAt"), moments)),
    st.booleans(),
)
def test_an_event_is_trusted_if_it_was_and_came_while_its_probe_was_confirmed(events, bounds, confirmed):
    trust = Trust.model_validate(
        {name: stamp(one) for name, one in bounds.items()} | (KEY if confirmed else {})
    )
    times = pa.array([1_000_000 * time for time, _ in events], TIMESTAMP)
    received = pa.array([None if at is None else 1_000_000 * at for _, at in events], TIMESTAMP)

    def verdict(time, at):
        if not confirmed:
            return "unknown"
        revoked = bounds.get("revokedAt", 99)
        good = bounds.get("validFrom", 0) <= time < bounds.get("validTo", 99) and time < revoked
        return "trusted" if good and (at is None or at < revoked) else "untrusted"

    assert judge(trust, times, received).to_pylist() == [verdict(*event) for event in events]


@given(
    st.lists(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, moments)), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(-1, 3), moments, st.none() | moments), max_size=6),
)
def test_many_are_judged_as_one_is_each_by_the_key_that_signed_it(bounds, events):
    """Guards against two rules of trust, one of `rms probe verify` and one of flows."""
    keys = [None, *(Key.model_validate({**KEY, **{n: stamp(one) for n, one in b.items()}}) for b in bounds)]
    events = [(which, time, at) for which, time, at in events if which < len(keys)]
    times = pa.array([1_000_000 * time for _, time, _ in events], TIMESTAMP)
    received = pa.array([None if at is None else 1_000_000 * at for *_, at in events], TIMESTAMP)
    found = judge_signed(keys, np.array([which for which, *_ in events], np.int64), times, received)

    def verdict(which, time, at):
        if which == FORGED:
            return "untrusted"
        if keys[which] is None:
            return "unknown"
        good = keys[which].covers(1_000_000 * time, None if at is None else 1_000_000 * at)
        return "trusted" if good else "untrusted"

    assert found.to_pylist() == [verdict(*event) for event in events]


def test_a_probe_without_signatures_is_trusted_by_any_key_that_it_had():
    trust = Trust.model_validate(
        {**KEY, "validFrom": stamp(5), "formerKeys": [{**KEY, "validTo": stamp(2)}, {"validTo": stamp(9)}]}
    )
    times = pa.array([1_000_000, 3_000_000, 6_000_000], TIMESTAMP)
    assert judge(trust, times, pa.nulls(3, TIMESTAMP)).to_pylist() == ["trusted", "untrusted", "trusted"]


def test_a_stolen_probe_that_dates_its_events_back_is_not_trusted():
    trust = Trust.model_validate({**KEY, "revokedAt": stamp(20)})
    times, received = pa.array([5_000_000], TIMESTAMP), pa.array([21_000_000], TIMESTAMP)
    assert judge(trust, times, received).to_pylist() == ["untrusted"]


def lines(*seconds):
    return b"".join(b'{"@timestamp":"%s","event.id":"e%d"}\n' % (stamp(one).encode(), one) for one in seconds)


REVOKED = Trust.model_validate({**KEY, "revokedAt": stamp(3)})


def test_the_events_of_an_untrusted_time_are_quarantined_with_their_bytes():
    found = run(lines(1, 2, 3, 4), format="json", trust=REVOKED, quarantined=frozenset({"untrusted"}))
    assert found.rows["event.id"].to_pylist() == ["e1", "e2"]
    assert [one["event.original"] for one in found.dead] == lines(3, 4).splitlines()
    assert {one["error.type"] for one in found.dead} == {"untrusted"}
    assert found.dead[0]["error.message"] == (
        "the probe was not confirmed at 1970-01-01T00:00:03+00:00; "
        "see validFrom, validTo and revokedAt in `trust:` of the source"
    )
    assert [one["rms.origin"] for one in found.dead] == ["input.log#2", "input.log#3"]


def test_of_refused_events_nothing_is_kept_but_that_they_came():
    found = run(lines(1, 2), format="json", refused=frozenset({"unknown"}))
    assert (found.counts.framed, found.counts.dead, len(found.rows)) == (2, 2, 0)
    assert [one["event.original"] for one in found.dead] == [b"", b""]
    assert "no gateway has confirmed the probe; put its fingerprint or key" in found.dead[0]["error.message"]


def test_a_record_of_several_events_is_held_back_as_a_whole():
    """Guards against a record that is both a row and a dead letter: it would be there twice when read again."""

    def reports(*seconds):
        made = [
            {"id": f"r{n}", "_timestamp": stamp(n), "reportType": "x", "value": {"type": "x"}}
            for n in seconds
        ]
        return json.dumps(json.dumps(made)).encode()  # one string that holds them all

    data = reports(1, 5) + b"\n" + reports(2) + b"\n"
    found = run(data, format="iotac", trust=REVOKED, quarantined=frozenset({"untrusted"}))
    assert found.rows["iotac.id"].to_pylist() == ["r2"]
    assert [one["event.original"] for one in found.dead] == [reports(1, 5)]
    assert run(data, format="iotac", trust=REVOKED).rows["iotac.id"].to_pylist() == ["r1", "r5", "r2"]


FLOW = """
orchestrator: home
sources:
  - {{id: probe, archive: "{archive}", format: json, unknown: quarantine, untrusted: quarantine, trust: {trust}}}
processors:
  - {{id: high, processor: filter, inputs: [probe], parameters: {{field: x.pct, operator: GT, threshold: 0.8}}}}
sinks: [{{id: out, inputs: [high], uri: "{out}"}}]
"""


def run_flow(folder, archive, out, trust):
    (folder / "flow.yaml").write_text(FLOW.format(archive=archive, out=out, trust=json.dumps(trust)))
    dead = folder / f"{out}.dead.ndjson"
    replay.replay(load_orchestrator(folder / "flow.yaml"), folder=folder, dead_letters=str(dead))
    found = [json.loads(line) for line in (folder / out).read_text().splitlines()]
    return {one["event.id"] for one in found}, dead


def test_what_was_quarantined_appears_when_its_probe_is_confirmed_and_it_is_read_again(tmp_path):
    events = [{"@timestamp": stamp(n), "event.id": f"e{n}", "x.pct": n / 10} for n in range(5, 11)]
    (tmp_path / "events.ndjson").write_text("\n".join(map(json.dumps, events)))
    wanted, _ = run_flow(tmp_path, "events.ndjson", "wanted.ndjson", KEY)
    assert len(wanted) == 2
    nothing, dead = run_flow(tmp_path, "events.ndjson", "nothing.ndjson", {})
    assert nothing == set()
    assert dead.read_text().count("unknown") == 6
    appeared, left = run_flow(tmp_path, f"dead-letters:{dead.name}", "appeared.ndjson", KEY)
    assert appeared == wanted
    assert not left.exists()


@pytest.mark.parametrize("known", ["csv", "zeek"])
def test_records_without_their_header_are_not_read_again(known):
    """Guards against a loss: the first record was taken for the header, and nobody was told."""
    with pytest.raises(DocumentError, match=rf"dead letters of {known} have no header.*read the file they"):
        open_source(f"dead-letters:dead.ndjson?format={known}", base=Path())


def test_a_policy_that_there_is_not(tmp_path):
    text = FLOW.format(archive="events.ndjson", out="o.ndjson", trust="{}").replace(
        "unknown: quarantine", "unknown: drop"
    )
    (tmp_path / "flow.yaml").write_text(text)
    with pytest.raises(
        DocumentError, match=r"sources\[0\].unknown: input should be 'annotate', 'quarantine' or 'refuse'"
    ):
        load_orchestrator(tmp_path / "flow.yaml")


def test_a_file_of_devices_tells_of_any_source_by_its_id(tmp_path):
    events = [{"@timestamp": stamp(n), "event.id": f"e{n}", "x.pct": 0.9} for n in (1, 5)]
    (tmp_path / "events.ndjson").write_text("\n".join(map(json.dumps, events)))
    (tmp_path / "devices.csv").write_text(f"id,fingerprint,revokedAt\nprobe,ab:cd,{stamp(3)}\n")
    text = FLOW.replace("trust: {trust}", "probes: devices.csv").format(
        archive="events.ndjson", out="out.ndjson"
    )
    (tmp_path / "flow.yaml").write_text(text)
    found = replay.replay(load_orchestrator(tmp_path / "flow.yaml"), folder=tmp_path)
    [report] = (tmp_path / "out.ndjson").read_text().splitlines()
    assert json.loads(report)["@timestamp"].startswith(stamp(1)[:19])
    assert found.dead_letters == {"untrusted": 1}


def test_two_who_say_who_is_confirmed(tmp_path):
    text = FLOW.replace("trust:", "probes: devices.csv, trust:")
    (tmp_path / "flow.yaml").write_text(text.format(archive="e", out="o", trust="{}"))
    with pytest.raises(
        DocumentError, match=r"sources\[0\]: trust: and probes: both say who is confirmed; keep"
    ):
        load_orchestrator(tmp_path / "flow.yaml")


def archived(*rows):
    names = ("@timestamp", "rms.trust", "probe.sequence")
    return pa.record_batch(
        [pa.array([row[at] for row in rows], kind) for at, kind in enumerate((TIMESTAMP, pa.string(), pa.int64()))],
        names=names,
    )  # fmt: skip


def test_what_an_archive_says_of_trust_holds_until_it_is_judged_anew():
    """Guards against a forged envelope that a new verdict by times alone would make trusted."""
    rows = archived(
        (1_000_000, "trusted", 1), (4_000_000, "trusted", 2), (1_000_000, "untrusted", 3),
        (1_000_000, "unknown", 4), (1_000_000, "untrusted", None), (1_000_000, "unknown", None), (1_000_000, None, 5),
    )  # fmt: skip
    probes = Confirmed(Memory({"hub": REVOKED}))
    kept = annotator(Source(id="hub"), probes)(rows)["rms.trust"].to_pylist()
    assert kept == ["trusted", "trusted", "untrusted", "unknown", "untrusted", "unknown", "trusted"]
    for annotate in (
        annotator(Source(id="hub"), probes, rejudge=True),
        annotator(Source(id="hub", trust=REVOKED), rejudge=True),
    ):
        again = annotate(rows)["rms.trust"].to_pylist()
        assert again == ["trusted", "untrusted", "untrusted", "unknown", "trusted", "trusted", "trusted"]
    bare = rows.select(["@timestamp"])
    assert annotator(Source(id="hub", trust=REVOKED), rejudge=True)(bare)["rms.trust"].to_pylist()[:2] == [
        "trusted",
        "untrusted",
    ]


REJUDGED = """
orchestrator: home
sources: [{{id: probe, archive: "parquet:archive", trust: {trust}}}]
processors:
  - {{id: low, processor: sigma, inputs: [probe], parameters: {{rules: [rule.yml]}}}}
sinks: [{{id: out, inputs: [low], uri: out.ndjson}}]
"""
RULE = "title: T\nlogsource: {product: iot}\ndetection: {s: {rms.trust: untrusted}, condition: s}\n"


def test_a_replay_of_an_archive_judges_anew_only_when_told_to(tmp_path, monkeypatch):
    """Guards against verdicts that change with what is known today, and searches by what was known then."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "events.ndjson").write_bytes(lines(1, 2, 3, 4))
    (tmp_path / "rule.yml").write_text(RULE)
    flow = FLOW.replace("processor: filter", "processor: filter").format(
        archive="events.ndjson", out="o.ndjson", trust=json.dumps(KEY)
    )
    archiving = flow.replace('inputs: [high], uri: "o.ndjson"', 'inputs: [probe], uri: "parquet:archive"')
    (tmp_path / "flow.yaml").write_text(archiving)
    aside = str(tmp_path / "dead.ndjson")
    replay.replay(load_orchestrator(tmp_path / "flow.yaml"), folder=tmp_path, dead_letters=aside)
    (tmp_path / "again.yaml").write_text(REJUDGED.format(trust=json.dumps({**KEY, "revokedAt": stamp(3)})))
    again = load_orchestrator(tmp_path / "again.yaml")
    assert replay.replay(again, folder=tmp_path).reports == 0
    assert replay.replay(again, folder=tmp_path, rejudge=True).reports == 2
