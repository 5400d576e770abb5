"""How many rows a rule can be true of, worked out for all rules at once: as rule by rule, part by part."""

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st
from test_sigma_plan import EXPRESSION
from test_sigma_plan import rules as made_of

from rms_flows import sigma
from rms_flows.sigma import scope
from rms_flows.sigma.ceilings import Ceilings
from rms_flows.sigma.expression import Same, conjunction, disjunction
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.node import AllOf, Binder, OneOf
from rms_flows.sigma.predicate import Text

RULES = st.lists(st.tuples(EXPRESSION, st.none() | st.integers(0, 1)), min_size=1, max_size=6)


def ceiling(node, known, rows):
    match node:
        case AllOf(parts) if parts:
            return min(ceiling(part, known, rows) for part in parts)
        case OneOf(parts) if parts:
            return min(sum(ceiling(part, known, rows) for part in parts), rows)
    return min(known[node.number], rows)


@given(RULES, st.integers(1, 9), st.randoms(use_true_random=False))
def test_all_at_once_they_are_what_they_are_one_by_one(rules, rows, random):
    binder = Binder()
    roots = [binder.bind(rule) if route is None else binder.bind_routed(rule, route) for rule, route in rules]
    known = [random.choice([0, 0, 1, 2, 12]) for _ in range(binder.size)]
    wanted = [ceiling(root, known, rows) for root in roots]
    ceilings, all_of_them = np.array(known), Ceilings(roots)
    all_of_them.raise_up(ceilings, rows)
    assert ceilings[[root.number for root in roots]].tolist() == wanted
    assert all_of_them.alive(ceilings) == [number for number, most in enumerate(wanted) if most]


def test_fields_are_compared_only_where_no_other_alternative_is_true(monkeypatch):
    """Guards against a loop over the values of all rows for the few that it is needed for."""
    asked = []
    plain = scope.Scope.pairs
    monkeypatch.setattr(scope.Scope, "pairs", lambda *given: asked.append(len(given[3])) or plain(*given))
    same = conjunction([Same("b", "c"), Leaf("d", Text("is", "x"))])
    meaning = disjunction([same, Leaf("a", Text("is", "x"))])
    rows = {"a": ["x"] * 9 + ["y"] * 2, "b": ["1"] * 11, "c": ["1"] * 10 + ["2"], "d": ["x"] * 11}
    found = sigma.compile(made_of(meaning)).match(pa.record_batch(rows))
    assert found.row.tolist() == list(range(10))
    assert asked == [2]


def test_of_parts_one_of_which_is_of_no_row_none_is_asked():
    """Guards against thousands of rules asked in each batch though nothing in it can be theirs."""
    a, b, c = (Leaf(name, Text("is", "x")) for name in "abc")
    binder = Binder()
    root = binder.bind(conjunction([a, disjunction([b, c])]))
    ceilings, all_of_them = np.ones(binder.size, dtype=np.int64), Ceilings([root])
    for ask in binder.asks:
        ceilings[ask.number] = ask.asked == "a"
    all_of_them.raise_up(ceilings, 5)
    assert all_of_them.alive(ceilings) == []
