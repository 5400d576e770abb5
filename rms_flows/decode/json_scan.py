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
from rms_flows.decode.json_columns import Columns, Memory
from rms_flows.decode.json_slow import FIELDS, Column
from rms_flows.decode.records import Records
from rms_flows.decode.simd import WIDTH

_KEYS = 16_384
_KEY_BYTES = 1 << 20
_MOST = 2 * FIELDS  # columns from which on no more are made: an input may not have so many


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
        self._memory = Memory()
        self._names = [""]
        self._keys = kernel.Keys(
            entries=np.zeros(_KEYS, kernel.KEY),
            text=np.zeros(_KEY_BYTES + WIDTH, np.uint8),
            slot=np.zeros(2 * _KEYS, np.int32),
            outer=np.zeros(kernel.DEPTH, np.int32),
            used=np.zeros(2, np.int64),
            touched=np.zeros(_KEYS, np.int32),
            aside=_aligned(np.zeros(kernel.BEHIND + 2 * WIDTH, np.uint8)),
            room=np.zeros(1, kernel.ROOM),
        )
        self._keys.room["open"] = wanted is None

    def scan(self, records: Sequence[bytes]) -> Scanned:
        """Scan records, which are UTF-8."""
        records = Records.of(records)
        slow = np.zeros(len(records), np.bool_)
        size = int(records.ends[-1] - records.starts[0]) if len(records) else 0
        columns = Columns(self._keys, len(records), size, self._memory)
        record, row = 0, 0
        while True:
            why, record, row, key, missing = kernel.scan(
                records.data, records.starts, records.ends, slow, self._keys, record, row
            )
            if why == kernel.DONE:
                return self._finish(columns, row, slow)
            if why == kernel.NEW:
                self._decide(key)
            elif columns.given > _MOST:
                return _all_slow(slow)
            else:
                columns.more(missing)

    def _decide(self, key: int) -> None:
        """Tell whether anybody asked for a key."""
        self._learn()
        entry = self._keys.entries[key]
        if self._wanted is not None and self._names[key] not in self._wanted:
            entry["base"] = entry["place"] = entry["limit"] = self._keys.aside.ctypes.data
        else:
            entry["keep"] = -1

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
        self._learn()
        entries = self._keys.entries[: len(self._names)]
        used = np.flatnonzero(entries["count"])
        names = frozenset(self._names[key] for key in used.tolist())
        if len(names) < len(used) or len(names) > FIELDS:  # two keys flatten to one name
            return _all_slow(slow)
        used = used[entries["keep"][used] != 0]
        made = columns.finish(used, rows)
        return Scanned(
            {self._names[key]: one for key, one in zip(used.tolist(), made, strict=True)}, slow, names
        )


def _all_slow(slow: np.ndarray) -> Scanned:
    slow[:] = True
    return Scanned({}, slow, frozenset())
