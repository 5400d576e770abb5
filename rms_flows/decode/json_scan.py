"""Fast JSON: a block of records → string columns with each value's kind, without a Python object a value.

Several times as fast as decoding to dicts and turning these into columns; used for inputs of more than one
block, since compiling takes seconds once a machine. What it can't decode is marked and goes the slow way;
tests hold that both ways give the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from rms_flows.decode import json_kernel as kernel
from rms_flows.decode.json_columns import BEHIND, Columns, Memory
from rms_flows.decode.json_slow import FIELDS, Column
from rms_flows.decode.records import Records
from rms_flows.decode.simd import WIDTH

_KEYS = 16_384
_KEY_BYTES = 1 << 20
_FADING = 0.8  # of the room that a column had, at least, when its values get shorter


class Scanned(NamedTuple):
    """What a block gave: columns over the records that are not slow, in their order."""

    columns: dict[str, Column]
    slow: np.ndarray  # bool, shape (records,)
    names: frozenset[str]  # of all fields, also those that were not wanted


def _aligned(memory: np.ndarray) -> np.ndarray:
    """Give memory from where a line of cache begins."""
    return memory[-memory.ctypes.data % WIDTH :]


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
        self._memory = Memory()
        self._names = [""]
        self._sizes: dict[int, float] = {}  # key → bytes a row in the last block that had it
        self._keys = kernel.Keys(
            entries=np.zeros(_KEYS, kernel.KEY),
            text=np.zeros(_KEY_BYTES + WIDTH, np.uint8),
            slot=np.zeros(2 * _KEYS, np.int32),
            outer=np.zeros(kernel.DEPTH, np.int32),
            used=np.zeros(2, np.int64),
            touched=np.zeros(_KEYS, np.int32),
            aside=_aligned(np.zeros(BEHIND + 2 * WIDTH, np.uint8)),
        )

    def scan(self, records: Sequence[bytes]) -> Scanned:
        """Scan records, which are UTF-8."""
        records = Records.of(records)
        slow = np.zeros(len(records), np.bool_)
        known = self._keys.entries[: len(self._names)]
        known["base"][known["keep"] != 0] = 0  # what nobody asked for stays so
        for field in ("count", "nulls", "filled"):
            known[field] = 0
        columns = Columns(self._keys, len(records), self._sizes, self._memory)
        record, row = 0, 0
        while True:
            self._stamp += len(records)  # no record has the stamp of another, nor of its own first try
            why, record, row, key = kernel.scan(
                records.data, records.starts, records.ends, slow, self._stamp, self._keys, record, row
            )
            if why == kernel.DONE:
                return self._finish(columns, row, slow)
            if why == kernel.NEW:
                self._add(columns, key, row)
            else:
                ends, start = records.ends, records.starts[record]
                columns.widen(key, row, int(ends[record] - start), int(ends[-1] - start))

    def _add(self, columns: Columns, key: int, row: int) -> None:
        """Give a key a column, unless nobody asked for it."""
        self._learn()
        if self._wanted is None or self._names[key] in self._wanted:
            columns.add(key, row)
            return
        entry = self._keys.entries[key]
        entry["base"] = entry["place"] = entry["limit"] = self._keys.aside.ctypes.data
        entry["keep"] = 0

    def _learn(self) -> None:
        """Name the keys that are new."""
        keys = self._keys
        for key in range(len(self._names), int(keys.used[0]) + 1):
            entry = keys.entries[key]
            start = int(entry["text"]) - keys.text.ctypes.data
            own = keys.text[start : start + int(entry["length"])].tobytes().decode()
            parent = int(entry["parent"])
            self._names.append(f"{self._names[parent]}.{own}" if parent else own)

    def _finish(self, columns: Columns, rows: int, slow: np.ndarray) -> Scanned:
        """Make columns of what was copied."""
        used = np.flatnonzero(self._keys.entries["count"][: len(self._names)]).tolist()
        names = frozenset(self._names[key] for key in used)
        if len(names) < len(used) or len(names) > FIELDS:  # two keys flatten to one name
            slow[:] = True
            return Scanned({}, slow, frozenset())
        made, sizes = columns.finish(used, rows)
        before = self._sizes
        self._sizes = {key: max(size / rows, before.get(key, 0) * _FADING) for key, size in sizes.items()}
        return Scanned({self._names[key]: column for key, column in made.items()}, slow, names)
