"""Why a rule is true of an event: what is shown decides as the engine does, and is what the author wrote."""

import json
import random
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest
from msgspec.structs import replace

from rms_flows import sigma
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.sigma.explain import explain
from rms_flows.sigma.load import read
from tests.test_cli import run

ARCHIVE = "sigmahq-rules-8eaafff1f.tar.gz"


def explained(tmp_path, detection, event, logsource=None):
    """Explain one event, JSON as it comes of a decoder, by a rule; `explain` and the engine have to agree."""
    rule = {"title": "T", "logsource": logsource or {"category": "none"}, "detection": detection}
    (tmp_path / "r.yml").write_text(json.dumps(rule))
    loaded, parsed = read([tmp_path / "r.yml"])
    (one,) = loaded.rules
    found = explain(one, parsed[one.id], event)
    assert found.match is bool(len(sigma.compile(loaded).match(event)))
    return found


def leaf(judged):
    while judged.parts:
        judged = judged.parts[0]
    return judged


def row(**columns):
    return pa.record_batch({name: pa.array([value]) for name, value in columns.items()})


def test_the_summary_of_a_miss_names_what_failed(tmp_path):
    detection = {
        "img": {"Image|endswith": "\\powershell.exe"},
        "cli": {"CommandLine|contains": " -enc "},
        "filter": {"User": "SYSTEM"},
        "condition": "img and cli and not filter",
    }
    event = row(Image="C:\\PowerShell.exe", CommandLine="powershell -e", User="anna")
    found = explained(tmp_path, detection, event)
    assert not found.match
    assert found.summary == "no match: 2 of 3 selections true; `CommandLine|contains: ' -enc '` failed"
    event = row(Image="C:\\PowerShell.exe", CommandLine="x -ENC y", User="system")
    found = explained(tmp_path, detection, event)
    assert found.summary == "no match: 2 of 3 selections true; `User: 'SYSTEM'` is true"
    found = explained(tmp_path, detection, row(Image="C:\\PowerShell.exe", CommandLine="x -ENC y"))
    assert found.summary == "match: 3 of 3 selections true"


@pytest.mark.parametrize(
    ("item", "event", "shown"),
    [
        ({"f|contains": "éCole"}, {"f": "l'\u00c9COLE \u212a"}, ("l'\u00c9COLE \u212a", 2, 7)),
        ({"f|endswith": "K"}, {"f": "l'\u00c9COLE \u212a"}, ("l'\u00c9COLE \u212a", 8, 9)),
        ({"f|startswith": "a"}, {"f": "Abc"}, ("Abc", 0, 1)),
        ({"f|re": "[0-9]+"}, {"f": "\u00e9\u00e9 12 "}, ("\u00e9\u00e9 12 ", 3, 5)),
        ({"f": ["x", "b"]}, {"f": ["a", "B"]}, None),
        ({"f|contains": "x"}, {"f": "abc"}, ("abc", None, None)),
        ({"f": "x"}, {}, (None, None, None)),
    ],
)
def test_the_part_of_the_event_that_decided(tmp_path, item, event, shown):
    found = explained(tmp_path, {"s": item, "condition": "s"}, row(g="", **event))
    if shown is None:
        assert [part.evidence.value for part in found.condition.parts[0].parts] == ["a", "B"]
    else:
        evidence = leaf(found.condition).evidence
        assert (evidence.value, evidence.start, evidence.end) == shown


def test_a_name_in_another_case_is_pointed_at(tmp_path):
    found = explained(tmp_path, {"s": {"Image": "x"}, "condition": "s"}, row(image="x"))
    assert leaf(found.condition).evidence.note == "the event has image: the case of names counts"


def test_a_comparison_of_fields_shows_both(tmp_path):
    found = explained(tmp_path, {"s": {"a|fieldref": "b"}, "condition": "s"}, row(a="x", b="y"))
    assert (leaf(found.condition).evidence.value, leaf(found.condition).evidence.note) == ("x", "b is 'y'")


def test_keywords_name_the_field_they_were_found_in(tmp_path):
    found = explained(tmp_path, {"k": ["none", "EVIL"], "condition": "k"}, row(a="good", b="so evil"))
    (item,) = found.condition.parts
    assert [(part.true, part.evidence.field) for part in item.parts] == [(False, ""), (True, "b")]


def test_the_log_source_is_a_part_of_the_answer(tmp_path):
    event = row(**{"event.dataset": "system.auth", "a": "x"})
    found = explained(tmp_path, {"s": {"a": "x"}, "condition": "s"}, event, {"product": "zeek"})
    assert (found.match, found.condition.true, found.route.true) == (False, True, False)
    assert found.summary == "no match: the event is not of its log source (product: zeek)"


def events(datasets, step):
    source, request = open_source(str(datasets / "windows_events" / "*.zip"), base=Path()), Request()
    for fragment in list(source.fragments(request))[::step]:
        for decoded in source.read(fragment, request):
            yield decoded.rows


def few_of_each(pairs, most):
    """Give some hits of each rule: a rule that is true of a thousand rows of one log has the same reason in all."""
    seen = Counter()
    for number, at in sorted(pairs):
        seen[number] += 1
        if seen[number] <= most:
            yield number, at


@pytest.mark.datasets
@pytest.mark.parametrize(
    ("step", "most", "wanted"),
    [
        pytest.param(4, 2, 150, id="some"),
        pytest.param(1, 10_000, 3104, id="all", marks=[pytest.mark.soak, pytest.mark.timeout(1200)]),
    ],
)
def test_it_agrees_with_the_engine_on_hits_and_on_random_misses(datasets, step, most, wanted):
    loaded, parsed = read([datasets / ARCHIVE])
    everywhere = tuple(replace(rule, route=None) for rule in loaded.rules)
    plan, free = sigma.compile(loaded), sigma.compile(sigma.RuleSet(everywhere, loaded.refused))
    chance, hits, misses = random.Random(4), 0, 0  # noqa: S311 - no secret
    for batch in events(datasets, step):
        routed, found = (p.match(batch) for p in (plan, free))
        known = set(zip(routed.rule.tolist(), routed.row.tolist(), strict=True))
        true = set(zip(found.rule.tolist(), found.row.tolist(), strict=True))
        some = [
            (chance.randrange(len(plan.rules)), chance.randrange(batch.num_rows))
            for _ in range(batch.num_rows // 200 + 1)
        ]
        some += chance.sample(sorted(true), min(len(true), 20))  # of the event, maybe not of its source
        for number, at in {*few_of_each(known, most), *some}:
            rule = plan.rules[number]
            answer = explain(rule, parsed[rule.id], batch, at)
            assert answer.match is ((number, at) in known), (rule.where, at)
            assert answer.condition.true is ((number, at) in true), (rule.where, at)
            hits, misses = hits + answer.match, misses + (not answer.match)
    assert hits >= wanted
    assert misses > 800


@pytest.fixture
def rms(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    rule = {"title": "Alpha", "id": "8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0b", "logsource": {"product": "x"}}
    rule["detection"] = {"s": {"a|contains": ["evil", "bad"], "b": 1}, "condition": "s"}
    Path("a.yml").write_text(json.dumps(rule))
    other = {**rule, "title": "Beta", "id": "8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0c"}
    Path("b.yml").write_text(json.dumps(other))
    Path("c.yml").write_text(
        '{"title": "Gamma", "logsource": {"product": "x"}, "detection": {"s": {"a": 1}}}'
    )
    many = {"type": "event_count", "rules": ["Alpha"], "timespan": "1h", "condition": {"gte": 2}}
    both = [{**rule, "name": "Alpha"}, {"title": "Many", "correlation": many}]
    Path("d.yml").write_text("\n---\n".join(map(json.dumps, both)))
    stamp = '{"@timestamp": "2026-01-01T00:00:00Z", '
    Path("e.ndjson").write_text(f'{stamp}"a": "an Evil\\u001b[2J deed", "b": 1}}\n{stamp}"a": "good"}}\n')
    return lambda *arguments: run(monkeypatch, capsys, "rules", "explain", *arguments)


def test_the_command_draws_the_rule(rms):
    code, out, _ = rms("a.yml", "--event", "e.ndjson")
    assert code == 0
    assert out.splitlines() == [
        "✓ Alpha  a.yml:1",
        "└── ✓ condition: s",
        "    ├── ✓ a|contains (any of 2; not 'bad')",
        r"    │   └── ✓ 'evil'   a is an Evil\x1b[2J deed",  # an escape never reaches the terminal
        "    └── ✓ b: 1   b is 1",
        "match: 2 of 2 selections true",
    ]
    code, out, _ = rms("a.yml", "--event", "e.ndjson", "--nth", "2")
    assert out.splitlines()[2:] == [
        "    ├── ✗ a|contains (any of 2; not 'evil', 'bad')   a is good",
        "    └── ✗ b: 1   b is absent",
        "no match: 0 of 2 selections true; `a|contains` failed for each of its 2 values, `b: 1` failed",
    ]


def test_the_command_gives_json(rms):
    code, out, _ = rms("a.yml", "--event", "e.ndjson", "--nth", "2", "--json")
    found = json.loads(out)
    assert (code, found["rule"], found["match"], found["route"]) == (0, "Alpha", False, None)
    assert found["condition"]["label"] == "condition: s"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("a.yml", "--event", "e.ndjson", "--nth", "3"), "e.ndjson: holds 2 events; there is no event 3"),
        (("a.yml", "b.yml", "--event", "e.ndjson"), "2 rules to choose from; of these, true of the event:"),
        (("a.yml", "--event", "e.ndjson", "--rule", "Delta"), "no rule has the id or title 'Delta'"),
        (
            ("d.yml", "--event", "e.ndjson", "--rule", "Many"),
            "'Many' is a correlation, which speaks of several",
        ),
        (("c.yml", "--event", "e.ndjson"), "c.yml:1: Gamma: "),
        (("a.yml", "--event", "none.ndjson"), "none.ndjson: no such file"),
        (("a.yml", "--event", "e.ndjson", "--pipeline", "none"), "none: no such pipeline; name a file, or"),
    ],
)
def test_what_the_command_can_not_do_it_says(rms, arguments, message):
    code, out, err = rms(*arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_rule_is_chosen_by_id_or_a_part_of_its_title(rms):
    for name in ("Beta", "bet", "8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d0c"):
        assert rms("a.yml", "b.yml", "--event", "e.ndjson", "--rule", name)[1].startswith("✓ Beta")
