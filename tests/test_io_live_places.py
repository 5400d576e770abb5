"""A source that says where to go on by a time: nothing in time is lost, wherever a stream was killed."""

from dataclasses import replace

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from test_io_live import Chunks, ids, taken

from rms_flows.decode.contract import Counts, Decoded
from rms_flows.io.contract import Fragment, Request
from rms_flows.io.line import Feed
from rms_flows.io.live import letters
from rms_flows.io.position import NOT_BEGUN, Position
from rms_flows.schema import DEAD_LETTER, TIMESTAMP

MARGIN = 20


class Tail(Chunks):
    """Events in the order of their arrival; each question gives those that are new, in the order of time.

    Args:
        questions: For each, the times of what has arrived since the last one, and how many dead letters.
    """

    endless = True

    def __init__(self, questions):
        self.questions = questions

    def fragments(self, request):
        return [Fragment("fake:tail")]

    def read(self, fragment, request):
        latest = 0
        for number, (times, dead) in enumerate(self.questions):
            named = sorted((time, f"{number}.{row}") for row, time in enumerate(times))
            new = [(time, name) for time, name in named if request.since is None or time >= request.since]
            latest = max([latest, *(time for time, _ in new)])
            rows = pa.record_batch(
                {
                    "@timestamp": pa.array([time for time, _ in new], pa.int64()).cast(TIMESTAMP),
                    "event.ingested": pa.nulls(len(new), TIMESTAMP),
                    "event.id": pa.array([name for _, name in new], pa.string()),
                    "rms.origin": pa.array([name for _, name in new], pa.string()),
                }
            )
            bad = [{"error.type": "json", "rms.origin": f"dead{number}.{n}"} for n in range(dead)]
            letter = pa.RecordBatch.from_pylist(bad, DEAD_LETTER)
            yield Decoded(rows, letter, Counts(), place=max(0, latest - MARGIN))


questions = st.lists(
    st.tuples(st.lists(st.integers(30, 120), max_size=6), st.integers(0, 1)), min_size=1, max_size=6
)


@given(questions, st.integers(0, MARGIN), st.integers(1, 4), st.data())
def test_what_was_not_acknowledged_comes_after_a_restart(questions, lateness, rows, data):
    feed = Feed("a", Tail(questions), Request(lateness=lateness), lateness, idle=10**9)
    first = [one for one in taken(feed, rows) if one.new]
    acknowledged = first[: data.draw(st.integers(0, len(first) - 1))]
    last = max(acknowledged, key=lambda one: one.position, default=None)
    position, settled = (last.position, last.settled) if last else (Position(), NOT_BEGUN)
    before = data.draw(st.sampled_from([Position(), *(one.position for one in acknowledged)]))
    again = replace(feed, start=min(before, position), committed=position, settled=settled)
    second = list(taken(again, rows))

    def told(batches):
        return {
            *ids([one.rows for one in batches if not one.warm]),
            *(name for one in batches for name in letters(one)["rms.origin"].to_pylist()),
        }

    assert {*ids([one.rows for one in first])} <= told(acknowledged) | told(second)
    if position > Position():
        warm = {time for one in second if one.warm and one.rows.num_rows for time in stamps(one)}
        assert all(time < settled for time in warm)
    dead = {f"dead{number}.{n}" for number, (_, count) in enumerate(questions) for n in range(count)}
    assert dead <= told(acknowledged) | told(second)


def stamps(one):
    return one.rows["@timestamp"].cast(pa.int64()).to_pylist()


@given(questions, st.integers(1, 4))
def test_each_event_comes_once_and_positions_rise(questions, rows):
    feed = Feed("a", Tail(questions), Request(lateness=MARGIN), MARGIN, idle=10**9)
    found = list(taken(feed, rows))
    positions = [one.position for one in found]
    assert positions == sorted(positions)
    names = ids([part for one in found for part in (one.rows, one.late)])
    assert sorted(names) == sorted(
        f"{n}.{row}" for n, (times, _) in enumerate(questions) for row in range(len(times))
    )
    assert all(one.rows.num_rows <= rows for one in found)
