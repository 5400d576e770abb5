"""What a document says of how a server is asked, and what it is told where it says too much or too little."""

import json

import pytest

from rms_flows.errors import DocumentError
from rms_flows.model import Orchestrator, expand, parse
from rms_flows.model.poll import SECRET

URL = "https://hub/events"
GOOD = {
    "interval": "1m",
    "records": "data.items",
    "cursor": {"parameter": "since", "field": "time", "start": "2026-01-01T00:00:00Z"},
    "next": {"parameter": "page"},
    "auth": {"bearer_file": "hub.token"},
    "headers": {"X-Site": "cellar", "Accept": "application/json"},
}


def document(poll, archive=URL):
    return {"orchestrator": "t", "sources": [{"id": "a", "archive": archive, "poll": poll}]}


def read(poll, archive=URL):
    return parse(json.dumps(document(poll, archive)).encode(), Orchestrator, "flow.yaml")


def test_it_is_read_and_written_in_its_long_form():
    _, [source] = expand(read(GOOD))
    [poll] = [one.value for one in source.parameters if one.key == "poll"]
    assert poll["cursor"]["parameter"] == "since"
    assert json.loads(source.model_dump_json())["parameters"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"intervall": "1m"}, r"sources\[0\].poll.intervall: extra inputs are not permitted"),
        ({"interval": "0s"}, r"poll.interval: has to be longer than 0"),
        ({"interval": "soon"}, r"poll.interval: string should match pattern"),
        ({"cursor": {"parameter": "since", "written": "rfc"}}, "written: 'rfc' is neither iso, seconds, milliseconds, microseconds, number nor a pattern such as %Y-%m-%d"),
        ({"cursor": {"parameter": "since", "written": "number"}}, "written: number needs the field that holds it"),
        ({"cursor": {"parameter": "id", "field": "id", "written": "number", "overlap": "1m"}}, "overlap and until are for times, and written: number is none"),
        ({"cursor": {"parameter": "id", "field": "id", "written": "number", "start": "2026-01-01"}}, "start has to be a whole number, as it is written: number"),
        ({"cursor": {"parameter": "since", "start": 5}}, "start has to be a time such as 2026-01-31T00:00:00Z, as it is written: iso"),
        ({"next": {}}, "next is one of link, header: true, and parameter"),
        ({"next": {"link": "a", "header": True}}, "next is one of link, header: true, and parameter"),
        ({"next": {"link": "a", "first": 0}}, "token, first and step say what the parameter's values are; name the parameter"),
        ({"next": {"parameter": "a", "token": "b", "step": 2}}, "the values are tokens or numbers: leave out token, or first and step"),
        ({"auth": {}}, "auth is one of bearer_file, basic_file, header_file, bearer_env, basic_env, header_env, not none"),
        ({"auth": {"bearer_file": "a", "basic_file": "b"}}, "auth is one of .*, not basic_file and bearer_file"),
        ({"auth": {"bearer_env": "AWS_SECRET_ACCESS_KEY"}}, "poll.auth.bearer_env: string should match pattern"),
        ({"headers": {"Authorization": "Bearer x"}}, "'Authorization' is a secret as a rule, which no document holds; name a file with auth:"),
        ({"headers": {"X-Api-Key": "x"}}, "'X-Api-Key' is a secret as a rule"),
        ({"headers": {"X-Site": "a\r\nB: c"}}, "'X-Site' is no header of printable ASCII"),
        ({"headers": {"X Site": "a"}}, "'X Site' is no header of printable ASCII"),
    ],
)  # fmt: skip
def test_what_it_can_not_say(change, match):
    with pytest.raises(DocumentError, match=match):
        read({**GOOD, **change})


def test_it_is_for_servers_only():
    with pytest.raises(
        DocumentError, match="poll says how a server is asked, and neither live nor archive is"
    ):
        read({}, "auth.log")


def test_names_that_are_secret_as_a_rule():
    assert all(map(SECRET.search, ["api_key", "access_token", "password", "X-Auth-Token", "Cookie", "sig"]))
    assert not any(map(SECRET.search, ["author", "page", "keyword", "site", "Accept", "monkey", "X-Site"]))
