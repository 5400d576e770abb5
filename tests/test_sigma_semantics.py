"""Where Sigma's specification is silent: each line of our table of semantics is a test."""

import json

import pyarrow as pa
import pytest

from rms_flows import sigma
from rms_flows.schema import MISFIT

pytestmark = pytest.mark.usefixtures("both_searches")


@pytest.fixture
def hits(tmp_path):
    """Rows of a batch of which a detection is true."""

    def run(detections, columns, condition="sel", more=()):
        if not isinstance(detections, dict) or "sel" not in detections:
            detections = {"sel": detections}
        rule = {"title": "t", "logsource": {"category": "test"}}
        rule["detection"] = {**detections, "condition": condition}
        path = tmp_path / "rule.yml"
        # JSON is YAML, and leaves no doubt about types.
        path.write_text("\n---\n".join(json.dumps(one) for one in [rule, *more]))
        loaded = sigma.load([path])
        assert not loaded.refused
        batch = columns if isinstance(columns, pa.RecordBatch) else pa.record_batch(columns)
        return sigma.compile(loaded).match(batch).row.tolist()

    return run


TEXT = {"f": pa.array(["x", "", None])}


@pytest.mark.parametrize(
    ("detection", "condition", "rows"),
    [
        pytest.param({"f": "x"}, "sel", [0], id="equal"),
        pytest.param({"f": "x"}, "not sel", [1, 2], id="logic: a comparison on an absent field is false"),
        pytest.param({"f": None}, "sel", [2], id="null: absent or null, not the empty string"),
        pytest.param({"f": None}, "not sel", [0, 1], id="not null"),
        pytest.param({"f": ""}, "sel", [1], id="the empty string only"),
        pytest.param({"f|exists": True}, "sel", [0, 1], id="exists: a value or the empty string"),
        pytest.param({"f|exists": False}, "sel", [2], id="does not exist: null counts as absent"),
        pytest.param({"f|neq": "x"}, "sel", [1, 2], id="neq: true where absent"),
        pytest.param({"f": "*"}, "sel", [0, 1], id="a lone wildcard: any value"),
        pytest.param({"f|neq": ["x", ""]}, "sel", [2], id="neq of a list: equal to none of it"),
    ],
)
def test_two_valued(hits, detection, condition, rows):
    assert hits(detection, TEXT, condition) == rows


@pytest.mark.parametrize(
    ("detection", "rows"),
    [({"f": "x"}, []), ({"f": None}, [0, 1]), ({"f|exists": False}, [0, 1]), ({"f|neq": "x"}, [0, 1])],
)
def test_a_column_that_is_not_there_is_absent_in_each_row(hits, detection, rows):
    assert hits(detection, {"g": pa.array(["x", "y"])}) == rows


@pytest.mark.parametrize(
    ("detection", "values", "rows"),
    [
        pytest.param({"f": "ÄRGER"}, ["ärger", "ARGER"], [0], id="folded on both sides"),
        pytest.param({"f": "stra\u00dfe"}, ["STRA\u1e9eE", "STRASSE"], [0], id="simple, not full folding"),
        pytest.param({"f": "\u03c3"}, ["\u03a3", "\u03c2"], [0, 1], id="every Greek sigma"),
        pytest.param({"f|contains": "\u212a"}, ["ok!", "no"], [0], id="the Kelvin sign is a k"),
        pytest.param({"f|cased": "Ab"}, ["Ab", "ab"], [0], id="cased"),
        pytest.param({"f|contains|cased": "Ab"}, ["xAbx", "xabx"], [0], id="cased contains"),
        pytest.param({"f|re": "^Ab"}, ["Abc", "abc"], [0], id="re is cased"),
        pytest.param({"f": "a*c"}, ["a\nb\r\nc", "ac", "acx"], [0, 1], id="* crosses line breaks"),
        pytest.param({"f": "a?c"}, ["a\nc", "aßc", "ac"], [0, 1], id="? is one character of any kind"),
        pytest.param({"f": r"a\*c"}, ["a*c", "abc"], [0], id="an escaped wildcard is itself"),
        pytest.param({"f": r"C:\\*\x"}, [r"C:\a\x", r"C:\a\y"], [0], id="backslashes"),
        pytest.param({"f|startswith": "ab"}, ["ABC", "cab"], [0], id="startswith"),
        pytest.param({"f|endswith": "ab"}, ["ABC", "cAB", "ab"], [1, 2], id="endswith"),
        pytest.param({"f|contains|all": ["a", "b"]}, ["b-a", "a"], [0], id="all"),
        pytest.param({"f": ["a", "b"]}, ["a", "b", "c"], [0, 1], id="a list of values: any"),
        pytest.param({"f|re": "b+"}, ["abbc", "ac"], [0], id="re is searched"),
        pytest.param({"f|re": "a.c"}, ["a\nc", "abc"], [1], id="re: a dot stops at line breaks"),
        pytest.param({"f|re|s": "a.c"}, ["a\nc", "abc"], [0, 1], id="re s"),
        pytest.param({"f|re|i": "AB"}, ["xab", "x"], [0], id="re i"),
        pytest.param({"f|re|m": "^b$"}, ["a\nb", "ab"], [0], id="re m"),
    ],
)
def test_text(hits, detection, values, rows):
    assert hits(detection, {"f": pa.array(values)}) == rows
    assert hits(detection, {"f": pa.array(values).dictionary_encode()}) == rows


def test_field_names_are_case_sensitive(hits):
    assert hits({"Image": "x"}, {"image": pa.array(["x"])}) == []


NUMBERS = pa.array(["5", "5.0", "05", "50", "five", "-5", "5e0", None])


@pytest.mark.parametrize(
    ("detection", "rows"),
    [
        pytest.param({"f": 5}, [0, 1, 6], id="a number equals its texts"),
        pytest.param({"f": "5"}, [0], id="a text is compared as text"),
        pytest.param({"f|gt": 5}, [3], id="gt"),
        pytest.param({"f|gte": 5}, [0, 1, 3, 6], id="gte"),
        pytest.param({"f|lt": 5}, [5], id="lt: what is no number is false"),
        pytest.param({"f|lte": 5.0}, [0, 1, 5, 6], id="lte"),
        pytest.param({"f|neq": 5}, [2, 3, 4, 5, 7], id="neq"),
    ],
)
def test_number_against_text(hits, detection, rows):
    assert hits(detection, {"f": NUMBERS}) == rows


@pytest.mark.parametrize(
    "values",
    [
        pa.array([5, 6, None]),
        pa.array([5.0, 6.5, None]),
        pa.array(["5", "6", None]),
        pa.array(["5", "6", None]).dictionary_encode(),
    ],
    ids=["int64", "float64", "string", "dictionary"],
)
def test_values_compare_by_their_text_whatever_the_type_of_the_column(hits, values):
    assert hits({"f": 5}, {"f": values}) == [0]
    assert hits({"f": "5"}, {"f": values}) == [0]
    assert hits({"f|gt": 5}, {"f": values}) == [1]


def test_booleans_are_true_and_false(hits):
    for values in (pa.array([True, False, None]), pa.array(["true", "False", None])):
        assert hits({"f": True}, {"f": values}) == [0]
        assert hits({"f": "FALSE"}, {"f": values}) == [1]


LISTS = pa.array([["a", "b"], ["c"], [], None, ["a", None]])


@pytest.mark.parametrize(
    ("detection", "rows"),
    [
        pytest.param({"f": "a"}, [0, 4], id="any element"),
        pytest.param({"f|contains|all": ["a", "b"]}, [0], id="all: each by an element of its own"),
        pytest.param({"f": None}, [2, 3], id="an empty list is absent"),
        pytest.param({"f|neq": "a"}, [1, 2, 3], id="neq: no element"),
    ],
)
def test_list_fields(hits, detection, rows):
    assert hits(detection, {"f": LISTS}) == rows


def test_lists_and_other_misfits_are_found_where_decoding_kept_them(hits):
    odd = ['{"f": ["x", 5], "other": 1}', '{"f": 5.0}', '{"f": {"deep": true}}', None, '{"f": []}']
    columns = {"f": pa.array([None, None, None, "x", None]), MISFIT: pa.array(odd)}
    assert hits({"f": "x"}, columns) == [0, 3]
    assert hits({"f": 5}, columns) == [0, 1]
    assert hits({"f": None}, columns) == [4]
    assert hits({"other": 1}, columns) == [0], "a field that has no column at all"
    assert hits(["x"], columns) == [0, 3], "keywords"
    assert hits(["5"], columns) == [], "numbers are no text, for keywords"


def test_keywords_find_text_in_a_column_of_numbers(hits):
    columns = {"source.port": pa.array([None, 80]), MISFIT: pa.array(['{"source.port":"http-alt"}', None])}
    assert hits(["ALT"], columns) == [0]
    assert hits({"source.port|endswith": "alt"}, columns) == [0]
    assert hits(["alt"], columns, "not sel") == [1]


def test_nested_the_flat_name_first_then_the_path(hits):
    inner = pa.array([{"name": "x"}, {"name": "y"}, None])
    assert hits({"user.name": "x"}, {"user": inner}) == [0]
    assert hits({"user.name": "x"}, {"user": inner, "user.name": pa.array(["y", "x", "x"])}) == [1, 2]
    assert hits({"a.user.name": "y"}, {"a.user": inner}) == [1]
    assert hits({"user.id": None}, {"user": inner}) == [0, 1, 2]


KEYWORD_COLUMNS = {
    "message": pa.array(["A failed login", "fine", None]),
    "count": pa.array([5, 6, 7]),
    "user": pa.array([{"name": "Failure"}, {"name": "bob"}, {"name": "x failed"}]),
    "tags": pa.array([[], ["one", "Login"], None]),
    "rms.origin": pa.array(["failed", "failed", "failed"]),
}


@pytest.mark.parametrize(
    ("keywords", "rows"),
    [
        pytest.param(["FAILED"], [0, 2], id="substring of any text leaf, not of the envelope"),
        pytest.param(["f?il*in"], [0], id="wildcards"),
        pytest.param({"|all": ["fail", "login"]}, [0], id="all"),
        pytest.param({"|all": ["fine", "login"]}, [1], id="all: maybe in different texts"),
        pytest.param([6], [], id="numbers are no text"),
        pytest.param({"|re": "^A f"}, [0], id="re"),
    ],
)
def test_keywords(hits, keywords, rows):
    assert hits({"sel": keywords}, KEYWORD_COLUMNS) == rows


def test_keywords_under_not(hits):
    assert hits(["failed"], KEYWORD_COLUMNS, "not sel") == [1]


@pytest.mark.parametrize(
    ("detection", "rows"),
    [
        ({"t|hour": 0}, [0]),
        ({"t|hour|gte": 12}, [1]),
        ({"t|minute": 30}, [0, 1]),
        ({"t|day": 4}, [0]),
        ({"t|week": 1}, [0]),
        ({"t|week": 53}, [1]),
        ({"t|month": 1}, [0]),
        ({"t|year": 2020}, [1]),
    ],
)
def test_time_parts_are_utc_and_weeks_are_iso(hits, detection, rows):
    texts = pa.array(["2021-01-03T23:30:00-01:00", "2020-12-31 12:30:00", "yesterday", None])
    assert hits(detection, {"t": texts}) == rows
    stamps = pa.array([1_609_720_200, 1_609_417_800, None, None], pa.int64()).cast(pa.timestamp("s", "UTC"))
    assert hits(detection, {"t": stamps.cast(pa.timestamp("us", "UTC"))}) == rows


@pytest.mark.parametrize(
    ("detection", "rows"),
    [
        pytest.param({"a|fieldref": "b"}, [0, 1], id="equal by text or number, false where absent"),
        pytest.param({"a|fieldref|startswith": "b"}, [0, 1, 2], id="startswith"),
        pytest.param({"a|fieldref|endswith": "b"}, [0], id="endswith"),
    ],
)
def test_fieldref(hits, detection, rows):
    columns = {
        "a": pa.array(["X", "5.0", "abc", None, "x", None]),
        "b": pa.array(["x", "5", "A", "x", None, None]),
    }
    assert hits(detection, columns) == rows
    assert hits({"a|fieldref": "none"}, columns) == []


@pytest.mark.parametrize("written", ["-", "/", "\u2013", "\u2014", "\u2015"])
def test_windash_is_all_five_dashes_whichever_the_rule_was_written_with(hits, written):
    values = [f"cmd {dash}q" for dash in "-/\u2013\u2014\u2015"] + ["cmd q"]
    assert hits({"f|windash|contains": f" {written}q"}, {"f": pa.array(values)}) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("modifier", ["utf16le", "wide"])
def test_utf16le_is_wide(hits, modifier):
    values = pa.array(["p\0i\0n\0g\0", "ping"])
    assert hits({f"f|{modifier}|contains": "ping"}, {"f": values}) == [0]
    coded = pa.array(["run cABpAG4AZwA= now", "ping"])
    assert hits({f"f|{modifier}|base64offset|contains": "ping"}, {"f": coded}) == [0]


def test_cidr(hits):
    values = pa.array(["10.1.2.3", "11.0.0.1", "10.0.0.0/8", "fd00::1", None])
    assert hits({"f|cidr": "10.0.0.0/8"}, {"f": values}) == [0]
    assert hits({"f|cidr": "fd00::/8"}, {"f": values}) == [3]


def test_a_filter_document_narrows_the_rules_it_names(hits):
    narrow = {
        "title": "only servers",
        "logsource": {"category": "test"},
        "filter": {"rules": "any", "server": {"host|startswith": "srv"}, "condition": "server"},
    }
    columns = {"f": pa.array(["x", "x", "y"]), "host": pa.array(["srv1", "pc", "srv2"])}
    assert hits({"f": "x"}, columns, more=[narrow]) == [0]


@pytest.mark.parametrize(
    ("condition", "rows"),
    [("1 of s*", [0, 1, 2]), ("all of s*", [0]), ("sel and not sec", [1]), ("all of them", [0])],
)
def test_conditions(hits, condition, rows):
    columns = {"f": pa.array(["x", "x", "y", "z"]), "g": pa.array(["1", "2", "1", "2"])}
    assert hits({"sel": {"f": "x"}, "sec": {"g": "1"}}, columns, condition) == rows
