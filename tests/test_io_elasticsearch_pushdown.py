"""What the server leaves out is never what a rule looks for: random rules over random documents, on a real node."""

import json
import random
from pathlib import Path

import pytest
import re2
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from indexing import cluster, fill, index

from rms_flows import sigma
from rms_flows.errors import SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Request
from rms_flows.io.elasticsearch import index_fields, narrow
from rms_flows.io.elasticsearch.index_fields import IndexFields
from rms_flows.io.elasticsearch.narrow import Narrowing, some
from rms_flows.io.elasticsearch.pushdown import GIVEN
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
    st.builds(Regex, st.sampled_from(["a", "^a.b$", "(?i)TASK", r"\d+", "(?s)a.b", "5|x"])),
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
        Not(Ask("k", Regex("(?i)task"))),
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
