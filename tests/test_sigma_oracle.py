"""All SigmaHQ rules over all Windows events, against the answers of pySigma's SQLite backend."""

import hashlib
import io
import json
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest

from rms_flows import sigma
from rms_flows.decode import decode
from rms_flows.decode.contract import Context, Options

pytestmark = pytest.mark.datasets

ANSWERS = json.loads((Path(__file__).parent / "data" / "sigma" / "windows_answers.json").read_text("utf-8"))

CASE = "field names are case-sensitive"
"""SQLite's are not: where rules of other products spell a field otherwise, its one column has that spelling
and no value of Windows."""

DIFFERENT = {
    "919f2ef0-be2d-4a7a-b635-eb2b41fde044": (CASE, "EventType"),
    "9e3cb244-bdb8-4632-8c90-6079c8f4f16d": (CASE, "UserName"),
    "d04ae2b8-ad54-4de0-bd87-4bc1da66aa59": (CASE, "Status"),
}
"""Rule → the line of our table of semantics by which it differs, and the field that shows it: without that
field, as in SQLite, the answers are the same."""

NONE = (0, "")


def answer(rows):
    """Give number and digest of event numbers, as `oracle/make_answers.py` writes them."""
    if not len(rows):
        return NONE
    packed = struct.pack(f"<{len(rows)}q", *sorted(rows.tolist()))
    return len(rows), hashlib.sha256(packed).hexdigest()[:16]


def answers(plan, batches):
    """Evaluate a plan: rule → answer."""
    rules, rows, start = [], [], 0
    for batch in batches:
        found = plan.match(batch)
        rules.append(found.rule)
        rows.append(found.row + start)
        start += batch.num_rows
    rule, row = np.concatenate(rules), np.concatenate(rows)
    order = np.argsort(rule, kind="stable")
    parts = np.split(row[order], np.searchsorted(rule[order], np.arange(1, len(plan.rules))))
    return {one.id: answer(part) for one, part in zip(plan.rules, parts, strict=True)}


@pytest.fixture(scope="module")
def events(datasets):
    """The events in the order in which the oracle numbers them."""
    found = []
    for path in sorted((datasets / "windows_events").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            for member in sorted(archive.namelist()):
                context = Context(member, Options(format="windows"))
                found += [one.rows for _, one in decode(io.BytesIO(archive.read(member)), context)]
    return found


@pytest.fixture(scope="module")
def loaded(datasets):
    return sigma.load([datasets / "sigmahq-rules-8eaafff1f.tar.gz"], routing=False)


def test_every_rule_finds_what_the_oracle_finds(loaded, events):
    assert sum(batch.num_rows for batch in events) == ANSWERS["events"]
    expected = {
        **dict.fromkeys(ANSWERS["silent"], NONE),
        **{k: tuple(v) for k, v in ANSWERS["matched"].items()},
    }
    found = answers(sigma.compile(loaded), events)
    assert found.keys() == expected.keys()
    assert {rule for rule in found if found[rule] != expected[rule]} == DIFFERENT.keys()


def test_differences_have_the_reason_that_is_given(loaded, events):
    for identity, (_, field) in DIFFERENT.items():
        rules = tuple(rule for rule in loaded.rules if rule.id == identity)
        plan = sigma.compile(sigma.RuleSet(rules, ()))
        without = [batch.drop_columns([field]) if field in batch.schema.names else batch for batch in events]
        expected = tuple(ANSWERS["matched"].get(identity, NONE))
        assert answers(plan, without) == {identity: expected}, field


def test_what_we_refuse_the_oracle_refuses_too(loaded):
    assert len(loaded.refused) == len(ANSWERS["refused"])
    for refused in loaded.refused:
        assert "the placeholder %known_cdcs% is not resolved" in refused.reason
    assert all("placeholder 'known_cdcs'" in reason for reason in ANSWERS["refused"].values())
