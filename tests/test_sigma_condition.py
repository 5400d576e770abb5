"""Boolean conditions: negations move to the rules, and what is said stays the same."""

import itertools
import re
from functools import partial

import pytest
from correlating import RULES, correlation, load_in
from hypothesis import event, given
from hypothesis import strategies as st

from rms_flows.correlate.spec import (
    Both,
    Either,
    Never,
    Seen,
    is_early,
)
from rms_flows.errors import RuleError
from rms_flows.sigma.condition import Expression


@pytest.fixture
def load(tmp_path):
    return partial(load_in, tmp_path)


@pytest.fixture
def one(load):
    def one(*, among=RULES, pipeline=None, **said):
        loaded = load(*among, correlation(**said), pipeline=pipeline)
        assert loaded.refused == ()
        return loaded.correlations[-1]

    return one


EXPRESSIONS = {
    "a and not b": Both((Seen(0), Never(Seen(1)))),
    "a and not (b or c)": Both((Seen(0), Never(Seen(1)), Never(Seen(2)))),
    "a and not (b and c)": Both((Seen(0), Either((Never(Seen(1)), Never(Seen(2)))))),
    "a or b": Either((Seen(0), Seen(1))),
    "not not a and not b": Both((Seen(0), Never(Seen(1)))),
    "a and b": None,
    "(a and b) and c": None,
    "a": None,
    "a and (b or c)": Both((Seen(0), Either((Seen(1), Seen(2))))),
}


@pytest.mark.parametrize("text", EXPRESSIONS)
def test_a_boolean_condition(one, text):
    names = [name for name in "abc" if re.search(rf"\b{name}\b", text)]
    found = one(type="temporal", rules=names, timespan="1m", condition=text)
    assert found.presence == EXPRESSIONS[text]
    assert one(type="temporal", timespan="1m", condition=text).inputs == found.inputs
    assert is_early(found) is ("not" not in text)


NODE = st.recursive(
    st.sampled_from("abc"),
    lambda part: st.one_of(
        part.map(lambda one: f"not ({one})"),
        st.tuples(part, st.sampled_from(["and", "or"]), part).map(lambda three: f"({' '.join(three)})"),
    ),
    max_leaves=8,
)


def holds(node, seen):
    match node:
        case Seen(number):
            return seen[number]
        case Never(Seen(number)):
            return not seen[number]
        case Both(parts):
            return all(holds(part, seen) for part in parts)
        case Either(parts):
            return any(holds(part, seen) for part in parts)


@given(NODE)
def test_negations_at_the_rules_say_what_the_expression_says(text):
    """The oracle is Python, which reads the same words."""
    names = tuple(name for name in "abc" if name in re.findall(r"\w+", text))
    if eval(text, dict.fromkeys("abc", False)):  # noqa: S307 - our own words
        with pytest.raises(RuleError, match="which is true where no rule matches"):
            Expression("c", text).presence(names)
        return
    try:
        found = Expression("c", text).presence(names)
    except RuleError as error:
        refused = str(error)
        event("refused")
    else:
        refused = None
    if refused is not None:
        assert "excludes it too" in refused
        return
    for seen in itertools.product([False, True], repeat=len(names)):
        said = eval(text, dict(zip(names, seen, strict=True)))  # noqa: S307
        assert holds(found, seen) == said
