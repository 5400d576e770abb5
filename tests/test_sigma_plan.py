"""The plan against the plainest evaluator: rule by rule, row by row, on Python values."""

import fnmatch
import json
import pickle
import re

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rms_flows import sigma
from rms_flows.schema import MISFIT
from rms_flows.sigma import router, verdicts
from rms_flows.sigma.expression import And, Not, Or, Same, conjunction, disjunction, negation
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.fold import fold
from rms_flows.sigma.predicate import Number, Present, Regex, Text, Wildcards
from rms_flows.sigma.rules import Rule, RuleSet

pytestmark = pytest.mark.usefixtures("both_searches")

FIELDS = ("a", "b", "c.d")
WORD = st.text("aB-5\n", max_size=4) | st.sampled_from(["5", "5.0", "-1", "", "Ab", "\u017f", "S"])
LITERAL = st.text("ab-5s", min_size=1, max_size=2)
PREDICATE = st.one_of(
    st.builds(Text, st.sampled_from(["is", "contains", "starts", "ends"]), LITERAL, st.booleans()),
    st.just(Text("is", "")),
    st.builds(lambda a, b: Wildcards(rf"(?s)\A{a}.*{b}\z", max(a, b, key=len)), LITERAL, LITERAL),
    st.builds(Number, st.sampled_from(["eq", "lt", "lte", "gt", "gte"]), st.sampled_from([5, -1, 5.5])),
    st.builds(Regex, st.sampled_from(["a.", "(?i)^b", "5-"])),
    st.just(Present()),
)
KEYWORD = st.builds(Leaf, st.none(), st.builds(Text, st.just("contains"), LITERAL))
LEAF = st.one_of(
    st.builds(Leaf, st.sampled_from([*FIELDS, "missing"]), PREDICATE),
    st.builds(Same, st.sampled_from(FIELDS), st.sampled_from(FIELDS), st.booleans(), st.booleans()),
    KEYWORD,
)
EXPRESSION = st.recursive(
    LEAF,
    lambda inner: (
        st.lists(inner, min_size=1, max_size=3).map(conjunction)
        | st.lists(inner, min_size=1, max_size=3).map(disjunction)
        | inner.map(negation)
    ),
    max_leaves=6,
)
ROW = st.fixed_dictionaries(
    {"a": st.none() | WORD, "b": st.none() | WORD | st.lists(WORD, max_size=2), "c.d": st.none() | WORD}
)


def as_number(text):
    plain = re.fullmatch(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?", text)
    return float(text) if plain else None


def tells(predicate, text):
    match predicate:
        case Present():
            return True
        case Regex(pattern):
            return re.search(pattern, text) is not None
        case Wildcards(pattern, _, _):
            glob = pattern.removeprefix(r"(?s)\A").removesuffix(r"\z").replace(".*", "*")
            return fnmatch.fnmatchcase(fold(text), glob)
        case Number(order, number):
            value = as_number(text)
            orders = {"eq": "==", "lt": "<", "lte": "<=", "gt": ">", "gte": ">="}
            return value is not None and eval(f"{value} {orders[order]} {number}")  # noqa: S307 - our own numbers
        case Text(how, literal, cased):
            text = text if cased else fold(text)
            literal = literal if cased else fold(literal)
            return {
                "is": text == literal,
                "contains": literal in text,
                "starts": text.startswith(literal),
                "ends": text.endswith(literal),
            }[how]
    raise AssertionError(predicate)


def alike(same, left, right):
    left, right = fold(left), fold(right)
    if same.starts and same.ends:
        return right in left
    if same.starts:
        return left.startswith(right)
    if same.ends:
        return left.endswith(right)
    return left == right or (as_number(left) is not None and as_number(left) == as_number(right))


def elements(row, name):
    value = row.get(name)
    return [] if value is None else value if isinstance(value, list) else [value]


def true_of(node, row):
    match node:
        case And(parts):
            return all(true_of(part, row) for part in parts)
        case Or(parts):
            return any(true_of(part, row) for part in parts)
        case Not(part):
            return not true_of(part, row)
        case Same(field, other):
            return any(alike(node, a, b) for a in elements(row, field) for b in elements(row, other))
        case Leaf(field, predicate):
            names = FIELDS if field is None else [field]
            return any(tells(predicate, text) for name in names for text in elements(row, name))
    raise AssertionError(node)


def rules(*meanings, routes=None):
    routes = routes or [None] * len(meanings)
    pairs = enumerate(zip(meanings, routes, strict=True))
    made = (
        Rule(str(i), "t", None, "low", (), "", "f", 1, meaning, route=route) for i, (meaning, route) in pairs
    )
    return RuleSet(tuple(made), ())


def batch(rows, form):
    """The same rows in one of the forms that batches have."""
    columns = {name: pa.array([row[name] for row in rows], pa.string()) for name in ("a", "c.d")}
    lists = [row["b"] if isinstance(row["b"], list) else None for row in rows]
    plain = [None if isinstance(row["b"], list) else row["b"] for row in rows]
    if form == "misfit":
        columns["b"] = pa.array(plain, pa.string())
        odd = [None if one is None else json.dumps({"b": one}) for one in lists]
        columns[MISFIT] = pa.array(odd, pa.string())
    else:
        whole = [row["b"] if isinstance(row["b"], list) else elements(row, "b") or None for row in rows]
        columns["b"] = pa.array(whole, pa.list_(pa.string()))
    if form == "dictionary":
        columns["a"] = columns["a"].dictionary_encode()
    if form == "nested":
        columns["c"] = pa.StructArray.from_arrays([columns.pop("c.d")], ["d"])
    return pa.record_batch(columns)


@settings(deadline=None, max_examples=300)
@given(
    st.lists(EXPRESSION, min_size=1, max_size=5),
    st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=1, max_size=3),
    st.sampled_from(["misfit", "lists", "dictionary", "nested"]),
)
def test_the_plan_finds_what_the_plainest_evaluator_finds(meanings, batches, form):
    plan = sigma.compile(rules(*meanings))
    for rows in batches:  # one after the other: what is remembered must not change anything
        found = plan.match(batch(rows, form))
        expected = [
            (i, j) for i, row in enumerate(rows) for j, node in enumerate(meanings) if true_of(node, row)
        ]
        assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == expected


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(EXPRESSION, st.none() | EXPRESSION), min_size=1, max_size=6),
    st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=1, max_size=3),
    st.sampled_from(["misfit", "lists", "dictionary", "nested"]),
)
def test_a_route_is_one_more_condition_however_little_is_looked_at(pairs, batches, form):
    """What rows of other log sources hold must not be taken for what a rule's own rows hold."""
    meanings, routes = zip(*pairs, strict=True)
    plan = sigma.compile(rules(*meanings, routes=routes))
    for rows in batches:
        found = plan.match(batch(rows, form))
        expected = [
            (i, j)
            for i, row in enumerate(rows)
            for j, (node, route) in enumerate(pairs)
            if true_of(node, row) and (route is None or true_of(route, row))
        ]
        assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == expected


def test_batches_that_share_a_dictionary_are_judged_by_what_their_own_rows_hold():
    """A value that no routed row had in the first batch is judged when one has it in the second."""
    words = pa.array(["x", "y"]).dictionary_encode()
    first, second = words, pa.DictionaryArray.from_arrays(pa.array([1, 0], pa.int32()), words.dictionary)
    plan = sigma.compile(
        rules(Leaf("a", Text("is", "y")), Leaf("a", Present()), routes=[Leaf("b", Text("is", "1")), None])
    )
    only = sigma.compile(rules(Leaf("a", Text("is", "y")), routes=[Leaf("b", Text("is", "1"))]))
    for values, mine, rows in ((first, ["1", "0"], []), (second, ["1", "0"], [0]), (first, ["1", "1"], [1])):
        events = pa.record_batch({"a": values, "b": mine})
        assert only.match(events).row.tolist() == rows
        found = plan.match(events)
        assert found.row[found.rule == 0].tolist() == rows


@settings(deadline=None, max_examples=50)
@given(st.lists(EXPRESSION, min_size=1, max_size=3), st.lists(ROW, min_size=1, max_size=12), st.data())
def test_how_rows_are_cut_into_batches_changes_nothing(meanings, rows, data):
    whole = batch(rows, "misfit")
    cut = data.draw(st.integers(0, len(rows)))
    plan = sigma.compile(rules(*meanings))
    first, second = plan.match(whole.slice(0, cut)), plan.match(whole.slice(cut))
    joined = sigma.compile(rules(*meanings)).match(whole)
    assert joined.row.tolist() == [*first.row.tolist(), *(second.row + cut).tolist()]
    assert joined.rule.tolist() == [*first.rule.tolist(), *second.rule.tolist()]


def test_a_small_memory_changes_nothing(monkeypatch):
    monkeypatch.setattr(verdicts, "MEMORY", 200)
    monkeypatch.setattr(verdicts, "MAX_VERDICTS", 2)
    meanings = [Leaf("a", Text("contains", str(digit))) for digit in range(10)]
    plan = sigma.compile(rules(*meanings))
    for start in (0, 30, 0, 15):
        values = [str(number) for number in range(start, start + 40)]
        found = plan.match(pa.record_batch({"a": pa.array(values).dictionary_encode()}))
        expected = [(i, j) for i, text in enumerate(values) for j in range(10) if str(j) in text]
        assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == expected


def test_what_a_plan_looks_at():
    by_field = rules(Leaf("a.b", Present()), Same("c", "d"))
    assert sigma.compile(by_field).columns == {"a", "a.b", "c", "d", MISFIT}
    assert sigma.compile(rules(Leaf(None, Text("contains", "x")))).columns is None
    assert sigma.compile(rules()).columns == frozenset()


@pytest.mark.parametrize("rows", [[], ["x"]])
def test_nothing_to_evaluate_gives_no_matches(rows):
    empty = pa.record_batch({"a": pa.array(rows, pa.string())})
    for plan in (sigma.compile(rules()), sigma.compile(rules(Leaf("b", Present())))):
        found = plan.match(empty)
        assert len(found) == 0
        assert found.rule.dtype == np.int32
        assert found.row.dtype == np.int64


def test_a_plan_can_be_sent_to_a_worker_before_its_first_batch():
    loaded = rules(Leaf("a", Text("is", "x")))
    again = sigma.compile(pickle.loads(pickle.dumps(loaded)))  # noqa: S301 - our own bytes
    assert again.match(pa.record_batch({"a": pa.array(["x"])})).row.tolist() == [0]


@pytest.mark.parametrize(("kind", "size"), [(pa.int8(), 128), (pa.uint8(), 256)])
def test_null_has_a_number_beside_as_many_values_as_the_type_of_codes_can_name(kind, size):
    """The code of null is the number of values, which a narrow type would wrap to another value's."""
    codes = pa.array([0, None, 1, size - 1], kind)
    column = pa.DictionaryArray.from_arrays(codes, pa.array([f"v{number}" for number in range(size)]))
    plan = sigma.compile(rules(Leaf("a", Present()), Leaf("a", Text("is", "v0"))))
    found = plan.match(pa.record_batch({"a": column}))
    assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == [(0, 0), (0, 1), (2, 0), (3, 0)]


def test_a_value_of_a_dictionary_that_is_null_is_none():
    """Guards against null as a text: a writer may have put it among the values, not only among the codes."""
    column = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 2, 1]), pa.array(["x", None, "y"]))
    plan = sigma.compile(rules(Leaf("a", Present()), Leaf("a", Text("is", "y")), Not(Leaf("a", Present()))))
    for size in (5, 4_000):  # few are asked for one by one, many are searched
        many = pa.concat_arrays([column] * (size // 5))
        found = plan.match(pa.record_batch({"a": many}))
        assert found.row[found.rule == 0].tolist() == [row for row in range(size) if row % 5 in {0, 3}]
        assert found.row[found.rule == 1].tolist() == [row for row in range(size) if row % 5 == 3]
        assert found.row[found.rule == 2].tolist() == [row for row in range(size) if row % 5 in {1, 2, 4}]


@settings(deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.builds(Leaf, st.sampled_from([*FIELDS, "missing"]), PREDICATE), min_size=1, max_size=4),
    st.lists(st.lists(ROW, min_size=1, max_size=8), min_size=1, max_size=4),
    st.booleans(),
)
def test_kinds_of_events_that_are_forgotten_are_told_again(monkeypatch, routes, batches, many):
    """Guards against numbers of verdicts that mean something else after a field has forgotten all."""
    with monkeypatch.context() as small:
        small.setattr(router, "_KEPT", 1)
        small.setattr(router, "_MOST", 1 if many else 2**62)
        small.setattr(verdicts, "MAX_VERDICTS", 2)
        plan = sigma.compile(rules(*[Leaf("a", Present())] * len(routes), routes=routes))
        for rows in batches:
            found = plan.match(batch(rows, "misfit"))
            expected = [
                (i, j)
                for i, row in enumerate(rows)
                for j, route in enumerate(routes)
                if row["a"] is not None and true_of(route, row)
            ]
            assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == expected
