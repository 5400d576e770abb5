"""What the server leaves out is never what a rule looks for: random rules over random documents, on a real node."""

import json
import random
import re
from pathlib import Path

import pytest
import re2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from indexing import cluster, fill, index
from typer.testing import CliRunner

from rms_flows import replay, sigma
from rms_flows.cli.app import app
from rms_flows.errors import DocumentError, SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.io.elasticsearch import index_fields, narrow
from rms_flows.io.elasticsearch.index_fields import IndexFields
from rms_flows.io.elasticsearch.narrow import Narrowing, some
from rms_flows.io.elasticsearch.pushdown import GIVEN
from rms_flows.io.elasticsearch.required import required
from rms_flows.sigma.expression import And, Not, Or, Same, conjunction, disjunction, negation
from rms_flows.sigma.expression import Test as Ask
from rms_flows.sigma.predicate import Network, Number, Present, Regex, Text, TimePart, Wildcards
from rms_flows.sigma.rules import Rule

KEYWORD = {"type": "keyword", "ignore_above": 12}
MAPPING = {
    "subobjects": False,
    "date_detection": False,
    "dynamic_templates": [{"any": {"path_match": "*", "mapping": KEYWORD}}],
    "properties": {
        "@timestamp": {"type": "date"},
        "message": {"type": "text", "fields": {"keyword": {"type": "keyword", "ignore_above": 20}}},
        "analyzed": {"type": "text"},
        "lower": {"type": "keyword", "normalizer": "lower"},
        "hidden": {"type": "keyword", "index": False, "doc_values": False},
        "source.port": {"type": "long"},
        "system.cpu.total.pct": {"type": "double"},
        "source.ip": {"type": "ip", "ignore_malformed": True},
        "event.created": {"type": "date", "ignore_malformed": True},
        "rms.misfit": {"type": "keyword", "ignore_above": 8191},
    },
}
NORMALIZER = {"analysis.normalizer.lower": {"type": "custom", "filter": ["lowercase"]}}
TEXTS = ("k", "own", "message", "analyzed", "lower", "hidden", "host.name")
FIELDS = (
    *TEXTS,
    "source.port",
    "system.cpu.total.pct",
    "source.ip",
    "event.created",
    "nowhere",
    "@timestamp",
    "rms.source",
)
WORDS = (
    "", "a", "ab", "AB", "k", "\u212a", "s", "\u017f", "task", "TA\u017f\u212a", "\u00e9", "\u00c9", "e*f", "e?f", "exf", "a\\b",
    "a\nb", "5", "5.0", "50e-1", "05", "4688", "-3", "true", "10.0.0.1", "10.0.0.255", "::1", "0:0:0:0:0:0:0:1",
    "::ffff:10.0.0.1", "10.0.0.1 ", "abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyz", "2026-01-01T05:00:00Z",
)  # fmt: skip


def documents(seed, count):
    chance = random.Random(seed)  # noqa: S311  seeded

    def value():
        made = chance.choice(WORDS) + chance.choice(["", "", "", chance.choice(WORDS)])
        return [made, chance.choice(WORDS)] if chance.random() < 0.1 else made

    for number in range(count):
        one = {name: value() for name in TEXTS if chance.random() < 0.5}
        for name, values in (
            ("source.port", [5, 4688, 0, -3]),
            ("system.cpu.total.pct", [5.0, 0.5, -3, 1e300]),
            ("source.ip", ["10.0.0.1", "::1", "0:0:0:0:0:0:0:1", "::ffff:10.0.0.1", "10.0.0.1 ", "none"]),
            ("event.created", ["2026-01-01T05:00:00Z", "2026-02-01T23:59:59.999999Z"]),
        ):
            if chance.random() < 0.4:
                one[name] = chance.choice(values)
        if chance.random() < 0.05:
            one["rms.misfit"] = json.dumps({"source.port": chance.choice(["5", "http", 5.5])})
        yield {"@timestamp": f"2026-01-01T00:{number % 3600 // 60:02}:{number % 60:02}Z", **one}


words = st.sampled_from(WORDS)
literals = words.filter(bool).map(sigma.fold.fold)
FLOATS = (5.5, 0.5, 1e300)


def wildcards(parts):
    written = {"*": ".*", "?": "."}
    pattern = "".join(written[mark] if wild else re2.escape(mark) for wild, mark in parts)
    return Wildcards(rf"(?s)\A{pattern}\z", "")


predicates = st.one_of(
    st.builds(Text, st.sampled_from(["contains", "starts", "ends"]), literals),
    st.builds(Text, st.just("is"), words.map(sigma.fold.fold)),
    st.builds(Text, st.sampled_from(["is", "contains", "starts", "ends"]), words.filter(bool), st.just(True)),
    st.lists(st.one_of(st.tuples(st.just(False), literals), st.tuples(st.just(True), st.sampled_from("*?"))), min_size=2, max_size=4).map(wildcards),
    st.builds(Regex, st.sampled_from(["a", "^a.b$", "(?i)TASK", r"\d+", "(?s)a.b", "5|x", "abc+d", "(?i)ABCD?E", "^abcd"])),
    st.builds(Text, st.just("starts"), st.sampled_from(["10.", "10.0.0.", "10.0.0.1", "1", "300.1.", "::"])),
    st.builds(Number, st.sampled_from(["eq", "lt", "lte", "gt", "gte"]), st.sampled_from([5, 4688, -3, 0, *FLOATS])),
    st.builds(Network, st.sampled_from(["10.0.0.0/24", "10.0.0.1/32", "::/64", "0.0.0.0/0"])),
    st.builds(TimePart, st.sampled_from(["hour", "month"]), st.just("eq"), st.sampled_from([5, 23, 1])),
    st.just(Present()),
)  # fmt: skip
tests = st.one_of(
    st.builds(Ask, st.sampled_from(FIELDS), predicates),
    st.builds(Ask, st.none(), st.builds(Text, st.just("contains"), literals)),
    st.builds(Same, st.sampled_from(TEXTS), st.sampled_from(TEXTS)),
)
expressions = st.recursive(
    tests,
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=3).map(conjunction),
        st.lists(inner, min_size=2, max_size=3).map(disjunction),
        inner.map(negation),
    ),
    max_leaves=6,
)


class Indexed:
    """Documents in an index, and as the rows that rules judge."""

    def __init__(self, node, name, mapping, given=GIVEN - {"event.dataset"}):
        self.name = name
        self.cluster = cluster(node)
        mapping = {**mapping, "_meta": {"rms_flows": "observations"}}
        index(node, name, mapping, **NORMALIZER)
        fill(node, name, documents(1, 800))
        host = node.partition("://")[2]
        source = open_source(f"elasticsearch://{host}/{name}", base=Path())
        self.batches = [
            decoded.rows
            for fragment in source.fragments(Request())
            for decoded in source.read(fragment, Request())
        ]
        mappings = self.cluster.call("GET", f"/{name}/_mapping").json(dict)
        self.fields = lambda: IndexFields((mappings[name]["mappings"],), True, given)

    def true_of(self, expression):
        rule = Rule("r", "r", None, "low", (), "m", "f", 1, expression)
        plan = sigma.compile(sigma.RuleSet((rule,), ()))
        return {
            batch["rms.origin"][row].as_py()
            for batch in self.batches
            for row in plan.match(batch).row.tolist()
        }

    def found(self, query):
        body = {"query": query, "size": 10_000, "_source": False}
        hits = self.cluster.call("POST", f"/{self.name}/_search", body).json(dict)["hits"]["hits"]
        return {f"{hit['_index']}/{hit['_id']}" for hit in hits}

    def check(self, expression):
        narrowing = Narrowing(self.fields())
        bounds, true = narrowing.bounds(expression), self.true_of(expression)
        aside = self.found(narrowing.aside)
        assert true <= self.found(some([bounds.over, narrowing.aside])), "leaves out what a rule is true of"
        assert self.found(bounds.under) - aside <= true, "a negation would leave out what it is true of"
        return len(true), len(self.found(bounds.over)), bounds.exact


@pytest.fixture(scope="module")
def indexed(elasticsearch_node):
    return Indexed(elasticsearch_node, "narrow-ours", MAPPING)


@given(expressions)
@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@example(Not(Ask("k", Text("is", "abcdefghijklmnop"))))
@example(And((Ask("k", Present()), Not(Ask("message", Text("contains", "task"))))))
@example(Or((Ask("source.port", Number("eq", 5)), Not(Ask("source.ip", Text("is", "::1"))))))
def test_what_is_found_is_at_least_what_is_true(indexed, expression):
    indexed.check(expression)


@pytest.mark.soak
@given(expressions)
@settings(max_examples=20_000, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_found_is_at_least_what_is_true_in_many_cases(indexed, expression):
    indexed.check(expression)


def doubled(bounds):
    def over_only(self, node):
        found = bounds(self, node)
        return narrow.Bounds(found.over, found.over)

    return over_only


MUTANTS = {
    "not of a superset": (
        lambda patch: patch.setattr(Narrowing, "bounds", doubled(Narrowing.bounds)),
        Not(Ask("k", Regex("(?i)^t.s"))),
    ),
    "long texts forgotten": (
        lambda patch: patch.setattr(Narrowing, "aside", narrow.NONE), Ask("k", Text("contains", "mnop"))
    ),
    "other letters": (lambda patch: patch.setattr(narrow, "_FOLD_TO_ASCII", {}), Ask("k", Text("is", "k"))),
    "what the server folds": (
        lambda patch: patch.setattr(narrow, "_escaped", lambda part, **_: part if isinstance(part, str) else part.value),
        Ask("k", Text("contains", "\u00e9")),
    ),
    "numbers in other words": (
        lambda patch: patch.setattr(narrow, "_FRACTION", "none"), Ask("k", Number("eq", 5))
    ),
    "misfits": (lambda patch: patch.setattr(narrow, "_is_text", lambda kind: True), Ask("source.port", Text("is", "http"))),
    "an analyzed text": (
        lambda patch: patch.setitem(index_fields._KINDS, "text", "whole"), Ask("analyzed", Text("is", "e*f"))
    ),
    "a normalized text": (
        lambda patch: patch.setattr(index_fields, "_CHANGED", frozenset()), Ask("lower", Text("is", "AB", cased=True))
    ),
    "a hidden field": (
        lambda patch: patch.setattr(index_fields, "_leaf", lambda name, settings: index_fields.Indexed("whole", name)),
        Ask("hidden", Text("is", "a")),
    ),
}  # fmt: skip


@pytest.mark.parametrize("mutant", MUTANTS)
def test_a_mistake_would_be_found(indexed, mutant, monkeypatch):
    mistake, expression = MUTANTS[mutant]
    indexed.check(expression)
    mistake(monkeypatch)
    with pytest.raises((AssertionError, SourceError)):  # the server refuses to search what is not indexed
        indexed.check(expression)


def rules(folder, count, make):
    """Write rules to a folder, each of a detection."""
    written = [
        {"title": f"r{n}", "id": f"11111111-0000-4000-8000-{n:012}", "logsource": {"product": "any"},
         "detection": {"sel": make(n), "condition": "sel"}}
        for n in range(count)
    ]  # fmt: skip
    folder.mkdir()
    for number, one in enumerate(written):
        (folder / f"{number}.yml").write_text(json.dumps(one))
    return folder


def events(count):
    for number in range(count):
        yield {
            "@timestamp": f"2026-01-01T00:{number // 60:02}:{number % 60:02}Z",
            "event.id": f"e{number}",
            "k": f"word {number}",
        }


@pytest.fixture(scope="module")
def thousand(elasticsearch_node):
    """URI of an index of a thousand events, as our sink writes them."""
    index(
        elasticsearch_node,
        "narrow-thousand",
        {**MAPPING, "_meta": {"rms_flows": "observations"}},
        **NORMALIZER,
    )
    fill(elasticsearch_node, "narrow-thousand", events(1_000))
    return f"elasticsearch://{elasticsearch_node.partition('://')[2]}/narrow-thousand"


def told(arguments):
    done = CliRunner().invoke(app, ["detect", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.stdout


def test_detect_reads_less_and_finds_the_same(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 10, lambda n: {"k": f"Word {90 * n}"})
    out = {}
    for more in ([], ["--no-pushdown"]):
        file = tmp_path / f"{len(more)}.ndjson"
        said = json.loads(told([folder, "--in", thousand, "--out", file, "--json", *more]))
        out[len(more)] = file.read_bytes(), said["sources"]["input"]["rows"]
    assert out[0][0] == out[1][0]
    assert out[0][0].count(b"\n") == 10
    assert (out[0][1], out[1][1]) == (10, 1_000)


def test_explain_says_what_is_asked_what_it_saves_and_what_could_not_be_said(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 2, lambda n: {"k": "word 7"} if n else {"k|re": "^word 1.$"})
    text = told([folder, "--in", thousand, "--explain"])
    assert '"value": "*word 1*"' in text
    assert "asked by rules: 112 of 1,000 documents are read, 88.8 % saved" in text
    assert "1 of 2 rules are said exactly" in text
    assert "by log sources: nothing can be left out" in text
    assert "k: Regex on whole" in text
    said = json.loads(told([folder / "1.yml", "--in", thousand, "--explain", "--json"]))
    assert (said["level"], said["found"], said["total"], said["exact"]) == ("rules", 1, 1_000, {"r1": True})


def test_a_query_that_the_server_refuses_is_made_coarser_and_never_fails(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k": [f"word {n}" for n in range(0, 60_000, 3)]})
    found = replay.explain([folder], source=thousand)
    assert (found.query, found.level) == (None, "nothing")
    assert found.notes[-1] == "by rules: the server refused the query"
    told([folder, "--in", thousand, "--out", tmp_path / "out.ndjson"])
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 334


def test_what_looks_at_every_text_too_often_is_not_asked(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k|contains": [f"rd {n}" for n in range(400)]})
    assert replay.explain([folder], source=thousand).notes[-1] == (
        "by rules: 400 looks at all texts of a field take longer than to read 1,000 documents"
    )


def test_every_event_matters_where_silence_is_looked_for_or_all_is_kept(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k": "word 7"})
    silence = {
        "title": "s",
        "correlation": {"type": "flatline", "rules": "r0", "group-by": "k", "timespan": "1h"},
    }
    one = json.loads((folder / "0.yml").read_text())
    (folder / "0.yml").write_text(json.dumps({**one, "name": "r0"}) + "\n---\n" + json.dumps(silence))
    found = replay.explain([folder], source=thousand)
    assert (found.query, found.notes) == (None, ("every event matters to the flow",))


def test_what_can_not_search_is_said(tmp_path):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k": "x"})
    with pytest.raises(
        DocumentError, match="can't search, so all of it is read; only elasticsearch: leaves out"
    ):
        replay.explain([folder], source=str(tmp_path / "a.ndjson"))


pieces = st.sampled_from(
    ["a", "abc", "Foo", r"\.", r"\d", r"\\", "[a-c]", "[^]x]", "(ab|c)", "(?:xyz)", "x+", "x*", "y?", "(de)+", "^", "$", ".*", "{2}", "q{3}", " "]
)  # fmt: skip


@given(
    st.sampled_from(["", "(?i)", "(?s)"]), st.lists(pieces, min_size=1, max_size=6).map("".join), st.data()
)
def test_what_a_pattern_requires_stands_in_all_that_it_is_found_in(flags, pattern, data):
    try:
        found = required(flags + pattern)
        compiled = re.compile(flags + pattern)
    except re.error:
        return
    if found is not None:
        text = data.draw(st.from_regex(compiled))
        assert found.cased == ("i" not in flags)
        assert found.text in text if found.cased else sigma.fold.fold(found.text) in sigma.fold.fold(text)


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"powershell(\.exe)?\s+-enc", "powershell"), (r"C:\\Windows\\.*\.dll", "C:\\Windows\\"), ("ab+cde?f", None),
        (r"\x41bcd", None), ("(?i)a(?-i)bcd", None), ("abc|def", None), ("(abc|def)ghi", "ghi"), ("[|]abc", "abc"),
    ],
)  # fmt: skip
def test_what_is_required_is_the_longest_that_is_sure(pattern, text):
    assert getattr(required(pattern), "text", None) == text
