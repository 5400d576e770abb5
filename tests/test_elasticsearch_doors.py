"""One set of events read from files, from Parquet and from Elasticsearch gives one set of reports, id for id."""

import json
import subprocess
from pathlib import Path

import pytest
from indexing import index
from repository import documents
from test_demo import ROOT, generate

from rms_flows.replay import archive
from rms_flows.report import read_reports

pytestmark = [
    pytest.mark.timeout(900),  # each test starts several programs, on a busy machine one by one
    pytest.mark.usefixtures("shell"),
]


def rms(folder, *arguments, code=0):
    command = ["rms", *map(str, arguments)]
    done = subprocess.run(  # noqa: S603  our own command
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == code, done.stderr
    return done


def at(node, pattern):
    return f"elasticsearch://{node.partition('://')[2]}/{pattern}"


def store(node, name, folder: Path, own):
    """Put an archive into the repository, twice: it keeps each event once."""
    letters = folder.with_suffix(".dead.ndjson")
    for _ in range(2):
        archive(f"parquet:{folder}", at(node, name), name=own, dead_letters=str(letters))
    assert not letters.exists()


def content(path):
    """Give what reports say, less where their events were read."""
    return sorted(json.dumps(row, default=str) for row in read_reports([str(path)]).to_pylist())


SOURCES = ("hub-metrics", "hub-auth", "hub-broker", "home-network")
FILES = {
    "hub-metrics": "metrics.ndjson?format=metricbeat",
    "hub-auth": "auth.log?format=syslog&year=2026",
    "hub-broker": "mosquitto.log?format=mosquitto",
    "home-network": "conn.log?format=zeek",
}


@pytest.fixture(scope="module")
def day(tmp_path_factory, elasticsearch_node):
    """Give a folder with the smart home's day as files, as archives, and stored in indices."""
    folder = tmp_path_factory.mktemp("day")
    generate(folder)
    for name in SOURCES:
        archive(str(folder / FILES[name]), f"parquet:{folder}/archive-{name}", name=name)
        store(elasticsearch_node, f"doors-{name}", folder / f"archive-{name}", name)
    return folder


def replay(day, name, sources=(), *options, door="replay", **expected):
    overrides = [word for one in sources for word in ("--source", one)]
    sink = f"repository={day / name}.ndjson"
    flow = ROOT / "datasets/smart-home.yaml"
    return rms(day, door, flow, "--folder", day, *overrides, "--sink", sink, *options, **expected)


def test_the_smart_homes_day_gives_the_same_reports_from_everywhere(day, elasticsearch_node):
    replay(day, "files")
    replay(day, "parquet", [f"{name}=parquet:archive-{name}" for name in SOURCES])
    indices = [f"{name}={at(elasticsearch_node, f'doors-{name}-*')}" for name in SOURCES]
    done = replay(day, "elasticsearch", indices, "--workers", 2, "--json")
    assert json.loads(done.stdout)["dead"] == 0
    files = content(day / "files.ndjson")
    assert len(files) > 50
    assert content(day / "parquet.ndjson") == files
    assert content(day / "elasticsearch.ndjson") == files
    times = sorted(json.loads(report)["@timestamp"] for report in files)
    part = ["--from", times[len(times) // 4], "--to", times[len(times) // 2]]
    replay(day, "files-part", [], *part)
    replay(day, "elasticsearch-part", indices, *part)
    assert content(day / "elasticsearch-part.ndjson") == content(day / "files-part.ndjson")
    assert 0 < len(content(day / "files-part.ndjson")) < len(files)


def test_a_stream_over_indices_gives_the_reports_of_a_replay(day, elasticsearch_node):
    indices = [f"{name}={at(elasticsearch_node, f'doors-{name}-*')}" for name in SOURCES]
    replay(day, "replayed", indices)
    replay(day, "streamed", indices, "--positions", day / "p", door="stream")
    assert content(day / "streamed.ndjson") == content(day / "replayed.ndjson")


@pytest.mark.parametrize("door", ["replay", "stream"])
def test_what_is_found_twice_is_in_the_repository_once(day, elasticsearch_node, door):
    flow, place = ROOT / "datasets/smart-home.yaml", f"doors-found-{door}"
    for name in ("files", "again"):
        letters = ["--dead-letters", day / f"{door}-{name}.dead.ndjson"]
        sink = f"repository={at(elasticsearch_node, place)}"
        rms(day, door, flow, "--folder", day, "--sink", sink, *letters, *STATE[door](day / f"{door}-{name}"))
    found = documents(elasticsearch_node, place)
    replay(day, "wanted")
    wanted = {
        json.loads(line)["event.id"]: json.loads(line)
        for line in (day / "wanted.ndjson").read_text().splitlines()
    }
    assert found.keys() == wanted.keys()
    assert {name: one["rms.revision"] for name, one in found.items()} == {
        name: one["rms.revision"] for name, one in wanted.items()
    }


STATE = {"replay": lambda _: (), "stream": lambda path: ("--positions", f"{path}.positions")}


def test_windows_events_give_the_same_reports_from_everywhere(datasets, tmp_path, elasticsearch_node):
    events = datasets / "windows_events/purplesharp_ad_playbook_I.zip"
    rules = datasets / "sigmahq-rules-8eaafff1f.tar.gz"
    archive(str(events), f"parquet:{tmp_path}/archive", name="input")
    store(elasticsearch_node, "doors-windows", tmp_path / "archive", "input")
    for name, source in (
        ("files", events),
        ("parquet", "parquet:archive"),
        ("elasticsearch", at(elasticsearch_node, "doors-windows-*")),
    ):
        rms(tmp_path, "detect", rules, "--in", source, "--out", f"{name}.ndjson", "--quiet")
    files = content(tmp_path / "files.ndjson")
    assert len(files) > 20
    assert content(tmp_path / "parquet.ndjson") == files
    assert content(tmp_path / "elasticsearch.ndjson") == files


@pytest.mark.parametrize(
    ("make", "pattern", "options", "said"),
    [
        (None, "doors-nowhere", "", "no such index [doors-nowhere]"),
        (None, "doors-nowhere-*", "", "no index has such a name"),
        (None, "Doors", "", "'Doors' can't name an index"),
        ({"_source": {"enabled": False}}, "doors-sourceless", "", "keeps no documents"),
        ({}, "doors-lines", "?format=syslog", "its documents are JSON, and syslog is a format of lines"),
        ({}, "doors-typo", "?fromat=json", "no option is called 'fromat'"),
    ],
)
def test_what_can_not_be_read_ends_with_two_and_a_word(day, elasticsearch_node, make, pattern, options, said):
    if make is not None:
        index(elasticsearch_node, pattern, make)
    place = f"hub-auth={at(elasticsearch_node, pattern)}{options}"
    done = replay(day, "nothing", [place], code=2)
    assert said in done.stderr
    assert pattern in done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_is_not_there_ends_with_two_and_a_word(day):
    done = replay(day, "nothing", ["hub-auth=elasticsearch://127.0.0.1:9/x"], code=2)
    assert "can't be reached (Connection refused); check host and port" in done.stderr
