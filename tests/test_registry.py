"""The registry against a plain dict, against other writers, and against kill -9."""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from uuid import uuid4

import pytest
import repository
import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.errors import DocumentError
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.store import ElasticsearchStore
from rms_flows.io.registry import registry as opened
from rms_flows.model.documents import (
    DataInterface,
    DataKind,
    DataSourceDefinition,
    DataSourceManifest,
    ProcessorDefinition,
    ProcessorManifest,
    ProcessorOrchestrator,
)
from rms_flows.registry import FolderStore, Registry

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def kind(name="load", quantity="ratio", **more):
    return DataKind(id=name, name=more.pop("called", "CPU load"), quantityKind=quantity, **more)


LOAD = kind()
BUS = DataInterface(id="bus", name="Bus", communicationProtocol="Kafka")
DEFINITION = DataSourceDefinition(
    id="cpu", name="CPU", dataInterfaceReferenceID="bus", dataKindReferenceID="load"
)
PROBE = DataSourceManifest(
    id="hub-cpu",
    name="Hub",
    dataSourceDefinitionReferenceID="cpu",
    parameters=({"key": "interval", "value": 5},),
    location={"virtualLocation": "cellar"},
)
FILTER = ProcessorDefinition(id="filter", name="filter")


def manifest(name, *inputs):
    return ProcessorManifest(id=name, processorDefinitionReferenceID="filter", dataSources=inputs)


HIGH = manifest("high", "hub-cpu")
ALL = (LOAD, BUS, DEFINITION, PROBE, FILTER, HIGH)


@pytest.fixture(params=["folder", "elasticsearch"])
def place(request, tmp_path):
    if request.param == "folder":
        return str(tmp_path / "registry")
    return repository.uri(request.getfixturevalue("elasticsearch_node"), f"registry-{uuid4().hex[:8]}")


in_a_folder = pytest.mark.parametrize("place", ["folder"], indirect=True)


@pytest.fixture
def store(place):
    return opened(place)._store


@pytest.fixture
def registry(store):
    return Registry(store)


@pytest.fixture
def full(registry):
    for document in ALL:
        registry.create(document)
    return registry


names = st.sampled_from(["a", "b", "\u00fc/..", ".hidden", "c d%2F", "CON"])


class Model(RuleBasedStateMachine):
    """Whatever is done, the registry says what a dict and a list of what was done say, then and at any time."""

    def __init__(self, node=None):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.now = 1_700_000_000_000_000
        store = FolderStore(self.folder.name) if node is None else elastic(node)
        self.registry = Registry(store, lambda: self.now)
        self.kinds, self.sources, self.past = {}, {}, []

    def teardown(self):
        self.folder.cleanup()

    def _done(self):
        self.past.append((self.now, dict(self.kinds), dict(self.sources)))
        self.now += 10

    @rule(name=names, text=st.text(max_size=5))
    def create(self, name, text):
        document = DataKind(id=name, name=text, quantityKind="q")
        if name in self.kinds:
            with pytest.raises(DocumentError, match="already; update it, or choose another id"):
                self.registry.create(document)
        else:
            assert self.registry.create(document) == name
            self.kinds[name] = document
            self._done()

    @rule(name=names, text=st.text(max_size=5) | st.just("\x85"))
    def update(self, name, text):
        document = DataKind(id=name, name=text, quantityKind="r")
        if name in self.kinds:
            self.registry.update(document)
            self.kinds[name] = document
            self._done()
        else:
            with pytest.raises(DocumentError, match="no DataKind is called"):
                self.registry.update(document)

    @rule(name=names, of=names)
    def refer(self, name, of):
        document = DataSourceDefinition(
            id=name, name="s", dataInterfaceReferenceID="bus", dataKindReferenceID=of
        )
        if of in self.kinds:
            self.registry.apply([document, BUS])
            changed = self.sources.get(name) != document
            self.sources[name] = document
            if changed:
                self._done()
        else:
            with pytest.raises(DocumentError, match="and no DataKind is called so; create that first"):
                self.registry.apply([document, BUS])

    @rule(name=names)
    def delete(self, name):
        referring = [one for one in self.sources.values() if one.dataKindReferenceID == name]
        if name not in self.kinds:
            with pytest.raises(DocumentError, match="no DataKind is called"):
                self.registry.delete(DataKind, name)
        elif referring:
            with pytest.raises(
                DocumentError, match=r"is referred to by the DataSourceDefinition .* \(dataKindRef"
            ):
                self.registry.delete(DataKind, name)
        else:
            self.registry.delete(DataKind, name)
            del self.kinds[name]
            self._done()

    @precondition(lambda self: self.sources)
    @rule(data=st.data())
    def let_go(self, data):
        name = data.draw(st.sampled_from(sorted(self.sources)))
        self.registry.delete(DataSourceDefinition, name)
        del self.sources[name]
        self._done()

    @invariant()
    def says_what_holds(self):
        assert {one.id: one for one in self.registry.all(DataKind)} == self.kinds
        assert {one.id: one for one in self.registry.all(DataSourceDefinition)} == self.sources

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def says_what_held(self, data):
        moment, kinds, sources = data.draw(st.sampled_from(self.past))
        at = EPOCH + timedelta(microseconds=moment + 5)
        assert {one.id: one for one in self.registry.all(DataKind, at)} == kinds
        assert {one.id: one for one in self.registry.all(DataSourceDefinition, at)} == sources
        for name, one in kinds.items():
            assert self.registry.read(DataKind, name, at) == one


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)


def elastic(node):
    return ElasticsearchStore(Address(node, f"registry-{uuid4().hex[:8]}"))


def test_the_model_holds_in_elasticsearch(elasticsearch_node):
    slow = [HealthCheck.too_slow]  # a node that has just begun
    few = settings(max_examples=4, stateful_step_count=20, deadline=None, suppress_health_check=slow)
    run_state_machine_as_test(lambda: Model(elasticsearch_node), settings=few)


def test_an_expanded_read_embeds_what_is_referred_to(full):
    found = full.expanded(ProcessorManifest, "high")
    assert found["processorDefinition"]["name"] == "filter"
    (probe,) = found["dataSourceManifests"]
    assert probe["dataSourceDefinition"]["dataKind"]["quantityKind"] == "ratio"
    flow = ProcessorOrchestrator(
        id="flow", name="flow", processors=(manifest("one", "hub-cpu"), manifest("two", "one"))
    )
    full.create(flow)
    inner = full.expanded(ProcessorOrchestrator, "flow")["processors"]
    assert inner[0]["dataSourceManifests"] == [probe]
    assert "dataSourceManifests" not in inner[1]  # it reads one of the flow's own


@pytest.mark.parametrize(
    ("example", "found"),
    [
        ({}, ["hub-cpu"]),
        ({"name": "Hub", "location": {"virtualLocation": "cellar"}}, ["hub-cpu"]),
        ({"parameters": [{"key": "interval"}]}, ["hub-cpu"]),
        ({"parameters": [{"key": "interval", "value": 6}]}, []),
        ({"dataSourceDefinition": {"dataKind": {"quantityKind": "ratio"}}}, ["hub-cpu"]),
        ({"dataSourceDefinition": {"dataKind": {"quantityKind": "mass"}}}, []),
        ({"macAddress": "00:00"}, []),
    ],
)
def test_documents_are_found_by_example(full, example, found):
    assert [one.id for one in full.discover(DataSourceManifest, example)] == found


def test_an_example_that_nothing_can_match_is_refused(full):
    with pytest.raises(
        DocumentError, match=r"a DataSourceManifest has no field 'nmae'; it may have archive, .*name"
    ):
        full.discover(DataSourceManifest, {"nmae": "Hub"})
    with pytest.raises(DocumentError, match="a DataKind has no field 'quantity'"):
        full.discover(DataSourceManifest, {"dataSourceDefinition": {"dataKind": {"quantity": "x"}}})


def test_no_document_refers_to_itself_by_others(full):
    full.create(manifest("a", "high"))
    with pytest.raises(DocumentError, match=r"ProcessorManifest high: refers to itself, by dataSources\[0\]"):
        full.update(manifest("high", "a"))
    assert full.read(ProcessorManifest, "high") == HIGH


def test_a_replay_sees_documents_as_they_were(store):
    now = [1_000_000]
    registry = Registry(store, lambda: now[0])
    registry.create(LOAD)
    now[0] = 2_000_000
    registry.create(BUS)
    registry.create(DEFINITION)
    now[0] = 3_000_000
    registry.update(kind(quantity="percent"))
    early, late = (EPOCH + timedelta(seconds=second) for second in (2.5, 4))
    assert registry.expanded(DataSourceDefinition, "cpu", early)["dataKind"]["quantityKind"] == "ratio"
    assert registry.expanded(DataSourceDefinition, "cpu", late)["dataKind"]["quantityKind"] == "percent"
    for begin in (EPOCH, EPOCH.replace(tzinfo=None)):  # without a zone it is UTC
        with pytest.raises(DocumentError, match="'load' at 1970-01-01T00:00:00Z; there are none"):
            registry.read(DataKind, "load", begin)


def test_a_clock_that_goes_back_breaks_no_history(store):
    times = iter([5_000_000, 4_000_000, 1_000_000, 1_000_000])
    registry = Registry(store, lambda: next(times))
    registry.create(LOAD)
    registry.update(kind(quantity="x"))
    registry.delete(DataKind, "load")
    registry.create(LOAD)
    assert_whole(registry, "load")


def assert_whole(registry, name):
    """Each version begins where or after the one before ends, and each holds for some time."""
    versions = registry.history(DataKind, name)
    for before, after in pairwise(versions):
        assert before.until is not None
        assert (before.since or 0) < before.until <= after.since
    return versions


@in_a_folder
def test_what_a_person_puts_there_holds_from_ever_and_what_is_no_document_is_named(full, tmp_path):
    path = tmp_path / "registry/DataKind/hand.yaml"
    path.write_text("id: hand\nname: By hand\nquantityKind: mass\n")
    assert full.read(DataKind, "hand", EPOCH).name == "By hand"
    full.update(kind("hand"))
    assert full.read(DataKind, "hand", EPOCH).name == "By hand"
    path.write_text("name: [\n")
    with pytest.raises(DocumentError, match=r"DataKind/hand.yaml:2: no YAML"):
        full.all(DataKind)
    path.write_text("# since 20261399T000000.000000Z\nname: x\nquantityKind: y\n")
    with pytest.raises(
        DocumentError, match=r"says no time since when it holds .*its first line has to be like"
    ):
        full.read(DataKind, "hand")


@pytest.mark.parametrize(
    ("name", "said"), [("x" * 600, "is (too long for the name of a file|longer than 512)"), ("", "is empty")]
)
def test_ids_that_can_not_be_kept(registry, name, said):
    with pytest.raises(DocumentError, match=said):
        registry.create(kind(name))


def test_a_registry_that_can_not_be_used_says_why(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DocumentError, match=r"file: the registry can't be used .*; check path and rights"):
        Registry(FolderStore(tmp_path / "file")).create(LOAD)


WRITER = """
import sys
from rms_flows.io.registry import registry as opened
from rms_flows.model.documents import DataKind
registry = opened(sys.argv[1])
for number in range(int(sys.argv[3])):
    registry.create(DataKind(id=f"{sys.argv[2]}-{number}", name="x", quantityKind="q"))
    registry.update(DataKind(id="shared", name=f"{sys.argv[2]}-{number}", quantityKind="q"))
    print(number, flush=True)
"""


def writer(place, name, count):
    return subprocess.Popen(  # noqa: S603  our own code
        [sys.executable, "-c", WRITER, place, name, str(count)], stdout=subprocess.PIPE, text=True
    )


@pytest.mark.timeout(600)
def test_several_programs_write_at_once_and_no_version_is_lost(registry, place):
    registry.create(kind("shared"))
    writers = [writer(place, f"w{number}", 12) for number in range(3)]
    assert [one.communicate(timeout=500)[0].count("\n") for one in writers] == [12, 12, 12]
    assert len(registry.all(DataKind)) == 37
    versions = assert_whole(registry, "shared")
    names = [yaml.safe_load(one.data)["name"] for one in versions[1:]]
    assert sorted(names) == sorted(f"w{number}-{n}" for number in range(3) for n in range(12))


@in_a_folder
def test_what_is_deleted_while_it_is_listed_is_left_out(full, tmp_path, monkeypatch):
    store = FolderStore(tmp_path / "registry")
    there = store.ids("DataKind")
    monkeypatch.setattr(store, "ids", lambda name: [*there, "gone"] if name == "DataKind" else [])
    assert [one.id for one in Registry(store).all(DataKind)] == there
    assert there


@in_a_folder
def test_a_file_whose_name_no_id_has_is_refused_not_left_out(registry, tmp_path):
    registry.create(LOAD)
    folder = tmp_path / "registry" / "DataKind"
    (folder / "load.yaml").rename(folder / "cpu load.yaml")
    with pytest.raises(DocumentError, match=r"no id is kept in a file of this name.*rename it to cpu%20load"):
        registry.all(DataKind)


@in_a_folder
@pytest.mark.parametrize("ask", [lambda of: of.all(DataKind), lambda of: of.read(DataKind, "other")])
def test_a_file_that_is_called_otherwise_than_its_document_is_refused(registry, tmp_path, ask):
    registry.create(LOAD)
    folder = tmp_path / "registry" / "DataKind"
    (folder / "load.yaml").rename(folder / "other.yaml")
    with pytest.raises(DocumentError, match=r"the DataKind kept as 'other' says that its id is 'load'"):
        ask(registry)


@pytest.mark.parametrize("kills", [4, pytest.param(30, marks=pytest.mark.soak)])
def test_a_writer_that_is_killed_leaves_documents_as_before_or_after(registry, place, kills):
    chance = random.Random(3)  # noqa: S311  seeded
    registry.create(kind("shared"))
    for number in range(kills):
        process = writer(place, f"k{number}", 100_000)
        told = [process.stdout.readline() for _ in range(chance.randint(1, 30))]
        time.sleep(0.002 * chance.random())
        os.kill(process.pid, signal.SIGKILL)
        told += process.communicate()[0].splitlines()
        kept = {f"k{number}-{n}" for n in range(len(told))}
        versions = assert_whole(registry, "shared")
        assert kept <= {one.id for one in registry.all(DataKind)}
        assert kept <= {yaml.safe_load(one.data)["name"] for one in versions}
    registry.update(kind("shared"))  # nobody holds the lock


def rms(*arguments, folder):
    return CliRunner().invoke(app, ["registry", *map(str, arguments), "--registry", str(folder)])


def put(folder, **files):
    for place, content in files.items():
        name, _, own = place.partition("__")
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / f"{own}.yaml").write_text(yaml.safe_dump(content))
    return folder


def test_documents_of_far_edge_come_in_under_their_old_names(tmp_path, place):
    documents = put(
        tmp_path / "documents",
        DataKind__t={"id": "t", "name": "Temperature", "quantityKind": "temperature", "unit": "Cel"},
        DataInterface__mqtt={"id": "mqtt", "name": "MQTT", "communicationProtocol": "MQTT"},
        DataSourceDefinition__d={
            "id": "d", "name": "Thermometer", "dataInterfaceReferenceID": "mqtt", "dataKindReferenceIDs": ["t"],
        },
        DataSourceManifest__m={"id": "m", "name": "Kitchen", "dataSourceDefinitionReferenceID": "d"},
        AnalyticsProcessorDefinition__f={"id": "f", "name": "filter"},
        AnalyticsProcessorManifest__p={"id": "p", "processorDefinitionReferenceID": "f", "dataSources": ["m"]},
        LiveDataSet__o={
            "id": "o", "dataSourceManifestReferenceID": "m", "acquisitionTimestamp": "2026-01-01T00:00:00Z", "value": 21,
        },
    )  # fmt: skip
    folder = place
    done = rms("apply", documents, folder=folder)
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines()[0] == "DataKind t"
    assert done.stdout.count("\n") == 7
    assert rms("apply", documents, folder=folder).stdout == ""  # nothing changed
    found = rms(
        "discover",
        "DataSourceManifest",
        '{"dataSourceDefinition": {"dataKind": {"unit": "Cel"}}}',
        "--json",
        folder=folder,
    )
    assert [one["document"]["id"] for one in json.loads(found.stdout)] == ["m"]
    assert json.loads(rms("read", "ProcessorManifest", "p", "--expanded", folder=folder).stdout)["processorDefinition"] == {
        "id": "f", "name": "filter", "inputKinds": [], "outputKinds": [], "parameters": [], "examples": [],
    }  # fmt: skip
    put(
        documents,
        DataSourceDefinition__d={
            "name": "x",
            "dataInterfaceReferenceID": "mqtt",
            "dataKindReferenceIDs": ["t", "u"],
        },
    )
    with pytest.raises(
        DocumentError, match="a definition has one kind of data, not 2; write one definition for each"
    ):
        raise rms("apply", documents, folder=folder).exception


def test_the_commands_keep_find_and_let_go(tmp_path, place):
    folder = place
    path = tmp_path / "load.yaml"
    path.write_text("{name: Load, quantityKind: ratio}")
    name = rms("create", "DataKind", path, folder=folder).stdout.strip()
    assert len(name) == 32
    path.write_text(f"{{id: {name}, name: Other, quantityKind: ratio}}")
    assert rms("update", "DataKind", path, folder=folder).exit_code == 0
    assert "Other" in rms("list", folder=folder).stdout
    assert (
        rms("list", "DataKind", "--at", "2001-01-01", folder=folder).stdout.strip().startswith("0 documents")
    )
    assert rms("history", "DataKind", name, folder=folder).stdout.count("now") == 1
    assert rms("delete", "DataKind", name, folder=folder).exit_code == 0
    with pytest.raises(DocumentError, match=r"no DataKind is called .*; there are none"):
        raise rms("read", "DataKind", name, folder=folder).exception
    with pytest.raises(DocumentError, match="no DataKind is called 'never'"):
        raise rms("history", "DataKind", "never", folder=folder).exception


def test_the_commands_say_what_they_expect(tmp_path):
    with pytest.raises(
        DocumentError, match="no document is called 'Probe'; a registry keeps DataKind, DataInterface"
    ):
        raise rms("list", "Probe", folder=tmp_path).exception
    with pytest.raises(DocumentError, match=r"has no documents; put them into KIND/NAME.yaml"):
        raise rms("apply", tmp_path, folder=tmp_path).exception
    assert "is no JSON" in rms("discover", "DataKind", "{", folder=tmp_path).stderr
    assert "is no JSON object; write one such as" in rms("discover", "DataKind", "[]", folder=tmp_path).stderr
