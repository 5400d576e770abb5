"""The memory into which fast JSON decoding copies values, and the Arrow columns that come of it."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.decode.json_kernel import Keys, close
from rms_flows.decode.json_slow import Column
from rms_flows.decode.simd import WIDTH

BEHIND: Final = 2 * WIDTH
"""Bytes behind a column's that may be written."""

_LEAST: Final = 1 << 13  # bytes of a column
_MORE: Final = 1.125  # times the room that is expected to do
_GUESSED: Final = 1.5  # the same, where few rows say what is expected
_SPARE: Final = 64  # columns that are made at once
_HELD: Final = 4  # pieces of memory that are remembered


class Memory:
    """Memory that is used again when nobody has it any more: arrays, buffers and batches made of it are gone.

    Asked for anew, each block's 30 MB would be cleared by the kernel, page by page: a quarter of all time.
    """

    def __init__(self) -> None:
        self._held: list[np.ndarray] = []

    def take(self, size: int) -> np.ndarray:
        """Give at least so many bytes, with anything in them."""
        for place in range(len(self._held)):
            free = sys.getrefcount(self._held[place]) == _ALONE
            if free and size <= len(self._held[place]) <= 4 * size:
                return self._held[place]
        made = np.empty(size + size // 16, np.uint8)
        self._held = [*self._held[1 - _HELD :], made]
        return made


_ALONE: Final = 2  # references: the list's and the one that `getrefcount` takes to count


class _Slab:
    """Offsets, kinds and marks of what is valid for some columns, each in one run of memory."""

    def __init__(self, columns: int, rows: int, memory: Memory) -> None:
        self._rows = rows
        whole = -(-rows // WIDTH) * WIDTH
        self._offsets = _shaped(memory.take(columns * (rows + 1) * 4), (columns, rows + 1), np.int32)
        self._kinds = _shaped(memory.take(columns * whole), (columns, whole), np.uint8)
        self._kinds[:] = 0
        self._valid = np.empty((columns, whole // 8), np.uint8)
        self._buffers = pa.py_buffer(self._offsets), pa.py_buffer(self._valid)
        self.room = columns

    def addresses(self, first: int, columns: int) -> tuple[np.ndarray, ...]:
        """Give where offsets, kinds and marks of some columns begin: int64[columns] each."""
        numbers = np.arange(first, first + columns)
        parts = (self._offsets, self._kinds, self._valid)
        return tuple(part.ctypes.data + numbers * part.strides[0] for part in parts)

    def column(self, number: int, rows: int, missing: int, data: pa.Buffer) -> Column:
        """Make a column of what was written."""
        offsets, valid = self._buffers
        step, bits = self._offsets.strides[0], self._valid.strides[0]
        buffers = offsets.slice(number * step, step), valid.slice(number * bits, bits) if missing else None
        text = pa.StringArray.from_buffers(rows, buffers[0], data, buffers[1], missing)
        return Column(text, self._kinds[number, :rows])


def _shaped(memory: np.ndarray, shape: tuple[int, int], kind: type) -> np.ndarray:
    return memory[: shape[0] * shape[1] * np.dtype(kind).itemsize].view(kind).reshape(shape)


class Columns:
    """The columns of a block, while it is read.

    Args:
        keys: The table whose entries are told where their columns are.
        rows: Most rows that there will be.
        sizes: Keys that will have a column → bytes a row.
        memory: Where memory comes from.
    """

    def __init__(self, keys: Keys, rows: int, sizes: dict[int, float], memory: Memory) -> None:
        self._keys = keys
        self._rows = rows
        self._memory = memory
        self._since: dict[int, int] = {}  # key → the row from which on it has values
        self._slab = _Slab(len(sizes) + _SPARE, rows, memory)
        self._next = len(sizes)  # column of the slab
        self._at = {key: (self._slab, number) for number, key in enumerate(sizes)}
        room = (np.array(list(sizes.values())) * (rows * _MORE)).astype(np.int64) + _LEAST
        self._begun = int(room.sum()) + BEHIND  # what is taken of the memory
        self._whole = memory.take(self._begun + _SPARE * _LEAST)
        self._buffer = pa.py_buffer(self._whole)
        self._data = dict.fromkeys(sizes, self._buffer)
        base = self._whole.ctypes.data + np.cumsum(room) - room
        self._place(list(sizes), 0, base, base + room - BEHIND)

    def _more(self, size: int) -> tuple[int, pa.Buffer]:
        """Give the address of more memory, and the buffer that it is a part of."""
        if self._begun + size <= len(self._whole):
            self._begun += size
            return self._whole.ctypes.data + self._begun - size, self._buffer
        made = pa.py_buffer(np.empty(size, np.uint8))
        return made.address, made

    def _place(self, keys: list[int], first: int, base: np.ndarray, limit: np.ndarray) -> None:
        entries = self._keys.entries
        entries["offsets"][keys], entries["kinds"][keys], entries["valid"][keys] = self._slab.addresses(
            first, len(keys)
        )
        entries["base"][keys] = entries["place"][keys] = base
        entries["limit"][keys] = limit
        entries["keep"][keys] = -1

    def add(self, key: int, row: int) -> None:
        """Give a key a column, whose first value stands in a row."""
        self._since[key] = row
        if self._next == self._slab.room:
            self._slab, self._next = _Slab(_SPARE, self._rows, self._memory), 0
        self._at[key] = self._slab, self._next
        place, self._data[key] = self._more(_LEAST + BEHIND)
        base = np.array([place])
        self._place([key], self._next, base, base + _LEAST)
        self._next += 1

    def widen(self, key: int, row: int, record: int, left: int) -> None:
        """Give a column more room: as much as it needs if the rows to come are like those that came.

        Args:
            key: Its key.
            row: The row that did not fit.
            record: Bytes of that row's record.
            left: Bytes of it and of all records behind it.
        """
        entry = self._keys.entries[key]
        used = int(entry["place"] - entry["base"])
        since = self._since.get(key, 0)
        expected = int(used * (self._rows - since) / (row + 1 - since) * _GUESSED)
        expected = max(2 * used, expected, used + record)
        size = min(expected, used + left) + _LEAST + BEHIND
        old, start = self._data[key], int(entry["base"])
        place, new = self._more(size)
        written = np.frombuffer(old, np.uint8)[start - old.address :][:used]
        np.copyto(np.frombuffer(new, np.uint8)[place - new.address :][:used], written)
        self._data[key] = new
        entry["base"], entry["place"], entry["limit"] = place, place + used, place + size - BEHIND

    def finish(self, used: Iterable[int], rows: int) -> tuple[dict[int, Column], dict[int, int]]:
        """Make columns of keys that have values; give them and their bytes."""
        keys = [key for key in used if key in self._at]
        close(np.array(keys, np.int64), self._keys, rows)
        entries = self._keys.entries[keys]
        sizes = (entries["place"] - entries["base"]).tolist()
        missing = (rows - entries["count"] + entries["nulls"]).tolist()
        made = {}
        for key, base, size, absent in zip(keys, entries["base"].tolist(), sizes, missing, strict=True):
            slab, number = self._at[key]
            data = self._data[key]
            made[key] = slab.column(number, rows, absent, data.slice(base - data.address, size))
        return made, dict(zip(keys, sizes, strict=True))
