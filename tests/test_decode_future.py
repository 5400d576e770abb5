"""What is known of each record's reception: it is told, makes ids unique, and shows clocks that are wrong."""

from __future__ import annotations

import json

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.decode import FORMATS
from rms_flows.decode.contract import Context, Options
from rms_flows.decode.driver import Inlet
from rms_flows.decode.framing import Frame, Torn
from rms_flows.decode.records import Records
from rms_flows.schema import TIMESTAMP

ZERO, S = 1_767_225_600_000_000, 1_000_000
AHEAD = Options().max_ahead


def frame(events, stamps, torn=()) -> Frame:
    """Records of events, received at so many microseconds."""
    names = pa.array([f"t/0@{number}" for number in range(len(stamps))], pa.string())
    records = Records.of([json.dumps(one).encode() for one in events])
    return Frame(records, 0, list(torn), 1, names, pa.array(stamps, pa.int64()).cast(TIMESTAMP))


def decoded(one: Frame, **options):
    return Inlet(Context("t", Options(**options)), FORMATS["json"]).take(one)


def at(time: int) -> dict:
    return {"@timestamp": pa.scalar(time, TIMESTAMP).as_py().isoformat()}


@given(st.lists(st.tuples(st.integers(-10, 10), st.booleans()), max_size=30), st.integers(0, 10))
def test_what_is_too_far_ahead_of_its_reception_is_a_dead_letter(rows, most):
    times = [ZERO + ahead * S for ahead, _ in rows]
    stamps = [ZERO if known else None for _, known in rows]
    found = decoded(frame(map(at, times), stamps), max_ahead=most * S)
    wanted = [number for number, (ahead, known) in enumerate(rows) if not (known and ahead > most)]
    assert found.rows["rms.origin"].to_pylist() == [f"t/0@{number}" for number in wanted]
    assert found.rows["event.ingested"].cast(pa.int64()).to_pylist() == [stamps[number] for number in wanted]
    assert found.record.tolist() == wanted
    assert found.dead["error.type"].to_pylist() == ["future"] * (len(rows) - len(wanted))
    assert found.counts.balanced()


def test_the_letter_says_both_times_and_how_to_mend_it():
    found = decoded(frame([at(ZERO + AHEAD + 1), at(ZERO + AHEAD)], [ZERO, ZERO]))
    [letter] = found.dead.to_pylist()
    assert letter["error.message"] == (
        "the event says 2026-01-01T00:05:00+00:00 and was received at 2026-01-01T00:00:00+00:00; "
        "set the clock of the probe, or raise max_ahead"
    )
    assert (letter["rms.origin"], letter["event.original"]) == (
        "t/0@0",
        json.dumps(at(ZERO + AHEAD + 1)).encode(),
    )
    assert found.reasons == {"future": 1}


def test_records_that_are_torn_or_broken_beside_it_keep_their_names():
    broken = Records.of(
        [b"{", json.dumps(at(ZERO + 2 * AHEAD)).encode(), json.dumps(at(ZERO)).encode(), b"\xff"]
    )
    one = frame([], [ZERO + number for number in range(5)], [Torn(0, b"", "tombstone", "no value")])
    found = decoded(Frame(broken, 0, one.torn, 1, one.origins, one.ingested))
    assert found.rows["rms.origin"].to_pylist() == ["t/0@2"]
    assert found.record.tolist() == [2]
    told = zip(found.dead["rms.origin"].to_pylist(), found.dead["error.type"].to_pylist(), strict=True)
    assert dict(told) == {"t/0@0": "json", "t/0@1": "future", "t/0@3": "encoding", "t/0@4": "tombstone"}
    received = found.dead["event.ingested"].cast(pa.int64()).to_pylist()
    assert sorted(received) == [ZERO, ZERO + 1, ZERO + 3, ZERO + 4]


def test_an_id_is_of_the_place_and_the_reception():
    def ids(*stamps):
        return decoded(frame([at(ZERO)] * len(stamps), stamps)).rows["event.id"].to_pylist()

    assert ids(ZERO, ZERO) == ids(ZERO, ZERO)
    assert len({*ids(ZERO, ZERO), *ids(ZERO + 1, None)}) == 4
    own = decoded(frame([{**at(ZERO), "event.id": "mine"}], [ZERO]))
    assert own.rows["event.id"].to_pylist() == ["mine"]
