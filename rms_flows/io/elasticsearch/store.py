"""Documents of a registry in Elasticsearch: a log of changes, from which each reader makes what holds.

Each change is a document of the index `PREFIX.documents` whose id is its number, and is only ever created
(`op_type=create`): who writes change 7 has seen the first six, and of two that try it one is refused, looks
at what the other wrote, and decides anew. So writers on any machines need no lock, and one that dies leaves
nothing behind: a change is there or it is not. The signs of life of what runs lie in `PREFIX.life`, the last
of each.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise, takewhile
from typing import Final
from urllib.parse import quote
from uuid import uuid4

import msgspec

from rms_flows.errors import DocumentError, OvertakenError, UnreachableError
from rms_flows.io.elasticsearch.address import Address
from rms_flows.io.elasticsearch.cluster import Cluster
from rms_flows.io.elasticsearch.trouble import Failure
from rms_flows.registry.store import Stored

PATIENCE: Final = 20.0
"""Seconds for which a call is tried again: a person waits, or a service that is asked."""

PAGE: Final = 200
"""Changes that are asked for at once; each has a mebibyte at most."""

LONGEST: Final = 512
"""Bytes of an id, which is all that Elasticsearch takes as one."""

_CONFLICT: Final = 409
_BAD: Final = 400
_KEPT: Final = {"type": "keyword", "index": False, "doc_values": False}
_FIELDS: Final = {
    "kind": {"type": "keyword"},
    "name": {"type": "keyword"},
    "since": {"type": "long"},
    "data": _KEPT,
    "writer": _KEPT,
}


class _Change(msgspec.Struct, frozen=True):
    """From `since` on, microseconds, a document says `data`, or is no more; `writer` tells tries apart."""

    kind: str
    name: str
    since: int
    data: str | None
    writer: str


class _Life(msgspec.Struct):
    data: str


class _Got(msgspec.Struct):
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw())
    error: Failure | None = None


class _Gots(msgspec.Struct):
    docs: list[_Got]


class ElasticsearchStore:
    """An index of changes, see `Store`; may be used by several threads.

    Args:
        address: The cluster, and what the names of the indices begin with.
    """

    def __init__(self, address: Address) -> None:
        self.uri = address.uri
        self._index = f"{address.index}.documents"
        self._lives = f"{address.index}.life"
        self._cluster = Cluster(address.url, address.uri, UnreachableError, PATIENCE)
        self._checked = False
        self._made: set[str] = set()
        self._log: list[_Change] = []
        self._of: dict[tuple[str, str], list[_Change]] = {}
        self._reading = threading.RLock()
        self._writing = threading.Lock()
        self._next = 0
        self._here = threading.local()

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other writers of this process out; those of others are noticed by the write."""
        with self._writing, self.view():
            self._next = len(self._log) + 1
            yield

    @contextmanager
    def view(self) -> Iterator[None]:
        """See `Store.view`."""
        depth = getattr(self._here, "depth", 0)
        if not depth:
            self._catch_up()
        self._here.depth = depth + 1
        try:
            yield
        finally:
            self._here.depth = depth

    def ids(self, kind: str) -> Sequence[str]:
        """See `Store.ids`."""
        return sorted(name for name, changes in self._changes(kind).items() if changes[-1].data is not None)

    def known(self, kind: str) -> Sequence[str]:
        """See `Store.known`."""
        return sorted(self._changes(kind))

    def read(self, kind: str, name: str) -> Stored | None:
        """See `Store.read`."""
        with self.view():
            last = self._of.get((kind, name), (None,))[-1]
        return None if last is None or last.data is None else self._stored(last, last.data, None)

    def past(self, kind: str, name: str) -> Sequence[Stored]:
        """See `Store.past`."""
        with self.view():
            changes = [*self._of.get((kind, name), ())]
        return [
            self._stored(one, one.data, after.since)
            for one, after in pairwise(changes)
            if one.data is not None
        ]

    def write(self, kind: str, name: str, data: bytes, since: int) -> None:
        """See `Store.write`."""
        size = len(name.encode())
        if not 0 < size <= LONGEST:
            raise DocumentError(
                f"the id {name[:40]!r} is {'longer than 512 bytes' if size else 'empty'}",
                remedy="choose a short one",
            )
        self._append(_Change(kind, name, since, data.decode(), uuid4().hex))

    def remove(self, kind: str, name: str, until: int) -> None:
        """See `Store.remove`."""
        self._append(_Change(kind, name, until, None, uuid4().hex))

    def beat(self, name: str, data: bytes) -> None:
        """See `Store.beat`."""
        self._check()
        self._make(self._lives, {"data": _KEPT})
        self._cluster.call("PUT", f"/{self._lives}/_doc/{quote(name, safe='')}", _Life(data.decode()))

    def beats(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """See `Store.beats`."""
        self._check()
        wanted = [*names]
        found = self._get(self._lives, wanted)
        return {
            name: msgspec.json.decode(one, type=_Life).data.encode()
            for name, one in zip(wanted, found, strict=True)
            if bytes(one)
        }

    def _changes(self, kind: str) -> Mapping[str, Sequence[_Change]]:
        with self.view(), self._reading:
            return {name: changes for (of, name), changes in self._of.items() if of == kind}

    def _stored(self, change: _Change, data: str, until: int | None) -> Stored:
        return Stored(data.encode(), f"{self.uri}: {change.kind} {change.name}", change.since, until)

    def _append(self, change: _Change) -> None:
        if self._next == 1:
            self._make(self._index, _FIELDS)
        path = f"/{self._index}/_create/{self._next}"
        said = self._cluster.call("PUT", path, change, accept={_CONFLICT})
        if said.status == _CONFLICT:
            there = self._read([self._next])[0]  # a call is carried out twice where its answer was lost
            if there is None or there.writer != change.writer:
                raise OvertakenError("somebody else changed the registry", where=self.uri)
        self._next += 1
        self._catch_up()

    def _catch_up(self) -> None:
        """Read the changes since the last time; all of them where the log is another one than then."""
        with self._reading:
            self._check()
            size, gap = (1 if self._log else PAGE), None
            while True:
                first = max(len(self._log), 1)
                found = self._read(range(first, first + size + 1))
                size = PAGE
                if self._log and found.pop(0) != self._log[-1]:
                    self._log, self._of, self._made = [], {}, set()
                    continue
                new = [*takewhile(lambda one: one is not None, found)]
                for change in filter(None, new):
                    self._log.append(change)
                    self._of.setdefault((change.kind, change.name), []).append(change)
                if len(new) == len(found):
                    continue
                if not any(found[len(new) :]):
                    return
                if gap == len(self._log):  # it did not only come while we looked at the next
                    raise DocumentError(
                        f"the index {self._index} has lost change {gap + 1}",
                        where=self.uri,
                        remedy="restore it from a snapshot",
                    )
                gap = len(self._log)

    def _read(self, numbers: Iterable[int]) -> list[_Change | None]:
        found = self._get(self._index, map(str, numbers))
        try:
            return [msgspec.json.decode(one, type=_Change) if bytes(one) else None for one in found]
        except msgspec.DecodeError as error:
            raise DocumentError(
                f"the index {self._index} holds other things than a registry ({error})",
                where=self.uri,
                remedy="choose another prefix",
            ) from None

    def _get(self, index: str, ids: Iterable[str]) -> list[msgspec.Raw]:
        """Give documents as they are now, whether they can be searched for yet or not; empty: not there."""
        wanted = [*ids]
        if not wanted:
            return []
        said = self._cluster.call("POST", f"/{index}/_mget", {"ids": wanted})
        docs = said.json(_Gots).docs
        for one in docs:
            if one.error is not None and one.error.type != "index_not_found_exception":
                raise self._cluster.trouble(_BAD, one.error)
        return [one.source for one in docs]

    def _check(self) -> None:
        if not self._checked:
            self._cluster.check()
            self._checked = True

    def _make(self, index: str, fields: Mapping[str, object]) -> None:
        """Make an index where it is not there."""
        if index in self._made:
            return
        settings = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
        body = {"settings": settings, "mappings": {"dynamic": "strict", "properties": fields}}
        said = self._cluster.call("PUT", f"/{index}", body, accept={_BAD})
        if said.status == _BAD and said.failure.type != "resource_already_exists_exception":
            raise self._cluster.trouble(said.status, said.failure)
        self._made.add(index)
