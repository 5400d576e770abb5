"""What was read once stays in memory, as far as it may, so that the next look is quick."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from weakref import WeakValueDictionary

import pyarrow as pa

from rms_flows.decode.contract import Decoded
from rms_flows.io.contract import Fragment, Request, Source, Window

Key = tuple[Fragment, Window, int | None, bool]


@dataclass(slots=True)
class _Kept:
    columns: frozenset[str] | None
    batches: list[Decoded]
    size: int


@dataclass(slots=True, weakref_slot=True, eq=False)
class CachedSource:
    """A source that remembers what it gave, up to a limit; workers get it without what it remembers.

    What the flow looks for is kept from the source: what is remembered has to serve other rules too.

    When the limit is reached, what is new is not kept: an archive larger than the memory is read in one
    order again and again, and keeping its latest part would mean to find none of it the next time.

    Args:
        source: What is read.
        limit: Bytes.
    """

    source: Source
    limit: int
    _known: dict[Key, _Kept] = field(default_factory=dict)

    @property
    def uri(self) -> str:
        """See `Source.uri`."""
        return self.source.uri

    @property
    def endless(self) -> bool:
        """See `Source.endless`."""
        return self.source.endless

    @property
    def held(self) -> int:
        """Bytes remembered."""
        return sum(one.size for one in self._known.values())

    def fragments(self, request: Request) -> list[Fragment]:
        """See `Source.fragments`; what is no longer there is forgotten once room is needed."""
        found = self.source.fragments(replace(request, looks_for=None))
        if self.held > self.limit // 2:
            both = (replace(request, lean=lean) for lean in (False, True))
            here = {_key(fragment, one) for one in both for fragment in found}
            self._known = {key: one for key, one in self._known.items() if key in here}
        return found

    def columns(self) -> frozenset[str] | None:
        """See `Source.columns`."""
        return self.source.columns()

    def read(self, fragment: Fragment, request: Request) -> Iterator[Decoded]:
        """See `Source.read`."""
        whole, key = _key(fragment, replace(request, lean=False)), _key(fragment, request)
        key = whole if whole in self._known and _within(request.columns, self._known[whole].columns) else key
        known = self._known.get(key)
        if known is not None and _within(request.columns, known.columns):
            yield from known.batches
            return
        wider = _joined(request.columns, known.columns) if known is not None else request.columns
        room = self.limit - self.held + (known.size if known is not None else 0)
        kept, counted, size = list[Decoded](), set[int](), 0
        for decoded in self.source.read(fragment, replace(request, columns=wider, looks_for=None)):
            if size <= room:
                size += _size(decoded.rows, counted)
                kept.append(decoded)
            yield decoded
        if size <= room:  # it was read to its end, or we would not be here
            self._known[key] = _Kept(wider, kept, size)

    def __reduce__(self) -> tuple[object, ...]:
        """Be the same one for copies within this process, which Beam makes of all that it runs."""
        token = os.getpid(), id(self)
        _HERE[token] = self
        return _found, (token, self.source)


_HERE: WeakValueDictionary[tuple[int, int], CachedSource] = WeakValueDictionary()


def _found(token: tuple[int, int], source: Source) -> CachedSource:
    return _HERE.get(token) or CachedSource(source, 0)


def _key(fragment: Fragment, request: Request) -> Key:
    """Name a fragment as it is now: a file that was written again is another."""
    path = Path(fragment.uri)
    return fragment, request.window, path.stat().st_mtime_ns if path.exists() else None, request.lean


def _within(wanted: frozenset[str] | None, known: frozenset[str] | None) -> bool:
    return known is None or (wanted is not None and wanted <= known)


def _joined(one: frozenset[str] | None, other: frozenset[str] | None) -> frozenset[str] | None:
    return None if one is None or other is None else one | other


def _size(batch: pa.RecordBatch, counted: set[int]) -> int:
    """Count the bytes of the buffers that a batch holds, those that others hold too only once."""
    size = 0
    for column in batch.columns:
        parts = [column, column.dictionary] if pa.types.is_dictionary(column.type) else [column]
        for buffer in (buffer for part in parts for buffer in part.buffers() if buffer is not None):
            if buffer.address not in counted:
                counted.add(buffer.address)
                size += buffer.size
    return size
