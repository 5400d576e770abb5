"""A replay that tells again what a stream told: each message by the rules that judged it then."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path

import pytest
import topics
import yaml
from evented import CORRELATIONS, SINGLE, S, folded, generated, lines, rule, write_rules
from followed import streamed_until, told
from test_stream_kafka import closing, compared, document, messages, read
from typer.testing import CliRunner

from rms_flows.beam.ledger import Ledger, Place, load_packs
from rms_flows.cli.app import app
from rms_flows.errors import DocumentError, SourceError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.kept import keep
from rms_flows.flow.renewal import packs
from rms_flows.io.position import Offsets
from rms_flows.replay import replay
from rms_flows.retell import retell

LOGIN = rule("login")
FIRST = (*SINGLE, *(CORRELATIONS[name] for name in ("users", "few", "sum")))
SECOND = ({**LOGIN, "title": "log-in", "name": "log-in"}, *SINGLE, *CORRELATIONS.values())


def told_again(home):
    """Run the command of the page; give what is to be run and where it writes to."""
    page = (Path(__file__).parents[1] / "docs/streaming.md").read_text(encoding="utf-8")
    [command] = [line for line in page.splitlines() if line.startswith("rms replay") and "--as-told" in line]
    places = {
        "home.yaml": f"{home}/flow.yaml",
        "home.positions": f"{home}/positions",
        "repository=again.ndjson": f"out={home}/again.ndjson",
    }
    return [places.get(word, word) for word in shlex.split(command)[1:]]


@pytest.mark.timeout(900)
def test_each_message_is_judged_by_the_rules_that_judged_it_then(tmp_path, kafka_broker):
    """The trap: rules of today tell of what came before them; what waited for time was told by those behind.

    The rules change twice, and back; the group's place, where a first start goes on, is where the stream is.
    """
    home = tmp_path
    topic = topics.create(kafka_broker, "retold", 2)
    uri = topics.uri(kafka_broker, topic)
    events = messages(generated(21, 300, jitter=30 * S), 2)
    parts = [events[:100], events[100:200], [*events[200:], *closing(2)]]
    given = 0
    for part, rules in zip(parts, (FIRST, SECOND, FIRST), strict=True):
        write_rules(home / "rules", *rules)
        topics.produce(kafka_broker, topic, part)
        given += len(part)
        streamed_until(lambda _, given=given: read(home) == given, home, document(uri), {}, 300)
    judged = load_packs(home / "positions")
    assert [one["packs"] for one in judged] == [judged[0]["packs"], judged[1]["packs"], judged[0]["packs"]]
    assert len([*(home / "positions.packs").iterdir()]) == 2, "the third are the first"
    wanted = compared(told(home))
    assert len({one["rms.pack"] for one in wanted.values()}) == 2
    before = (home / "positions").read_bytes(), topics.committed(kafka_broker, "rms.t.a", topic)

    write_rules(home / "rules", LOGIN)
    (home / "flow.yaml").write_text(yaml.safe_dump(document(uri).model_dump(mode="json", exclude_none=True)))
    (home / "again.ndjson").write_text("before\n")
    done = CliRunner().invoke(app, [*told_again(home), "--json"])
    assert done.exit_code == 0, done.output
    assert compared(folded(home / "again.ndjson")) == wanted
    assert json.loads(done.stdout)["sources"]["a"]["rows"] == given
    assert before == ((home / "positions").read_bytes(), topics.committed(kafka_broker, "rms.t.a", topic))
    replay(document(uri), folder=home, sinks={"out": str(home / "today.ndjson")})
    assert {one["rule.name"] for one in lines(home / "today.ndjson")} == {"login"}


@pytest.fixture
def kept(tmp_path):
    """Positions of a stream over a topic, and its rules; give their folder."""
    document_ = document("kafka://localhost:1/none")
    for name in ("positions", "others"):
        write_rules(tmp_path / "rules", LOGIN if name == "positions" else rule("failed"))
        plan = build(document_, tmp_path, tmp_path, Choices(endless=True))
        ledger = Ledger(tmp_path / name, {"a": 0}, {}, begins={"a": Offsets()})
        ledger.begin("a", Offsets(), Place(Offsets({"none/0": (0, 0)}), 0))
        ledger.judged_by(packs(plan))
        ledger.write()
        keep(plan, tmp_path, tmp_path / name, [])
    (tmp_path / "flow.yaml").write_text(yaml.safe_dump(document_.model_dump(mode="json", exclude_none=True)))
    return tmp_path


def test_what_it_lacks_is_told_and_what_was_there_stays(kept):
    """The trap: rules that are not there any more would be those of today, without a word."""
    (kept / "again.ndjson").write_text("before\n")

    def again(**changes):
        words = {"positions": kept / "positions", "sinks": {"out": str(kept / "again.ndjson")}, **changes}
        retell(document("kafka://localhost:1/none"), folder=kept, **words)

    with pytest.raises(SourceError, match=r"nowhere: is not there; name the positions of the stream"):
        again(positions=kept / "nowhere")
    with pytest.raises(DocumentError, match=r"can be told again of topics only; replay it without --as-told"):
        again(sources={"a": str(kept / "again.ndjson")})
    known = json.loads((kept / "positions").read_text())
    for packs_ in ([], [{word: known["packs"][0][word] for word in ("packs", "from")}]):
        (kept / "before").write_text(json.dumps({**known, "packs": packs_}))
        with pytest.raises(SourceError, match=r"before: doesn't say which rules judged what: .*; leave out"):
            again(positions=kept / "before")
    [archive], [other] = ([*(kept / f"{name}.packs").iterdir()] for name in ("positions", "others"))
    whole = archive.read_bytes()
    shutil.copy(other, archive)
    said = r"s judged by \w{12}, and what is kept of that means \w{12} now; use the flow's document"
    with pytest.raises(SourceError, match=said):
        again()
    archive.write_bytes(whole[:100])
    with pytest.raises(SourceError, match=r"the rules that judged as s \w{12} can't be had \(.*end"):
        again()
    archive.unlink()
    with pytest.raises(SourceError, match=r"can't be had \(.*No such file.*; bring the file back, or leave"):
        again()
    assert (kept / "again.ndjson").read_text() == "before\n"


@pytest.mark.parametrize("more", [["--rejudge"], ["--every", "1h"], ["--from", "2026-01-01"]])
def test_it_tells_all_that_the_stream_told(kept, more):
    refused = CliRunner().invoke(app, [*told_again(kept), *more])
    assert refused.exit_code == 2
    assert "tells all that the stream told; leave this out" in " ".join(refused.output.split())


def test_packs_that_nobody_names_any_more_are_forgotten(kept):
    """Else every change of rules would stay on the disk for good."""
    plan = build(document("kafka://localhost:1/none"), kept, kept, Choices(endless=True))
    known = [one["packs"] for one in load_packs(kept / "positions")]
    keep(plan, kept, kept / "positions", known)
    assert len([*(kept / "positions.packs").iterdir()]) == 2
    keep(plan, kept, kept / "positions", [])
    [left] = (kept / "positions.packs").iterdir()
    [own] = (kept / "others.packs").iterdir()
    assert left.name == own.name
