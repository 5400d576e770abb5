"""Expressions give, on whole columns, what Python gives row by row; and none of them stops or delays a flow."""

import math
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.errors import DocumentError
from rms_flows.processors.transform.expression import compile_expression
from rms_flows.schema import DICTIONARY, TEXTS, TIMESTAMP

EDGES = [0, 1, -1, 2**31, 2**53 + 1, 2**62, 2**63 - 1, -(2**63)]
whole = st.none() | st.sampled_from(EDGES) | st.integers(-9, 9)
real = st.none() | st.sampled_from([0.0, -0.0, 1e308, -1e308, 0.1, math.nan, math.inf]) | st.floats(-9, 9)
words = (
    st.none() | st.sampled_from(["", "a", "B", "É", "5", "1e2", "1e999", "true", "a.b"]) | st.text(max_size=3)
)
rows = st.lists(st.fixed_dictionaries({"i": whole, "f": real, "t": words}), min_size=1, max_size=8)


def batch(data):
    return pa.record_batch(
        {
            "source.bytes": pa.array([row["i"] for row in data], pa.int64()),
            "host.cpu.usage": pa.array([row["f"] for row in data], pa.float64()),
            "user.name": pa.array([row["t"] for row in data], pa.string()),
            "event.action": pa.array([row["t"] for row in data], pa.string())
            .dictionary_encode()
            .cast(DICTIONARY),
        }
    )


def given_by(text, rows):
    part = compile_expression(text, "d")
    return part.run(rows).to_pylist()


def finite(value):
    return None if value is None or not math.isfinite(value) else float(value)


def counted(operator, left, right, exact):
    if left is None or right is None:
        return None
    try:
        found = {
            "+": lambda: left + right,
            "-": lambda: left - right,
            "*": lambda: left * right,
            "/": lambda: left / right,
        }[operator]()
    except (ZeroDivisionError, OverflowError):
        return None
    if exact:
        return found if -(2**63) <= found < 2**63 else None
    return finite(found)


def leaf(text, exact, of):
    return st.just((text, exact, of))


def joined(inner):
    def both(operator, left, right):
        exact = left[1] and right[1] and operator != "/"

        def of(row):
            one, two = left[2](row), right[2](row)
            if not exact:
                one, two = (None if v is None else float(v) for v in (one, two))
            return counted(operator, one, two, exact)

        return f"({left[0]} {operator} {right[0]})", exact, of

    return st.builds(both, st.sampled_from("+-*/"), inner, inner)


numeric = st.recursive(
    leaf("source.bytes", True, lambda row: row["i"])
    | leaf("host.cpu.usage", False, lambda row: finite(row["f"]))
    | st.integers(-5, 2**40).map(lambda n: (f"({n})", True, lambda row: n)),
    joined,
    max_leaves=6,
)


@given(numeric, rows)
def test_arithmetic_is_pythons_and_null_where_that_has_no_finite_result(expression, data):
    """Overflow wraps around in Arrow's plain kernels and raises in its checked ones; 1 / 0 is infinite."""
    text, _, of = expression
    assert given_by(text, batch(data)) == [of(row) for row in data]


COMPARE = {
    "==": lambda a, b: a == b, "!=": lambda a, b: a != b, "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b, ">": lambda a, b: a > b, ">=": lambda a, b: a >= b,
}  # fmt: skip


@given(st.sampled_from(sorted(COMPARE)), st.sampled_from(EDGES[:6]), st.sampled_from(["and", "or"]), rows)
def test_comparisons_and_logic_know_what_is_unknown(compare, value, join, data):
    def known(row):
        one = None if row["i"] is None else COMPARE[compare](row["i"], value)
        two = None if row["t"] is None else row["t"] == "a"
        if join == "and":
            return False if False in (one, two) else None if None in (one, two) else True
        return True if True in (one, two) else None if None in (one, two) else False

    text = f'source.bytes {compare} {value} {join} event.action == "a"'
    assert given_by(text, batch(data)) == [known(row) for row in data]
    assert given_by(f"1 if {text} else 2", batch(data)) == [1 if known(row) else 2 for row in data]
    assert given_by(f"not ({text})", batch(data)) == [
        None if known(row) is None else not known(row) for row in data
    ]


@given(rows)
def test_text_functions_are_pythons(data):
    def of(function):
        return [None if row["t"] is None else function(row["t"]) for row in data]

    rows = batch(data)
    assert given_by("length(user.name)", rows) == of(len)
    assert given_by('contains(user.name, ".")', rows) == of(lambda text: "." in text)
    assert given_by('starts_with(event.action, "a")', rows) == of(lambda text: text.startswith("a"))
    assert given_by('user.name in ("a", "B")', rows) == of(lambda text: text in ("a", "B"))
    assert given_by('user.name not in ("a", "B")', rows) == of(lambda text: text not in ("a", "B"))
    assert given_by('coalesce(user.name, "?")', rows) == [
        row["t"] if row["t"] is not None else "?" for row in data
    ]
    assert given_by('concat(user.name, "@", source.bytes)', rows) == [
        None if None in (row["t"], row["i"]) else f"{row['t']}@{row['i']}" for row in data
    ]
    assert given_by("is_null(user.name)", rows) == [row["t"] is None for row in data]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("user.name + 1", [6.0, 101.0, None, None, None]),
        ("number(user.name)", [5.0, 100.0, None, None, None]),
        ("user.name > 5", [False, True, None, None, None]),
        ('user.name == "5"', [True, False, False, False, None]),
        ("source.bytes if user.name else 0", [0, 0, 0, 4, 0]),
        ("round(host.cpu.usage)", [2, None, None, -2, 0]),
        ("abs(source.bytes)", [1, 2, None, 4, None]),
        ("abs(host.cpu.usage)", [1.5, 1e300, None, 2.4, 0.0]),
        ("first(tags)", ["a", None, None, None, "b"]),
        ("length(tags)", [2, 0, None, 1, 1]),
        ('hour(field("@timestamp"))', [0, 1, None, 23, 0]),
        ('field("@timestamp") - event.start', [0.0, 3600.0, None, None, 0.25]),
        ("text(host.cpu.usage)", ["1.5", "1e+300", None, "-2.4", "0"]),
        ('matches(user.name, "^\\d")', [True, True, True, False, None]),
        ('trim(concat(" ", upper(user.name)))', ["5", "1E2", "1E999", "TRUE", None]),
        ("nothing.there", [None] * 5),
        ("is_null(host.cpu.usage)", [False, False, True, False, False]),
        ("-source.bytes", [-1, 2, None, None, None]),
    ],
)
def test_fields_are_read_as_what_is_asked(text, values):
    stamps = [0, 3_600_000_000, None, 86_399_000_000, 250_000]
    data = pa.record_batch(
        {
            "user.name": ["5", "1e2", "1e999", "true", None],
            "source.bytes": pa.array([1, -2, None, 4, None])
            if text[0] != "-"
            else pa.array([1, -2, None, -(2**63), None]),
            "host.cpu.usage": [1.5, 1e300, math.nan, -2.4, 0.0],
            "tags": pa.array([["a", "b"], [], None, [None], ["b"]], TEXTS),
            "@timestamp": pa.array(stamps, TIMESTAMP),
            "event.start": pa.array([0, 0, 0, None, 0], TIMESTAMP),
        }
    )
    assert given_by(text, data) == values


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "x.lower()",
            r"d: no function is called 'x.lower', at character 1 of 'x.lower\(\)'; the functions are abs",
        ),
        ('__import__("os")', "no function is called '__import__'"),
        ("lower(x, key=1)", "arguments have no names here"),
        ("x ** 9", r"the operator Pow is not allowed, at character 1 of .*; there are \+ - \* /"),
        ("~x", "the operator Invert is not allowed, .*there are - and not"),
        ("1 + [2][0]", "Subscript is not allowed, at character 5 of .*; use fields, numbers, texts"),
        ("lambda: 1", "Lambda is not allowed"),
        ('"a" * 999999999', "expected a value of kind number, not text"),
        ("lower(source.bytes)", "expected a value of kind text, not integer"),
        ('source.bytes + "é" + (1 if 2 else 3)', "expected a value of kind number, not text"),
        ('"é" == "é" and 1', "expected a value of kind truth, not integer"),
        ('source.bytes == "a"', "integer and text can't be compared together.*turn one into the other"),
        ("tags == tags", r"a list can't be compared.*use first\(…\)"),
        ("1 < source.bytes < 3", "comparisons stand in a row.*join two by and"),
        ("x is None", r"is is not allowed.*use ==, or is_null\(…\)"),
        ("x in y", r"in wants a list of numbers or texts.*write name in \(\"a\", \"b\"\)"),
        ("text(tags)", "text takes a single value, not a list"),
        ("lower(x, y)", "lower takes one value, not 2"),
        ("contains(x, y)", "contains takes a text and, in quotes, what to look for"),
        ("concat()", "concat takes at least one value"),
        ("coalesce()", "coalesce takes at least one value"),
        ('matches(x, "(")', r"'\(' is no regular expression.*write one of RE2"),
        ("field(x)", "field takes the name of one field as text"),
        ('field("event.original")', "event.original holds binary, which expressions can't read"),
        ('"a".b', "a dot follows what is no name of a field"),
        (str(2**63), "is too large for 64 bits"),
        ("1e999", "inf is neither a finite number, text, True, False nor None"),
        (
            "source.as.number",
            'is no expression: invalid syntax at character 8; .*field\\("…"\\) for odd names',
        ),
        ("x\0", "nested too deep to be read|is no expression"),
        ("x" * 2001, "the expression has 2,001 characters, more than 2,000; derive it in steps"),
        ("-" * 1500 + "x", "more than 30 levels or 300 parts"),
        ("+".join("x" * 400), "more than 30 levels or 300 parts"),
        ("(" * 900 + "x" + ")" * 900, "nested too deep to be read|too many nested parentheses"),
    ],
)
def test_what_is_not_allowed_is_refused_before_anything_runs_and_its_place_is_told(text, match):
    with pytest.raises(DocumentError, match=match):
        compile_expression(text, "d")


def test_an_expression_can_not_take_for_ever_nor_all_memory():
    """Regular expressions are RE2, whose time is linear, and joined texts have a longest length."""
    data = pa.record_batch({"x": ["a" * 20_000 + "b"] * 50, "y": ["é"] * 50})
    began = time.monotonic()
    assert given_by('matches(x, "^(a+)+$")', data) == [False] * 50
    assert given_by("concat(x, x)", data) == [None] * 50
    assert given_by("concat(y, y)", data) == ["éé"] * 50
    assert time.monotonic() - began < 10
