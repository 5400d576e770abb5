"""Rules that change while a stream runs: the new ones judge from where the old ones ended, and none is lost."""

import json
import re
import threading
import time

import pytest
import yaml
from evented import ZERO, S, correlation, event, flow, folded, rule, sigma, write_rules

from rms_flows.beam.ledger import load_packs
from rms_flows.flow.build import Choices, build
from rms_flows.flow.renewal import Renewal
from rms_flows.replay import replay
from rms_flows.stream import Pace, Streamed, stream

LOGIN, FAILED = rule("login"), rule("failed")


@pytest.fixture
def home(tmp_path):
    write_rules(tmp_path / "rules", LOGIN)
    (tmp_path / "a.ndjson").touch()
    return tmp_path


def document():
    made = flow([("a", "a.ndjson", "0s")], [sigma("s", "a")], {"out": (["s"], "out.ndjson")})
    sources = [one.model_copy(update={"idle": "1h"}) for one in made.sources]
    return made.model_copy(update={"sources": tuple(sources)})


def write(home, first, count, action="login"):
    """Append events that have the rules' group and are a second apart; give their ids."""
    names = [f"a-{number}" for number in range(first, first + count)]
    with (home / "a.ndjson").open("a") as file:
        for number, name in enumerate(names, first):
            one = event(name, ZERO + number * S, action, **{"source.ip": "10.0.0.1"})
            file.write(json.dumps(one) + "\n")
    return names


class Running:
    """A stream that runs beside a test, and what it has said."""

    def __init__(self, home, **more):
        self.home, self.said, self.pace = home, [], Pace(bundle=0.1, renew=0.1)
        self.account: Streamed | None = None
        self.error: Exception | None = None
        self.thread = threading.Thread(target=self._run, kwargs=more)

    def _run(self, **more):
        more = {"positions": self.home / "positions", **more}
        source = {"a": f"follow:{self.home}/a.ndjson"}
        try:
            self.account = stream(
                document(), folder=self.home, sources=source, pace=self.pace, say=self.said.append, **more
            )
        except Exception as error:  # noqa: BLE001  raised where the test waits
            self.error = error

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.pace.stop()
        self.thread.join(60)
        assert not self.thread.is_alive()
        if self.error:
            raise self.error

    def until(self, true, seconds=60):
        end = time.monotonic() + seconds
        while not true(self):
            assert time.monotonic() < end, (self.said, self.reports())
            assert self.thread.is_alive(), self.error
            time.sleep(0.05)

    def reports(self):
        out = self.home / "out.ndjson"
        whole = out.read_bytes().rpartition(b"\n")[0].splitlines() if out.exists() else []
        return [json.loads(line) for line in whole]

    def judged(self, name):
        """Give the events that a rule reported."""
        return {one["rms.evidence"][-1] for one in self.reports() if one["rule.name"] == name}

    def told(self, words):
        return any(words in text for text in self.said)


def renewed(home, *rules):
    """Change the rules as an editor does, in a file that takes the old one's place."""
    write_rules(home / "aside", *rules)
    (home / "aside" / "rules.yml").replace(home / "rules" / "rules.yml")


def test_new_rules_judge_what_comes_after_them_and_old_ones_what_came_before(home):
    """The trap: events that the new rules read again to warm up would be reported by them, too."""
    before = write(home, 0, 10)
    with Running(home) as one:
        one.until(lambda self: len(self.judged("login")) == 10)
        renewed(home, {**LOGIN, "title": "log-in"}, FAILED)
        one.until(lambda self: self.told("the rules have changed; s is "))
        after = write(home, 10, 5)
        one.until(lambda self: len(self.judged("log-in")) == 5)
        late = write(home, 15, 3, "failed")
        one.until(lambda self: len(self.judged("failed")) == 3)
    assert one.judged("login") == {*before}
    assert one.judged("log-in") == {*after}
    assert one.judged("failed") == {*late}
    assert (one.account.sources["a"]["rows"], one.account.sinks["out"]) == (18, 18), "both turns, once each"
    packs = load_packs(home / "positions")
    assert [one["from"]["a"][1] for one in packs] == [0, 10]
    named = {one["rule.name"]: one["rms.pack"] for one in one.reports()}
    assert named["login"] == packs[0]["packs"]["s"]
    assert named["log-in"] == named["failed"] == packs[1]["packs"]["s"]


def test_a_correlation_that_stays_keeps_what_it_knew_and_a_new_one_learns_of_what_came_before(home):
    many = correlation("many", "event_count", ["login"], ["source.ip"], "1m", {"gte": 6}, generate=True)
    more = correlation("more", "event_count", ["login"], ["source.ip"], "1h", {"gte": 8})
    write_rules(home / "rules", LOGIN, many)
    write(home, 0, 5)
    with Running(home) as one:
        one.until(lambda self: len(self.judged("login")) == 5)
        renewed(home, LOGIN, many, more)
        one.until(lambda self: self.told("the rules have changed; s is "))
        write(home, 5, 3)
        one.until(lambda self: {"many", "more"} <= {row["rule.name"] for row in self.reports()})
    out = home / "replayed.ndjson"
    replay(document(), folder=home, sinks={"out": str(out)})

    def ids(path):
        return {name for name, row in folded(path).items() if row["rule.name"] in {"many", "more"}}

    assert len(ids(out)) == 4
    assert ids(home / "out.ndjson") == ids(out), "as a replay with the new rules over all of it"


@pytest.mark.parametrize(
    ("broken", "match"),
    [
        ("title: [", "refused: .*"),
        (json.dumps({**LOGIN, "detection": {"condition": "nothing"}}), "refused: "),
        ("", "s: no rule is left"),
    ],
    ids=["no YAML", "a rule that is refused", "no rules"],
)
def test_rules_that_are_bad_are_told_once_and_those_of_before_stay(home, broken, match):
    with Running(home) as one:
        write(home, 0, 2)
        one.until(lambda self: len(self.judged("login")) == 2)
        (home / "rules" / "rules.yml").write_text(broken)
        one.until(lambda self: self.told("the rules have changed, and those of before stay: "))
        write(home, 2, 2)
        one.until(lambda self: len(self.judged("login")) == 4)
        time.sleep(0.5)
        assert len(one.said) == 1
        assert re.search(match, one.said[0])
        renewed(home, {**LOGIN, "title": "mended"})
        one.until(lambda self: self.told("the rules have changed; s is "))
        write(home, 4, 1)
        one.until(lambda self: self.judged("mended") == {"a-4"})


def test_what_is_still_being_written_is_not_read(home):
    """The trap: half a file may be good YAML, and its other half would be missing without a word."""
    plan = build(document(), home, home, Choices())
    made = []
    renewal = Renewal(plan, lambda: made.append(1) or plan, print, 1)
    renewal.look()
    for size in range(3):
        (home / "rules" / "rules.yml").write_text("#" * (size + 1))
        renewal.look()
    assert not made
    renewal.look()
    assert made
    assert renewal.due()


def test_what_changes_while_a_stream_turns_over_is_not_missed(home):
    """The trap: who looks at the files anew takes what has changed since for what the rules were made of."""
    made = []

    def make():
        made.append(1)
        return build(document(), home, home, Choices())

    def changed(number):
        (home / "rules" / "rules.yml").write_text(yaml.safe_dump({**LOGIN, "title": f"log-in {number}"}))

    first = Renewal(make(), make, print, 1)
    changed(1)
    first.look()
    first.look()
    assert first.due()
    changed(22)
    second = Renewal(first.next, make, print, 1, first)
    second.look()
    second.look()
    assert second.due()
    assert len(made) == 3


def test_without_positions_rules_stay_as_they_were(home):
    """The trap: a stream that begins anew would read everything again."""
    with Running(home, positions=None) as one:
        write(home, 0, 2)
        one.until(lambda self: len(self.judged("login")) == 2)
        renewed(home, FAILED)
        time.sleep(1)
        assert one.said == []
    assert one.account.sources["a"]["rows"] == 2
