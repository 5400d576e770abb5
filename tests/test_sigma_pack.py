"""Packs: the same rules as from the files, never those of other files, and nothing is lost with them."""

import os
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rms_flows import sigma
from rms_flows.sigma import pack
from rms_flows.sigma.load import read

RULE = """
title: Shell
logsource: {category: test}
detection:
  a: {Image|endswith: /sh, Size|gt: 1.5, Hour|hour: 3, Address|cidr: 10.0.0.0/8, Gone: null}
  b: ["key*word", 7]
  c: {CommandLine|re|i: "x+", User|fieldref: Owner, Name|cased: "A?b", Set|exists: true}
  condition: a or (b and not c)
"""
BAD = "title: Bad\nlogsource: {category: test}\ndetection: {a: {x|re: '(?=y)'}, condition: a}\n"


@pytest.fixture
def packs(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return pack.folder()


@pytest.fixture
def rules(tmp_path):
    folder = tmp_path / "rules"
    folder.mkdir()
    (folder / "a.yml").write_text(RULE)
    (folder / "b.yml").write_text(BAD)
    return folder


def test_what_comes_out_of_a_pack_is_what_was_read(packs, rules, monkeypatch):
    first = sigma.load([rules])
    assert (len(first.rules), len(first.refused), len(list(packs.iterdir()))) == (1, 1, 1)
    monkeypatch.setattr(sys.modules["rms_flows.sigma.load"], "read", None)  # whoever calls it fails
    assert sigma.load([rules]) == first


def test_all_rules_of_sigmahq_survive(packs, datasets):
    archive = datasets / "sigmahq-rules-8eaafff1f.tar.gz"
    read_ = sigma.load([archive])
    assert len(list(packs.iterdir())) == 1
    assert sigma.load([archive]) == read_


@pytest.mark.parametrize(
    "change",
    [
        lambda rules: (rules / "a.yml").write_text(RULE.replace("/sh", "/zsh")),
        lambda rules: (rules / "a.yml").rename(rules / "c.yml"),  # a rule says where it stands
        lambda rules: (rules / "b.yml").unlink(),
    ],
)
def test_a_change_of_the_rules_is_seen(packs, rules, change):
    before = sigma.load([rules])
    change(rules)
    assert sigma.load([rules]) != before
    assert sigma.load([rules]) == read([rules])[0]


def test_a_pipeline_is_part_of_the_rules(packs, rules):
    pipeline = rules.parent / "map.yml"
    pipeline.write_text("transformations: [{type: field_name_mapping, mapping: {Image: process.executable}}]")
    assert sigma.load([rules], [pipeline]) != sigma.load([rules])
    assert sigma.load([rules], [pipeline]) == read([rules], [pipeline])[0]


@given(st.floats(0, 1, exclude_max=True))
def test_a_damaged_pack_is_none(tmp_path_factory, part):
    """Guards against trust in a file that anybody may have written: types are checked, nothing is run."""
    folder = tmp_path_factory.mktemp("packs")
    (folder / "a.yml").write_text(RULE)
    whole = read([folder / "a.yml"])[0]
    file = folder / "x.pack"
    pack.keep(file, whole)
    content = bytearray(file.read_bytes())
    assert pack.read(file) == whole
    file.write_bytes(content[: int(part * len(content))])
    assert pack.read(file) is None
    file.write_bytes(b"\x80\x04N." + content)
    assert pack.read(file) is None


def test_a_pack_that_is_damaged_is_replaced(packs, rules):
    first = sigma.load([rules])
    (file,) = packs.iterdir()
    file.write_bytes(b"")
    assert sigma.load([rules]) == first
    assert pack.read(file) == first


def test_where_nothing_can_be_written_rules_are_read_each_time(packs, rules):
    packs.parent.parent.mkdir()
    packs.parent.write_text("a file where the folder should be")
    assert sigma.load([rules]) == sigma.load([rules])


def test_old_packs_go(packs, rules, monkeypatch):
    monkeypatch.setattr(pack, "KEPT", 6)
    for number in range(pack.KEPT + 3):
        (rules / "a.yml").write_text(RULE.replace("1.5", str(number)))
        sigma.load([rules])
        newest = pack.place([rules], [])
        os.utime(newest, (number, number))
    assert len(list(packs.iterdir())) == pack.KEPT
    assert newest.exists()
