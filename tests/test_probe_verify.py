"""Envelopes that somebody forged, took away, put in twice or dated wrongly are found in files."""

import gzip
import json
import time
from datetime import UTC, datetime

import pytest
from probing import manifest, registry
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.confirm import Confirmed, Memory
from rms_flows.envelope import Observed, Signer
from rms_flows.errors import DocumentError, SourceError
from rms_flows.model import DataSourceManifest, Trust, load
from rms_flows.probe import key
from rms_flows.probe.verify import Verification

NOW = time.time_ns() // 1_000
SECOND = 1_000_000


def signer(folder, name="hub"):
    return Signer(key.load(folder / f"{name}.key"), name)


def lines(signed, numbers, start=NOW - 100 * SECOND):
    return [
        signed.line(n, Observed("system.cpu", {"host.cpu.usage": n}, start + n * SECOND)) for n in numbers
    ]


def check(folder, found, *options, name="envelopes.ndjson"):
    (folder / name).write_bytes(b"".join(line + b"\n" for line in found))
    done = CliRunner().invoke(app, ["probe", "verify", str(folder / name), *map(str, options)])
    return done.exit_code, done.stdout.replace(f"{folder}/", "").splitlines()


@pytest.fixture
def hub(tmp_path):
    return manifest(tmp_path)


def test_what_is_as_it_was_sent_is_right(tmp_path, hub):
    found = lines(signer(tmp_path), range(3, 8))
    assert check(tmp_path, found, "--manifest", hub) == (0, ["hub: 5 signed, 3 to 7", "nothing is wrong"])


def test_each_thing_that_is_wrong_is_named_with_its_line(tmp_path, hub):
    manifest(tmp_path, name="attic")
    good = lines(signer(tmp_path), range(1, 11))
    other = lines(signer(tmp_path), [9], NOW - 50 * SECOND)
    stranger = Signer(key.load(tmp_path / "attic.key"), "stranger").line(1, Observed("x", {}, NOW))
    as_hub = Signer(key.load(tmp_path / "attic.key"), "hub").line(12, Observed("x", {}, NOW))
    late = signer(tmp_path).line(11, Observed("x", {}, NOW + 3_600 * SECOND))
    back = signer(tmp_path).line(12, Observed("x", {}, NOW - 3_600 * SECOND))
    found = [*good[:3], *good[6:], good[1], *other, stranger, as_hub, b"half a li", late, back, b""]
    code, said = check(tmp_path, found, "--manifest", hub)
    assert code == 1
    for part in (
        "envelopes.ndjson:8: repeated: hub 2: was there before",
        "envelopes.ndjson:9: conflict: hub 9: was there before with another content: two probes use one key, or state",
        "envelopes.ndjson:10: unknown: stranger 1: nobody has confirmed a key of this probe",
        "envelopes.ndjson:11: forged: hub 12: not signed with the key of the probe",
        "envelopes.ndjson:12: broken: no envelope: no JSON",
        "envelopes.ndjson:13: clock: hub 11: says 20",
        "envelopes.ndjson:14: clock: hub 12: goes back from 20",
        "hub: gap: 3 missing: 4 to 6",
        "hub: 9 signed, 1 to 12",
        "wrong: 1 broken, 2 clock, 1 conflict, 1 forged, 1 gap, 1 repeated, 1 unknown",
    ):
        assert any(line.startswith(part) for line in said), (part, said)
    assert len(said) == 10


def test_clocks_may_be_a_little_wrong(tmp_path, hub):
    found = [*lines(signer(tmp_path), [1]), *lines(signer(tmp_path), [2], NOW - 105 * SECOND)]
    assert check(tmp_path, found, "--manifest", hub)[0] == 0
    assert check(tmp_path, found, "--manifest", hub, "--skew", "2")[0] == 1


def test_one_number_that_is_missing_at_the_border_of_two_files_is_found(tmp_path, hub):
    found = lines(signer(tmp_path), range(1, 7))
    with gzip.open(tmp_path / "old.ndjson.gz", "wb") as old:
        old.write(b"\n".join(found[:2]))
    (tmp_path / "new.ndjson").write_bytes(b"\n".join(found[3:]))
    files = [str(tmp_path / name) for name in ("old.ndjson.gz", "new.ndjson")]
    done = CliRunner().invoke(app, ["probe", "verify", *files, "--manifest", str(hub)])
    assert (done.exit_code, done.stdout.splitlines()) == (
        1, ["hub: gap: 1 missing: 3", "hub: 5 signed, 1 to 6", "wrong: 1 gap"],
    )  # fmt: skip


def test_what_a_probe_sent_before_or_after_it_was_confirmed_is_told(tmp_path):
    hub = manifest(tmp_path, trust={"validFrom": "2026-01-01T00:00:00Z", "revokedAt": "2026-01-02T00:00:00Z"})
    found = [
        signer(tmp_path).line(n, Observed("x", {}, moment * 86_400 * SECOND))
        for n, moment in enumerate((20_453, 20_454, 20_455), 1)  # 2025-12-31, 2026-01-01, 2026-01-02
    ]
    code, said = check(tmp_path, found, "--manifest", hub)
    assert code == 1
    assert said[:2] == [
        "envelopes.ndjson:1: unconfirmed: hub 1: the probe was not confirmed at 2025-12-31T00:00:00.000000Z",
        "envelopes.ndjson:3: unconfirmed: hub 3: the probe was not confirmed at 2026-01-02T00:00:00.000000Z",
    ]


def test_keys_come_from_a_registry_too(tmp_path, hub):
    registry(tmp_path / "registry", load(hub, DataSourceManifest))
    found = lines(signer(tmp_path), range(1, 4))
    assert check(tmp_path, found, "--registry", tmp_path / "registry")[0] == 0


def test_without_a_key_nothing_can_be_verified():
    with pytest.raises(
        DocumentError, match="no manifest has the public key of a probe; name manifests with --man"
    ):
        Verification(Confirmed(Memory({"hub": None})), NOW, 0)
    with pytest.raises(
        DocumentError, match=r"^hub: trust\.publicKey: 'x' is no public key of a probe; write"
    ):
        Verification(Confirmed(Memory({"hub": Trust(publicKey="x")})), NOW, 0)

    done = CliRunner().invoke(app, ["probe", "verify", "envelopes.ndjson"])
    assert done.exit_code == 2
    assert "name --manifest or --registry" in done.output


def test_files_that_can_not_be_read(tmp_path, hub):
    done = CliRunner().invoke(app, ["probe", "verify", str(tmp_path / "absent"), "--manifest", str(hub)])
    assert isinstance(done.exception, SourceError)
    with pytest.raises(SourceError, match=r"absent: can't be read \(No such file or directory\); check path"):
        raise done.exception


def test_nothing_at_all_is_not_right(tmp_path, hub):
    """Guards against a check that is content with an empty file."""
    assert check(tmp_path, [], "--manifest", hub)[0] == 1


def test_what_is_written_anew_is_still_the_same_envelope(tmp_path, hub):
    found = [json.dumps(json.loads(line)).encode() for line in lines(signer(tmp_path), range(1, 4))]
    assert check(tmp_path, found, "--manifest", hub)[0] == 0


def test_a_clock_a_day_off_and_two_probes_with_one_id(tmp_path, hub):
    """Guards against a probe that was copied with its disk, and a clock that nobody set."""
    signed, day = signer(tmp_path), 86_400 * SECOND
    found = [
        line
        for pair in zip(lines(signed, (1, 2)), lines(signed, (1, 2), NOW - 50 * SECOND), strict=True)
        for line in pair
    ]
    found += [*lines(signed, [3], NOW + day), *lines(signed, [4], NOW - day)]
    code, said = check(tmp_path, found, "--manifest", hub)
    assert code == 1
    assert [line.split(": ")[1] for line in said[:4]] == ["conflict", "conflict", "clock", "clock"]
    assert "which is yet to come" in said[2]
    assert "goes back from" in said[3]
    assert said[-1] == "wrong: 2 clock, 2 conflict"


def test_envelopes_of_before_a_change_of_keys_are_right(tmp_path, hub):
    old = load(hub, DataSourceManifest).trust.publicKey
    before = lines(signer(tmp_path), (1, 2))
    (tmp_path / "hub.key").rename(tmp_path / "hub.key.old")
    change = datetime.fromtimestamp(NOW / 1e6 - 97.5, UTC).isoformat()
    hub = manifest(
        tmp_path, trust={"validFrom": change, "formerKeys": [{"publicKey": old, "validTo": change}]}
    )
    after = lines(signer(tmp_path), (3, 4))
    assert check(tmp_path, before + after, "--manifest", hub) == (
        0,
        ["hub: 4 signed, 1 to 4", "nothing is wrong"],
    )
    late = Signer(key.load(tmp_path / "hub.key.old"), "hub").line(5, Observed("x", {}, NOW))
    code, said = check(tmp_path, [*before, *after, late], "--manifest", hub)
    assert (code, said[0].split(": ")[1]) == (1, "unconfirmed")
