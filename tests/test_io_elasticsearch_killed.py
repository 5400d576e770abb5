"""A node that is killed while it is read, and started again: nothing is lost, nothing comes twice."""

import threading

import pytest
from indexing import fill, index
from servers.elasticsearch_node import Node
from test_io_elasticsearch_source import events, source

from rms_flows.errors import SourceError
from rms_flows.io.contract import Request
from rms_flows.io.elasticsearch.cluster import Cluster


@pytest.fixture
def own_node(servers_set_up, tmp_path):
    with Node(tmp_path / "node") as node:
        yield node


def test_a_reader_goes_on_where_the_node_is_back(own_node, monkeypatch):
    monkeypatch.setattr("rms_flows.io.elasticsearch.source.MOST", 500)
    index(own_node.url, "killed", number_of_shards=2)
    fill(own_node.url, "killed", events(4_000))
    for request in (Request(), Request(lateness=0)):
        opened = source(own_node.url, "killed")
        [fragment] = opened.fragments(request)
        found, back = [], None
        for decoded in opened.read(fragment, request):
            found += decoded.rows["n"].to_pylist()
            if back is None and len(found) >= 1_000:
                own_node.kill()
                back = threading.Thread(target=own_node.start)
                back.start()
        back.join()
        assert len(found) == 4_000
        assert sorted(found, key=int) == [str(number) for number in range(4_000)]


def test_a_node_that_stays_away_is_told(own_node, monkeypatch):
    monkeypatch.setattr(Cluster.call, "__kwdefaults__", {**Cluster.call.__kwdefaults__, "patience": 1.0})
    monkeypatch.setattr("rms_flows.io.elasticsearch.source.MOST", 10)
    index(own_node.url, "gone")
    fill(own_node.url, "gone", events(50))
    opened = source(own_node.url, "gone")
    [fragment] = opened.fragments(Request())
    reading = opened.read(fragment, Request())
    next(reading)
    own_node.kill()
    with pytest.raises(
        SourceError, match=r"/gone: can't be reached \(Connection refused\); check host and port"
    ):
        list(reading)
