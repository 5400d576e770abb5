import base64
import errno
import gzip
import json
import os
import random
import tracemalloc
import zipfile
from pathlib import Path
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest
import zstandard

from rms_flows.decode.contract import Options
from rms_flows.errors import DocumentError, SourceError
from rms_flows.io import open_sink, open_source, uri
from rms_flows.io.contract import Request
from rms_flows.io.files import FileSource
from rms_flows.io.inflate import Inflated
from rms_flows.schema import DEAD_LETTER

EVERYTHING = Request()


def lines(count, start=0):
    return b"".join(
        b'{"@timestamp": "2026-01-01T00:00:00Z", "n": %d}\n' % n for n in range(start, start + count)
    )


def read(source):
    decoded = [one for part in source.fragments(EVERYTHING) for one in source.read(part, EVERYTHING)]
    rows = [row for one in decoded for row in one.rows.to_pylist()]
    dead = [row for one in decoded for row in one.dead.to_pylist()]
    return rows, dead


def numbers(rows):
    return [int(row["n"]) for row in rows]


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_files_are_the_same_events(tmp_path, ending):
    pack = {"": bytes, ".gz": gzip.compress, ".zst": zstandard.compress}[ending]
    plain, packed = tmp_path / "a.log", tmp_path / f"b.log{ending}"
    plain.write_bytes(lines(3))
    packed.write_bytes(pack(lines(2)) + pack(lines(1, 2)))  # two members, as rotating tools leave them
    one, other = read(FileSource(str(plain)))[0], read(FileSource(str(packed)))[0]
    assert [row["event.id"] for row in one] == [row["event.id"] for row in other]


@pytest.mark.parametrize("ending", [".gz", ".zst"])
@pytest.mark.parametrize("damage", ["cut", "trailing", "flipped"])
def test_damaged_files_give_what_came_before_and_a_dead_letter(tmp_path, ending, damage):
    rng = random.Random(7)  # noqa: S311  no secret
    text = b"".join(b'{"@timestamp": %d, "n": %d}\n' % (rng.getrandbits(30), n) for n in range(60_000))
    packed = gzip.compress(text) if ending == ".gz" else zstandard.compress(text)
    middle = len(packed) // 2
    packed = {
        "cut": packed[:middle],
        "trailing": packed + b"garbage" * 10,
        "flipped": packed[:middle]
        + bytes(b ^ 255 for b in packed[middle : middle + 64])
        + packed[middle + 64 :],
    }[damage]
    path = tmp_path / f"a{ending}"
    path.write_bytes(packed)
    rows, dead = read(FileSource(str(path)))
    assert dead[-1]["error.type"] == "broken-input"
    assert "the compressed file is" in dead[-1]["error.message"]
    if damage != "flipped":  # deflate notices flipped bytes only at its checksum
        assert len(rows) >= (60_000 if damage == "trailing" else 15_000)
        assert numbers(rows) == list(range(len(rows)))


def test_padding_with_zeros_is_no_damage(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(lines(2)) + bytes(512))
    assert [len(part) for part in read(FileSource(str(path)))] == [2, 0]


def test_members_of_a_zip_are_read_apart_and_what_macos_adds_is_left_out(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.json", lines(2))
        archive.writestr("sub/c.json", lines(1, 2))
        archive.writestr("__MACOSX/._b.json", b"\0\5\26\7junk")
        archive.writestr("sub/._c.json", b"\0\5\26\7junk")
        archive.mkdir("empty")
    source = FileSource(str(path))
    assert [part.key for part in source.fragments(EVERYTHING)] == ["b.json", "sub/c.json"]
    rows, dead = read(source)
    assert numbers(rows) == [0, 1, 2]
    assert not dead
    assert rows[2]["rms.origin"] == "a.zip!sub/c.json#0"


def test_a_member_with_a_wrong_checksum_is_a_dead_letter(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.json", lines(2))
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"n": 1', b'"n": 7', 1))
    rows, dead = read(FileSource(str(path)))
    assert [one["error.type"] for one in dead] == ["broken-input"]
    assert "CRC" in dead[0]["error.message"]
    assert len(rows) <= 2


def test_members_of_one_name_are_both_read(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.json", lines(1))
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("b.json", lines(2, 1))
    assert numbers(read(FileSource(str(path)))[0]) == [0, 1, 2]


def test_a_zip_without_files_is_nothing_to_read(tmp_path):
    path = tmp_path / "a.zip"
    zipfile.ZipFile(path, "w").close()
    with pytest.raises(SourceError, match="holds no files; name another archive"):
        FileSource(str(path)).fragments(EVERYTHING)


@pytest.mark.parametrize(("ending", "pack"), [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_what_inflates_a_thousandfold_comes_in_pieces(tmp_path, ending, pack):
    path = tmp_path / f"a{ending}"
    path.write_bytes(pack(b"\n" * 200_000_000))
    assert path.stat().st_size < 1_000_000
    tracemalloc.start()
    with path.open("rb") as handle:
        stream = Inflated(handle, ending)
        assert sum(len(block) for block in iter(lambda: stream.read(1 << 20), b"")) == 200_000_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 120_000_000


def test_globs_are_read_in_the_order_of_names(tmp_path):
    for name in ("b.log", "a.log", "c.txt"):
        (tmp_path / name).write_bytes(lines(1, ord(name[0])))
    assert numbers(read(FileSource(str(tmp_path / "*.log")))[0]) == [97, 98]
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "d.log").write_bytes(lines(1, 100))
    assert numbers(read(FileSource(str(tmp_path / "**" / "*.log")))[0]) == [97, 98, 100]


def test_a_name_with_wildcards_in_it_is_a_name_first(tmp_path):
    (tmp_path / "a[1].log").write_bytes(lines(1))
    assert len(read(FileSource(str(tmp_path / "a[1].log")))[0]) == 1


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda path: None, "no such file; name a file or a glob"),
        (lambda path: path.mkdir(), "is a folder; name a file or a glob"),
        (
            lambda path: path.write_bytes(b"PK no zip"),
            r"no zip archive \(File is not a zip file\); copy it again",
        ),
        (lambda path: path.write_bytes(b""), "no zip archive"),
    ],
)
def test_what_cannot_be_opened_is_an_error(tmp_path, make, match):
    path = tmp_path / "a.zip"
    make(path)
    with pytest.raises(SourceError, match=match):
        FileSource(str(path)).fragments(EVERYTHING)


def test_a_file_without_rights_is_an_error(tmp_path, monkeypatch):
    path = tmp_path / "a.log"
    path.write_bytes(lines(1))

    def refuse(*_args, **_keywords):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    source = FileSource(str(path))
    parts = source.fragments(EVERYTHING)
    monkeypatch.setattr(Path, "open", refuse)  # root may read anything
    with pytest.raises(SourceError, match=r"can't be read \(Permission denied\); check path and rights"):
        list(source.read(parts[0], EVERYTHING))


def test_a_file_that_vanishes_is_an_error(tmp_path):
    path = tmp_path / "a.log"
    path.write_bytes(lines(1))
    source = FileSource(str(path))
    part = source.fragments(EVERYTHING)[0]
    path.unlink()
    with pytest.raises(SourceError, match=r"can't be read .No such file or directory"):
        list(source.read(part, EVERYTHING))


def test_an_encrypted_zip_is_an_error(tmp_path):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("b.json", lines(1))
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the local header and in the directory
    data[data.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(data)
    with pytest.raises(SourceError, match=r"the zip can't be read \(.*encrypted.*; unpack it first"):
        read(FileSource(str(path)))


def test_dead_letters_are_read_again_after_the_fix(tmp_path):
    path = tmp_path / "out.dead-letters.ndjson"
    sink = open_sink(str(path), base=Path())
    sink.prepare()
    writer = sink.part("0")
    originals = [lines(1, 5).rstrip(), lines(1, 6).rstrip(), b"broken{", b'{"ts": 1,\n "n": 7}']
    writer.write(
        pa.RecordBatch.from_pylist([{"error.type": "x", "event.original": o} for o in originals], DEAD_LETTER)
    )
    writer.close()
    sink.commit()
    rows, dead = read(open_source(f"dead-letters:{path}?format=json", base=Path()))
    assert sorted(numbers(rows)) == [5, 6, 7]
    assert [one["event.original"] for one in dead] == [b"broken{"]  # one stays one


def test_what_is_no_dead_letter_is_an_error(tmp_path):
    path = tmp_path / "x.ndjson"
    for content in (b"{}", b"x", json.dumps({"event.original": "*"}).encode(), base64.b64encode(b"x")):
        path.write_bytes(content + b"\n")
        with pytest.raises(
            SourceError, match=r"no dead letter: .*expected lines that a run wrote to --dead-letters"
        ):
            read(FileSource(str(path), dead_letters=True))


def test_uris_say_how_to_read():
    address = uri.split("logs/auth.log?year=2026&timezone=Europe/Madrid&keep_original=true", Path("data"))
    assert address.path == "data/logs/auth.log"
    assert uri.options(address, Options(format="syslog")) == Options(
        format="syslog", year=2026, timezone=ZoneInfo("Europe/Madrid"), keep_original=True
    )
    assert uri.split("a?.log", Path()).path == "a?.log"  # a wildcard, no query
    assert uri.split("parquet:/data", Path("x")).path == "/data"


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a.log?yaer=1", "no option is called 'yaer'; there are format, dataset, year"),
        ("a.log?year=soon", "year=soon is not a year from 1970 to 2200; mend the URI"),
        ("a.log?max_record=-5", "max_record=-5 is not a number of bytes above 0"),
        ("a.csv?delimiter=;;", "delimiter=;; is not one character"),
        ("a.log?timezone=Mars", "timezone=Mars is not a zone such as Europe/Madrid"),
        ("a.log?keep_original=yes", "keep_original=yes is not true or false"),
        ("a.log?date_order=x", "date_order=x is not month-first or day-first or year-first"),
        ("a.log?year=1&year=2", r"a key comes twice after the \?"),
        ("", "no path"),
        ("parquet:a?format=json", "Parquet is not decoded, so format= can't change it"),
        (
            "mqtt://localhost/x",
            "nothing can read 'mqtt'; there are file:, parquet:, elasticsearch:, kafka:, http:, https:, dead-letters: and, for streams, follow:",
        ),
    ],
)
def test_wrong_uris_of_sources(text, match):
    with pytest.raises(DocumentError, match=match):
        open_source(text, base=Path())


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("out.csv", "nothing can write this; name a file that ends in .ndjson, parquet:FOLDER, elastic"),
        (
            "out.ndjson?as=xml",
            "reports can't be written as 'xml'; as= ecs or iotac or iotac-strict or ocsf or stix",
        ),
        ("out.ndjson?to=x", "no option is called 'to'; a sink takes as="),
        ("http://localhost/x", "nothing can write this"),
    ],
)
def test_wrong_uris_of_sinks(text, match):
    with pytest.raises(DocumentError, match=match):
        open_sink(text, base=Path())


def test_paths_of_documents_stay_in_their_folder(tmp_path):
    (tmp_path / "link").symlink_to("/etc")
    for path in ("../x.log", "/etc/passwd", "link/passwd", "a/../../x"):
        with pytest.raises(DocumentError, match=r"the path leaves the folder .*--folder"):
            open_source(path, base=tmp_path, confined=True)


def test_reading_a_stream_in_small_steps_gives_the_same_bytes(tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(lines(5_000)))
    with path.open("rb") as handle:
        stream = Inflated(handle, ".gz")
        assert b"".join(iter(lambda: stream.read(100), b"")) == lines(5_000)
