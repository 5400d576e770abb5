"""What the server leaves out is never what a rule looks for: random rules over random documents, on a real node."""

import json
import random
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
from rms_flows.replay import archive
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
OTHERS = {
    **MAPPING,
    "properties": {
        **MAPPING["properties"],
        "k": {"type": "text", "fields": {"raw": {"type": "keyword"}}},
        "own": {"type": "text"},
        "source.port": {"type": "keyword"},
        "source.ip": {"type": "keyword"},
        "event.created": {"type": "keyword"},
    },
}
"""Of another index of the same pattern."""
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
    "::ffff:10.0.0.1", "10.0.0.1 ", "-0", "0", "a\0b", "\u0436", "abcdefghijklmnop", "abcdefghijklmnopqrstuvwxyz", "2026-01-01T05:00:00Z",
)  # fmt: skip


NUMBERS = {
    "source.port": ([5, 4688, 0, -3], ["5", "5.0", "", "http"]),
    "system.cpu.total.pct": ([5.0, 0.5, -3, 1e300, -0.0], ["0.50", "", 0]),
}


def documents(seed, count, *, ours=True):
    """Make documents; what did not fit a column stands apart in ours, and in its place in those of others."""
    chance = random.Random(seed)  # noqa: S311  seeded

    def value():
        made = chance.choice(WORDS) + chance.choice(["", "", "", chance.choice(WORDS)])
        if chance.random() < 0.1:
            return (
                [made, chance.choice(WORDS)]
                if ours
                else [made, chance.choice([5.0, 5, True, "5", ["x", "e?f"]])]
            )
        return made

    for number in range(count):
        one = {name: value() for name in TEXTS if chance.random() < 0.5}
        lists = {name: one.pop(name) for name in TEXTS if ours and isinstance(one.get(name), list)}
        for name, values in (
            *((name, plain if ours else plain + odd) for name, (plain, odd) in NUMBERS.items()),
            ("source.ip", ["10.0.0.1", "::1", "0:0:0:0:0:0:0:1", "::ffff:10.0.0.1", "10.0.0.1 ", "none"]),
            ("event.created", ["2026-01-01T05:00:00Z", "2026-02-01T23:59:59.999999Z"]),
        ):
            if chance.random() < 0.4:
                one[name] = chance.choice(values)
        if chance.random() < 0.05 and ours:
            lists["source.port"] = chance.choice(["5", "http", 5.5])
        if lists:
            one["rms.misfit"] = json.dumps(lists)
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
    st.builds(Number, st.sampled_from(["eq", "lt", "lte", "gt", "gte"]), st.sampled_from([5, 4688, -3, 0, -0.0, *FLOATS])),
    st.builds(Network, st.sampled_from(["10.0.0.0/24", "10.0.0.1/32", "::/64", "0.0.0.0/0", "::ffff:10.0.0.0/120", "::/0"])),
    st.builds(TimePart, st.sampled_from(["hour", "month"]), st.just("eq"), st.sampled_from([5, 23, 1])),
    st.just(Present()),
)  # fmt: skip
tests = st.one_of(
    st.builds(Ask, st.sampled_from(FIELDS), predicates),
    st.builds(Ask, st.none(), st.builds(Text, st.just("contains"), literals)),
    st.builds(Same, st.sampled_from(FIELDS), st.sampled_from(FIELDS)),
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


def store(node, name, *mappings, ours):
    """Make indices of a pattern, some documents in each."""
    meta = {"_meta": {"rms_flows": "observations"}} if ours else {}
    for number, mapping in enumerate(mappings):
        index(node, f"{name}-{number}", mapping | meta, **NORMALIZER)
        fill(node, f"{name}-{number}", documents(number, 800 // len(mappings), ours=ours))
    return Indexed(node, f"{name}-*", ours=ours)


class Indexed:
    """Documents in the indices of a pattern, and as the rows that rules judge; `key` names both."""

    def __init__(self, node, name, *, ours, key="rms.origin"):
        self.name, self.key = name, key
        self.cluster = cluster(node)
        host = node.partition("://")[2]
        source = open_source(f"elasticsearch://{host}/{self.name}", base=Path())
        self.batches = [
            decoded.rows
            for fragment in source.fragments(Request())
            for decoded in source.read(fragment, Request())
        ]
        self.cluster.call("PUT", f"/{self.name}/_settings", {"index.max_result_window": 100_000})
        said = self.cluster.call("GET", f"/{self.name}/_mapping").json(dict)
        given = GIVEN - {"event.dataset"} if ours else GIVEN
        self.fields = lambda: IndexFields(tuple(one["mappings"] for one in said.values()), ours, given)

    def true_of(self, *expressions):
        """Name the documents that each is true of."""
        rules = [Rule("r", "r", None, "low", (), "m", "f", 1, one) for one in expressions]
        plan = sigma.compile(sigma.RuleSet(tuple(rules), ()))
        found = [set() for _ in rules]
        for batch in self.batches:
            names, matches = batch[self.key].to_pylist(), plan.match(batch)
            for row, rule in zip(matches.row.tolist(), matches.rule.tolist(), strict=True):
                found[rule].add(names[row])
        return found

    def found(self, query):
        body = {"query": query, "size": 100_000, "_source": False}
        hits = self.cluster.call("POST", f"/{self.name}/_search", body).json(dict)["hits"]["hits"]
        return {hit["_id"] if self.key == "event.id" else f"{hit['_index']}/{hit['_id']}" for hit in hits}

    def check(self, expression, true=None):
        narrowing = Narrowing(self.fields())
        bounds, [true] = narrowing.bounds(expression), self.true_of(expression) if true is None else [true]
        aside = self.found(narrowing.aside)
        assert true <= self.found(some([bounds.over, narrowing.aside])), "leaves out what a rule is true of"
        assert self.found(bounds.under) - aside <= true, "a negation would leave out what it is true of"
        return len(true), len(self.found(bounds.over)), bounds.exact


@pytest.fixture(scope="module")
def indexed(elasticsearch_node):
    return store(elasticsearch_node, "narrow-ours", MAPPING, ours=True)


@pytest.fixture(scope="module")
def of_others(elasticsearch_node):
    numbers = {"source.port": {"type": "long", "ignore_malformed": True}}
    mapping = {**MAPPING, "properties": {**MAPPING["properties"], **numbers}}
    return store(elasticsearch_node, "narrow-others", mapping, OTHERS, ours=False)


@given(expressions)
@settings(max_examples=250, suppress_health_check=[HealthCheck.too_slow])
@example(Not(Ask("k", Text("is", "abcdefghijklmnop"))))
@example(And((Ask("k", Present()), Not(Ask("message", Text("contains", "task"))))))
@example(Or((Ask("source.port", Number("eq", 5)), Not(Ask("source.ip", Text("is", "::1"))))))
@example(Ask("system.cpu.total.pct", Number("gte", 0)))
@example(Ask("k", Number("eq", 0)))
@example(And((Ask("k", Present()), Not(Ask("k", Text("starts", "a\0b"))))))
@example(Same("source.port", "k"))
def test_what_is_found_is_at_least_what_is_true(indexed, expression):
    indexed.check(expression)


@given(expressions)
@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@example(Ask("source.port", Text("is", "5")))
@example(Ask("source.port", Text("is", "")))
@example(Ask("k", Text("is", "5")))
@example(Ask("own", Text("is", "e?f")))
def test_so_it_is_in_indices_of_others_that_are_mapped_in_several_ways(of_others, expression):
    of_others.check(expression)


@pytest.mark.soak
@given(expressions)
@settings(max_examples=10_000, suppress_health_check=[HealthCheck.too_slow])
def test_what_is_found_is_at_least_what_is_true_in_many_cases(indexed, of_others, expression):
    indexed.check(expression)
    of_others.check(expression)


def test_what_was_written_before_a_field_was_indexed_as_a_whole_is_found(elasticsearch_node):
    name = "narrow-before"
    index(elasticsearch_node, name, {"properties": {"message": {"type": "text"}}})
    for text in ("e?f", "other"):
        fill(elasticsearch_node, name, [{"@timestamp": "2026-01-01T00:00:00Z", "message": text}])
        whole = {"type": "text", "fields": {"raw": {"type": "keyword"}}}
        cluster(elasticsearch_node).call("PUT", f"/{name}/_mapping", {"properties": {"message": whole}})
    before = Indexed(elasticsearch_node, name, ours=False)
    assert before.check(Ask("message", Text("is", "e?f")))[:2] == (1, 0)  # by what stands aside
    assert before.check(Ask("message", Text("is", "other")))[:2] == (1, 1)


PATTERNS = (
    ("a", "a"), ("abc", "abc"), ("Foo", "Foo"), (r"\.", "."), (r"\d", "5"), (r"\\", "\\"), ("[a-c]", "b"), ("[^]x]", "q"),
    ("(ab|c)", "c"), ("(?:xyz)", "xyz"), ("(?P<n>xyz)", "xyz"), ("x+", "xx"), ("x*", ""), ("y?", ""), ("(de)+", "dede"),
    (".*", "zz"), ("q{3}", "qqq"), ("{,2}", "{,2}"), (" ", " "), (r"\P{Lu}", "q"), (r"\PL", "5"), (r"\pL", "x"), (r"\101", "A"),
    (r"\x41", "A"), ("[[:alpha:]]", "b"), (r"[\]a]", "]"), (r"\/", "/"), (r"\t", "\t"), ("\u00e9", "\u00e9"), ("(|x)", ""),
)  # fmt: skip
"""Pieces of RE2's patterns, and a text in which each is found."""


@given(
    st.sampled_from(["", "(?i)", "(?s)", "(?is)"]),
    st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=7),
)
@example("", [(r"\P{Lu}", "q"), ("xyz", "xyz")])
@example("(?i)", [(r"\101", "A"), ("bcd", "bcd")])
def test_what_a_pattern_requires_stands_in_all_that_it_is_found_in(flags, pieces):
    pattern, text = flags + "".join(one for one, _ in pieces), "".join(found for _, found in pieces)
    text = text.swapcase() if "i" in flags else text
    if re2.search(pattern, text) and (found := required(pattern)):
        assert found.cased == ("i" not in flags)
        assert found.text in text if found.cased else sigma.fold.fold(found.text) in sigma.fold.fold(text)


def test_each_windows_rule_finds_in_the_index_what_it_is_true_of(datasets, tmp_path, elasticsearch_node):
    """On real events, as our sink writes them: the union of all rules would hide what one leaves out."""
    host = elasticsearch_node.partition("://")[2]
    events = datasets / "windows_events/purplesharp_ad_playbook_I.zip"
    letters = str(tmp_path / "dead.ndjson")
    archive(str(events), f"elasticsearch://{host}/narrow-windows", name="input", dead_letters=letters)
    windows = Indexed(elasticsearch_node, "narrow-windows-*", ours=True, key="event.id")
    loaded = sigma.load([datasets / "sigmahq-rules-8eaafff1f.tar.gz"], routing=False).rules
    detections = [rule.detection for rule in loaded]
    true = windows.true_of(*detections)
    hit = {number for number, found in enumerate(true) if found}
    assert len(hit) > 20
    for number in sorted(hit | set(random.Random(7).sample(range(len(loaded)), 30))):  # noqa: S311  seeded
        windows.check(detections[number], true[number])


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
        lambda patch: patch.setattr(narrow, "_answerable", lambda parts, **_: parts),
        Ask("k", Text("contains", "\u00e9")),
    ),
    "numbers in other words": (
        lambda patch: patch.setattr(narrow, "_FRACTION", "none"), Ask("k", Number("eq", 5))
    ),
    "misfits": (lambda patch: patch.setattr(narrow, "MISFIT", "nowhere"), Ask("source.port", Text("is", "http"))),
    "lists": (lambda patch: patch.setattr(narrow, "MISFIT", "nowhere"), Ask("k", Text("contains", "task"))),
    "what a double is less than": (
        lambda patch: patch.setitem(narrow._ASKED, "number", lambda name, asked: narrow.Bounds(*[{"range": {name: {asked.order: asked.number}}}] * 2)),
        Ask("system.cpu.total.pct", Number("gte", 0)),
    ),
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
    assert (said["level"], said["found"], said["total"], said["loose"]) == ("rules", 1, 1_000, [])


def test_a_query_that_the_server_refuses_is_made_coarser_and_never_fails(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k": [f"word {n}" for n in range(0, 60_000, 3)]})
    found = replay.explain([folder], source=thousand)
    assert (found.query, found.level) == (None, "nothing")
    assert found.notes[-1] == "by rules: the server did not answer the query"
    told([folder, "--in", thousand, "--out", tmp_path / "out.ndjson"])
    assert (tmp_path / "out.ndjson").read_bytes().count(b"\n") == 334


def test_what_looks_at_every_text_too_often_is_not_asked(tmp_path, thousand):
    folder = rules(tmp_path / "rules", 1, lambda _: {"k|contains": [f"rd {n}" for n in range(400)]})
    assert replay.explain([folder], source=thousand).notes[-1] == (
        "by rules: to look 400 times at all texts of a field takes longer than to read"
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


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        (r"powershell(\.exe)?\s+-enc", "powershell"), (r"C:\\Windows\\.*\.dll", "C:\\Windows\\"), ("ab+cde?f", None),
        (r"\x41bcd", None), (r"\P{Lu}bcd", None), (r"\101bcd", None), ("(?i)a(?-i)bcd", None), ("abc|def", None), ("(abc|def)ghi", "ghi"), ("[|]abc", "abc"),
    ],
)  # fmt: skip
def test_what_is_required_is_the_longest_that_is_sure(pattern, text):
    assert getattr(required(pattern), "text", None) == text
