"""The steps of `transform`: what each does to a batch, what it leaves alone, and what it refuses."""

import ipaddress
import json
from fractions import Fraction
from pathlib import Path

import pyarrow as pa
import pytest
from evented import event, flow, folded, lines, write_events
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.errors import DocumentError
from rms_flows.flow.build import Choices, build
from rms_flows.flow.survey import unreachable
from rms_flows.model import Orchestrator
from rms_flows.parity import parity
from rms_flows.processors import make
from rms_flows.processors.transform.table import load as load_table
from rms_flows.processors.transform.table import looked_up
from rms_flows.processors.transform.units import UNITS, converted, factors
from rms_flows.replay import replay
from rms_flows.schema import DICTIONARY, ENVELOPE, TEXTS, TIMESTAMP


def batch(**columns):
    rows = len(next(iter(columns.values())))
    envelope = {name: pa.nulls(rows, kind) for name, kind in ENVELOPE.items()}
    envelope["@timestamp"] = pa.array(range(rows), TIMESTAMP)
    envelope["event.id"] = pa.array([f"e{row}" for row in range(rows)])
    return pa.RecordBatch.from_pydict({**envelope, **{n.replace("__", "."): c for n, c in columns.items()}})


def run(rows, *steps, folder=Path()):
    got = make("transform", "t", {"steps": list(steps)}, folder).run(rows)
    for name in ENVELOPE:
        assert got[name].equals(rows[name])
    return {name: got[name].to_pylist() for name in got.schema.names if name not in ENVELOPE}


def test_rename_moves_values_and_leaves_others_where_there_is_none():
    rows = batch(a=pa.array(["1", None, "3"]), b=pa.array(["x", "y", None]), c=pa.array(["c"] * 3))
    assert run(rows, {"rename": {"a": "b"}}) == {"c": ["c"] * 3, "b": ["1", "y", "3"]}
    assert run(rows, {"rename": {"nothing": "b"}}) == {
        "a": ["1", None, "3"],
        "b": ["x", "y", None],
        "c": ["c"] * 3,
    }


def test_rename_gives_the_type_of_the_new_name_and_keeps_what_does_not_fit():
    """One name has one type everywhere: a port that is text would disagree with every other batch."""
    rows = batch(
        sport=pa.array(["80", "http", None]),
        who=pa.array(["a", "b", "a"]),
        rms__misfit=pa.array(['{"q":1}', '{"q":2}', None]),
    )
    got = make(
        "transform", "t", {"steps": [{"rename": {"sport": "source.port", "who": "host.name"}}]}, Path()
    ).run(rows)
    assert got["source.port"].to_pylist() == [80, None, None]
    assert got["host.name"].type == DICTIONARY
    assert [text and json.loads(text) for text in got["rms.misfit"].to_pylist()] == [
        {"q": 1},
        {"q": 2, "source.port": "http"},
        None,
    ]
    fresh = batch(sport=pa.array(["80", "http"]))
    assert run(fresh, {"rename": {"sport": "source.port"}})["rms.misfit"] == [None, '{"source.port":"http"}']


def test_drop_takes_patterns_and_spares_the_envelope():
    rows = batch(
        user__name=pa.array(["a"]),
        user__id=pa.array(["1"]),
        x=pa.array(["x"]),
        event__original=pa.array([b"raw"]),
    )
    assert run(rows, {"drop": ["user.*", "nothing"]}) == {"x": ["x"], "event.original": [b"raw"]}
    assert run(rows, {"drop": ["event.original", "x"]}) == {"user.name": ["a"], "user.id": ["1"]}
    assert run(rows, {"drop": ["*"]}) == {}


@pytest.mark.parametrize(
    ("given_", "wanted", "value", "result"),
    [
        ("°C", "°F", 21.5, 70.7),
        ("°F", "°C", -40.0, -40.0),
        ("K", "°C", 273.15, 0.0),
        ("%", "1", 80.0, 0.8),
        ("KiB", "B", 3.0, 3072.0),
        ("Mbit", "MB", 8.0, 1.0),
        ("ms", "s", 1500.0, 1.5),
        ("km/h", "m/s", 36.0, 10.0),
        ("kWh", "J", 1.0, 3.6e6),
        ("kJ", "Wh", 3.6, 1.0),
    ],
)
def test_units_are_converted(given_, wanted, value, result):
    got = converted(pa.array([value, None]), *factors(given_, wanted, "")).to_pylist()
    assert got == [pytest.approx(result, abs=1e-9), None]


def test_units_there_and_back_are_the_same_exactly():
    for units in UNITS.values():
        for one in units:
            for other in units:
                (factor, shift), (back, less) = factors(one, other, ""), factors(other, one, "")
                assert (7 * factor + shift) * back + less == Fraction(7)


def test_convert_keeps_integers_exact_and_text_that_is_no_number_as_it_was():
    """2^53 + 1 minutes as a float would be another number; the product of large ones would wrap around."""
    rows = batch(
        source__bytes=pa.array([2**53 + 1, None, 2**61]),
        x=pa.array(["5", "n/a", None]),
        l=pa.array(["1e308", "2", ""]),
    )
    assert run(rows, {"convert": {"field": "source.bytes", "from": "min", "to": "s"}})["source.bytes"] == [
        (2**53 + 1) * 60,
        None,
        None,
    ]
    assert (
        run(rows, {"convert": {"field": "source.bytes", "from": "B", "to": "kB"}})["source.bytes"][0]
        == 9007199254741
    )
    assert run(rows, {"convert": {"field": "x", "from": "s", "to": "ms"}})["x"] == ["5000", "n/a", None]
    assert run(rows, {"convert": {"field": "x", "from": "%", "to": "1", "into": "system.x.pct"}})[
        "system.x.pct"
    ] == [0.05, None, None]
    assert run(rows, {"convert": {"field": "l", "from": "h", "to": "ns"}})["l"] == [None, "7.2e+12", ""]
    assert "y" not in run(rows, {"convert": {"field": "y", "from": "s", "to": "ms"}})


def test_derive_gives_a_field_its_type_and_later_steps_see_it():
    rows = batch(source__bytes=pa.array([2000, None]), host__name=pa.array(["A", None]))
    got = run(
        rows,
        {"derive": {"field": "size", "expression": "source.bytes / 1000"}},
        {"derive": {"field": "big", "expression": "size > 1"}},
        {"derive": {"field": "host.name", "expression": "lower(host.name)"}},
        {"derive": {"field": "destination.bytes", "expression": "round(size)"}},
        {"derive": {"field": "nothing", "expression": "other + 1"}},
    )
    assert got == {
        "source.bytes": [2000, None], "host.name": ["a", None], "size": ["2", None], "big": ["true", None],
        "destination.bytes": [2, None],
    }  # fmt: skip


def test_enrich_looks_values_up_exactly_and_leaves_the_others(tmp_path):
    (tmp_path / "assets.csv").write_text('name,owner,port,site\nhub,ann,80,"a, b"\ncam,bo,,c\n')
    step = {
        "field": "host.name",
        "table": "assets.csv",
        "key": "name",
        "fields": {"owner": "user.name", "port": "source.port", "site": "site"},
    }
    rows = batch(
        host__name=pa.array(["cam", "hub", "x", None]).dictionary_encode().cast(DICTIONARY),
        user__name=pa.array([None, "old", "old", "old"]),
    )
    got = run(rows, {"enrich": step}, folder=tmp_path)
    assert (got["user.name"], got["source.port"], got["site"]) == (
        ["bo", "ann", "old", "old"],
        [None, 80, None, None],
        ["c", "a, b", None, None],
    )


def test_enrich_takes_of_a_list_the_first_that_is_known(tmp_path):
    (tmp_path / "nets.csv").write_text("net,zone\n10.0.0.0/8,home\nfd00::/8,six\n")
    step = {"field": "host.ip", "table": "nets.csv", "key": "net", "fields": ["zone"], "match": "cidr"}
    rows = batch(host__ip=pa.array([["1.1.1.1", "fd00::1", "10.1.1.1"], [], None, [None, "x"]], TEXTS))
    assert run(rows, {"enrich": step}, folder=tmp_path)["zone"] == ["six", None, None, None]


networks = st.sampled_from([4, 6]).flatmap(
    lambda v: st.builds(
        lambda bits, length: ipaddress.ip_network(
            (bits << (28 if v == 4 else 124), length) if v == 4 else (bits << 124, length), strict=False
        ),
        st.integers(0, 15),
        st.integers(0, 5) | st.just(32 if v == 4 else 128),
    )
)
addresses = st.builds(
    lambda top, low: str(ipaddress.IPv4Address(top << 28 | low)), st.integers(0, 15), st.integers(0, 2)
) | st.builds(
    lambda top, low: str(ipaddress.IPv6Address(top << 124 | low)), st.integers(0, 15), st.integers(0, 2)
)


@given(
    st.lists(networks, unique=True, min_size=1),
    st.lists(addresses | st.sampled_from(["", "x", "255.255.255.255", "::ffff:1.2.3.4"])),
)
def test_the_longest_network_counts(tmp_path_factory, nets, texts):
    path = tmp_path_factory.mktemp("nets") / "n.csv"
    path.write_text("net,zone\n" + "".join(f"{net},{at}\n" for at, net in enumerate(nets)))
    table = load_table(path, "net", {"zone": "zone"}, "cidr", "w")

    def plainest(text):
        try:
            one = ipaddress.ip_address("1.2.3.4" if text.startswith("::ffff:") else text)
        except ValueError:
            return None
        there = [
            (net.prefixlen, at) for at, net in enumerate(nets) if one.version == net.version and one in net
        ]
        return max(there)[1] if there else None

    assert looked_up(pa.array(texts, pa.string()), table.find).to_pylist() == [
        plainest(text) for text in texts
    ]


def test_mask_replaces_values_everywhere_and_what_still_holds_them(tmp_path):
    """The raw record, and what didn't fit its column, would tell what was masked."""
    (tmp_path / "key").write_text("0123456789abcdef0123456789abcdef\n")
    (tmp_path / "key").chmod(0o600)
    (tmp_path / "other").write_text("x" * 16)
    (tmp_path / "other").chmod(0o600)
    rows = batch(
        user__name=pa.array(["ann", None, "bo"]), host__name=pa.array(["bo", "ann", None]).dictionary_encode().cast(DICTIONARY),
        related__user=pa.array([["bo", None], None, []], TEXTS), event__original=pa.array([b"ann"] * 3),
        rms__misfit=pa.array(['{"a":"ann"}'] * 3),
    )  # fmt: skip
    step = {"fields": ["user.name", "host.name", "related.user", "absent"], "key_file": "key"}
    got = run(rows.slice(0, 3), {"mask": step}, folder=tmp_path)
    assert set(got) == {"user.name", "host.name", "related.user"}
    ann, bo = got["user.name"][0], got["user.name"][2]
    assert len(ann) == 32
    assert got == {
        "user.name": [ann, None, bo],
        "host.name": [bo, ann, None],
        "related.user": [[bo, None], None, []],
    }
    assert run(rows.slice(1, 2), {"mask": step}, folder=tmp_path)["related.user"] == [None, []]
    assert run(rows.slice(0, 1), {"mask": step}, folder=tmp_path)["related.user"] == [[bo, None]]
    assert run(rows, {"mask": {**step, "key_file": "other"}}, folder=tmp_path)["user.name"][0] != ann


def wrong(*steps, folder=Path()):
    return make("transform", "t", {"steps": list(steps)}, folder)


ENRICH = {"field": "a", "table": "t.csv", "key": "k", "fields": ["v"]}


@pytest.mark.parametrize(
    ("step", "match"),
    [
        ("x", r"t.steps\[0\]: expected a step, not 'x'; each has one key of rename, drop, convert"),
        ({"renam": 1}, "no step is called 'renam'; there are rename, drop"),
        ({"rename": []}, "expected old names and new ones"),
        ({"rename": {"a": "event.id"}}, r"t.steps\[0\].rename: 'event.id' belongs to the envelope"),
        ({"rename": {"rms.trust": "a"}}, "'rms.trust' belongs to the envelope, .*keep it, and set a field of your own"),
        ({"rename": {"a": "b", "b": "c"}}, "a name stands there twice; rename one by one"),
        ({"rename": {"tags": "a"}}, r"'tags' holds list<.*>, and 'a' string; derive the one from the other"),
        ({"rename": {"a": 5}}, "expected the name of a field, not 5; write its dotted name"),
        ({"drop": "a"}, "expected a list of names, not 'a'; write names or patterns"),
        ({"drop": ["@timestamp"]}, "'@timestamp' belongs to the envelope"),
        ({"convert": 1}, "expected an object, not 1; it has field, from, to, into"),
        ({"convert": {"field": "a", "from": "s"}}, "'to' is missing; it has field, from, to, into"),
        ({"convert": {"field": "a", "from": "s", "to": "ms", "x": 1}}, "no such key: 'x'"),
        ({"convert": {"field": "a", "from": "C", "to": "K"}}, r"convert.from: no unit is called 'C'; there are 1, %"),
        ({"convert": {"field": "a", "from": "s", "to": "B"}}, "s measures time, and B data; name two units of one kind"),
        ({"convert": {"field": "tags", "from": "s", "to": "ms"}}, "'tags' holds list<.*>, no numbers"),
        ({"derive": {"field": "@timestamp", "expression": "1"}}, "'@timestamp' belongs to the envelope"),
        ({"derive": {"field": "source.port", "expression": "x / 2"}}, r"'source.port' holds int64, and the expression gives a value of kind number; round\(…\) it"),
        ({"derive": {"field": "host.cpu.usage", "expression": '"a"'}}, "holds double, and the expression gives a value of kind text"),
        ({"derive": {"field": "event.start", "expression": "x"}}, "holds timestamp.*of kind text"),
        ({"derive": {"field": "a", "expression": "tags"}}, r"of kind list; use first\(…\) of a list"),
        ({"derive": {"field": "a", "expression": "x ** 2"}}, r"t.steps\[0\].derive.expression: the operator Pow is not allowed"),
        ({"enrich": {**ENRICH, "match": "regex"}}, "no match is called 'regex'; it is exact or cidr"),
        ({"enrich": {**ENRICH, "fields": []}}, r"expected columns of the table, not \[\]"),
        ({"enrich": {**ENRICH, "fields": {"v": "event.id"}}}, "'event.id' belongs to the envelope"),
        ({"enrich": {**ENRICH, "fields": {"v": "tags"}}}, "'tags' holds lists, and a table single values"),
        ({"enrich": {**ENRICH, "table": "../t.csv"}}, "leaves the folder of the document"),
        ({"enrich": {**ENRICH, "table": "no.csv"}}, r"the table 'no.csv' can't be read \(No such file"),
        ({"enrich": {**ENRICH, "key": "q"}}, "the table 't.csv' has no column 'q'; it has k, v"),
        ({"enrich": {**ENRICH, "table": "twice.csv"}}, "twice.csv: 'a' stands in the rows 2 and 3; keep one of them"),
        ({"enrich": {**ENRICH, "table": "torn.csv"}}, r"torn.csv: row 3: the row has another number of values than the header \(2\)"),
        ({"enrich": {**ENRICH, "table": "bytes.csv"}}, "the table 'bytes.csv' is no CSV in UTF-8"),
        ({"enrich": {**ENRICH, "fields": {"v": "source.port"}}}, "t.csv: row 2: 'b' does not fit source.port, which holds int64"),
        ({"enrich": {**ENRICH, "match": "cidr"}}, "t.csv: row 2: no network .*write one such as 10.0.0.0/8"),
        ({"mask": {"fields": "a", "key_file": "key"}}, "expected a list of names, not 'a'"),
        ({"mask": {"fields": ["source.port"], "key_file": "key"}}, "'source.port' holds int64, which can't hold a hash; drop it"),
        ({"mask": {"fields": ["rms.source"], "key_file": "key"}}, "'rms.source' belongs to the envelope"),
        ({"mask": {"fields": ["a"], "key_file": "short"}}, "the key 'short' has 5 bytes, less than 16; make one: .*openssl rand -hex 32"),
        ({"mask": {"fields": ["a"], "key_file": "none"}}, r"the key 'none' can't be read \(No such file"),
        ({"mask": {"fields": ["a"], "key_file": "open"}}, r"others may read or write the key 'open' \(mode 0640\); chmod 600"),
        ({"mask": {"fields": ["a"], "key_file": "/etc/passwd"}}, "leaves the folder of the document"),
    ],
)  # fmt: skip
def test_wrong_steps_are_refused_before_anything_runs(tmp_path, step, match):
    for name, text in {
        "t.csv": "k,v\na,b\n",
        "twice.csv": "k,v\na,b\na,c\n",
        "torn.csv": "k,v\na,b\nc\n",
        "short": "12345",
        "open": "x" * 16,
    }.items():
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o640 if name == "open" else 0o600)
    (tmp_path / "bytes.csv").write_bytes(b"k,v\n\xff,1\n")
    with pytest.raises(DocumentError, match=match):
        wrong(step, folder=tmp_path)


def test_a_transform_has_steps_and_not_too_many():
    with pytest.raises(
        DocumentError, match=r"t\.steps: expected 1 to 100 steps, not 0; see docs/transform\.md"
    ):
        wrong()
    with pytest.raises(DocumentError, match="expected 1 to 100 steps, not 101"):
        wrong(*[{"drop": ["x"]}] * 101)


STEPS = [
    {"rename": {"n": "load"}},
    {"derive": {"field": "rate", "expression": "load * 2"}},
    {"derive": {"field": "who", "expression": 'concat(user.name, "@", host.name)'}},
]


def document():
    changed = {"id": "changed", "processor": "transform", "inputs": ["a"], "parameters": {"steps": STEPS}}
    hot = {
        "id": "hot",
        "processor": "filter",
        "inputs": ["changed"],
        "parameters": {"field": "rate", "operator": "GE", "threshold": 60},
    }
    return flow([("a", "a.ndjson", "30s")], [changed, hot], {"out": (["hot"], "out.ndjson")})


def test_the_source_is_asked_for_what_is_changed_and_every_event(tmp_path):
    """A filter behind it looks for a field that no document has: pushed down, it would find nothing."""
    plan = build(document(), tmp_path, tmp_path, Choices())
    request = plan.sources[0].request
    assert request.columns >= {"n", "load", "user.name", "host.name", "source.ip"}
    assert "other" not in request.columns
    assert request.looks_for() is None
    assert request.late is None


def test_rules_behind_it_may_look_at_what_it_makes(tmp_path):
    (tmp_path / "r.yml").write_text(
        "title: R\nid: 8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d09\nlogsource: {product: x}\ndetection: {s: {rate: 60}, condition: s}\n"
    )
    whole = document().model_dump(mode="json", by_alias=True, exclude_none=True)
    whole["processors"][1] |= {"processor": "sigma", "parameters": {"rules": ["r.yml"], "routing": False}}
    plan = build(Orchestrator.model_validate(whole), tmp_path, tmp_path, Choices())

    class Known:
        def columns(self):
            return frozenset({"n"})

    stage = plan.sources[0]
    object.__setattr__(stage, "source", Known())
    steps = {one.id: one.ready() for one in plan.processors}
    assert unreachable(plan, steps) == {"hot": 0}


def test_a_flow_finds_the_same_in_a_replay_and_in_a_stream_also_what_a_loop_finds(tmp_path):
    events = [
        event(
            f"e{n}",
            1_700_000_000_000_000 + n * 1_000_000,
            "sent",
            n=n if n % 7 else "none",
            **{"user.name": "ann", "host.name": f"h{n % 3}"},
        )
        for n in range(60)
    ]
    write_events(tmp_path / "a.ndjson", events)
    replay(document(), folder=tmp_path)
    found = {row["rms.evidence"][0] for row in folded(tmp_path / "out.ndjson").values()}
    assert found == {f"e{n}" for n in range(60) if n % 7 and 2 * n >= 60}
    assert len(lines(tmp_path / "out.ndjson")) == len(found)
    got = parity(document(), folder=tmp_path, permutations=3)
    assert (got.equal, got.reports) == (True, len(found))
