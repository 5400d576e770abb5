"""Verdicts of values, remembered across batches and looked up for all columns of a small batch at once.

A stream's batches have a thousand rows of a hundred columns: to take each column apart costs more than what
is in it. Most values were there in a batch before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow as pa

from rms_flows.compiled import compiled
from rms_flows.sigma.codes import hashed, same
from rms_flows.sigma.verdicts import Verdicts

LONGEST: Final = 1_024
"""Bytes of a text, at most, that is remembered; longer ones seldom come again."""

_ENTRIES: Final = 1 << 16
_BYTES: Final = 1 << 24
"""Values and bytes of them, at most; when there are more, all are forgotten."""

_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_U32 = np.uint64(32)

Judge = Callable[[str, pa.Array, np.ndarray], np.ndarray]
"""A field, its column and places in it → the verdict of each."""


class Table(NamedTuple):
    """Values and their verdicts."""

    slot: np.ndarray  # int32, open addressing by hash → entry; -1 is free
    hash: np.ndarray  # uint64
    field: np.ndarray  # int32
    start: np.ndarray  # int64, where the text begins in `held`
    size: np.ndarray  # int64, its bytes
    verdict: np.ndarray  # int32; below -1: not known yet, see `look_up`
    held: np.ndarray  # uint8
    used: np.ndarray  # int64: entries, bytes of texts


class Cells(NamedTuple):
    """Texts of several columns with as many rows each."""

    text: np.ndarray  # uint8, those of all columns, one column after the other
    ends: np.ndarray  # int32, shape (columns * rows + 1,), where each begins
    asked: np.ndarray  # bool, shape (columns, rows): there is a value, and it is looked at
    field: np.ndarray  # int32, number of each column's field


@compiled
def look_up(
    cells: Cells, table: Table, found: np.ndarray, new: np.ndarray, entry: np.ndarray, until: np.ndarray
) -> Any:
    """Give the verdicts of values, and list those that are new, each once unless it isn't remembered.

    Args:
        cells: The values.
        table: What is known.
        found: int32, shape (columns, rows), to be filled: 0 where nothing is asked, -2 - n for new value n.
        new: int32, to be filled with the row of each new value, column by column.
        entry: int32, to be filled with the entry of each; -1 if it isn't remembered.
        until: int64, to be filled with how many are new before each column, and in all.

    Returns:
        How many are new.
    """
    count = np.int64(0)
    columns, rows = cells.asked.shape
    for column in range(columns):
        for row in range(rows):
            if not cells.asked[column, row]:
                found[column, row] = 0
                continue
            cell = column * rows + row
            start = np.uint64(cells.ends[cell])
            size = np.uint64(cells.ends[cell + 1]) - start
            at = np.int32(-1)
            if size <= np.uint64(LONGEST):
                value = hashed(cells.text, start, size) ^ (np.uint64(cells.field[column]) * _SPREAD)
                place = np.int64((value ^ (value >> _U32)) & np.uint64(len(table.slot) - 1))
                while table.slot[place] >= 0:
                    known = table.slot[place]
                    if (
                        table.hash[known] == value
                        and table.field[known] == cells.field[column]
                        and np.uint64(table.size[known]) == size
                        and same(cells.text, start, table.held, np.uint64(table.start[known]), size)
                    ):
                        at = known
                        break
                    place = (place + 1) & (len(table.slot) - 1)
                if at >= 0:
                    found[column, row] = table.verdict[at]
                    continue
                used = table.used[1]
                if table.used[0] < len(table.hash) and used + np.int64(size) <= len(table.held):
                    at = np.int32(table.used[0])
                    table.slot[place] = at
                    table.hash[at], table.field[at] = value, cells.field[column]
                    table.start[at], table.size[at] = used, np.int64(size)
                    table.verdict[at] = -2 - count
                    for k in range(np.int64(size)):
                        table.held[used + k] = cells.text[np.int64(start) + k]
                    table.used[0] += 1
                    table.used[1] += np.int64(size)
            new[count], entry[count] = row, at
            found[column, row] = -2 - count
            count += 1
        until[column + 1] = count
    return count


@compiled
def settle(verdicts: np.ndarray, entry: np.ndarray, table: Table, found: np.ndarray) -> None:
    """Put in the verdicts of new values.

    Args:
        verdicts: int32, that of each new value.
        entry: int32, its entry, or -1.
        table: What is known, to be filled.
        found: int32, shape (columns, rows), to be filled.
    """
    for n in range(len(verdicts)):
        if entry[n] >= 0:
            table.verdict[entry[n]] = verdicts[n]
    columns, rows = found.shape
    for column in range(columns):
        for row in range(rows):
            if found[column, row] < 0:
                found[column, row] = verdicts[-2 - found[column, row]]


class Recall:
    """The memory of single values.

    Args:
        verdicts: Field → the memory of its verdicts, whose numbers are remembered here.
    """

    def __init__(self, verdicts: Mapping[str, Verdicts]) -> None:
        self._verdicts = verdicts
        self._fields = {name: number for number, name in enumerate(verdicts)}
        self._generations: list[int] = []
        self._table: Table | None = None

    def of(self, columns: Sequence[tuple[str, pa.Array, np.ndarray]], judge: Judge) -> np.ndarray:
        """Give the verdicts of the rows of several columns.

        Args:
            columns: Field, column of type string, and which rows are looked at: a mask, or empty for all.
            judge: Gives the verdicts of values that are new.

        Returns:
            Shape (columns, rows), int32; that of an absent field where there is no value or nobody looks.
        """
        table, cells = self._ready(), _cells(columns, self._fields)
        found = np.empty(cells.asked.shape, np.int32)
        new, entry = np.empty(found.size, np.int32), np.empty(found.size, np.int32)
        until = np.zeros(len(columns) + 1, np.int64)
        self._table = None  # until it has a verdict for each value again, whatever happens on the way
        if look_up(cells, table, found, new, entry, until):
            verdicts = [
                judge(name, column, new[begin:end].astype(np.int64))
                for (name, column, _), begin, end in zip(columns, until, until[1:], strict=False)
                if begin < end
            ]
            settle(np.concatenate(verdicts).astype(np.int32), entry, table, found)
        self._table = table
        return found

    def _ready(self) -> Table:
        """Give the table, an empty one where the old is full or its verdicts have been forgotten."""
        generations = [one.generation for one in self._verdicts.values()]
        table = self._table
        if (
            table is None
            or generations != self._generations
            or table.used[0] == len(table.hash)
            or table.used[1] + LONGEST > len(table.held)
        ):
            self._generations = generations
            table = self._table = _empty()
        return table


def _empty() -> Table:
    return Table(
        slot=np.full(2 * _ENTRIES, -1, np.int32),
        hash=np.empty(_ENTRIES, np.uint64),
        field=np.empty(_ENTRIES, np.int32),
        start=np.empty(_ENTRIES, np.int64),
        size=np.empty(_ENTRIES, np.int64),
        verdict=np.empty(_ENTRIES, np.int32),
        held=np.empty(_BYTES, np.uint8),
        used=np.zeros(2, np.int64),
    )


def _cells(columns: Sequence[tuple[str, pa.Array, np.ndarray]], fields: Mapping[str, int]) -> Cells:
    whole = pa.concat_arrays([column for _, column, _ in columns])
    bits, ends, data = whole.buffers()
    begin, end = whole.offset, whole.offset + len(whole)
    if whole.null_count:
        asked = np.unpackbits(np.frombuffer(bits, np.uint8), bitorder="little")[begin:end].view(np.bool_)
    else:
        asked = np.ones(len(whole), np.bool_)
    cells = Cells(
        text=np.frombuffer(data or b"", np.uint8),
        ends=np.frombuffer(ends, np.int32)[begin : end + 1],
        asked=asked.reshape(len(columns), -1),
        field=np.array([fields[name] for name, *_ in columns], np.int32),
    )
    for array in (cells.text, cells.ends):
        array.flags.writeable = False  # one type for the compiled loop
    for place, (*_, looked_at) in enumerate(columns):
        if len(looked_at):
            cells.asked[place] &= looked_at
    return cells
