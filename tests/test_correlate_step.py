"""The pure step of correlations against the plainest evaluator, however events come."""

import msgspec
import numpy as np
import pyarrow as pa
import pytest
from correlation_oracle import correlated
from correlation_traces import (
    FEW,
    KINDS,
    agree,
    arrivals,
    correlation,
    correlations,
    dense,
    flow,
    in_time,
    kept,
    streams,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows.correlate import found, kernel
from rms_flows.correlate import step as stepping
from rms_flows.correlate.judge import judge
from rms_flows.correlate.match import hashes, shard_of
from rms_flows.correlate.spec import Both, Bound, Never, Seen
from rms_flows.correlate.step import ALWAYS, Limits


@pytest.fixture(autouse=True, scope="module")
def few_ids():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(found, "EVIDENCE", FEW)
        yield


def whole_archive(kind, data):
    one = data.draw(correlations(kind))
    events = [arrival.event for arrival in data.draw(arrivals(one))]
    agree(one, flow(one, [(events, ALWAYS)]), events)


def any_stream(kind, data):
    one = data.draw(correlations(kind))
    batches = data.draw(streams(one))
    limits = data.draw(st.none() | st.integers(1, 4).map(lambda most: Limits(window=most)))
    most = {} if limits is None else {"most": limits.window}
    outcomes = flow(one, batches, limits, restarted=data.draw(st.booleans()))
    taken = in_time(batches)
    agree(one, outcomes, taken, **most)
    late = sum(len(batch) for batch, _ in batches) - len(taken)
    assert sum(outcome.late for outcome in outcomes) == late


@settings(max_examples=30)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_an_archive_in_one_step_gives_what_the_definitions_say(kind, data):
    whole_archive(kind, data)


@settings(max_examples=60)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_however_events_come_readers_end_with_the_same(kind, data):
    """Ties, borders, duplicates, disorder, late events, restarts, limits: none changes what is kept in the end."""
    any_stream(kind, data)


@pytest.mark.soak
@settings(max_examples=5000)
@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_thousands_of_archives_and_streams(kind, data):
    whole_archive(kind, data)
    any_stream(kind, data)


def off_by(microseconds):
    """The judge with another timespan than the one that was asked for."""

    def judged(one, *rest):
        return judge(msgspec.structs.replace(one, timespan=one.timespan + microseconds), *rest)

    return judged


def moved(name, microseconds):
    """An inner loop that takes the timespan for one more or less than it is."""
    loop = getattr(kernel, name)

    def wrong(*arguments):
        return loop(*(each + microseconds if isinstance(each, int) else each for each in arguments))

    return wrong


def by_arrival(rows):
    return np.lexsort((rows.time, rows.group))


BOUNDS = {"event_count": "gte", "value_count": "gte", "value_sum": "eq", "value_avg": "gt"}
EXAMPLES = {
    kind: correlation(
        kind, 3, 2 if kind.startswith("temporal") else 1,
        bounds=() if kind in {"temporal", "temporal_ordered", "flatline", "new_terms"}
        else (Bound(BOUNDS.get(kind, "neq"), 2 if kind.endswith("count") else 1),),
        percentile=40,
    )
    for kind in KINDS
}  # fmt: skip
UNLESS = correlation("temporal", 3, 2, presence=Both((Seen(0), Never(Seen(1)))))


@pytest.mark.parametrize("suppress", [None, 5, 9])
@pytest.mark.parametrize("one", [*EXAMPLES.values(), UNLESS], ids=[*KINDS, "unless"])
def test_what_is_told_late_is_told_whole(one, suppress):
    """What a deadline waits for, and what a bucket is made of, must outlive the windows they are in."""
    for timespan in (1, 2, 3):
        one = msgspec.structs.replace(one, timespan=timespan, suppress=suppress)
        for batches in map(dense, range(12)):
            agree(one, flow(one, batches), in_time(batches))


MUTANTS = [
    *(
        pytest.param(EXAMPLES[kind], stepping, "judge", off_by(by), id=f"{kind}: timespan {by:+}")
        for kind in KINDS
        for by in (-1, 1)
    ),
    *(
        pytest.param(one, kernel, name, moved(name, by), id=f"{name}: timespan {by:+}")
        for one, name in (
            (EXAMPLES["event_count"], "windows"),
            (EXAMPLES["temporal"], "before"),
            (UNLESS, "before"),
            (UNLESS, "after"),
        )
        for by in (-1, 1)
    ),
    pytest.param(EXAMPLES["event_count"], stepping, "in_order", by_arrival, id="ids in order of arrival"),
    pytest.param(EXAMPLES["new_terms"], stepping, "in_order", by_arrival, id="the first to come is first"),
    pytest.param(UNLESS, stepping, "horizon", lambda one: 0, id="what must not come isn't waited for"),
    pytest.param(EXAMPLES["value_avg"], stepping, "is_early", lambda one: True, id="said too early"),
    pytest.param(EXAMPLES["new_terms"], stepping, "is_early", lambda one: True, id="new too early"),
]


@pytest.mark.parametrize(("one", "module", "name", "mutant"), MUTANTS)
def test_what_is_a_little_wrong_is_caught(one, module, name, mutant, monkeypatch):
    """Guards the properties above: a comparison that can't fail proves nothing."""
    streams = [dense(seed) for seed in range(40)]
    for batches in streams:
        agree(one, flow(one, batches), in_time(batches))
    monkeypatch.setattr(module, name, mutant)
    with pytest.raises(AssertionError):  # noqa: PT012 - one of them
        for batches in streams:
            agree(one, flow(one, batches), in_time(batches))


@settings(max_examples=30)
@given(st.sampled_from(KINDS), st.integers(2, 8), st.data())
def test_shards_together_give_what_one_gives(kind, shards, data):
    one = data.draw(correlations(kind))
    batches = [
        ([e._replace(group=f"{data.draw(st.integers(0, 9))} {e.group}") for e in batch], settled)
        for batch, settled in data.draw(streams(one))
    ]
    said = [{}, {}]
    for shard in range(shards):
        mine = [([e for e in batch if of(e, shards) == shard], settled) for batch, settled in batches]
        outcomes = flow(one, mine)
        for place, name in enumerate(("found", "reports")):
            said[place] |= kept(one, outcomes, name)
    assert tuple(said) == correlated(one, in_time(batches), evidence=FEW)


def of(event, shards):
    return shard_of(hashes(pa.array([event.group])), shards)[0]
