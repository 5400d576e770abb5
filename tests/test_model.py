import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from rms_flows.errors import DocumentError
from rms_flows.model import Orchestrator, expand, json_schemas, load_orchestrator, parse

GOOD = """
orchestrator: home
sources:
  - {id: hub, format: syslog, year: 2026, archive: auth.log, location: {virtualLocation: cellar}}
processors:
  - id: high
    processor: filter
    inputs: [hub]
    parameters: {field: a, operator: GT, threshold: 0.8}
  - {id: kept, processor: persist, inputs: [hub, high]}
sinks:
  - {id: out, inputs: [high], uri: out.ndjson}
"""


def refused(text, match):
    with pytest.raises(DocumentError, match=match):
        parse(text.encode() if isinstance(text, str) else text, Orchestrator, "flow.yaml")


def test_a_flow_is_read_and_written_in_its_long_form():
    flow = parse(GOOD.encode(), Orchestrator, "flow.yaml")
    whole, sources = expand(flow)
    assert [processor.id for processor in whole.processors] == ["high", "kept"]
    assert whole.processors[0].dataSink == ("out.ndjson",)
    assert {p.key: p.value for p in whole.processors[0].parameters} == {
        "field": "a",
        "operator": "GT",
        "threshold": 0.8,
    }
    assert {p.key: p.value for p in sources[0].parameters} == {"format": "syslog", "year": 2026}
    assert sources[0].location.virtualLocation == "cellar"


def test_processors_stand_behind_their_inputs_whatever_the_order_in_the_document():
    text = GOOD.replace("inputs: [hub]\n", "inputs: [later]\n").replace(
        "inputs: [hub, high]", "inputs: [hub]"
    )
    flow = parse(text.replace("kept", "later").encode(), Orchestrator, "flow.yaml")
    assert [entry.id for entry in flow.in_order()] == ["later", "high"]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (("year: 2026", "yaer: 2026"), r"flow.yaml:4: sources\[0\].yaer: extra inputs are not permitted; `rms schema Orchestrator`"),
        (("year: 2026", "year: soon"), r"flow.yaml:4: sources\[0\].year: input should be a valid integer"),
        (("inputs: [hub]\n", "inputs: [hbu]\n"), "'high' reads 'hbu', which is neither a source nor a processor; there are high, hub, kept"),
        (("inputs: [high], uri", "inputs: [nothing], uri"), "'out' reads 'nothing'"),
        (("inputs: [hub]\n", "inputs: [kept]\n"), "processors feed each other in a circle: (high → kept → high|kept → high → kept)"),
        (("inputs: [hub]\n", "inputs: [hub, hub]\n"), "'high' reads one of its inputs twice; name each once"),
        (("id: kept", "id: hub"), "the id 'hub' is given twice"),
        (("id: kept", "id: '../x'"), r"processors\[1\].id: string should match pattern"),
        (("inputs: [hub]\n", "inputs: []\n"), r"flow.yaml:8: processors\[0\].inputs: tuple should have at least 1 item"),
        (("format: syslog", "timezone: Atlantis"), "no time zone is called 'Atlantis'; write one such as Europe/Madrid"),
        (("orchestrator: home", "orchestrator: home\norchestrator: hut"), "flow.yaml:3: the key 'orchestrator' comes twice"),
        (("orchestrator: home", "orchestrator: &x home\ndescription: *x"), r"flow.yaml:3: aliases \(\*name\) are not read"),
        (("orchestrator: home", "orchestrator: [" * 5), "no YAML"),
        (("orchestrator: home", "description: " + "[" * 70 + "]" * 70), "nested deeper than 64 levels"),
        (("orchestrator: home", "orchestrator: !!python/object/apply:os.system [ls]"), "no YAML: could not determine a constructor"),
    ],
)  # fmt: skip
def test_faults_are_named_with_line_and_path(change, match):
    refused(GOOD.replace(*change), match)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "expected a document with keys, not NoneType"),
        ("- a", "expected a document with keys, not list"),
        (b"\xff\xfe", "no UTF-8 at byte 0"),
        ("a: [", "no YAML: did not find expected node content; check indentation"),
        ("x" * (1 << 21), "expected a document"),
    ],
)
def test_what_is_no_document_is_refused(text, match):
    refused(text, match)


def test_all_faults_are_told_at_once():
    with pytest.raises(DocumentError) as caught:
        parse(GOOD.replace("year: 2026", "yaer: 1, year: x").encode(), Orchestrator, "flow.yaml")
    assert "yaer" in str(caught.value)
    assert "year: input should" in str(caught.value)


def test_files_that_cannot_be_read(tmp_path):
    with pytest.raises(
        DocumentError, match=r"none.yaml: can't be read \(No such file or directory\); check path"
    ):
        load_orchestrator(tmp_path / "none.yaml")
    long = tmp_path / "long.yaml"
    long.write_bytes(b"#" * (1 << 21))
    with pytest.raises(DocumentError, match="longer than 1,048,576 bytes; split the document"):
        load_orchestrator(long)


@given(st.binary(max_size=100) | st.text(max_size=100).map(str.encode))
def test_any_bytes_are_a_document_or_a_document_error(data):
    with pytest.raises(DocumentError):
        parse(data, Orchestrator, "x")


def test_schemas_accept_what_is_read_and_say_what_each_field_is():
    schemas = json_schemas()
    assert set(schemas) >= {"Orchestrator", "DataSourceManifest", "ProcessorDefinition", "ThreatReport"}
    for schema in schemas.values():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert schema["description"]
    jsonschema.validate(yaml.safe_load(GOOD), schemas["Orchestrator"])
    with pytest.raises(jsonschema.ValidationError, match="yaer"):
        jsonschema.validate(yaml.safe_load(GOOD.replace("year", "yaer")), schemas["Orchestrator"])


def test_json_is_read_as_well(tmp_path):
    path = tmp_path / "flow.json"
    path.write_text(json.dumps(yaml.safe_load(GOOD)))
    assert load_orchestrator(Path(path)) == parse(GOOD.encode(), Orchestrator, "x")
