"""How many rows a rule can be true of, worked out for all rules at once: as rule by rule, part by part."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from test_sigma_plan import EXPRESSION

from rms_flows.sigma.ceilings import Ceilings
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.expression import conjunction, disjunction
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
