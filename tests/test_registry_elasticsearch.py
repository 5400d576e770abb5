"""What only a registry in Elasticsearch has to stand: other machines, lost answers, other hands in its index."""

from uuid import uuid4

import pytest
import repository
from typer.testing import CliRunner

from rms_flows.cli.app import app
from rms_flows.confirm.manifests import Manifests
from rms_flows.errors import ConflictError, DocumentError, OvertakenError, UnreachableError
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.store import ElasticsearchStore
from rms_flows.io.registry import registry as opened
from rms_flows.model import DataSourceManifest, Trust
from rms_flows.model.documents import DataInterface, DataKind, DataSourceDefinition
from rms_flows.registry import Registry

LOAD = DataKind(id="load", name="CPU load", quantityKind="ratio")
BUS = DataInterface(id="bus", name="Bus", communicationProtocol="Kafka")
CPU = DataSourceDefinition(id="cpu", name="CPU", dataInterfaceReferenceID="bus", dataKindReferenceID="load")
HUB = DataSourceManifest(
    id="hub", name="Hub", dataSourceDefinitionReferenceID="cpu", trust=Trust(fingerprint="f")
)


@pytest.fixture
def address(elasticsearch_node):
    return Address(elasticsearch_node, f"registry-{uuid4().hex[:8]}")


@pytest.fixture
def here(address):
    return Registry(ElasticsearchStore(address))


@pytest.fixture
def there(address):
    """The same registry, as another machine has it."""
    return Registry(ElasticsearchStore(address))


def overtaken(registry, monkeypatch, act):
    """Let another machine act between what a writer read and what it writes, once."""
    store = registry._store
    append, acts = store._append, [act]

    def slow(change):
        if acts:
            acts.pop()()
        append(change)

    monkeypatch.setattr(store, "_append", slow)


def test_what_another_machine_created_meanwhile_is_not_created_twice(here, there, monkeypatch):
    overtaken(here, monkeypatch, lambda: there.create(LOAD))
    with pytest.raises(ConflictError, match="there is a DataKind 'load' already"):
        here.create(LOAD.model_copy(update={"name": "other"}))
    assert here.read(DataKind, "load") == LOAD
    assert len(here.history(DataKind, "load")) == 1


def test_what_another_machine_refers_to_meanwhile_is_not_deleted(here, there, monkeypatch):
    """Guards against a writer that slept through its lock: no lock is needed, so none can be lost."""
    here.apply([LOAD, BUS])
    overtaken(here, monkeypatch, lambda: there.create(CPU))
    with pytest.raises(ConflictError, match="is referred to by the DataSourceDefinition 'cpu'"):
        here.delete(DataKind, "load")
    assert there.expanded(DataSourceDefinition, "cpu")["dataKind"]["id"] == "load"


def test_a_change_is_made_of_what_another_machine_wrote(here, there, monkeypatch):
    here.create(LOAD)
    overtaken(here, monkeypatch, lambda: there.update(LOAD.model_copy(update={"unit": "1"})))
    here.change(DataKind, "load", lambda one: one.model_copy(update={"name": "both"}))
    assert there.read(DataKind, "load") == LOAD.model_copy(update={"unit": "1", "name": "both"})


def test_who_is_always_overtaken_is_told_so(here, monkeypatch):
    def never(_):
        raise OvertakenError("somebody")

    monkeypatch.setattr("rms_flows.registry.registry._PAUSE", 0)
    monkeypatch.setattr(here._store, "_append", never)
    with pytest.raises(OvertakenError, match=r"others changed the registry 100 times while .*; try it again"):
        here.create(LOAD)


def test_a_write_whose_answer_was_lost_is_ours(here, there, monkeypatch):
    """Guards against a call that the client carries out twice, and takes its own document for another's."""
    call = Cluster.call

    def twice(self, method, path, *rest, **more):
        if "/_create/" in path:
            call(self, method, path, *rest, **more)
        return call(self, method, path, *rest, **more)

    monkeypatch.setattr(Cluster, "call", twice)
    here.create(LOAD)
    here.update(LOAD.model_copy(update={"name": "other"}))
    assert [one.until is None for one in there.history(DataKind, "load")] == [False, True]


def test_a_reader_follows_what_others_write_and_whatever_becomes_of_the_index(
    address, here, there, monkeypatch
):
    monkeypatch.setattr("rms_flows.io.elasticsearch.store.PAGE", 3)
    assert there.all(DataKind) == []
    many = [LOAD.model_copy(update={"id": f"k{number}"}) for number in range(8)]
    here.apply(many)
    assert there.all(DataKind) == many
    cluster = repository.cluster(address.url)
    cluster.call("DELETE", f"/{address.index}.documents")
    assert there.all(DataKind) == []
    Registry(ElasticsearchStore(address)).apply([LOAD, BUS])
    assert (there.all(DataKind), there.all(DataInterface)) == ([LOAD], [BUS])


def test_a_change_that_somebody_removed_is_missed(address, here, there):
    here.apply([LOAD, BUS, CPU])
    repository.cluster(address.url).call("DELETE", f"/{address.index}.documents/_doc/2")
    with pytest.raises(DocumentError, match=r"has lost change 2; restore it from a snapshot"):
        there.all(DataKind)


def test_an_index_of_something_else_is_refused(address, here):
    repository.cluster(address.url).call("PUT", f"/{address.index}.documents/_doc/1", {"kind": 5})
    with pytest.raises(
        DocumentError, match=r"\.documents holds other things than a registry .*another prefix"
    ):
        here.all(DataKind)


def test_a_node_that_is_away_is_named():
    away = "elasticsearch://127.0.0.1:1/registry"
    done = CliRunner().invoke(app, ["registry", "list", "--registry", away])
    with pytest.raises(UnreachableError, match=r"/registry: can't be reached \(.*\); check host and port"):
        raise done.exception


def test_commands_and_flows_find_it(tmp_path, address):
    for one in (LOAD, BUS, CPU, HUB):
        folder = tmp_path / type(one).__name__
        folder.mkdir()
        (folder / "one.json").write_text(one.model_dump_json(exclude_none=True))
    done = CliRunner().invoke(app, ["registry", "apply", str(tmp_path), "--registry", address.uri])
    assert done.stdout.splitlines()[-1] == "DataSourceManifest hub"
    assert Manifests(address.uri, opened(address.uri)).all() == {"hub": HUB.trust}
    with pytest.raises(DocumentError, match="no registry can be there; write a folder, or elasticsearch://"):
        opened(f"{address.uri}?as=ecs")
