"""Documents of a real node become the observations that the same records give in a file, each once."""

import json
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
from decoding import run
from indexing import cluster, fill, index

from rms_flows.decode.contract import Options
from rms_flows.errors import DecodeError, SourceError
from rms_flows.io import open_source
from rms_flows.io.contract import Request, Window
from rms_flows.io.elasticsearch import pages, parts
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.source import ElasticsearchSource
from rms_flows.objects import json_lines
from rms_flows.sigma.expression import Look
from rms_flows.sigma.expression import Test as Ask
from rms_flows.sigma.predicate import Text

START = datetime(2026, 1, 1, tzinfo=UTC)
OURS = {"_meta": {"rms_flows": "observations"}}


@pytest.fixture
def node(elasticsearch_node, monkeypatch):
    """URL of the node; who asks it is not patient, so that what is broken is told soon."""
    monkeypatch.setattr(Cluster.call, "__kwdefaults__", {**Cluster.call.__kwdefaults__, "patience": 3.0})
    return elasticsearch_node


def source(node, pattern, **options) -> ElasticsearchSource:
    host = node.partition("://")[2]
    return open_source(f"elasticsearch://{host}/{pattern}", base=Path("any"), options=Options(**options))


def read(opened, request=Request(), order=lambda fragments: fragments):  # noqa: B008  it does not change
    fragments = order(opened.fragments(request))
    found = [decoded for fragment in fragments for decoded in opened.read(fragment, request)]
    rows = [pa.Table.from_batches([one.rows]) for one in found]
    table = pa.concat_tables(rows, promote_options="permissive") if rows else pa.table({})
    return fragments, table, [letter for one in found for letter in one.dead.to_pylist()]


def stamp(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def events(count, **more):
    return [{"@timestamp": stamp(number), "n": str(number), **more} for number in range(count)]


def micros(seconds: float) -> int:
    return int((START.timestamp() + seconds) * 1_000_000)


def unplaced(table):
    """Give rows by their time, without what tells where they were read."""
    return sorted(
        table.drop_columns(["event.id", "rms.origin"]).to_pylist(), key=lambda row: row["@timestamp"]
    )


FOREIGN = [
    b'{"@timestamp": "2026-01-01T00:00:00.123456Z", "host": {"name": "a", "ip": ["10.0.0.1", "::1"]}, "x": 1.50}',
    b'{"@timestamp":"2026-01-01T00:00:01Z","source.ip":"10.0.0.2","source":{"port":"80"},"tags":"one"}',
    b'{ "@timestamp" : "2026-01-01T00:00:02+01:00", "list": [{"a": 1, "b": [2]}, {"a": null}], "e": 1e3 }',
    b'{"@timestamp":"2026-01-01T00:00:02.5Z","labels":{"a":{"b":"c"},"d":7},"list":{"a":9}}',
    '{"@timestamp":"2026-01-01T00:00:03Z","t":"\u00e9\u20ac \\u00e9 \\" \\\\","big":18446744073709551615}'.encode(),
    b'{"@timestamp":"2026-01-01T00:00:04Z","on":true,"none":null,"empty":{},"event":{"id":"own","original":"raw"}}',
    b'{"@timestamp":1767225605250,"source":{"port":"http"},"long":"' + b"x" * 40_000 + b'"}',
]


@pytest.mark.parametrize("compiled", [False, True])
def test_documents_are_decoded_as_the_records_of_a_file(node, monkeypatch, compiled):
    if compiled:
        monkeypatch.setattr("rms_flows.decode.json_lines.ENOUGH", 0)
    kinds = {
        "big": {"type": "keyword", "ignore_above": 4},
        "e": {"type": "float"},
        "host": {"properties": {"ip": {"type": "ip"}}},
        "labels": {"type": "flattened"},
        "list": {"type": "nested"},
        "long": {"type": "keyword", "ignore_above": 1_024},
        "on": {"type": "boolean"},
        "t": {"type": "text", "fields": {"keyword": {"type": "keyword"}}},
    }
    index(node, "src-foreign", {"properties": kinds})
    fill(node, "src-foreign", FOREIGN)
    _, table, dead = read(source(node, "src-foreign"))
    same = run(b"\n".join(FOREIGN) + b"\n", "x.json", format="json")
    assert dead == []
    assert {field.name: field.type for field in table.schema} == {f.name: f.type for f in same.rows.schema}
    assert unplaced(table.select(same.rows.column_names)) == unplaced(same.rows)
    assert table["x"].drop_null().to_pylist() == ["1.50"]


def test_ids_are_their_own_else_made_of_the_place(node):
    index(node, "src-ids")
    fill(node, "src-ids", events(3), ids=["a", "b/c", "d"])
    fill(node, "src-ids", [{"@timestamp": stamp(9), "event": {"id": "own"}}], ids=["e"])
    _, first, _ = read(source(node, "src-ids"))
    assert sorted(first["rms.origin"].to_pylist()) == ["src-ids/a", "src-ids/b/c", "src-ids/d", "src-ids/e"]
    ids = dict(zip(first["rms.origin"].to_pylist(), first["event.id"].to_pylist(), strict=True))
    assert ids["src-ids/e"] == "own"
    assert ids["src-ids/a"] == "472b5ac04caf15f3643baaa6bc7774bb"  # it is in reports that were published
    assert len(set(ids.values())) == 4


def test_what_we_wrote_comes_back_as_it_was(node):
    lines = [
        {
            "@timestamp": stamp(0.123456),
            "source": {"port": "http", "ip": "10.0.0.1"},
            "tags": ["a", "b"],
            "n": 1,
        },
        {
            "@timestamp": stamp(1),
            "source.port": 7,
            "host.cpu.usage": 0.25,
            "message": "x",
            "event": {"dataset": "d"},
        },
    ]
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    rows = run(data, "x.json", format="json", keep_original=True).rows
    count = rows.num_rows
    known = {
        "event.ingested": pa.array([START] * count, pa.timestamp("us", "UTC")),
        "rms.source": pa.array(["hub", None]).dictionary_encode(),
        "rms.trust": pa.array(["trusted"] * count).dictionary_encode(),
        "rms.late": pa.array([True, None]),
    }
    for name, column in known.items():
        place = rows.schema.get_field_index(name)
        rows = rows.append_column(name, column) if place < 0 else rows.set_column(place, name, column)
    index(node, "src-ours", OURS)
    fill(node, "src-ours", json_lines(rows.combine_chunks().to_batches()[0]), rows["event.id"].to_pylist())
    _, table, dead = read(source(node, "src-ours", format="syslog", timezone=None))
    assert dead == []
    assert {field.name: field.type for field in table.schema} == {f.name: f.type for f in rows.schema}
    assert table.sort_by("@timestamp").to_pylist() == rows.select(table.column_names).to_pylist()


def test_columns_of_ours_are_known_beforehand(node):
    mapping = {
        **OURS,
        "properties": {"@timestamp": {"type": "date"}, "source": {"properties": {"ip": {"type": "ip"}}}},
    }
    index(node, "src-columns", mapping)
    assert source(node, "src-columns").columns() == {"@timestamp", "source.ip"}
    many = {f"f{number}": {"type": "keyword"} for number in range(1_000)}
    for change in ({"dynamic": False}, {"properties": many}, {"properties": {"a": {"type": "flattened"}}}):
        index(node, "src-columns", {**mapping, **change})
        assert source(node, "src-columns").columns() is None
    index(node, "src-columns", {"properties": mapping["properties"]})
    assert source(node, "src-columns").columns() is None, "its documents go through a decoder"


def test_nobody_outside_says_what_he_is_trusted_for(node):
    index(node, "src-trust")
    fill(node, "src-trust", [{"@timestamp": stamp(0), "rms.trust": "trusted", "rms": {"source": "x"}}])
    _, table, _ = read(source(node, "src-trust"))
    assert table["rms.trust"].null_count == table["rms.source"].null_count == 1
    assert table["document.rms.trust"].to_pylist() == ["trusted"]


def test_parts_hold_each_document_once_in_any_process(node, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 70)
    monkeypatch.setattr(parts, "_BUCKETS", 7)
    dense = [{"@timestamp": stamp(50 + number / 1000), "n": f"d{number}"} for number in range(300)]
    same = [{"@timestamp": stamp(90), "n": f"s{number}"} for number in range(100)]
    early = [{"@timestamp": "1969-12-31T23:59:59.999Z", "n": "early"}]
    index(node, "src-parts-1")
    fill(node, "src-parts-1", [*events(100), *dense])
    index(node, "src-parts-2", number_of_shards=3)
    fill(node, "src-parts-2", [*same, *early])
    opened = pickle.loads(pickle.dumps(source(node, "src-parts-*")))  # noqa: S301  made here
    fragments, table, dead = read(opened, order=lambda found: pickle.loads(pickle.dumps(found))[::-1])  # noqa: S301
    assert dead == []
    expected = [event["n"] for event in [*events(100), *dense, *same, *early]]
    assert sorted(table["n"].to_pylist()) == sorted(expected)
    assert sum(fragment.rows for fragment in fragments) == len(expected)
    assert all(fragment.rows <= 101 for fragment in fragments)
    assert len({fragment.key for fragment in fragments}) == len(fragments) >= 7
    assert all(fragment.size > fragment.rows * 20 for fragment in fragments)


def test_only_the_window_is_read_and_all_of_it(node):
    index(node, "src-window")
    fill(
        node, "src-window", [{"@timestamp": stamp(number / 10_000), "n": str(number)} for number in range(50)]
    )
    window = Window(micros(0.001_05), micros(0.003_05))
    fragments, table, _ = read(source(node, "src-window"), Request(window=window))
    kept = {row["n"] for row in table.to_pylist()}
    assert {str(number) for number in range(11, 31)} <= kept
    assert len(kept) == sum(fragment.rows for fragment in fragments) == 30, "whole milliseconds"
    assert source(node, "src-window").fragments(Request(window=Window(micros(5)))) == []


def test_nothing_of_a_window_is_missed_where_stamps_have_no_zone(node):
    index(node, "src-zone")
    fill(node, "src-zone", [{"@timestamp": "2026-01-01T00:30:00"}])  # to the server it is UTC
    window = Window(micros(-1800), micros(0))
    _, table, _ = read(
        source(node, "src-zone", timezone=ZoneInfo("Europe/Madrid")),
        Request(window=window),
    )
    assert table["@timestamp"].to_pylist() == [START - timedelta(minutes=30)]


def test_a_document_without_a_time_is_a_dead_letter_with_its_bytes_also_within_a_window(node):
    index(node, "src-timeless")
    odd = b'{"a": "no time",  "b": 1.50}'
    fill(node, "src-timeless", [*events(2), odd], ids=["0", "1", "odd"])
    _, table, dead = read(
        source(node, "src-timeless"), Request(frozenset({"a"}), Window(micros(1), micros(2)))
    )
    assert table["@timestamp"].to_pylist() == [START + timedelta(seconds=1)]
    [letter] = dead
    assert letter["event.original"] == odd
    assert letter["error.type"] == "timestamp"
    assert letter["rms.origin"] == "src-timeless/odd"


def test_an_index_that_knows_no_times_is_read_index_by_index(node):
    for name in ("src-raw-1", "src-raw-2"):
        index(node, name, {"dynamic": False})
        fill(node, name, events(4, place=name))
    fragments, table, _ = read(source(node, "src-raw-*"), Request(window=Window(micros(2))))
    assert [(fragment.key, fragment.rows) for fragment in fragments] == [("src-raw-1", 4), ("src-raw-2", 4)]
    assert table.num_rows == 8


def test_formats_are_declared_or_guessed_once_for_all(node):
    index(node, "src-windows")
    record = {"@timestamp": stamp(0), "EventID": 1, "Channel": "Security", "SourceName": "x"}
    fill(node, "src-windows", [record])
    request = Request()
    opened = source(node, "src-windows")
    [decoded] = opened.read(opened.fragments(request)[0], request)
    assert decoded.guessed == "windows"
    assert decoded.rows["event.dataset"].to_pylist() == ["windows.security"]
    declared = source(node, "src-windows", format="json", dataset="own", keep_original=True)
    [decoded] = declared.read(declared.fragments(request)[0], request)
    assert decoded.guessed is None
    assert decoded.rows["event.dataset"].to_pylist() == ["own"]
    assert json.loads(decoded.rows["event.original"][0].as_py()) == record


def test_a_format_of_lines_is_refused(node):
    index(node, "src-lines")
    with pytest.raises(
        SourceError, match=r"are JSON, and syslog is a format of lines; name the format .*format=json"
    ):
        source(node, "src-lines", format="syslog").fragments(Request())
    with pytest.raises(DecodeError, match="no format is called 'x'"):
        source(node, "src-lines", format="x").fragments(Request())


def test_an_empty_index_gives_nothing(node):
    index(node, "src-empty")
    assert source(node, "src-empty").fragments(Request()) == []


def test_a_stream_gets_documents_in_the_order_of_time_the_same_each_time(node, monkeypatch):
    monkeypatch.setattr(parts, "ROWS", 40)
    monkeypatch.setattr(pages, "MOST", 13)
    monkeypatch.setattr("rms_flows.io.elasticsearch.source.MOST", 13)
    index(node, "src-order", number_of_shards=3)
    fill(
        node,
        "src-order",
        [{"@timestamp": stamp(number % 9), "n": str(number)} for number in range(120)][::-1],
    )
    request = Request(lateness=0)
    _, first, _ = read(source(node, "src-order"), request)
    times = first["@timestamp"].cast(pa.int64()).to_pylist()
    assert times == sorted(times)
    assert sorted(first["n"].to_pylist(), key=int) == [str(number) for number in range(120)]
    cluster(node).call("POST", "/src-order/_forcemerge", query={"max_num_segments": "1"})
    assert read(source(node, "src-order"), request)[1].equals(first)


def test_a_stream_refuses_an_index_that_knows_no_times(node):
    index(node, "src-unordered", {"dynamic": False})
    with pytest.raises(SourceError, match=r"no date in its mapping says when .*; map one as date and index"):
        source(node, "src-unordered").fragments(Request(lateness=0))


def test_nanoseconds_and_milliseconds_go_together(node):
    index(node, "src-nanos-1", {"properties": {"@timestamp": {"type": "date_nanos"}}})
    index(node, "src-nanos-2", {"properties": {"@timestamp": {"type": "date"}}})
    fill(
        node,
        "src-nanos-1",
        [{"@timestamp": "2026-01-01T00:00:00.000001001Z", "n": "1"}, {"@timestamp": stamp(3), "n": "3"}],
    )
    fill(node, "src-nanos-2", [{"@timestamp": stamp(2), "n": "2"}])
    for request in (Request(lateness=0), Request(window=Window(micros(0), micros(2.5)), lateness=0)):
        _, table, _ = read(source(node, "src-nanos-*"), request)
        assert table["n"].to_pylist()[:2] == ["1", "2"]
    assert table["@timestamp"][0].as_py() == START + timedelta(microseconds=1)


def test_fields_of_two_types_are_no_trouble_unless_they_are_the_time(node):
    index(node, "src-conflict-1", {"properties": {"@timestamp": {"type": "date"}, "code": {"type": "long"}}})
    index(
        node, "src-conflict-2", {"properties": {"@timestamp": {"type": "date"}, "code": {"type": "keyword"}}}
    )
    fill(node, "src-conflict-1", [{"@timestamp": stamp(0), "code": 5}])
    fill(node, "src-conflict-2", [{"@timestamp": stamp(1), "code": "five"}])
    _, table, _ = read(source(node, "src-conflict-*"))
    assert sorted(table["code"].to_pylist()) == ["5", "five"]
    index(node, "src-conflict-3", {"properties": {"@timestamp": {"type": "keyword"}}})
    with pytest.raises(
        SourceError,
        match=r"src-conflict-\*: '@timestamp' is mapped as date in src-conflict-1 and as keyword in "
        r"src-conflict-3; read them as two sources, or leave some out with PATTERN,-src-conflict-3",
    ):
        source(node, "src-conflict-*").fragments(Request())
    assert read(source(node, "src-conflict-*,-src-conflict-3"))[1].num_rows == 2


def test_ours_and_others_are_read_apart(node):
    index(node, "src-mixed-1", OURS)
    index(node, "src-mixed-2")
    with pytest.raises(
        SourceError, match=r"src-mixed-1 is an index of ours and src-mixed-2 is not.*; read them apart"
    ):
        source(node, "src-mixed-*").fragments(Request())


def test_an_index_without_its_documents_is_refused(node):
    index(node, "src-sourceless", {"_source": {"enabled": False}})
    with pytest.raises(SourceError, match=r"src-sourceless keeps no documents .*; index the events again"):
        source(node, "src-sourceless").fragments(Request())


@pytest.mark.parametrize(
    ("pattern", "match"),
    [
        ("src-nowhere", r"no such index \[src-nowhere\]"),
        ("src-nowhere-*", "no index has such a name; GET _cat/indices"),
    ],
)
def test_an_index_that_is_missing_is_told(node, pattern, match):
    with pytest.raises(SourceError, match=match):
        source(node, pattern).fragments(Request())


def test_a_red_index_is_told(node):
    cluster(node).call("DELETE", "/src-red", accept={404})
    nowhere = {"index.routing.allocation.require._name": "nobody", "number_of_replicas": 0}
    cluster(node).call(
        "PUT", "/src-red", {"settings": nowhere}, {"wait_for_active_shards": "0", "timeout": "1s"}
    )
    with pytest.raises(
        SourceError, match=r"src-red: a part of its data is not available .*; mend the red index"
    ):
        source(node, "src-red").fragments(Request())
    cluster(node).call("DELETE", "/src-red")


def _forget(node, monkeypatch, when):
    """Close all points in time before some pages are asked for, as a server does whose memory is short."""
    asked = {"pages": 0, "points": []}
    call = Cluster.call

    def forgetful(self, method, path, body=None, *rest, **options):
        if path == "/_search":
            asked["pages"] += 1
            if when(asked["pages"]):
                call(self, "DELETE", "/_pit", {"id": body["pit"]["id"]}, accept={404})
        answer = call(self, method, path, body, *rest, **options)
        if path.endswith("/_pit") and method == "POST":
            asked["points"].append(answer)
        return answer

    monkeypatch.setattr(Cluster, "call", forgetful)
    return asked


@pytest.mark.parametrize("ordered", [False, True])
def test_a_point_in_time_that_expired_is_replaced_and_each_document_comes_once(node, monkeypatch, ordered):
    monkeypatch.setattr("rms_flows.io.elasticsearch.source.MOST", 10)
    index(node, "src-expired", number_of_shards=2)
    fill(node, "src-expired", events(75))
    asked = _forget(node, monkeypatch, lambda page: page in {1, 4, 5, 9})
    opened, request = source(node, "src-expired"), Request(lateness=0 if ordered else None)
    [fragment] = opened.fragments(request)
    found = []
    for decoded in opened.read(fragment, request):
        found += decoded.rows["n"].to_pylist()
        if len(found) < 30:
            cluster(node).call("POST", "/src-expired/_forcemerge", query={"max_num_segments": "1"})
    assert sorted(found, key=int) == [str(number) for number in range(75)]
    assert len(asked["points"]) == 5


def test_a_server_that_forgets_each_point_in_time_is_told(node, monkeypatch):
    index(node, "src-forgets")
    fill(node, "src-forgets", events(3))
    opened = source(node, "src-forgets")
    [fragment] = opened.fragments(Request())
    _forget(node, monkeypatch, lambda page: True)
    with pytest.raises(
        SourceError, match="src-forgets: the server forgot 5 points in time before it gave a page; a page"
    ):
        list(opened.read(fragment, Request()))


def test_no_point_in_time_is_left_behind(node, monkeypatch):
    """Asks for each by its id: others read from the same node meanwhile."""
    index(node, "src-closed")
    fill(node, "src-closed", events(30))
    points = []
    call = Cluster.call

    def noting(self, method, path, *args, **kwargs):
        answer = call(self, method, path, *args, **kwargs)
        if method == "POST" and path.endswith("/_pit"):
            points.append(answer.json(dict)["id"])
        return answer

    monkeypatch.setattr(Cluster, "call", noting)
    opened = source(node, "src-closed")
    [fragment] = opened.fragments(Request())
    list(opened.read(fragment, Request()))
    half = opened.read(fragment, Request())
    next(half)
    assert _known(node, points[-1])
    half.close()
    assert len(points) >= 2
    assert not any(_known(node, point) for point in points)


def _known(node, point):
    return (
        cluster(node).call("POST", "/_search", {"size": 0, "pit": {"id": point}}, accept={404}).status == 200
    )


def test_documents_that_can_not_matter_are_left_out_unless_a_stream_counts_them(node):
    index(node, "src-narrow")
    fill(node, "src-narrow", [*events(9), {"n": "5"}, {"n": "6"}])
    fives = [Look("five", None, Ask("n", Text("is", "5")))]
    fragments, table, dead = read(source(node, "src-narrow"), Request(looks_for=lambda: fives))
    assert table["n"].to_pylist() == ["5"]
    assert [letter["event.original"] for letter in dead] == [b'{"n": "5"}']
    assert sum(fragment.rows for fragment in fragments) == 2
    _, table, dead = read(source(node, "src-narrow"), Request(looks_for=lambda: fives, lateness=0))
    assert (table.num_rows, len(dead)) == (9, 2)
    _, table, _ = read(source(node, "src-narrow"), Request(looks_for=lambda: None))
    assert table.num_rows == 9
