"""Which columns a flow asks of its sources: too few would be silent loss, too many are only slow."""

import pickle
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


RULE = """
title: {name}
id: {id}
status: test
description: d
author: a
date: 2026-01-01
logsource: {{product: windows, category: process_creation}}
detection:
  {what}
  condition: s
level: low
"""


def sigma(tmp_path, name="sigma", inputs=("a",), what="s: {CommandLine|contains: evil}"):
    number = sum(map(ord, name))
    text = RULE.format(name=name, id=f"00000000-0000-4000-8000-{number:012}", what=what)
    (tmp_path / f"{name}.yml").write_text(text, encoding="utf-8")
    return {
        "id": name,
        "processor": "sigma",
        "inputs": list(inputs),
        "parameters": {"rules": [f"{name}.yml"]},
    }


def late(tmp_path, processors, sinks):
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
    return pickle.loads(pickle.dumps(build(flow, tmp_path, tmp_path, Choices()))).sources[0].request.late  # noqa: S301  as in a worker


def test_rules_spare_a_source_what_they_need_not_see(tmp_path):
    asked = late(tmp_path, [sigma(tmp_path), hot()], [["sigma"], ["hot"]])
    (search,) = [make() for make in asked.searches]
    assert {"Channel", "EventID"} <= search.first
    assert set(EVENT_COLUMNS) <= search.always
    assert {"x", "rms.trust"} <= asked.always  # what the filter looks at, and what is put on observations
    assert "CommandLine" not in asked.always | search.always


def test_keywords_need_all_columns_of_a_source_that_can_not_search(tmp_path):
    processors = [sigma(tmp_path, what="s: [evil]")]
    assert asked(tmp_path, processors, [["sigma"]]) is None
    assert late(tmp_path, processors, [["sigma"]]) is not None


def test_nothing_is_spared_where_someone_needs_all(tmp_path):
    assert late(tmp_path, [sigma(tmp_path)], [["sigma"], ["a"]]) is None
    assert late(tmp_path, [sigma(tmp_path), kept()], [["sigma"], ["kept"]]) is None
    assert late(tmp_path, [hot()], [["hot"]]) is None
    behind = [kept(), sigma(tmp_path, inputs=["kept"])]
    assert late(tmp_path, behind, [["sigma"]]) is None
