"""The search over columns, against brute force and against the search of one text at a time."""

import re

import numpy as np
import pyarrow as pa
import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from rms_flows.errors import RuleError
from rms_flows.sigma import scan, scan_kernel, searcher
from rms_flows.sigma.expression import Test as Leaf
from rms_flows.sigma.fold import fold
from rms_flows.sigma.keywords import Keywords
from rms_flows.sigma.literals import Literals
from rms_flows.sigma.predicate import Network, Number, Present, Regex, Text, TimePart, Wildcards
from rms_flows.sigma.regex import Patterns, compile_pattern, needed
from rms_flows.sigma.searcher import Searcher
from rms_flows.sigma.tester import Tester as Asker  # pytest would take a Tester for its own
from rms_flows.sigma.verdicts import Verdicts

# Bytes that share a class (digits in pairs, ~ and }, controls), case, and what folds to ASCII from outside.
ALPHABET = st.sampled_from("abABzZ01239 ~}|`\\.\0\x1f\x7féÉß\u017f\u212aк€😀")
WORD = st.text(ALPHABET, min_size=1, max_size=6)
VALUES = st.lists(st.lists(WORD, max_size=6).map("".join), min_size=1, max_size=12)


@given(
    st.lists(st.tuples(WORD, st.booleans(), st.booleans(), st.booleans()), max_size=12, unique=True),
    VALUES,
)
@example([("a\0b", False, False, False)], ["xa\0by"])
@example([("~", False, True, False)], ["}", "~"])  # one class
@example([("k", True, True, False)], ["\u212a"])  # Kelvin
@example([("reg", False, False, False)], ["x", "reg"])  # its window begins in the text before
def test_texts_are_sorted_by_the_literals_they_have(asked, values):
    literals = [
        scan.Literal((word if cased else fold(word)).encode(), starts, ends, cased)
        for word, starts, ends, cased in asked
    ]
    values = [value for value in values if value]
    for kind, texts in (
        (scan.ALL, [value for value in values if value.isascii() or _needs_no_folding(value, literals)]),
        (scan.FOLDED, [fold(value) for value in values]),
        (scan.CASED, values),
    ):
        scanner = scan.Scanner(literals)
        numbers = scanner.scan(pa.array(texts, pa.string()), np.arange(len(texts)), kind)
        assert (
            scanner.scan(pa.array(texts, pa.string()), np.arange(len(texts)), kind).tolist()
            == numbers.tolist()
        )
        sets = [frozenset(scanner.members(number)) for number in numbers.tolist()]
        for text, members in zip(texts, sets, strict=True):
            expected = {n for n, one in enumerate(literals) if _wanted(one, kind) and _has(text, one)}
            assert members == expected
        assert len(set(numbers.tolist())) == len(set(sets))


def _needs_no_folding(text, literals):
    return {"\u017f", "\u212a"}.isdisjoint(text) and all(one.cased or one.text.isascii() for one in literals)


def _wanted(literal, kind):
    return kind == scan.ALL or literal.cased == (kind == scan.CASED)


def _has(text, literal):
    word = literal.text.decode()
    text = text if literal.cased else fold(text)
    if literal.starts and literal.ends:
        return text == word
    if literal.starts:
        return text.startswith(word)
    return text.endswith(word) if literal.ends else word in text


def test_what_is_empty_or_not_ascii_is_left_to_others():
    scanner = scan.Scanner([scan.Literal(b"a"), scan.Literal("é".encode())])
    assert scanner.scan(pa.array(["", "é", "a", "b"]), np.arange(4)).tolist() == [scan.NONE, scan.NONE, 0, 1]


def test_what_folds_to_ascii_is_left_to_others_where_no_literal_is_wide():
    scanner = scan.Scanner([scan.Literal(b"a"), scan.Literal("É".encode(), cased=True)])
    texts = ["", "é", "a\u212a", "\u017f", "aé", "É", "…\u2122a"]
    long = "é" * scan_kernel.PIECE + "\u017f"
    numbers = scanner.scan(pa.array([*texts, long, "." + long, "b"]), np.arange(10)).tolist()
    assert numbers == [scan.NONE, 0, scan.NONE, scan.NONE, 1, 2, scan.NONE, scan.NONE, scan.NONE, 0]


@pytest.mark.parametrize("shift", range(-4, 2))
def test_a_literal_across_two_pieces_of_a_long_text(shift):
    """A text is looked at in pieces; a window that begins in one ends in the next."""
    scanner = scan.Scanner([scan.Literal(b"abcd"), scan.Literal(b"x"), scan.Literal(b"yz")])
    text = "." * (scan_kernel.PIECE + shift) + "abcd" + "." * scan_kernel.PIECE + "x"
    (number,) = scanner.scan(pa.array([text]), np.arange(1)).tolist()
    assert sorted(scanner.members(number)) == [0, 1]


@pytest.mark.parametrize(("size", "stride"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 5), (7, 6), (9, 8)])
def test_short_literals_are_found_at_every_place(size, stride):
    """The traps: a window that begins before the text, before the piece, or in a text that isn't asked for."""
    word = "abcdefghijk"[:size]
    scanner = scan.Scanner([scan.Literal(word.encode())])
    assert scanner._windows.stride == stride
    places = [*range(2 * stride), *range(scan_kernel.PIECE - size - 9, scan_kernel.PIECE + 9)]
    texts = ["." * place + word for place in places]
    for which in (np.arange(len(texts)), np.arange(len(texts))[::-1].copy(), np.arange(0, len(texts), 2)):
        numbers = scanner.scan(pa.array(texts), which).tolist()
        assert [scanner.members(number) for number in numbers] == [[0]] * len(which)
    for begin in range(9):
        parts = ["." * begin, word, "." * (scan_kernel.PIECE - begin), word, word[:-1] + "."]
        numbers = scanner.scan(pa.array(parts), np.array([1, 2, 3, 4])).tolist()
        assert [scanner.members(number) for number in numbers] == [[0], [], [0], []]
        alone = scanner.scan(pa.array(parts), np.array([3])).tolist()
        assert [scanner.members(number) for number in alone] == [[0]]


def test_arrays_that_begin_and_end_inside_others():
    whole = pa.array(["abc", None, "b", "", "cab"])
    scanner = scan.Scanner([scan.Literal(b"ab"), scan.Literal(b"b", starts=True)])
    part = whole.slice(2)
    numbers = scanner.scan(part, np.array([2, 0])).tolist()
    assert [scanner.members(number) for number in numbers] == [[0], [1]]
    assert scanner.scan(pa.array([], pa.string()), np.arange(0)).tolist() == []


@pytest.mark.parametrize("size", [2, 3, 5, 7, 9, 11, 16])
@pytest.mark.parametrize(("odd", "plain"), [("\u017f", "s"), ("\u212a", "k")])
def test_what_folds_to_ascii_is_seen_between_windows_too(size, odd, plain):
    """Guards against an attacker's Kelvin sign in the bytes that windows of long literals leap over."""
    for place in range(size):
        literal = "abcdefghijlmnopqr"[:place] + plain + "tuvwxyzabcdefghij"[: size - place - 1]
        asked = Leaf("f", Text("contains", literal))
        befores = [*range(9), *range(scan_kernel.PIECE - size - 2, scan_kernel.PIECE + 2)]
        texts = pa.array(["." * before + literal.replace(plain, odd) + ".." for before in befores])
        verdicts, keywords = Verdicts([asked]), Keywords([(Leaf(None, asked.predicate), None)])
        found = verdicts.of_texts(texts, np.arange(len(texts)))
        assert verdicts.truth[0, found].all()
        assert all(keywords.groups_in_column(texts.slice(at, 1), 1) for at in range(len(texts)))


def test_room_for_sets_grows_and_old_numbers_stay(monkeypatch):
    monkeypatch.setattr(scan, "_SETS", 1)
    monkeypatch.setattr(scan, "_MEMBERS", 1)
    words = [f"<{number}>" for number in range(9)]
    scanner = scan.Scanner([scan.Literal(word.encode()) for word in words])
    texts = ["".join(word for at, word in enumerate(words) if bits >> at & 1) or "-" for bits in range(512)]
    first = scanner.scan(pa.array(texts), np.arange(512)).tolist()
    assert first == list(range(512))
    assert scanner.scan(pa.array(texts), np.arange(512)).tolist() == first
    assert all(set(scanner.members(bits)) == {a for a in range(9) if bits >> a & 1} for bits in range(512))


def test_sets_whose_hashes_are_equal_are_told_apart():
    scanner = scan.Scanner([scan.Literal(b"a"), scan.Literal(b"b"), scan.Literal(b"c")])
    scanner._literals.mix[:] = 1
    numbers = scanner.scan(pa.array(["ab", "bc", "ba", "a", "c", "abc"]), np.arange(6)).tolist()
    assert numbers == [0, 1, 0, 2, 3, 4]


def test_texts_that_begin_like_a_number_have_one_literal_more():
    scanner = scan.Scanner([scan.Literal(b"5")], looks=b"-0123456789")
    numbers = scanner.scan(pa.array(["5", "x5", "-1", "x"]), np.arange(4)).tolist()
    assert [sorted(scanner.members(number)) for number in numbers] == [[0, 1], [0], [1], []]


LITERAL = st.builds(
    lambda how, word, cased: Text(how, word if cased else fold(word), cased),
    st.sampled_from(["is", "contains", "starts", "ends"]),
    WORD,
    st.booleans(),
)
PREDICATE = LITERAL | st.sampled_from([
    Text("is", ""), Present(), Number("gte", 3), Number("eq", 0), Network("10.0.0.0/8"), Network("::/0"),
    TimePart("hour", "eq", 3), Regex("a.b"), Regex("abA+~"), Regex("(?i)^zzk"), Regex(r"\A\z"), Wildcards(r"(?s)\Aa.*b\z", "a"),
    Wildcards(r"(?s)\AA.*b\z", "A", cased=True), Wildcards(r"(?s)\A..\z", ""), Wildcards(r"(?s)\A.é.*\z", "é"),
])  # fmt: skip
TEXT = st.lists(WORD, max_size=4).map("".join) | st.sampled_from([
    "", "5.0", "03", "10.1.2.3", "::1", "10.1.2.3 ", "2021-01-03T03:00:00", "a\nb", "AéB", "-0",
    "abAA~", "abaA~", "zZ\u212a", "zzK", "azzk",
])  # fmt: skip


@given(st.lists(PREDICATE, min_size=1, max_size=8, unique=True), st.lists(TEXT, min_size=1, max_size=12))
def test_both_searches_give_the_same_answers(predicates, texts):
    tester = Asker(predicates)
    columns = Searcher(Asker(predicates))
    numbers = columns.sort(pa.array(texts), np.arange(len(texts))).tolist()
    for text, number in zip(texts, numbers, strict=True):
        if number == searcher.NONE:
            (found,) = columns.hits([text])
        else:
            group = columns.groups[number]
            found = columns.rest(number, text) if group.open else group.hits
        assert found == tester.hits(text)
    assert columns.hits(texts) == [tester.hits(text) for text in texts]


@given(st.lists(LITERAL, max_size=8, unique=True), TEXT)
def test_one_text_at_a_time_against_brute_force(predicates, text):
    made = Literals()
    for identity, predicate in enumerate(predicates):
        made.add(identity, predicate)
    made.close()
    find = {"is": str.__eq__, "contains": str.__contains__, "starts": str.startswith, "ends": str.endswith}
    expected = {n for n, one in enumerate(predicates) if find[one.how](text, one.literal)}
    assert set(made.hits(text)) == expected


def test_a_pattern_is_asked_only_of_texts_with_its_literal():
    made = Literals()
    made.add(0, Wildcards(r"(?s)\Aa.*c\z", "a"))
    made.close()
    assert list(made.hits("axc")) == [0]
    assert not list(made.hits("xc"))
    assert re.fullmatch("a.*c", "axc")


def test_texts_that_come_again_beside_nulls_have_the_same_verdicts():
    questions = [Leaf("f", Text("contains", "a")), Leaf("f", Regex("b$"))]
    verdicts = Verdicts(questions)
    values = pa.array(["ab", None, "b", "é", "ab"])
    found = verdicts.of_texts(values, np.array([4, 2, 0, 3]))
    assert verdicts.of(["ab", "b", "ab", "é"]).tolist() == found.tolist()
    assert verdicts.truth[:, found].tolist() == [[True, False, True, False], [True, True, True, False]]


@given(
    st.lists(
        st.sampled_from(
            ["a.", "(?i)^b", "5-", "^.+$", "(?i)k", "a|zb", ".{3,}", ".{1,}", "(?s).{3,}", "É", "[0-9]{2}"]
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    WORD | st.text("aB5-k\n\u212aÉé", max_size=8),
)
@example([".{3,}"], "ab\nab")
def test_patterns_together_find_what_each_finds_alone(patterns, text):
    together = Patterns()
    for identity, pattern in enumerate(patterns):
        together.add(identity, pattern)
    assert sorted(together.hits(text)) == [n for n, one in enumerate(patterns) if re2.search(one, text)]


PIECES = st.sampled_from([
    ("abc", "abc"), ("sk9", "sk9"), (r"\.exe\_", ".exe_"), ("x?", ""), ("bc+", "bccc"), ("bc+?", "bc"), ("bc*", "b"),
    ("c{2,3}", "cc"), ("c{0,2}", ""), ("c{0}", ""), ("{1", "{1"), ("{,2}", "{,2}"), ("}]", "}]"), (".", "\u212a"), ("#  ", "#  "),
    ("(abc)?", ""), ("(?:abc|d|)", ""), ("(?P<n>ab(c))*", ""), ("[^]abc]", "x"), ("[]ab)(]", ")"), (r"[\]abc]+", "a]"),
    ("[[:alpha:]abc]", "Q"), (r"\d\w\s", "1a "), ("é?", ""), ("éß", "éß"), (r"\x41bc", "Abc"), (r"\Q(.\E", "(."),
    (r"\pNabc", "1abc"), ("(?i:ABC)", "abc"), ("(?:(?i)ABC)", "abc"), ("^*", ""), (r"\babc\b", "abc"), ("\nab", "\nab"),
])  # fmt: skip


@given(st.sampled_from(["", "(?i)", "(?s)", "(?im)"]), st.lists(PIECES, max_size=7), st.booleans())
@example("(?i)", [("sk9", "sk9")], True)
def test_a_text_has_the_literals_of_patterns_that_are_found_in_it(flags, pieces, changed):
    pattern, text = flags + "".join(one for one, _ in pieces), "".join(one for _, one in pieces)
    if changed and "i" in flags:
        text = text.translate({ord("s"): "\u017f", ord("k"): "\u212a", ord("a"): "A"})
    try:
        found = compile_pattern(pattern).search(text)
    except RuleError:
        return
    asked = needed(pattern)
    assert found is None or all(one in (text if asked.cased else fold(text)) for one in asked.literals)


@pytest.mark.parametrize(
    ("pattern", "literals"),
    [
        (r"^C:\\Temp\\[0-9a-f]{4,6}\|UNKNOWN\($", ("C:\\Temp\\", "|UNKNOWN(")),
        (r"(?i)Abc{0,1}(?:xyz|[)]xyz)abc+d*efg", ("abc", "efg")),
        ("(abc|abd)x", ()),
        ("abc|abd", ()),
    ],
)
def test_literals_that_a_pattern_needs(pattern, literals):
    assert needed(pattern).literals == literals


def test_of_the_literals_that_a_pattern_needs_the_rarest_opens_a_text():
    columns = Searcher(Asker([Regex("abc.*xyz.*def")]), b"abc def abc xyz def")
    first, second = columns.sort(pa.array(["abc def", "abc xyz"]), np.arange(2)).tolist()
    assert not columns.groups[first].open
    assert columns.groups[second].open
    assert columns.rest(second, "abc xyz") == frozenset()
