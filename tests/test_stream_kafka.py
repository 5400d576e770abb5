"""A stream over a real topic finds what a replay of the same topic finds, whatever happens to it."""

from __future__ import annotations

import json
import random
import time
from datetime import datetime

import pytest
import topics
from evented import (
    CORRELATIONS,
    SINGLE,
    ZERO,
    H,
    M,
    S,
    at,
    correlation,
    event,
    flow,
    folded,
    generated,
    lines,
    sigma,
    time_of,
    write_events,
    write_rules,
)
from followed import streamed_until, told

from rms_flows.decode.json_lines import JsonDecoder
from rms_flows.errors import SourceError
from rms_flows.flow.build import Choices, build
from rms_flows.io.kafka import pure
from rms_flows.io.position import NOT_BEGUN
from rms_flows.replay import replay
from rms_flows.stream import Pace, stream

CLOSING = ZERO + 72 * H
"""An event that late settles whatever there was before; what it would tell itself is not compared."""


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", *SINGLE, *CORRELATIONS.values())
    return tmp_path


def document(uri, *, lateness="30s", idle="60s", **more):
    one = flow([("a", "none", lateness)], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})
    source = one.sources[0].model_copy(update={"archive": uri, "live": uri, "idle": idle, **more})
    return one.model_copy(update={"sources": (source,)})


def messages(events, partitions, seed=0, ahead=0):
    """Events as messages of random partitions, received when they happened."""
    rng = random.Random(seed)  # noqa: S311  seeded
    return [
        (rng.randrange(partitions), json.dumps(one).encode(), (time_of(one) + ahead) // 1_000)
        for one in events
    ]


def closing(partitions):
    made = [event(f"closing-{number}", CLOSING, "other") for number in range(partitions)]
    return [(number, json.dumps(one).encode(), CLOSING // 1_000) for number, one in enumerate(made)]


def compared(reports):
    """Give what counts of reports: all but how they came, without those that the closing events tell of."""
    return {
        name: {key: one[key] for key in one if key not in {"event.ingested", "rms.origin"}}
        for name, one in reports.items()
        if one["@timestamp"].timestamp() * S < CLOSING - 24 * H
    }


def replayed(home, uri, **more):
    """Give the reports of a replay of the same topic."""
    out = home / "replayed.ndjson"
    replay(document(uri, **more), folder=home, sinks={"out": str(out)})
    return compared(folded(out))


def streamed(home, uri, wanted, also=lambda _reports: True, begin="committed", **more):
    """Stream until all that is wanted is there."""

    def enough(reports):
        return also(reports) and compared(reports).keys() >= wanted.keys()

    return streamed_until(enough, home, document(uri, **more), {}, 60, begin=begin)


def test_it_finds_what_a_replay_of_the_topic_and_of_a_file_finds(home, kafka_broker, kafka_client):
    events = generated(1, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream", 3)
    topics.produce(kafka_broker, topic, [*messages(events, 3), *closing(3)])
    uri = topics.uri(kafka_broker, topic)
    wanted = replayed(home, uri)
    write_events(home / "a.json", [*events, *(event(f"closing-{n}", CLOSING, "other") for n in range(3))])
    assert replayed(home, str(home / "a.json")) == wanted
    assert len({one["rule.name"] for one in wanted.values()}) > 10
    account = streamed(home, uri, wanted)
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(events) + 3, "late": 0}
    assert (account.dead_letters, account.stopped) == (0, True)


def test_a_restart_goes_on_where_all_was_acknowledged(home, kafka_broker, kafka_client):
    events = generated(2, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream", 3)
    uri = topics.uri(kafka_broker, topic)
    parts = [messages(events[:250], 3, 1), messages(events[250:], 3, 2) + closing(3)]
    given = 0
    for number, part in enumerate(parts):
        topics.produce(kafka_broker, topic, part)
        given += len(part)
        wanted = replayed(home, uri) if number else {}
        account = streamed(home, uri, wanted, also=lambda _reports, given=given: read(home) >= given)
        assert account.sources["a"] == {"rows": len(part), "late": 0}, "what was there is only warmed up with"
    assert compared(told(home)) == wanted
    done = topics.committed(kafka_broker, "rms.t.a", topic)
    assert sum(offset for offset, _ in done.values()) == given
    assert all(note.startswith(f"rms1 {CLOSING} ") for _, note in done.values())


def read(home):
    """Give how many messages the positions say that were read."""
    if not (home / "positions").exists():
        return 0
    known = json.loads((home / "positions").read_text())["sources"]["a"]["at"]
    return sum(offset for offset, _ in known[0].values())


def test_where_the_positions_are_lost_it_goes_on_from_the_group(home, kafka_broker):
    events = generated(3, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream", 2)
    uri = topics.uri(kafka_broker, topic)
    topics.produce(kafka_broker, topic, messages(events[:300], 2))
    streamed(home, uri, {}, also=lambda _reports: read(home) >= 300)
    (home / "positions").unlink()
    topics.produce(kafka_broker, topic, [*messages(events[300:], 2), *closing(2)])
    wanted = replayed(home, uri)
    account = streamed(home, uri, wanted)
    assert account.sources["a"]["rows"] == len(events) - 300 + 2
    assert compared(told(home)) == wanted


def test_a_stream_begins_where_it_is_told_and_stays_there(home, kafka_broker):
    """Also behind a restart, before which nothing was settled: what lies before is not even warmed up with."""
    more = correlation("more", "event_count", "login", "source.ip", "1h", {"gte": 6}, generate=True)
    write_rules(home / "rules", SINGLE[1], more)
    events = [event(f"e{n}", ZERO + n * M, "login", **{"source.ip": "10.0.0.1"}) for n in range(10)]
    topic = topics.create(kafka_broker, "stream", 2)
    uri = topics.uri(kafka_broker, topic)
    topics.produce(kafka_broker, topic, [(0, *message[1:]) for message in messages(events[:8], 1)])
    middle = datetime.fromisoformat(at(ZERO + 5 * M))
    streamed(home, uri, {}, also=lambda _reports: read(home) == 8, begin=middle)
    topics.produce(kafka_broker, topic, [(0, *message[1:]) for message in messages(events[8:], 1)])
    streamed(home, uri, {}, also=lambda _reports: read(home) == 10, begin="earliest")
    found = sorted(one for line in lines(home / "out.ndjson") for one in line["rms.evidence"])
    assert found == ["e5", "e6", "e7", "e8", "e9"], "and there are not six"


@pytest.mark.parametrize(("begin", "first"), [("latest", 3), ("committed", 1), ("earliest", 0)])
def test_first_starts(home, kafka_broker, begin, first):
    """A group that is somebody else's says where to begin, and no more."""
    topic = topics.create(kafka_broker, "stream")
    topics.produce(kafka_broker, topic, messages(generated(1, 3)[:3], 1))
    topics.commit(kafka_broker, "rms.t.a", topic, 1)
    plan = build(document(topics.uri(kafka_broker, topic)), home, home, Choices(endless=True))
    start = plan.sources[0].source.first(begin)
    offset, latest = start.committed.spots.get(f"{topic}/0", (0, NOT_BEGUN))
    assert (offset, latest, start.settled) == (first, NOT_BEGUN, NOT_BEGUN)
    assert plan.sources[0].source.group == "rms.t.a"


def test_a_partition_without_events_holds_nobody_up_for_longer_than_it_is_told(
    home, kafka_broker, kafka_client
):
    events = generated(4, 200, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream", 3)
    uri = topics.uri(kafka_broker, topic)
    topics.produce(kafka_broker, topic, [*messages(events, 2), *closing(2)])
    wanted = replayed(home, uri)
    account = streamed(home, uri, wanted, idle="1s")
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(events) + 2, "late": 0}


def test_a_partition_that_is_added_while_it_runs_is_read_from_its_beginning(
    home, kafka_broker, kafka_client, monkeypatch
):
    monkeypatch.setattr("rms_flows.io.kafka.line._DISCOVER", 0.5)
    monkeypatch.setitem(pure._READING, "metadata_max_age_ms", 500)
    events = generated(5, 300, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream")
    uri = topics.uri(kafka_broker, topic)
    topics.produce(kafka_broker, topic, messages(events[:150], 1))
    wanted = {}

    more = [*messages(events[150:], 2), *closing(2)]
    added = [message for message in more if message[0]]
    steps = iter([(150, added), (150 + len(added), [message for message in more if not message[0]])])
    due = [next(steps)]

    def enough(_reports):
        if due and read(home) >= due[0][0]:  # the new one is known before the time of the old one goes on
            if due[0][1] is added:
                topics.grow(kafka_broker, topic, 2)
            topics.produce(kafka_broker, topic, due[0][1])
            due[:] = [one for one in [next(steps, None)] if one]
            wanted.update({} if due else replayed(home, uri))
        return bool(wanted) and compared(told(home)).keys() >= wanted.keys()

    account = streamed(home, uri, {}, also=enough)
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(events) + 2, "late": 0}


def test_what_is_no_event_late_or_ahead_is_a_dead_letter_and_moves_no_time(home, kafka_broker, kafka_client):
    events = generated(6, 200, jitter=30 * S)
    topic = topics.create(kafka_broker, "stream", 2)
    uri = topics.uri(kafka_broker, topic)
    ahead = event("ahead", ZERO + 10 * H, "failed")
    poison = [
        (0, b"{", ZERO // 1_000),
        (1, None, ZERO // 1_000),
        (0, json.dumps(ahead).encode(), ZERO // 1_000),
    ]
    late = event("late", CLOSING - 31 * S, "other")
    behind = [(number, json.dumps(late).encode(), CLOSING // 1_000) for number in range(2)]
    topics.produce(kafka_broker, topic, [*poison, *messages(events, 2), *closing(2), *behind])
    wanted = replayed(home, uri)
    account = streamed(home, uri, wanted, also=lambda _reports: read(home) == len(events) + 7)
    assert compared(told(home)) == wanted
    assert account.sources["a"] == {"rows": len(events) + 2, "late": 2}
    dead = lines(home / "out.dead-letters.ndjson")
    assert sorted(one["error.type"] for one in dead) == ["future", "json", "late", "late", "tombstone"]
    assert {one["rms.origin"] for one in dead if one["error.type"] == "json"} == {f"{topic}/0@0"}


def test_reports_and_dead_letters_go_to_topics_and_dead_letters_are_read_again(
    home, kafka_broker, kafka_client
):
    write_rules(home / "rules", SINGLE[1])
    topic, reports, dead = (topics.create(kafka_broker, name) for name in ("stream", "reports", "dead"))
    broken = json.dumps({**event("e1", ZERO, "login"), "@timestamp": "2026-01-01 00:00:00,5"}).encode()
    good = json.dumps(event("e0", ZERO, "login")).encode()
    topics.produce(kafka_broker, topic, [(0, good, ZERO // 1_000), (0, broken[:-1], ZERO // 1_000)])
    one = flow(
        [("a", topics.uri(kafka_broker, topic), "30s")],
        [sigma("s", "a")],
        {"out": (["s"], topics.uri(kafka_broker, reports))},
    )
    letters = topics.uri(kafka_broker, dead)
    streamed_until(
        lambda _: len(topics.consume(kafka_broker, dead)) == 1 and topics.consume(kafka_broker, reports),
        home,
        one,
        {},
        60,
        dead_letters=letters,
    )
    [letter] = topics.consume(kafka_broker, dead)
    assert (letter.value, letter.headers["error.type"]) == (broken[:-1], b"json")
    assert letter.headers["rms.origin"] == f"{topic}/0@1".encode()
    found = {json.loads(message.value)["event.id"] for message in topics.consume(kafka_broker, reports)}
    done = replay(one, folder=home, sinks={"out": str(home / "out.ndjson")}, dead_letters=letters)
    assert {one["event.id"] for one in lines(home / "out.ndjson")} == found
    assert len(found) == 1
    assert done.dead_letters == {"json": 1}
    again = replay(
        one,
        folder=home,
        sources={"a": letters},
        sinks={"out": str(home / "again.ndjson")},
        dead_letters=str(home / "again-dead.ndjson"),
    )
    assert again.dead_letters == {"json": 2}, "the stream's and the replay's: the same bytes, still broken"


def test_positions_of_a_topic_that_was_made_anew_are_told(home, kafka_broker):
    topic = topics.create(kafka_broker, "stream")
    uri = topics.uri(kafka_broker, topic)
    topics.produce(kafka_broker, topic, messages(generated(1, 20), 1))
    streamed(home, uri, {}, also=lambda _reports: read(home) >= 20)
    positions = json.loads((home / "positions").read_text())
    known = positions["sources"]["a"]
    known["at"][0][f"{topic}/0"][0] = 1_000
    (home / "positions").write_text(json.dumps(positions))
    message = (
        rf"{topic}/0 ends before what the positions say was read of it \(\d+ of 1000\); it was made anew"
    )
    with pytest.raises(SourceError, match=message):
        streamed(home, uri, {}, also=lambda _reports: False)
    known["at"][0][f"{topic}/0"][0] = 10
    (home / "positions").write_text(json.dumps(positions))
    topics.cut(kafka_broker, topic, 15)
    with pytest.raises(SourceError, match=f"{topic}/0 no longer holds what was to be read next"):
        streamed(home, uri, {}, also=lambda _reports: False)


def test_positions_of_another_kind_of_source_are_told(home, kafka_broker):
    write_events(home / "a.json", generated(1, 20))
    stream(document(str(home / "a.json"), live=None), folder=home, positions=home / "positions")
    topic = topics.create(kafka_broker, "stream")
    with pytest.raises(
        SourceError, match=r"can't be read as positions of a stream \(.*remove it to begin anew"
    ):
        stream(document(topics.uri(kafka_broker, topic)), folder=home, positions=home / "positions")


def test_what_it_reads_with_is_said(home, kafka_broker):
    topic = topics.create(kafka_broker, "stream")
    said = []
    pace = Pace()
    pace.stop()
    stream(document(topics.uri(kafka_broker, topic)), folder=home, pace=pace, say=said.append)
    assert len(said) == 1
    assert said[0].startswith(f"kafka://{kafka_broker}/{topic} by confluent-kafka 2.")


def test_a_stream_that_has_nothing_to_read_at_first_waits(home, kafka_broker):
    topic = topics.create(kafka_broker, "stream")
    uri = topics.uri(kafka_broker, topic)
    began = time.monotonic()
    messages_of = iter([messages(generated(1, 20), 1)])

    def enough(_reports):
        if time.monotonic() > began + 1.5 and (made := next(messages_of, None)):
            topics.produce(kafka_broker, topic, made)
        return read(home) >= 20

    account = streamed(home, uri, {}, also=enough)
    assert account.stopped, "it did not end by itself"
    assert account.sources["a"]["rows"] >= 20


def test_documents_are_read_by_compiled_loops_from_the_first_one_on(home, kafka_broker, monkeypatch):
    """The trap: they were loaded after some megabytes, and the stream stood still for that long."""
    monkeypatch.setattr(JsonDecoder, "_fast", False)
    topic = topics.create(kafka_broker, "stream")
    topics.produce(kafka_broker, topic, messages(generated(1, 20), 1))
    streamed(home, topics.uri(kafka_broker, topic), {}, also=lambda _reports: read(home) >= 20)
    assert JsonDecoder._fast
