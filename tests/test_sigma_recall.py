"""Verdicts that are remembered of single values, against those that are found anew."""

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rms_flows import sigma
from rms_flows.sigma import recall, scope
from rms_flows.sigma.expression import Test as Leaf  # pytest would take a Test for its own
from rms_flows.sigma.predicate import Present, Text
from rms_flows.sigma.recall import Recall
from rms_flows.sigma.rules import Rule, RuleSet
from rms_flows.sigma.verdicts import ABSENT, Verdicts

WORD = st.none() | st.sampled_from(
    ["", "a", "ab", "b", "é" * 4, "a" * 7, "a" * 8, "b" + "a" * 8, "x" * 2_000]
)
COLUMN = st.lists(WORD, min_size=6, max_size=6)
MASK = st.just([]) | st.lists(st.booleans(), min_size=6, max_size=6)
BATCH = st.lists(st.tuples(COLUMN, MASK), min_size=1, max_size=3)


def memory():
    """Fields of which different questions are asked: the same text has another verdict in each."""
    return {
        name: Verdicts([Leaf(name, Text("contains", word)) for word in words])
        for name, words in {"f0": "ab", "f1": "b", "f2": "éx"}.items()
    }


def asked(batch, offset=0):
    """Columns as they come: with rows of other batches before and behind theirs."""
    return [
        (f"f{place}", pa.array(["z"] * offset + texts + ["z"]).slice(offset, 6), np.array(mask, dtype=bool))
        for place, (texts, mask) in enumerate(batch)
    ]


class Judge:
    """Finds verdicts, and remembers what it was asked."""

    def __init__(self, verdicts):
        self.verdicts, self.seen = verdicts, []

    def __call__(self, name, column, which):
        texts = [column[place].as_py() for place in which.tolist()]
        self.seen += [(name, text) for text in texts]
        return self.verdicts[name].of(texts)


def right(verdicts, columns, found):
    for (name, column, mask), row in zip(columns, found, strict=True):
        looked_at = mask.tolist() or [True] * len(column)
        texts = [text if looks else None for text, looks in zip(column.to_pylist(), looked_at, strict=True)]
        assert row.tolist() == verdicts[name].of(texts).tolist()


@settings(deadline=None, max_examples=200)
@given(st.lists(BATCH, min_size=1, max_size=4), st.integers(0, 20))
def test_what_is_remembered_is_what_would_be_found(batches, offset):
    verdicts = memory()
    known, judge = Recall(verdicts), Judge(verdicts)
    for batch in batches:
        columns = asked(batch, offset)
        right(verdicts, columns, known.of(columns, judge))
    short = [one for one in judge.seen if len(one[1].encode()) <= recall.LONGEST]
    assert len(short) == len(set(short)), "each value is asked about once"


@settings(deadline=None, max_examples=100)
@given(st.lists(BATCH, min_size=1, max_size=6), st.sampled_from([1, 2, 4]), st.sampled_from([2_000, 1_030]))
def test_a_memory_that_is_full_changes_nothing(batches, entries, size):
    with pytest.MonkeyPatch.context() as small:
        small.setattr(recall, "_ENTRIES", entries)
        small.setattr(recall, "_BYTES", size)
        verdicts = memory()
        known, judge = Recall(verdicts), Judge(verdicts)
        for batch in batches:
            columns = asked(batch)
            right(verdicts, columns, known.of(columns, judge))


def test_verdicts_whose_numbers_are_forgotten_are_not_recalled():
    verdicts = memory()
    known, judge = Recall(verdicts), Judge(verdicts)
    columns = asked([(["a", "b", "ab", None, "", "x"], [])])
    right(verdicts, columns, known.of(columns, judge))
    verdicts["f0"].forget()
    verdicts["f0"].of(["ab", "b"])  # which are numbered first now
    right(verdicts, columns, known.of(columns, judge))


def test_a_batch_that_failed_leaves_no_value_without_a_verdict(monkeypatch):
    """Guards against a number that stands for "not known yet" in the next batch."""
    verdicts = memory()
    known, judge = Recall(verdicts), Judge(verdicts)
    columns = asked([(["a", "b", "ab", None, "", "x"], [])])

    def fails(*_):
        raise KeyboardInterrupt

    def looks_up_and_fails(*given):
        look_up(*given)
        raise KeyboardInterrupt

    look_up = recall.look_up
    with pytest.raises(KeyboardInterrupt):
        known.of(columns, fails)
    right(verdicts, columns, known.of(columns, judge))
    more = asked([(["c", "ca", "x", "y", "a", "cb"], [])])
    monkeypatch.setattr(recall, "look_up", looks_up_and_fails)  # a Ctrl-C comes when the compiled loop ends
    with pytest.raises(KeyboardInterrupt):
        known.of(more, judge)
    monkeypatch.setattr(recall, "look_up", look_up)
    right(verdicts, more, known.of(more, judge))


def test_rows_that_nobody_looks_at_cost_nothing():
    verdicts = memory()
    known, judge = Recall(verdicts), Judge(verdicts)
    found = known.of(asked([(["a"] * 5 + ["b"], [False] * 5 + [True])]), judge)
    assert judge.seen == [("f0", "b")]
    assert found[0, :5].tolist() == [ABSENT] * 5


def test_long_texts_are_not_copied(monkeypatch):
    """Guards the memory of a stream whose thousand messages have a megabyte each."""
    monkeypatch.setattr(scope, "_COPIED", 1_000)
    copied = []
    whole = Recall.of
    monkeypatch.setattr(
        Recall, "of", lambda self, columns, judge: copied.append(columns) or whole(self, columns, judge)
    )
    tests = [Leaf("b", Text("is", "x")), Leaf("a", Text("contains", "evil"))]
    made = tuple(Rule(str(n), "t", None, "low", (), "", "f", 1, one) for n, one in enumerate(tests))
    plan = sigma.compile(RuleSet(made, ()))
    found = plan.match(pa.record_batch({"a": ["-" * 2_000, "evil" * 500], "b": ["x", "y"]}))
    assert list(zip(found.row.tolist(), found.rule.tolist(), strict=True)) == [(0, 0), (1, 1)]
    assert [[name for name, *_ in columns] for columns in copied] == [["b"]]


def test_a_small_batch_finds_what_a_large_one_does(monkeypatch):
    """The limit between both ways is a number of rows: what is found at it and beyond it is the same."""
    monkeypatch.setattr(scope, "SMALL_BATCH", 50)
    tests = [Leaf("a", Text("contains", str(digit))) for digit in range(10)] + [Leaf("b", Present())]
    made = tuple(Rule(str(n), "t", None, "low", (), "", "f", 1, one) for n, one in enumerate(tests))
    plan = sigma.compile(RuleSet(made, ()))
    whole = pa.record_batch(
        {"a": [str(n % 70) for n in range(400)], "b": [None if n % 3 else "x" for n in range(400)]}
    )
    expected = plan.match(whole)
    rows, rules = [], []
    for start in range(0, 400, 50):
        found = plan.match(whole.slice(start, 50))
        rows += (found.row + start).tolist()
        rules += found.rule.tolist()
    assert (rows, rules) == (expected.row.tolist(), expected.rule.tolist())
