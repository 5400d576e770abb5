"""The answer to a search, as bytes → its documents as records, without an object for what they hold."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.records import PADDING, Records
from rms_flows.errors import SourceError


class Hit(msgspec.Struct, gc=False):
    """One document, as it stands in the answer: nothing that Python's collector of garbage had to look at."""

    index: str = msgspec.field(name="_index")
    id: str = msgspec.field(name="_id")
    source: msgspec.Raw = msgspec.field(name="_source", default=msgspec.Raw(b"null"))
    sort: msgspec.Raw = msgspec.Raw(b"[]")

    @property
    def time(self) -> int:
        """What it was sorted by, milliseconds since 1970."""
        return int(bytes(self.sort)[1:-1].partition(b",")[0])


class _Hits(msgspec.Struct):
    hits: list[Hit]


class _Shards(msgspec.Struct):
    failed: int = 0


class _Answer(msgspec.Struct):
    hits: _Hits
    timed_out: bool = False
    shards: _Shards = msgspec.field(name="_shards", default_factory=_Shards)


_read = msgspec.json.Decoder(_Answer).decode


@dataclass(frozen=True, slots=True)
class Page:
    """Documents that came together.

    Args:
        records: Their bytes as they were indexed.
        origins: Strings, shape (records,): `index/_id`.
        times: int64, shape (records,), rising: milliseconds since 1970; None where they are in no order.
    """

    records: Records
    origins: pa.StringArray
    times: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.records)

    def without(self, origins: Sequence[pa.StringArray]) -> Page:
        """Leave out documents that are known."""
        known = pc.is_in(self.origins, pa.chunked_array(origins, pa.string()).combine_chunks())
        kept = pc.invert(known)
        mask = kept.to_numpy(zero_copy_only=False)
        times = None if self.times is None else self.times[mask]
        return Page(self.records.take(mask), self.origins.filter(kept), times)


def hits(answer: bytes, where: str) -> list[Hit]:
    """Cut an answer into its documents; raises SourceError where some of them are missing.

    Example:
        >>> answer = b'{"hits":{"hits":[{"_index":"logs","_id":"1","_source":{"a": 1.50},"sort":[7]}]}}'
        >>> [(hit.id, bytes(hit.source)) for hit in hits(answer, "logs")]
        [('1', b'{"a": 1.50}')]
    """
    found = _read(answer)
    _check(found, where)
    return found.hits.hits


def _check(found: _Answer, where: str) -> None:
    if found.timed_out or found.shards.failed:
        raise SourceError(
            f"the answer lacks documents ({found.shards.failed} shards failed, timed out: {found.timed_out})",
            where=where,
            remedy="see to the health of the cluster, and run again",
        )


def whole_page(answer: bytes, most: int, where: str) -> Page:
    """Cut an answer into its documents and put these together, by compiled loops where the process has them.

    Args:
        answer: As it came.
        most: Documents in it, at most.
        where: The source, for messages.

    Raises:
        SourceError: Some documents are missing.
    """
    made = _compiled_page(answer, most, where) if "rms_flows.decode.simd" in sys.modules else None
    return page(hits(answer, where)) if made is None else made


def _compiled_page(answer: bytes, most: int, where: str) -> Page | None:
    from rms_flows.io.elasticsearch import hits_kernel as kernel  # noqa: PLC0415  loads a compiler

    begins = answer.find(_HITS) + len(_HITS)
    if begins < len(_HITS):
        return None
    _check(_read(answer[:begins] + b"]}}"), where)
    data = np.frombuffer(answer + PADDING, np.uint8)
    starts, ends = np.empty((2, most), np.int64)
    offsets, names = np.empty(most + 1, np.int32), np.empty(most * kernel.NAMES + len(PADDING), np.uint8)
    rows = kernel.cut(data, begins, starts, ends, names, offsets)
    if rows == kernel.ODD:
        return None
    origins = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets), pa.py_buffer(names[: offsets[rows]]))
    return Page(Records(data, starts[:rows], ends[:rows]), origins)


_HITS: Final = b'"hits":['


def page(found: Sequence[Hit], times: np.ndarray | None = None) -> Page:
    """Put documents together."""
    sources = [hit.source for hit in found]
    ends = np.cumsum(np.fromiter((memoryview(one).nbytes for one in sources), np.int64, len(found)) + 1) - 1
    starts = np.concatenate([[0], ends[:-1] + 1]) if found else ends
    records = Records(np.frombuffer(b"\n".join([*sources, PADDING]), np.uint8), starts, ends)
    names = [pa.array([getattr(hit, name) for hit in found], pa.string()) for name in ("index", "id")]
    return Page(records, pc.binary_join_element_wise(*names, "/"), times)


_LAST: Final = re.compile(rb'"sort":(\[[^"\[\]{}]*\])\}\]\}\}\s*\Z')
_MOST: Final = 256  # bytes of it
_FIRST: Final = re.compile(rb'\A\{"pit_id":"([^"]+)"')


def next_page(answer: bytes) -> tuple[str | None, list[Any] | None]:
    """Tell by the two ends of an answer where the next page begins, before anything else of it is looked at.

    Returns:
        The id of the point in time, where the answer gives one, and `search_after`; None where there is no
        document.

    Example:
        >>> next_page(b'{"pit_id":"abc","hits":{"hits":[{"_id":"1","sort":[5]},{"_id":"2","sort":[7]}]}}')
        ('abc', [7])
    """
    last, first = _LAST.search(answer, max(0, len(answer) - _MOST)), _FIRST.match(answer)
    return first and first[1].decode(), last and msgspec.json.decode(last[1])
