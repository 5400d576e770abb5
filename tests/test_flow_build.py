"""Which columns a flow asks of its sources: too few would be silent loss, too many are only slow."""

from pathlib import Path

import pytest

from rms_flows.errors import DocumentError
from rms_flows.flow.build import Choices, build
from rms_flows.model import Orchestrator
from rms_flows.report.build import EVENT_COLUMNS


def asked(tmp_path, processors, sinks):
    flow = Orchestrator.model_validate(
        {
            "orchestrator": "t",
            "sources": [{"id": "a", "archive": "a.log"}],
            "processors": processors,
            "sinks": [
                {"id": f"s{n}", "inputs": inputs, "uri": f"s{n}.ndjson"} for n, inputs in enumerate(sinks)
            ],
        }
    )
    return build(flow, tmp_path, tmp_path, Choices()).sources[0].request.columns


def hot(name="hot", inputs=("a",), field="x"):
    parameters = {"field": field, "operator": "GT", "threshold": 1}
    return {"id": name, "processor": "filter", "inputs": list(inputs), "parameters": parameters}


def kept(name="kept", inputs=("a",), **parameters):
    return {"id": name, "processor": "persist", "inputs": list(inputs), "parameters": parameters}


def test_a_filter_needs_its_field_and_what_reports_take_over(tmp_path):
    assert asked(tmp_path, [hot()], [["hot"]]) >= {"x", *EVENT_COLUMNS}
    assert "y" not in asked(tmp_path, [hot()], [["hot"]])


def test_two_readers_need_what_both_need(tmp_path):
    assert asked(tmp_path, [hot(), hot("cold", field="y")], [["hot"], ["cold"]]) >= {"x", "y"}


@pytest.mark.parametrize(
    ("processors", "sinks"),
    [
        ([], [["a"]]),  # a sink behind a source keeps all of it
        ([kept()], [["kept"]]),
        ([hot(), kept()], [["hot"], ["kept"]]),
        ([kept(), hot(inputs=["kept"])], [["hot"], ["kept"]]),
    ],
)
def test_who_keeps_observations_needs_all_columns(tmp_path, processors, sinks):
    assert asked(tmp_path, processors, sinks) is None


def test_what_stands_behind_a_processor_is_asked_for_too(tmp_path):
    assert asked(tmp_path, [kept(fields=["x"]), hot(inputs=["kept"])], [["hot"]]) >= {"x"}


def test_who_looks_only_at_what_was_dropped_is_refused(tmp_path):
    with pytest.raises(
        DocumentError, match=r"'hot' looks at x, which 'kept' does not keep; let 'kept' keep it"
    ):
        asked(tmp_path, [kept(fields=["y"]), hot(inputs=["kept"])], [["hot"]])


def test_paths_of_a_document_begin_in_its_folders(tmp_path):
    flow = Orchestrator.model_validate(
        {
            "orchestrator": "t",
            "sources": [{"id": "a", "archive": "a.log"}],
            "sinks": [{"id": "s", "inputs": ["a"], "uri": "s.ndjson"}],
        }
    )
    plan = build(flow, Path("/nowhere"), tmp_path, Choices(sinks={"s": "mine.ndjson"}))
    assert plan.sources[0].source.uri == f"{tmp_path}/a.log"
    assert plan.sinks[0].sink.uri == "mine.ndjson"
    assert plan.dead_letters.uri == "mine.dead-letters.ndjson"
