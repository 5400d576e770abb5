"""Fast JSON: a block of records → string columns with each value's kind, without a Python object a value.

Several times as fast as decoding to dicts and turning these into columns; used for inputs of more than one
block, since compiling takes seconds once a machine. What it can't decode is marked and goes the slow way;
tests hold that both ways give the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rms_flows.decode.json_gather import gather
from rms_flows.decode.json_kernel import DEPTH, Keys, Tokens, scan
from rms_flows.decode.json_slow import FIELDS, Column
from rms_flows.decode.records import PADDING, Records
from rms_flows.decode.simd import WIDTH

_KEYS = 16_384
_KEY_BYTES = 1 << 20


class Scanned(NamedTuple):
    """What a block gave: columns over the records that are not slow, in their order."""

    columns: dict[str, Column]
    slow: np.ndarray  # bool, shape (records,)
    names: frozenset[str]  # of all fields, also those that were not wanted


class Scanner:
    r"""Scans block after block of one input and remembers its keys.

    Args:
        wanted: Dotted names of the columns to give; None gives all.

    Example:
        >>> scanned = Scanner().scan([b'{"a": {"b": 1}, "c": "x"}', b'{"c": "\\u00e9"}', b"broken"])
        >>> scanned.columns["a.b"].text.to_pylist(), scanned.columns["c"].text.to_pylist()
        (['1', None], ['x', 'é'])
        >>> scanned.slow.tolist()
        [False, False, True]
    """

    def __init__(self, wanted: frozenset[str] | None = None) -> None:
        self._wanted = wanted
        self._stamp = 1
        self._names = [""]
        self._keys = Keys(
            start=np.zeros(_KEYS, np.int64),
            length=np.zeros(_KEYS, np.int64),
            parent=np.zeros(_KEYS, np.int32),
            text=np.zeros(_KEY_BYTES + WIDTH, np.uint8),
            slot=np.zeros(2 * _KEYS, np.int32),
            seen=np.zeros(_KEYS, np.int64),
            outer=np.zeros(DEPTH, np.int32),
            used=np.zeros(2, np.int64),
            found=np.zeros(_KEYS, np.int64),
            size=np.zeros(_KEYS, np.int64),
        )

    def scan(self, records: Sequence[bytes]) -> Scanned:
        """Scan records, which are UTF-8; where one holds a zero byte the whole block is slow."""
        records = Records.of(records)
        slow = np.zeros(len(records), np.bool_)
        if records.data.find(b"\0") < len(records.data) - len(PADDING):
            slow[:] = True
            return Scanned({}, slow, frozenset())
        buf = np.frombuffer(records.data, np.uint8)
        most = len(buf) // 5  # `"":0,`
        tokens = Tokens(
            key=np.empty(most, np.int32),
            kind=np.empty(most, np.uint8),
            start=np.empty(most, np.int64),
            length=np.empty(most, np.int64),
        )
        first = np.empty(len(records) + 1, np.int64)
        self._keys.found[:] = 0
        self._keys.size[:] = 0
        scan(buf, records.starts, records.ends, self._stamp, self._keys, tokens, first, slow)
        self._stamp += len(records)
        self._learn()
        used = np.flatnonzero(self._keys.found)
        every = frozenset(self._names[key] for key in used)
        if len(every) < len(used) or len(every) > FIELDS:  # two keys flatten to one name
            slow[:] = True
            return Scanned({}, slow, frozenset())
        kept = [key for key in used.tolist() if self._wanted is None or self._names[key] in self._wanted]
        return Scanned(self._columns(buf, tokens, first, slow, kept), slow, every)

    def _learn(self) -> None:
        """Name the keys that were new in this block."""
        keys = self._keys
        for key in range(len(self._names), int(keys.used[0]) + 1):
            start, length = int(keys.start[key]), int(keys.length[key])
            own = keys.text[start : start + length].tobytes().decode()
            parent = self._names[keys.parent[key]]
            self._names.append(f"{parent}.{own}" if keys.parent[key] else own)

    def _columns(
        self, buf: np.ndarray, tokens: Tokens, first: np.ndarray, slow: np.ndarray, kept: list[int]
    ) -> dict[str, Column]:
        """Build the Arrow columns of keys; all share one buffer of bytes, each its slice."""
        column = np.full(len(self._names), -1, np.int32)
        column[kept] = np.arange(len(kept))
        rows = len(slow) - int(slow.sum())
        sizes = self._keys.size[kept] + WIDTH
        base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
        place = base[:-1].copy()
        whole = pa.allocate_buffer(int(base[-1]))
        offsets = np.zeros((len(kept), rows + 1), np.int32)
        kinds = np.zeros((len(kept), rows), np.uint8)
        gather(buf, tokens, first, slow, column, place, np.frombuffer(whole, np.uint8), offsets, kinds)
        valid = np.packbits(kinds > 1, axis=1, bitorder="little")
        built = {}
        for i, key in enumerate(kept):
            data = whole.slice(int(base[i]), int(sizes[i]))
            text = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets[i]), data, pa.py_buffer(valid[i]))
            built[self._names[key]] = Column(text, kinds[i])
        return built
