"""Log sources: where the events of a rule are, by our table and by those that users add."""

import json
from collections import Counter

import pyarrow as pa
import pytest

from rms_flows import sigma
from rms_flows.errors import DocumentError

SYSMON = "Microsoft-Windows-Sysmon/Operational"


def write(path, *rules):
    """Write rules that are true of every event with `f: x`, one for each log source."""
    path.write_text(
        "\n---\n".join(
            json.dumps({"title": str(i), "logsource": one, "detection": {"s": {"f": "x"}, "condition": "s"}})
            for i, one in enumerate(rules)
        )
    )
    return path


def table(path, *entries):
    path.write_text(json.dumps({"routes": entries}))
    return path


@pytest.fixture
def hits(tmp_path):
    """For each log source the rows of the events that its rule looks at."""

    def run(sources, events, routes=(), pipelines=(), **options):
        rules = write(tmp_path / "rules.yml", *sources)
        tables = [table(tmp_path / f"{number}.yml", *entries) for number, entries in enumerate(routes)]
        loaded = sigma.load([rules], pipelines, routes=tables, **options)
        assert not loaded.refused
        names = dict.fromkeys(name for event in events for name in event)
        columns = {name: pa.array([event.get(name) for event in events]) for name in names}
        found = sigma.compile(loaded).match(pa.record_batch({**columns, "f": pa.repeat("x", len(events))}))
        return [found.row[found.rule == number].tolist() for number in range(len(sources))]

    return run


WINDOWS = [
    {"event.dataset": "windows.sysmon", "Channel": SYSMON, "EventID": "1"},
    {"event.dataset": "windows.sysmon", "Channel": SYSMON, "EventID": "13"},
    {"event.dataset": "windows.sysmon", "Channel": SYSMON, "EventID": "12"},
    {"event.dataset": "windows.security", "Channel": "security", "EventID": "4688"},
    {"event.dataset": "windows.security", "Channel": "Security", "EventID": "1"},
    {"event.dataset": "zeek.conn"},
]


@pytest.mark.parametrize(
    ("source", "rows"),
    [
        pytest.param({"product": "windows"}, [0, 1, 2, 3, 4], id="a product"),
        pytest.param({"product": "windows", "service": "security"}, [3, 4], id="a channel"),
        pytest.param({"product": "windows", "category": "process_creation"}, [0, 3], id="two logs feed it"),
        pytest.param({"product": "windows", "category": "registry_set"}, [1], id="set"),
        pytest.param({"product": "windows", "category": "registry_event"}, [1, 2], id="of two categories"),
        pytest.param(
            {"product": "windows", "category": "process_creation", "service": "security"}, [3], id="both hold"
        ),
        pytest.param({"product": "zeek", "service": "conn"}, [5], id="a stream"),
        pytest.param({"product": "zeek", "service": "dns"}, [], id="another stream"),
        pytest.param({"product": "linux", "service": "sshd"}, [], id="another product"),
    ],
)
def test_a_rule_looks_at_the_events_of_its_log_source(hits, source, rows):
    assert hits([source], WINDOWS) == [rows]
    assert hits([source], WINDOWS, routing=False) == [list(range(len(WINDOWS)))]


@pytest.mark.parametrize(
    "source",
    [
        {"product": "windows", "category": "nobody_knows"},
        {"product": "linux", "service": "sshd", "category": "nobody_knows"},
        {"category": "process_creation"},
        {"product": "nobody_knows"},
    ],
)
def test_where_a_part_of_the_log_source_is_unknown_every_event_is_judged(hits, source):
    assert hits([source], WINDOWS) == [list(range(len(WINDOWS)))]


def test_an_event_that_does_not_say_what_log_it_is_from_is_judged_by_every_rule(hits):
    """Flat JSON with Sigma's field names and nothing else must not be passed over in silence."""
    events = [{"event.dataset": None, "Image": "x"}, {"event.dataset": "mosquitto.log", "Image": "x"}]
    sources = [{"product": "windows", "category": "process_creation"}, {"product": "zeek"}]
    assert hits(sources, events) == [[0], [0]]
    assert hits(sources, [{"Image": "x"}]) == [[0], [0]], "not even the column"


def test_a_table_of_ones_own_adds_log_sources_and_replaces_ours(hits):
    events = [{"event.dataset": "acme.door", "kind": "open"}, {"event.dataset": "zeek.conn", "kind": "open"}]
    door = {"product": "acme", "service": "door"}
    own = {**door, "when": {"event.dataset": "acme.*"}}
    assert hits([door], events) == [[0, 1]]
    assert hits([door], events, routes=[[own]]) == [[0]]
    moved = {"product": "zeek", "service": "conn", "when": [{"kind|endswith": "en"}, {"x": 1}]}
    assert hits([{"product": "zeek", "service": "conn"}], events, routes=[[moved]]) == [[0, 1]]
    again = {**own, "when": {"kind": "shut"}}
    assert hits([door], events, routes=[[own], [again]]) == [[]], "the later table counts"


def test_a_pipeline_renames_the_fields_of_routes_too(hits, tmp_path):
    pipeline = tmp_path / "ecs.yml"
    renamed = {"Channel": "winlog.channel", "EventID": "event.code"}
    pipeline.write_text(
        json.dumps({"name": "ecs", "transformations": [{"type": "field_name_mapping", "mapping": renamed}]})
    )
    events = [
        {"event.dataset": "x", "winlog.channel": SYSMON, "event.code": "1"},
        {"event.dataset": "x", "Channel": SYSMON, "EventID": "1"},
    ]
    source = {"product": "windows", "category": "process_creation"}
    assert hits([source], events, pipelines=[pipeline]) == [[0]]
    assert hits([source], events) == [[1]]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"routes": [{"when": {"a": 1}}]}', "names no product, category or service"),
        ('{"routes": [{"product": "x", "when": {}}]}', "at least 1 item"),
        ('{"routes": [{"product": "x"}]}', "routes[0].when: field required"),
        ('{"routes": [{"product": "x", "when": {"a": 1}, "maybe": 1}]}', "routes[0].maybe"),
        ('{"routes": [{"product": "x", "when": {"a|nope": 1}}]}', "product: x is no Sigma detection"),
        ('{"routes": [{"product": "x", "when": {"a|re": "("}}]}', "product: x is no Sigma detection"),
    ],
)
def test_a_bad_table_is_refused_with_file_and_reason(tmp_path, text, expected):
    rules = write(tmp_path / "rules.yml", {"product": "y"})
    path = tmp_path / "routes.yml"
    path.write_text(text)
    with pytest.raises(DocumentError) as caught:
        sigma.load([rules], routes=[path])
    assert expected in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_pipeline_that_knows_no_such_log_source_refuses_the_rule_and_not_the_run(tmp_path):
    pipeline = tmp_path / "strict.yml"
    refusing = {
        "type": "rule_failure",
        "message": "not here",
        "rule_conditions": [{"type": "logsource", "product": "zeek"}],
    }
    pipeline.write_text(json.dumps({"name": "strict", "transformations": [refusing]}))
    rules = write(tmp_path / "rules.yml", {"product": "zeek"}, {"product": "linux"})
    loaded = sigma.load([rules], [pipeline])
    assert [rule.title for rule in loaded.rules] == ["1"]
    assert "not here" in loaded.refused[0].reason


@pytest.mark.datasets
def test_few_of_the_public_rules_have_a_log_source_that_nobody_knows(datasets):
    loaded = sigma.load([datasets / "sigmahq-rules-8eaafff1f.tar.gz"])
    unknown = Counter(rule.logsource for rule in loaded.rules if rule.route is None)
    assert sum(unknown.values()) < 50
    assert not [source for source in unknown if "windows" in source or "zeek" in source]
