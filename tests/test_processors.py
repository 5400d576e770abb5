import json
import operator
import os
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from evented import lines
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from rms_flows import processors as room
from rms_flows.annotate import annotator
from rms_flows.cli.app import app
from rms_flows.errors import DocumentError
from rms_flows.model import Source
from rms_flows.processors import make, processors
from rms_flows.schema import DICTIONARY, ENVELOPE, REPORT, TIMESTAMP

RULES = Path(__file__).parents[1] / "datasets/rules"


def batch(**columns):
    rows = len(next(iter(columns.values())))
    envelope = {name: pa.nulls(rows, kind) for name, kind in ENVELOPE.items()}
    envelope["@timestamp"] = pa.array(range(rows), TIMESTAMP)
    envelope["event.id"] = pa.array([f"e{row}" for row in range(rows)])
    return pa.RecordBatch.from_pydict({**envelope, **{n.replace("__", "."): c for n, c in columns.items()}})


def found(parameters, **columns):
    step = make("filter", "high", parameters, Path())
    reports = step.run(batch(**columns))
    assert reports.schema.equals(REPORT)
    return [int(one[0][1:]) for one in reports["rms.evidence"].to_pylist()]


def threshold(op, value, field="x"):
    return {"field": field, "operator": op, "threshold": value}


OPERATORS = {
    "EQ": operator.eq, "NE": operator.ne, "GT": operator.gt, "GE": operator.ge, "LT": operator.lt, "LE": operator.le,
}  # fmt: skip
numbers = (
    st.none()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.8, 0.80000000000000004, 1.0])
)


@given(
    st.sampled_from(sorted(OPERATORS)),
    st.floats(allow_nan=False, allow_infinity=False) | st.just(0.8),
    st.lists(numbers),
)
def test_numbers_compare_as_python_does_and_absence_is_false_but_for_ne(op, value, data):
    expected = [
        row for row, one in enumerate(data) if (op == "NE" if one is None else OPERATORS[op](one, value))
    ]
    assert found(threshold(op, value), x=pa.array(data, pa.float64())) == expected


@given(
    st.sampled_from(sorted(OPERATORS)), st.text(), st.lists(st.none() | st.text(max_size=3)), st.booleans()
)
def test_text_compares_as_text_also_in_dictionaries(op, value, data, encoded):
    column = pa.array(data, pa.string())
    if encoded:
        column = column.dictionary_encode().cast(DICTIONARY)
    expected = [
        row
        for row, one in enumerate(data)
        if (op == "NE" if one is None else OPERATORS[op](one.encode(), value.encode()))
    ]
    assert found(threshold(op, value), x=column) == expected


def test_text_that_is_a_number_compares_as_one_and_other_text_never():
    column = pa.array(["5", "5.0", "0x5", "", "4", "1e1", "five", None])
    assert found(threshold("GE", 5), x=column) == [0, 1, 5]
    assert found(threshold("NE", 5), x=column) == [2, 3, 4, 5, 6, 7]


def test_integers_compare_exactly_whatever_their_size():
    """One large value in a log must not stop a replay, nor compare as its nearest float."""
    column = pa.array([2**53 + 1, 2**53, 2**63 - 1, -(2**63), None])
    assert found(threshold("GT", 2**53, "source.bytes"), source__bytes=column) == [0, 2]
    assert found(threshold("GT", 0.5, "source.bytes"), source__bytes=column) == [0, 1, 2]
    assert found(threshold("LT", 1e30, "source.bytes"), source__bytes=column) == [0, 1, 2, 3]


def test_comparisons_of_numbers_and_text_stand_side_by_side():
    assert found({"any": [threshold("EQ", 1), threshold("EQ", "x")]}, x=pa.array(["1", "x", "y"])) == [0, 1]


def test_lists_match_by_any_element():
    column = pa.array([["a", "b"], [], None, ["c"]])
    assert found(threshold("EQ", "b"), x=column) == [0]
    assert found(threshold("NE", "b"), x=column) == [1, 2, 3]


def test_booleans_are_text_as_decoders_write_them():
    assert found(threshold("EQ", True), x=pa.array(["true", "false", None])) == [0]


def test_a_field_that_is_absent_is_false_but_for_ne():
    assert found(threshold("GT", 1, "y"), x=pa.array([1])) == []
    assert found(threshold("NE", 1, "y"), x=pa.array([1])) == [0]


def test_all_and_any_join_comparisons():
    columns = {"x": pa.array([1.0, 5.0, 5.0]), "y": pa.array(["a", "a", "b"])}
    both = [threshold("GT", 2), threshold("EQ", "a", "y")]
    assert found({"all": both}, **columns) == [1]
    assert found({"any": both}, **columns) == [0, 1, 2]


def test_reports_say_what_was_measured_and_how_grave_it_is():
    step = make(
        "filter", "high", {**threshold("GT", 0.8, "host.cpu.usage"), "level": "high", "title": "Hot"}, Path()
    )
    report = step.run(batch(host__cpu__usage=pa.array([0.5, 0.9])))
    assert report["message"].to_pylist() == ["host.cpu.usage is above 0.8"]
    assert report["rule.level"].to_pylist() == ["high"]
    assert report["rule.name"].to_pylist() == ["Hot"]
    assert report["rms.measurement"].to_pylist() == [[{"name": "host.cpu.usage", "value": 0.9}]]
    assert step.columns >= {"host.cpu.usage", "source.ip"}


def test_another_threshold_makes_other_reports_and_another_message_does_not():
    def ids(parameters):
        return (
            make("filter", "high", parameters, Path()).run(batch(x=pa.array([9.0])))["event.id"].to_pylist()
        )

    assert ids(threshold("GT", 1)) == ids({**threshold("GT", 1), "message": "other", "level": "low"})
    assert ids(threshold("GT", 1)) != ids(threshold("GT", 2))


@pytest.mark.parametrize(
    ("parameters", "match"),
    [
        (
            {},
            "high: expected one of field, all and any, not none of them; write field, operator and threshold",
        ),
        ({**threshold("GT", 1), "all": []}, "expected one of field, all and any, not field and all"),
        ({"field": "x", "operator": "GT"}, "high: 'threshold' is missing"),
        (
            threshold("ABOVE", 1),
            "high.operator: no operator is called 'ABOVE'; it is one of EQ, NE, GT, GE, LT, LE",
        ),
        (threshold("GT", [1]), r"high.threshold: expected a number, text or true/false, not \[1\]"),
        (
            {"all": [threshold("GT", 1)], "operator": "LT"},
            "high: 'operator' stands beside 'all'; each comparison",
        ),
        ({"all": ["x"]}, "high.all: expected a list of comparisons"),
        ({"any": [{**threshold("GT", 1), "unit": "%"}]}, r"high.any\[0\]: no such key: 'unit'"),
        (
            {**threshold("GT", 1), "level": "bad"},
            "high.level: no level is called 'bad'; the levels are informational",
        ),
        (
            {**threshold("GT", 1), "tresh": 1},
            "high.tresh: no such parameter of 'filter'; it takes field, operator",
        ),
        (
            {"field": 5, "operator": "GT", "threshold": 1},
            "high.field: expected a value of type string, not 5",
        ),
    ],
)
def test_wrong_parameters_are_refused_before_anything_runs(parameters, match):
    with pytest.raises(DocumentError, match=match):
        make("filter", "high", parameters, Path())


def test_unknown_processors_are_refused():
    with pytest.raises(
        DocumentError,
        match="high: no processor is called 'filtre'; there are filter, persist, sigma, transform",
    ):
        make("filtre", "high", {}, Path())


def test_sigma_wants_rules_from_within_the_folder(tmp_path):
    with pytest.raises(DocumentError, match="intrusions: the parameter 'rules' is missing"):
        make("sigma", "intrusions", {}, tmp_path)
    with pytest.raises(DocumentError, match=r"the path '\.\./rules' leaves the folder of the document"):
        make("sigma", "intrusions", {"rules": ["../rules"]}, tmp_path)


def test_sigma_reports_keep_the_author_and_count_rules(tmp_path):
    rule = "title: T\nid: 8d3b1f6a-2c57-4f0e-9a61-5b7f0f7c1d09\nauthor: A\nlogsource: {product: x}\ndetection: {s: {a: 1}, condition: s}\n"
    (tmp_path / "good.yml").write_text(rule)
    (tmp_path / "bad.yml").write_text("title: B\nlogsource: {product: x}\ndetection: {condition: s}\n")
    step = make("sigma", "intrusions", {"rules": ["."]}, tmp_path)
    reports = step.run(batch(a=pa.array(["1", "2", "1"])))
    assert [one[0] for one in reports["rms.evidence"].to_pylist()] == ["e0", "e2"]
    assert set(reports["rule.author"].to_pylist()) == {"A"}
    assert dict(step.counts) == {"evaluated": 1, "refused": 1}
    assert "bad.yml:1: B: refused:" in step.notes[0]


def test_persist_hands_on_what_it_is_told_to():
    rows = batch(a=pa.array(["1"]), b=pa.array(["2"]))
    assert make("persist", "p", {}, Path()).run(rows).equals(rows)
    assert set(make("persist", "p", {"fields": ["b"]}, Path()).run(rows).schema.names) == {*ENVELOPE, "b"}


def test_entry_points_that_name_no_processor_of_their_own_are_refused(monkeypatch):
    def installed(*values):
        entries = [EntryPoint(name, value, room.GROUP) for name, value in values]
        monkeypatch.setattr(room, "entry_points", lambda group: entries)
        processors.cache_clear()
        return processors()

    try:
        with pytest.raises(DocumentError, match="processor 'persist' is called 'persist', as another one is"):
            installed(("persist", "rms_flows.processors.persist:PROCESSOR"))
        with pytest.raises(DocumentError, match="'persist' is called 'mine' by its entry point; mend or"):
            installed(("mine", "rms_flows.processors.persist:PROCESSOR"))
        with pytest.raises(DocumentError, match=r"os:getcwd: expected a Processor, not builtin_function"):
            installed(("x", "os:getcwd"))
        with pytest.raises(
            DocumentError, match=r"nowhere:x: the processor can't be loaded \(No module named"
        ):
            installed(("x", "nowhere:x"))
    finally:
        processors.cache_clear()


def judged(source, *micros):
    rows = pa.record_batch({"@timestamp": pa.array(micros, TIMESTAMP)})
    return annotator(Source.model_validate(source))(rows)


def test_trust_is_judged_as_of_the_events_time():
    trust = {"fingerprint": "f", "validFrom": "1970-01-01T00:00:10Z", "revokedAt": "1970-01-01T00:00:20Z"}
    got = judged({"id": "hub", "trust": trust}, 9_999_999, 10_000_000, 19_999_999, 20_000_000)
    assert got["rms.trust"].to_pylist() == ["untrusted", "trusted", "trusted", "untrusted"]
    assert judged({"id": "hub"}, 1)["rms.trust"].to_pylist() == ["unknown"]
    assert judged({"id": "hub", "trust": {"validFrom": "1970-01-01T00:00:00Z"}}, 1)[
        "rms.trust"
    ].to_pylist() == ["unknown"]


def test_what_a_row_says_itself_stays():
    rows = pa.record_batch(
        {"@timestamp": pa.array([0, 1], TIMESTAMP), "rms.source": pa.array(["own", None]).dictionary_encode()}
    )
    got = annotator(
        Source.model_validate({"id": "hub", "location": {"virtualLocation": "cellar", "geoLocation": "1,2"}})
    )(rows)
    assert got["rms.source"].to_pylist() == ["own", "hub"]
    assert got["host.geo.name"].to_pylist() == ["cellar"] * 2
    assert got["host.geo.location"].to_pylist() == ["1,2"] * 2
    assert isinstance(np.asarray(got["rms.trust"].indices), np.ndarray)


@pytest.mark.parametrize(
    ("name", "example"),
    [(name, example) for name, one in processors().items() for example in one.definition.examples],
)
def test_examples_of_a_definition_make_steps(name, example, tmp_path):
    for path in example.parameters.get("rules", ()):
        lasting = tmp_path / path
        if path.endswith(".tar.gz"):
            with tarfile.open(lasting, "w:gz") as pack:
                pack.add(RULES, "rules")
        else:
            shutil.copytree(RULES, lasting)
    assert make(name, "x", example.parameters, tmp_path).gives in {"observations", "reports"}


def test_definitions_say_all_that_a_person_looks_for():
    for one in (each.definition for each in processors().values()):
        assert all((one.id, one.description, one.vendor, one.version, one.availability, one.processorType)), (
            one.name
        )
        assert all((one.inputKinds, one.outputKinds, one.examples)), one.name
        assert all(parameter.description for parameter in one.parameters), one.name
    shown = CliRunner().invoke(app, ["processors", "filter"]).stdout
    for word in (
        "vendor rms_flows",
        "version 1",
        "availability replay, stream",
        "that of the field",
        "threshold: 0.8",
    ):
        assert word in shown


def test_a_package_of_somebody_else_is_installed_discovered_described_and_run(tmp_path):
    target = tmp_path / "site"
    subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation",
         "--disable-pip-version-check", "--target", target, Path(__file__).parent / "packages/night"],
        check=True,
    )  # fmt: skip
    stamps = [f"2026-01-01T{hour:02}:00:00Z" for hour in (0, 2, 12, 23)]
    (tmp_path / "events.ndjson").write_text("".join(f'{{"@timestamp": "{one}", "x": 1}}\n' for one in stamps))
    (tmp_path / "flow.yaml").write_text(NIGHT)

    def rms(*words):
        return subprocess.run(  # noqa: S603  our own words
            [sys.executable, "-m", "rms_flows", *words], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(target)},
            check=True, capture_output=True, text=True,
        ).stdout  # fmt: skip

    [told] = json.loads(rms("processors", "night", "--json"))
    assert (told["vendor"], told["parameters"][0]["unit"], told["parameters"][0]["defaultValue"]) == (
        "somebody else", "h", 22,
    )  # fmt: skip
    assert told["examples"][0]["parameters"] == {"begin": 1, "end": 4}
    rms("processors", "--out", "documents")
    assert "ProcessorDefinition night" in rms("registry", "apply", "documents")
    rms("replay", "flow.yaml", "--quiet", "--workers", "2")
    assert [one["@timestamp"][11:13] for one in lines(tmp_path / "kept.ndjson")] == ["00", "02", "23"]


NIGHT = """
orchestrator: night
sources: [{id: hub, format: json, archive: events.ndjson}]
processors: [{id: late, processor: night, inputs: [hub]}]
sinks: [{id: out, inputs: [late], uri: kept.ndjson}]
"""
