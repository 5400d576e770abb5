"""Loading rules: what is read from where, and what each bad document is told."""

import gzip
import io
import json
import pickle
import tarfile
import zipfile

import pyarrow as pa
import pytest

from rms_flows import sigma
from rms_flows.errors import DocumentError
from rms_flows.sigma.files import MAX_DEPTH, MAX_FILE

RULE = """\
title: Shell
id: 00000000-0000-4000-8000-000000000001
author: Ann
level: high
tags: [attack.t1059]
logsource: {category: process_creation}
detection:
  sel: {Image|endswith: /sh}
  condition: sel
"""
OTHER = RULE.replace("0001", "0002").replace("/sh", "/zsh")


def detecting(*lines, condition="sel"):
    return "\n".join(
        ["title: T", "logsource: {category: c}", "detection:", *lines, f"  condition: {condition}"]
    )


def reasons(tmp_path, text):
    path = tmp_path / "rules.yml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(one.line, one.reason) for one in sigma.load([path]).refused]


def test_a_rule_keeps_what_messages_need(tmp_path):
    path = tmp_path / "shell.yml"
    path.write_text("# who\n---\n" + RULE)
    (rule,) = sigma.load([path]).rules
    assert (rule.title, rule.author, rule.level, rule.tags) == ("Shell", "Ann", "high", ("attack.t1059",))
    assert rule.id == "00000000-0000-4000-8000-000000000001"
    assert rule.where == f"{path}:3"


def test_a_rule_without_id_gets_one_of_its_content(tmp_path):
    text = detecting("  sel: {a: 1}")
    first, second = tmp_path / "a.yml", tmp_path / "b.yml"
    first.write_text(text)
    second.write_text(text.replace("a: 1", "a: 2"))
    one, two = sigma.load([first, second]).rules
    assert one.id == sigma.load([first]).rules[0].id != two.id
    assert one.level == "medium"


def test_meaning_is_the_same_whatever_names_and_order(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text(detecting("  a: {x: 1}", "  b: {y: 2}", condition="a and b"))
    first = sigma.load([path]).rules[0].meaning
    path.write_text(detecting("  one: {y: 2}", "  two: {x: 1}", condition="one and two"))
    assert sigma.load([path]).rules[0].meaning == first
    path.write_text(detecting("  one: {y: 2}", "  two: {x: 1}", condition="one or two"))
    assert sigma.load([path]).rules[0].meaning != first


def archive(path):
    files = {"rules/b.yml": OTHER, "rules/a.yml": RULE, "rules/readme.txt": "not a rule"}
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as target:
            for name, text in files.items():
                target.writestr(name, text)
        return
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as target:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            target.addfile(info, io.BytesIO(text.encode()))


@pytest.mark.parametrize("name", ["rules.zip", "rules.tar", "rules.tar.gz", ""])
def test_folders_and_archives_are_read_in_the_order_of_names(tmp_path, name):
    path = tmp_path / name
    if name:
        archive(path)
    else:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "b.yaml").write_text(OTHER)
        (tmp_path / "a.yml").write_text(RULE)
    loaded = sigma.load([path])
    assert [rule.id[-1] for rule in loaded.rules] == ["1", "2"]
    assert loaded.refused == ()


def test_global_parts_go_into_the_rules_after_them(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text("""\
action: global
title: G
logsource: {category: c}
---
detection: {sel: {a: 1}, condition: sel}
---
detection: {sel: {a: 2}, condition: sel}
---
action: reset
---
title: alone
detection: {sel: {a: 3}, condition: sel}
""")
    loaded = sigma.load([path])
    assert [rule.title for rule in loaded.rules] == ["G", "G"]
    assert [one.title for one in loaded.refused] == ["alone"]


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        pytest.param(
            RULE + "---\n" + RULE, 11, "the id .*0001 is taken by .*rules.yml:1; give", id="same id"
        ),
        pytest.param(b"#" * (MAX_FILE + 1), 1, f"longer than {MAX_FILE} bytes", id="too long"),
        pytest.param("a: " + "[" * 5000 + "]" * 5000, 1, f"nested deeper than {MAX_DEPTH}", id="too deep"),
        pytest.param(
            "a: " + "[" * 100 + "]" * 100, 1, f"nested deeper than {MAX_DEPTH}", id="a bit too deep"
        ),
        pytest.param("- " * 100 + "a", 1, f"nested deeper than {MAX_DEPTH}", id="too deep by indent"),
        pytest.param("title: [", 2, "no YAML: .*", id="no YAML"),
        pytest.param(b"title: \xff\xfe", 1, "no YAML: ", id="no UTF-8"),
        pytest.param("- b\n", 1, "a mapping of keys to values", id="no mapping"),
        pytest.param("title: x\ntitle: y\n", 1, "[Dd]uplicate", id="a key twice"),
        pytest.param("action: repeat\ntitle: x", 1, "`action: repeat` is no part of Sigma 2", id="repeat"),
        pytest.param(
            "title: x\ncorrelation: {}\n", 1, "`correlation.type` is missing; expected", id="no type"
        ),
        pytest.param("title: x\ndetection: {}\n", 1, "must have a log source", id="no log source"),
        pytest.param(detecting("  sel: {a: 1}", condition="other"), 1, "other", id="unknown detection"),
        pytest.param(detecting("  sel: {a|nonsense: 1}"), 1, "nonsense", id="unknown modifier"),
        pytest.param(
            detecting("  sel: {a|re: '(?=x)'}"), 1, "none of RE2's .*without lookaround", id="lookaround"
        ),
        pytest.param(
            detecting("  sel: {a|expand: '%who%'}"), 1, "%who% is not resolved; give a pipeline", id="expand"
        ),
        pytest.param(detecting("  sel:", "    - null"), 1, "null stands without a field", id="no field"),
        pytest.param(detecting('  sel: {a: "\\uD800x"}'), 4, "no YAML: ", id="half a character"),
    ],
)
def test_a_bad_document_is_refused_with_its_line_and_the_reason(tmp_path, text, line, reason):
    ((where, given),) = reasons(tmp_path, text)[:1]
    assert where == line
    with pytest.raises(AssertionError, match=reason):
        raise AssertionError(given)


def test_a_bad_document_does_not_take_its_neighbors_along(tmp_path):
    path = tmp_path / "r.yml"
    path.write_text("title: bad\n---\n" + RULE)
    loaded = sigma.load([path])
    assert [rule.title for rule in loaded.rules] == ["Shell"]
    assert [one.where for one in loaded.refused] == [f"{path}:1"]
    assert [one.title for one in loaded.refused] == ["bad"]


def test_a_folder_without_rules(tmp_path):
    with pytest.raises(DocumentError, match=r"no rule files; expected .yml files or an archive"):
        sigma.load([tmp_path])


def test_a_path_that_is_missing(tmp_path):
    with pytest.raises(DocumentError, match=r"none.yml: rules can't be read \(No such file.*; check path"):
        sigma.load([tmp_path / "none.yml"])


@pytest.mark.parametrize("name", ["r.zip", "r.tar.gz", "r.tar"])
def test_a_broken_archive(tmp_path, name):
    archive(tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: 540 if name == "r.tar" else len(whole) // 2])
    with pytest.raises(DocumentError, match=rf"{name}: rules can't be read"):
        sigma.load([tmp_path / name])


def test_an_archive_with_flipped_bytes(tmp_path):
    packed = bytearray(gzip.compress(bytes(range(256)) * 40))
    packed[40:60] = b"\xff" * 20
    (tmp_path / "r.tar.gz").write_bytes(packed)
    with pytest.raises(DocumentError, match="rules can't be read"):
        sigma.load([tmp_path / "r.tar.gz"])


def test_a_pipeline_maps_fields_and_fills_placeholders(tmp_path):
    (tmp_path / "r.yml").write_text(detecting("  sel: {Image|expand: '%who%'}"))
    steps = [
        {"id": "names", "type": "field_name_mapping", "mapping": {"Image": "process.executable"}},
        {"id": "fill", "type": "value_placeholders"},
    ]
    (tmp_path / "p.yml").write_text(
        json.dumps({"name": "p", "priority": 1, "vars": {"who": ["a", "b"]}, "transformations": steps})
    )
    loaded = sigma.load([tmp_path / "r.yml"], [tmp_path / "p.yml"])
    batch = pa.record_batch({"process.executable": pa.array(["b", "c"])})
    assert sigma.compile(loaded).match(batch).row.tolist() == [0]


@pytest.mark.parametrize("text", ["transformations: [{type: none}]", "[", "a: [1"])
def test_a_pipeline_that_is_none(tmp_path, text):
    (tmp_path / "r.yml").write_text(RULE)
    (tmp_path / "p.yml").write_text(text)
    with pytest.raises(DocumentError, match=r"p.yml: no pySigma pipeline: .*see pySigma's documentation"):
        sigma.load([tmp_path / "r.yml"], [tmp_path / "p.yml"])


def test_a_rule_set_can_be_sent_to_a_worker(tmp_path):
    (tmp_path / "r.yml").write_text(RULE + "---\ntitle: bad\n")
    loaded = sigma.load([tmp_path])
    assert pickle.loads(pickle.dumps(loaded)) == loaded  # noqa: S301 - our own bytes
