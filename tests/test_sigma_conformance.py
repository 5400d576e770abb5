"""The conformance suite in tests/conformance, asked of our engine through its real decoder."""

import json
import re
from pathlib import Path

import pytest
import yaml
from sigma.modifiers import modifier_mapping

from rms_flows import sigma
from tests.decoding import run

pytestmark = pytest.mark.usefixtures("both_searches")

FILES = sorted((Path(__file__).parent / "conformance").glob("*.yml"))
TOPICS = {file.stem: yaml.safe_load(file.read_text("utf-8")) for file in FILES}
CASES = [
    pytest.param(case, id=f"{topic}: {case['name']}") for topic in TOPICS for case in TOPICS[topic]["cases"]
]


@pytest.mark.parametrize("case", CASES)
def test_case(case, tmp_path):
    detection = case.get("detection") or {"selection": case["selection"], "condition": "selection"}
    rule = {"title": "A case", "logsource": {"category": "test"}, "detection": detection}
    path = tmp_path / "rule.yml"
    path.write_text(
        "\n---\n".join(json.dumps(one, ensure_ascii=False) for one in [rule, *case.get("filters", ())])
    )
    loaded = sigma.load([path], routing=False)
    if "refused" in case:
        (refused,) = loaded.refused
        assert case["refused"].casefold() in refused.reason.casefold()
        return
    assert not loaded.refused
    engine = sigma.compile(loaded)
    events = [*case["match"], *case["no_match"]]
    assert case["match"]
    assert case["no_match"]
    wanted = [number < len(case["match"]) for number in range(len(events))]
    assert [bool(found(engine, [event])) for event in events] == wanted, "one at a time"
    # Together they share columns, of which one may have texts, numbers and lists.
    assert found(engine, events) == [row for row, hit in enumerate(wanted) if hit]


def found(engine, events):
    stamped = [{"@timestamp": "2024-01-01T00:00:00Z", **event} for event in events]
    rows = run("\n".join(map(json.dumps, stamped)).encode(), format="json").rows
    assert rows.num_rows == len(events)
    (batch,) = rows.combine_chunks().to_batches()
    return engine.match(batch).row.tolist()


def test_each_file_says_what_it_is_about_and_no_name_comes_twice():
    for topic in TOPICS.values():
        names = [case["name"] for case in topic["cases"]]
        assert sorted(set(names)) == sorted(names)
        assert topic["about"]
        for case in topic["cases"]:
            assert set(case) <= {"name", "detection", "selection", "filters", "match", "no_match", "refused"}


def test_each_modifier_occurs():
    keys = re.findall(r"[\w.]*((?:\|\w+)+)'?:", "".join(file.read_text("utf-8") for file in FILES))
    assert set(modifier_mapping) <= {modifier for key in keys for modifier in key.split("|")}
