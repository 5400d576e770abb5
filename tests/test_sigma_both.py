"""One search for what a field and what keywords look for, against a search for each."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_sigma_plan import LITERAL, PREDICATE, rules

from rms_flows import sigma
from rms_flows.sigma import scope, verdicts
from rms_flows.sigma.both import Both
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.predicate import Text
from rms_flows.sigma.searcher import Searcher
from rms_flows.sigma.verdicts import Verdicts

TEXTS = st.lists(st.text("abB-5sK\u212a\u017fé", max_size=12), min_size=1, max_size=12)


def asked(field, predicates):
    return Verdicts([Leaf(field, one) for one in predicates])


@given(
    st.lists(PREDICATE, min_size=1, max_size=6),
    st.lists(st.builds(Text, st.just("contains"), LITERAL, st.booleans()), min_size=1, max_size=6),
    st.lists(TEXTS, min_size=1, max_size=3),
    st.sampled_from([None, 0, 1]),
)
def test_either_is_told_what_it_would_find_alone(one, other, batches, forgets):
    one, other = asked("f", one), asked(None, other)
    both = Both(one, other)
    for texts in batches:
        values, which = pa.array(["-", *texts]), np.arange(1, len(texts) + 1)
        for half, found in zip((one, other), both.of_texts(values, which), strict=True):
            assert (half.truth[:, found] == half.truth[:, half.of(texts)]).all()
        if forgets is not None:  # numbers given before mean nothing afterwards
            (one, other)[forgets].forget()
            (one, other)[forgets].of_texts(pa.array(["s5s", "ab"]), np.arange(2))


def test_what_is_forgotten_is_found_again(monkeypatch):
    monkeypatch.setattr(verdicts, "MAX_VERDICTS", 2)
    one, other = (
        asked("f", [Text("contains", "a"), Text("contains", "b")]),
        asked(None, [Text("contains", "c")]),
    )
    both = Both(one, other)
    for texts in (["a", "b", "c", "ab"], ["ab", "abc"], ["c"]):
        for memory in (one, other, both):
            memory.begin()
        for half, found in zip(
            (one, other), both.of_texts(pa.array(texts), np.arange(len(texts))), strict=True
        ):
            assert (half.truth[:, found] == half.truth[:, half.of(texts)]).all()


def test_what_one_forgot_for_its_size_is_not_back_at_once(monkeypatch):
    """Guards against a memory that is full again as soon as it was emptied, and forgets every second batch."""
    monkeypatch.setattr(verdicts, "MAX_VERDICTS", 40)
    words = [Text("contains", f"<{n}>") for n in range(60)]
    one, other = asked("f", words), asked(None, [Text("contains", "c")])
    both = Both(one, other)
    for first in (0, 30):
        for memory in (one, other, both):
            memory.begin()
        both.of_texts(pa.array([f"<{n}>" for n in range(first, first + 30)]), np.arange(30))
    one.forget()
    both.begin()
    both.of_texts(pa.array(["<1>"]), np.arange(1))
    assert len(one) == 2


@pytest.mark.parametrize(
    ("routes", "searches"), [((None, None), 1), ((Leaf("is", Text("is", "1")), None), 2)]
)
def test_long_texts_are_searched_once_unless_rules_look_at_other_rows(monkeypatch, routes, searches):
    """What a log source's rules ask of the field in its rows is no question about all rows."""
    searched = []
    sort = Searcher.sort

    def counted(self, values, which):
        searched.append(len(which))
        return sort(self, values, which)

    monkeypatch.setattr(Searcher, "sort", counted)
    monkeypatch.setattr(scope, "SMALL_BATCH", 0)
    field, word = Leaf("f", Text("contains", "evil")), Leaf(None, Text("contains", "kali"))
    plan = sigma.compile(rules(field, word, routes=routes))
    texts = pa.array([f"{n} {'evil' * (n % 3)} {'kali' * (n % 2)} {'x' * 900}" for n in range(600)])
    found = plan.match(pa.record_batch({"f": texts, "is": pa.array(["1", "2"] * 300)}))
    assert len([rows for rows in searched if rows > 1]) == searches
    hits = {rule: set(found.row[found.rule == rule].tolist()) for rule in (0, 1)}
    of_field = {n for n in range(600) if n % 3}
    assert hits == {
        0: of_field if routes[0] is None else {n for n in of_field if n % 2 == 0},
        1: {n for n in range(600) if n % 2},
    }


X, EVIL, FINE = "x", "evil", "fine"


@pytest.mark.usefixtures("both_searches")
@pytest.mark.parametrize(
    ("every", "field"),
    [
        ({"a": [{"b": EVIL}, {"b": X}], "a.b": [X, FINE]}, [X, FINE]),
        ({"a.b": [X, FINE], "a": [{"b": EVIL}, {"b": X}]}, [X, FINE]),
        ({"a": [{"b": EVIL}, {"b": FINE}]}, [EVIL, FINE]),
        ({"a": [{"x.y": {"z": X}, "b": EVIL}, None]}, [EVIL, None]),
    ],
)
def test_a_column_hides_what_is_in_a_structure_from_its_field_alone(every, field):
    """Keywords found the one, and rules of the field were then told of it instead of the other."""
    seen_by("a.b", every, field)


@pytest.mark.usefixtures("both_searches")
@pytest.mark.parametrize(
    ("every", "field"),
    [
        ({"a": [{"b.c": EVIL}, {"b.c": X}]}, [None, None]),
        ({"a": [{"z": X}, {"z": X}], "a.b": [{"c": EVIL}, {"c": X}]}, [None, None]),
        ({"a.b": [{"c": EVIL}, {"c": X}], "a": [{"b": {"c": FINE}}, {"b": {"c": X}}]}, [FINE, X]),
        ({"a": [{"b": {"c": FINE}}, {"b": {"c": X}}], "a.b": [{"c": EVIL}, {"c": X}]}, [FINE, X]),
        ({"a.b": [{"c": EVIL}, {"c": FINE}]}, [EVIL, FINE]),
    ],
)
def test_a_structure_hides_what_is_in_another_from_its_field_alone(every, field):
    seen_by("a.b.c", every, field)


def seen_by(name, every, field):
    """See that rules of a field find what it holds, and a keyword what is in the first row."""
    rows = pa.record_batch({one: pa.array(values) for one, values in every.items()})
    word, fine, evil = (
        Leaf(None, Text("contains", EVIL)),
        *(Leaf(name, Text("contains", text)) for text in (FINE, EVIL)),
    )
    found = sigma.compile(rules(word, fine, evil)).match(rows)
    wanted = {(0, 0)} | {
        (rule, row) for rule, text in ((1, FINE), (2, EVIL)) for row in (0, 1) if field[row] == text
    }
    assert set(zip(found.rule.tolist(), found.row.tolist(), strict=True)) == wanted
