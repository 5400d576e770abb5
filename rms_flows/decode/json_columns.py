"""The memory into which fast JSON decoding copies values, and the Arrow columns that come of it."""

from __future__ import annotations

import sys
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.decode import json_kernel as kernel
from rms_flows.decode.json_slow import Column
from rms_flows.decode.simd import WIDTH

_SPARE: Final = 64  # columns that are made room for at once
_AHEAD: Final = 3  # times the bytes of a block: memory that nobody writes to costs nothing
_HELD: Final = 4  # pieces of memory that are remembered: those of the three batches before, and this one


class Memory:
    """Memory that is used again when nobody has it any more: arrays, buffers and batches made of it are gone.

    Asked for anew, each block's 30 MB would be cleared by the kernel, page by page: a quarter of all time.
    """

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def take(self, size: int) -> np.ndarray:
        """Give at least so many bytes, with anything in them; what is free and too small is let go."""
        held, self._held, found = self._held, [], None
        while held:
            one = held.pop()
            free = sys.getrefcount(one) == _ALONE
            if free and found is None and size <= len(one) <= 4 * size:
                found = one
            elif not free or len(one) >= size:
                self._held.insert(0, one)
        if found is None:
            found = np.empty(size + size // 16, np.uint8)
        self._held = [*self._held[1 - _HELD :], found]
        return found


_ALONE: Final = 2  # references: a name's and the one that `getrefcount` takes to count


class Columns:
    """The columns of a block, while it is read: runs of memory, each with room for some columns.

    Args:
        keys: The table whose entries are told where their columns are.
        rows: Most rows that there will be.
        size: Bytes of the block.
        memory: Where memory comes from.
    """

    def __init__(self, keys: kernel.Keys, rows: int, size: int, memory: Memory) -> None:
        self._keys = keys
        self._rows = rows
        self._memory = memory
        self._runs: list[np.ndarray] = []
        self.given = 0  # columns in runs that are left behind
        room = keys.room[0]
        room["given"], room["rows"], room["share"], room["most"] = 0, rows, 1.0, size
        columns, wanted = kernel.expected(keys)
        if wanted > 2 * size + columns * kernel.LEAST:  # rows were far larger
            room["share"] = 2 * size / wanted
            columns, wanted = kernel.expected(keys)
        self._open(columns + _SPARE, max(wanted + _SPARE * kernel.LEAST, _AHEAD * size))
        kernel.begin(keys)

    def _open(self, columns: int, size: int) -> None:
        """Make room for columns and so many bytes of theirs."""
        step = -(-self._rows // WIDTH) * WIDTH
        kinds = -(-columns * 4 * (self._rows + 1) // WIDTH) * WIDTH
        valid = kinds + columns * step
        data = valid + columns * (step // 8)
        run = self._memory.take(data + size)
        run[kinds:valid] = 0
        start, room = run.ctypes.data, self._keys.room[0]
        self.given += int(room["given"])
        room["columns"], room["given"], room["offsets"] = columns, 0, start
        room["kinds"], room["valid"] = start + kinds, start + valid
        room["place"], room["limit"] = start + data, start + len(run)
        self._runs.append(run)

    def more(self, size: int) -> None:
        """Make room for more columns, and for so many bytes of one."""
        self._open(_SPARE, size + _SPARE * kernel.LEAST)

    def finish(self, used: np.ndarray, rows: int) -> list[Column]:
        """Make columns of some keys."""
        kernel.close(used, self._keys, rows)
        runs = sorted(self._runs, key=lambda run: run.ctypes.data)
        starts = np.array([run.ctypes.data for run in runs])
        buffers = [pa.py_buffer(run) for run in runs]
        entries = self._keys.entries[used]
        homes = np.searchsorted(starts, entries["offsets"], "right") - 1  # runs of all but the bytes
        places = [(entries[name] - starts[homes]).tolist() for name in ("offsets", "valid", "kinds")]
        others = np.searchsorted(starts, entries["base"], "right") - 1
        begins, sizes = (
            (entries["base"] - starts[others]).tolist(),
            (entries["place"] - entries["base"]).tolist(),
        )
        missing = (rows - entries["count"] + entries["nulls"]).tolist()
        ends, marks, make = 4 * (rows + 1), -(-rows // 8), pa.StringArray.from_buffers
        made = []
        for home, at, valid, kinds, other, begin, size, absent in zip(
            homes.tolist(), *places, others.tolist(), begins, sizes, missing, strict=True
        ):
            own, data = buffers[home], buffers[other].slice(begin, size)
            there = own.slice(valid, marks) if absent else None
            text = make(rows, own.slice(at, ends), data, there, absent)
            made.append(Column(text, runs[home][kinds : kinds + rows]))
        return made
