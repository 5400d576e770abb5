"""Answers are cut into documents by two ways that give the same, and by their ends alone."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rms_flows.errors import SourceError
from rms_flows.io.elasticsearch.hits import hits, next_page, page, whole_page

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=80)
VALUE = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=12,
)
DOCUMENT = st.dictionaries(TEXT, VALUE, max_size=6)
HIT = st.tuples(st.text(min_size=1, max_size=20), st.text(min_size=1, max_size=90), DOCUMENT)


def answer(found, *, text=json.dumps, **head):
    """Write an answer as the server does: without blanks around documents, whose own bytes stay."""
    written = [
        f'{{"_index":{json.dumps(index)},"_id":{json.dumps(own)},"_score":null,"_ignored":["a}}"],'
        f'"_source":{text(document)},"sort":[{number}]}}'
        for number, (index, own, document) in enumerate(found)
    ]
    start = json.dumps({"pit_id": "p==", "took": 1, "timed_out": False, "_shards": {"failed": 0}, **head})
    inside = ",".join(written)
    return (start[:-1].replace(": ", ":") + f',"hits":{{"max_score":null,"hits":[{inside}]}}}}').encode()


TRICKY = [
    ("logs", "1", {"a": '"hits":[{"_index":"', "sort": [1], "_id": "2", "_source": {"_source": 1}}),
    ("logs", "2", {"x": "\\", "y": '\\"}', "": {}, "l": [[], [{}], {"_index": "b"}]}),
]


@given(st.lists(HIT, max_size=5))
@example(TRICKY)
@example([("lo/gs", 'i"d', {}), ("l", "\u00e9", {"a": "\u20ac" * 70})])
def test_compiled_loops_cut_as_the_library_does(found):
    import rms_flows.decode.json_scan  # noqa: F401, PLC0415  it is there from now on

    for text in (json.dumps, lambda one: json.dumps(one, ensure_ascii=False, indent=1)):
        data = answer(found, text=text)
        one, other = whole_page(data, 10, "logs"), page(hits(data, "logs"))
        assert list(one.records) == list(other.records) == [text(document).encode() for *_, document in found]
        assert one.origins.equals(other.origins)
        assert one.origins.to_pylist() == [f"{index}/{own}" for index, own, _ in found]


@given(st.lists(HIT, min_size=1, max_size=3))
@example(TRICKY)
def test_the_next_page_begins_behind_the_last_document(found):
    assert next_page(answer(found)) == ("p==", [len(found) - 1])


def test_an_answer_without_documents_is_the_end():
    assert next_page(answer([])) == ("p==", None)


@pytest.mark.parametrize("head", [{"timed_out": True}, {"_shards": {"failed": 1}}])
@pytest.mark.parametrize("cut", [hits, lambda data, where: whole_page(data, 10, where)])
def test_an_answer_that_lacks_documents_is_an_error(head, cut):
    with pytest.raises(SourceError, match=r"logs: the answer lacks documents .*; see to the health"):
        cut(answer(TRICKY, **head), "logs")


def test_known_documents_are_left_out():
    whole = page(hits(answer(TRICKY), "logs"))
    rest = whole.without([whole.origins[:1]])
    assert rest.origins.to_pylist() == ["logs/2"]
    assert list(rest.records) == [json.dumps(TRICKY[1][2]).encode()]
