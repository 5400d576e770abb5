"""One name, one type: what the schema says, a real node's mapping says."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest

from rms_flows import schema
from rms_flows.errors import SinkError
from rms_flows.io.elasticsearch import mapping
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.sink import ElasticsearchSink

NAMES = [
    *schema.ENVELOPE,
    *schema.OPTIONAL_ENVELOPE,
    *schema.FIELDS,
    *sorted(schema.LOW_VARIETY),
    *(name.replace("*", "some.thing") for name, _ in schema.PATTERNS),
    *(name for name in schema.REPORT.names if name != "rms.measurement"),
    "source.ip", "host", "host.name.first", "CommandLine", "id.orig_h", "a b", "Ünïcode", "x..y", "1", "bytes", "rule.tags",
]  # fmt: skip
TYPES = {
    "date": pa.types.is_timestamp,
    "long": pa.types.is_integer,
    "double": pa.types.is_floating,
    "boolean": pa.types.is_boolean,
    "binary": pa.types.is_binary,
    **dict.fromkeys(("keyword", "text", "ip"), pa.types.is_string),
}


def plain(kind: pa.DataType) -> pa.DataType:
    """Give the type of a value: lists and dictionaries are no types to Elasticsearch."""
    while pa.types.is_list(kind) or pa.types.is_dictionary(kind):
        kind = kind.value_type
    return kind


def some(name: str) -> pa.Array:
    kind = schema.field_type(name)
    values = {"date": 0, "long": 1, "double": 0.5, "boolean": True, "binary": b"x"}
    word = next(word for word, test in TYPES.items() if test(plain(kind)))
    value = values.get(word, "text")
    return pa.array([[value] if pa.types.is_list(kind) else value], kind)


@pytest.fixture(scope="module")
def cluster(elasticsearch_node):
    return Cluster(elasticsearch_node, "there", SinkError)


def test_all_names_have_one_type(cluster):
    sink = ElasticsearchSink(Address(cluster.url, "mapping-all"))
    sink.prepare()
    part = sink.part("")
    names = [*dict.fromkeys(NAMES)]
    for without in ("rule.id", "rms.report_type"):  # one with both is a report
        part.write(pa.record_batch({name: some(name) for name in names if name != without}))
    assert part.close().num_rows == 0
    assert sink.commit() == 1
    [found] = cluster.call("GET", "/mapping-all-*/_mapping").json(dict).values()
    known = found["mappings"]["properties"]
    for name in names:
        kind = known[name]["type"]
        assert TYPES[kind](plain(schema.field_type(name))), (name, kind)


def test_reports_have_the_types_of_the_schema():
    known = mapping.reports("reports", wildcard=False)["template"]["mappings"]["properties"]
    assert known.keys() == {"event.kind", *schema.REPORT.names}
    for one in schema.REPORT:
        if one.name == "rms.measurement":
            assert known[one.name]["type"] == "nested"
        else:
            assert TYPES[known[one.name]["type"]](plain(one.type)), one.name


def test_wildcard_is_used_where_the_server_has_it():
    with_it = mapping.observations("a", wildcard=True)["template"]["mappings"]["properties"]
    assert with_it["CommandLine"]["type"] == "wildcard"
    assert "wildcard" not in json.dumps(mapping.observations("a", wildcard=False))


def test_what_is_no_address_is_kept_and_not_refused(cluster):
    sink = ElasticsearchSink(Address(cluster.url, "mapping-odd"))
    sink.prepare()
    part = sink.part("")
    rows = {
        "event.id": ["a", "b", "c"],
        "source.ip": ["-", "fe80::1%eth0", "10.0.0.1"],
        "message": ["x" * 100_000] * 3,
    }
    part.write(pa.record_batch(rows))
    assert part.close().num_rows == 0
    assert sink.commit() == 3
    found = cluster.call(
        "POST", "/mapping-odd-undated/_count", {"query": {"term": {"source.ip": "10.0.0.0/8"}}}
    )
    assert found.json(dict)["count"] == 1


def test_templates_whose_names_begin_alike_stand_beside_each_other(cluster):
    for name in ("mapping-a", "mapping-a-b", "mapping-a-b.c"):
        ElasticsearchSink(Address(cluster.url, name)).prepare()
