"""Both engines that search for literals, against brute force and against each other."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rms_flows.sigma import literals
from rms_flows.sigma.literals import Literals, _aho_corasick, _hyperscan
from rms_flows.sigma.predicate import Text, Wildcards

ALPHABET = st.characters(codec="utf-8") | st.sampled_from("ab\0\n\\.*[]()$^|é€😀\x7f")
WORD = st.text(ALPHABET, min_size=1, max_size=5)


@given(st.lists(WORD, min_size=1, max_size=8, unique=True), st.lists(WORD, max_size=8).map("".join))
@example(["a\0b"], "xa\0by")  # an expression of C ends at a zero byte
@example([".*"], "ab")
@example(["\x80"], "Ā\x80")  # bytes of two characters are no match
@example(["a" * 20_000], "b" + "a" * 20_000)
def test_engines_find_what_in_finds(words, text):
    expected = {number for number, word in enumerate(words) if word in text}
    assert set(_aho_corasick(words)(text)) == expected
    search = _hyperscan(words)
    if search is None:  # refused as a whole: the other goes on
        assert any(len(word) > 1_000 for word in words)
        return
    found = list(search(text))
    assert set(found) == expected
    assert len(found) == len(expected)


def test_the_engine_changes_when_enough_text_has_come_and_the_answers_stay(monkeypatch):
    asked = [
        Text("is", "abc"), Text("contains", "bc"), Text("starts", "ab"), Text("ends", "c"),
        Wildcards(r"(?s)\Aa.*c\z", "a"), Wildcards(r"(?s)\A..c\z", "c"), Wildcards(r"(?s)\A...\z", ""),
    ]  # fmt: skip
    texts = ["abc", "xbcx", "ab\nc", "", "axc", "c"]

    def answers(found):
        return {text: _collected(found, text) for text in texts}

    def _collected(found, text):
        hits = []
        found.collect(text, hits)
        return set(hits)

    made = Literals()
    for identity, predicate in enumerate(asked):
        made.add(identity, predicate)
    made.close()
    before, engine = answers(made), made._search
    assert before["abc"] == {0, 1, 2, 3, 4, 5, 6}
    assert before["xbcx"] == {1}
    made.collect("x" * literals.ENOUGH, [])
    assert made._search is not engine
    assert answers(made) == before


def test_without_hyperscan_aho_corasick_goes_on(monkeypatch):
    monkeypatch.setattr(literals, "hyperscan", None)
    made = Literals()
    made.add(0, Text("contains", "ab"))
    made.close()
    found = []
    made.collect("x" * literals.ENOUGH + "ab", found)
    made.collect("ab", found)
    assert found == [0, 0]


@pytest.mark.parametrize("text", ["", "a.b", "é\0"])
def test_what_is_escaped_means_itself(text):
    assert re.fullmatch(literals._escaped(text), text.encode())
