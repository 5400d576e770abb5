"""Whom a gateway confirmed: what is believed of a probe, and what happens to the events of the others."""

import json
from pathlib import Path

import pyarrow as pa
import pytest
from decoding import run
from hypothesis import given
from hypothesis import strategies as st

from rms_flows import replay
from rms_flows.errors import DocumentError
from rms_flows.io import open_source
from rms_flows.model import Trust, load_orchestrator
from rms_flows.schema import TIMESTAMP
from rms_flows.trust import judge

KEY = {"fingerprint": "ab:cd"}
moments = st.integers(0, 6)


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
