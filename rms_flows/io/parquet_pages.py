"""Columns of text that their writer made dictionaries of, read page by page: several times as fast as Arrow.

Arrow takes five nanoseconds a row and column, be there a value or not; of hundreds of columns most rows have
none. Here a column costs what its values cost. What isn't as expected is left to Arrow.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rms_flows.io import parquet_kernel as kernel
from rms_flows.schema import DICTIONARY

_CODECS: Final = {
    "UNCOMPRESSED": None,
    "SNAPPY": "snappy",
    "GZIP": "gzip",
    "ZSTD": "zstd",
    "BROTLI": "brotli",
}
_DATA, _DICTIONARY = 0, 2  # types of pages
_PLAIN, _OLD, _RLE, _CODES = (
    0,
    2,
    3,
    8,
)  # encodings; `_OLD` is an older name of both plain dictionaries and codes
_TYPE, _SIZE, _COMPRESSED = 1, 2, 3
_OF_DATA, _OF_DICTIONARY = 5 * kernel.FIELDS, 7 * kernel.FIELDS
_COUNT, _ENCODING, _LEVELS = 1, 2, 3
_WIDEST: Final = 32
_MOST: Final = 2**31 - 1  # bytes of text in an array


class _Page(NamedTuple):
    """A page without its header."""

    kind: int
    values: int
    encoding: int
    levels: int
    packed: memoryview
    size: int
    codec: pa.Codec | None

    def data(self) -> np.ndarray | None:
        """Inflate it; None where that can't be done."""
        try:
            whole = self.packed if self.codec is None else self.codec.decompress(self.packed, self.size)
        except OSError:
            return None
        return np.frombuffer(whole, np.uint8)


Wanted = Callable[[np.ndarray, int, int], bool]
"""Whether bytes of texts matter that stand in the rows from one to before another."""


def dictionaries(
    path: str, meta: pq.FileMetaData, group: int, names: Collection[str]
) -> dict[str, pa.DictionaryArray]:
    """Read columns of a row group, those that need not be left to Arrow.

    Args:
        path: The file.
        meta: Its footer.
        group: Number of the row group.
        names: Columns of text that aren't inside others.
    """
    none = pa.nulls(meta.row_group(group).num_rows, DICTIONARY)
    found: dict[str, pa.DictionaryArray] = {}
    with opened(path) as file:
        for name, chunk, optional in chunks(meta, group, names):
            column = none if is_empty(chunk) else dictionary(file, chunk, optional=optional)
            if column is not None:
                found[name] = column
    return found


@contextmanager
def opened(path: str) -> Iterator[int]:
    """Open a file to read from anywhere in it."""
    file = os.open(path, os.O_RDONLY)
    try:
        yield file
    finally:
        os.close(file)


def chunks(
    meta: pq.FileMetaData, group: int, names: Collection[str]
) -> Iterator[tuple[str, pq.ColumnChunkMetaData, bool]]:
    """Give the columns that aren't inside others, and whether rows may have no value."""
    rows = meta.row_group(group)
    for place in range(meta.num_columns):
        kind = meta.schema.column(place)
        if kind.path in names and not kind.max_repetition_level and kind.max_definition_level <= 1:
            yield kind.path, rows.column(place), kind.max_definition_level == 1


def is_empty(chunk: pq.ColumnChunkMetaData) -> bool:
    """Tell whether it is known that no row has a value."""
    known = chunk.statistics
    return bool(known is not None and known.has_null_count and known.null_count == chunk.num_values)


def _is_known(chunk: pq.ColumnChunkMetaData) -> bool:
    """Tell whether we can read it at all."""
    return bool(
        chunk.has_dictionary_page and chunk.compression in _CODECS and chunk.physical_type == "BYTE_ARRAY"
    )


def distinct(file: int, chunk: pq.ColumnChunkMetaData) -> np.ndarray | None:
    """Give the bytes of a dictionary, each text with its length before it; None where Arrow has to."""
    size = chunk.data_page_offset - (chunk.dictionary_page_offset or 0)
    if not _is_known(chunk) or size <= 0:
        return None
    page = next(_pages(os.pread(file, size, chunk.dictionary_page_offset), chunk), None)
    return None if page is None or page.kind != _DICTIONARY else page.data()


class Texts:
    """Those pages of a column that matter, of one that may lack values, some rows after the other.

    Args:
        file: Open; it may be closed afterwards.
        chunk: The column in a row group.
        wanted: Asked of the dictionary, whose texts may be in any row, and of pages of texts.
    """

    def __init__(self, file: int, chunk: pq.ColumnChunkMetaData, wanted: Wanted) -> None:
        self._wanted = wanted
        self._rows = chunk.num_values
        self._pages: Iterator[_Page | None] = iter([None])  # not as expected
        self._begins = 0
        self._column = _Column(0, 0)
        self._values: pa.StringArray | None = None
        self._is_coded_wanted = False
        if _is_known(chunk) and 0 <= chunk.total_uncompressed_size <= _MOST:
            self._column = _Column(self._rows, chunk.total_uncompressed_size)
            raw = os.pread(file, chunk.total_compressed_size, chunk.dictionary_page_offset)
            self._pages = _pages(raw, chunk)

    @property
    def size(self) -> int:
        """Bytes of the texts that are read and not taken."""
        return self._column.size

    def read(self, end: int) -> bool:
        """Read on until the rows before one are there; False where Arrow has to read the column."""
        while self._begins + self._column.row < end:
            page = next(self._pages, None)
            if page is None or (self._values is None) != (page.kind == _DICTIONARY):
                return False
            if not (self._open(page) if self._values is None else self._read(page, self._values)):
                return False
        return True

    def _open(self, page: _Page) -> bool:
        """Take the dictionary."""
        data = page.data()
        self._values = None if data is None else _texts(page, data)
        if data is None or self._values is None:
            return False
        self._is_coded_wanted = self._wanted(data, 0, self._rows)
        return True

    def _read(self, page: _Page, values: pa.StringArray) -> bool:
        """Take the rows of a page, unless its texts don't matter; False where it isn't as expected."""
        begin = self._begins + self._column.row
        if page.kind != _DATA or not 0 <= page.values <= self._rows - begin:
            return False
        if page.encoding != _PLAIN:
            if self._is_coded_wanted:
                return self._column.name(page, values)
            self._column.skip(page.values)
            return True
        data = page.data()
        if data is None:
            return False
        texts = data[4 + int.from_bytes(data[:4].tobytes(), "little") :]
        if self._wanted(texts, begin, begin + page.values):
            return self._column.fill(page, data)
        self._column.skip(page.values)
        return True

    def take(self, rows: int) -> pa.StringArray:
        """Give rows that are read, a multiple of 8 or all that are left; those that don't matter are null."""
        self._begins += rows
        return self._column.take(rows)


class _Column:
    """Rows of text, filled page by page.

    Args:
        rows: How many there will be.
        room: Bytes of text that are expected, at most.
    """

    def __init__(self, rows: int, room: int) -> None:
        self.row = 0
        self._valid = np.zeros(rows // 8 + 2, np.uint8)
        self._ends = np.zeros(rows + 1, np.int32)
        self._held = np.empty(room, np.uint8)  # memory that isn't written to isn't touched

    @property
    def size(self) -> int:
        """Bytes of all texts."""
        return int(self._ends[self.row])

    def skip(self, rows: int) -> None:
        """Leave rows null."""
        self._ends[self.row + 1 : self.row + rows + 1] = self._ends[self.row]
        self.row += rows

    def fill(self, page: _Page, data: np.ndarray) -> bool:
        """Take the rows of a page of texts; False where it isn't as expected."""
        at, found = _levels(page, data, self.row, self._valid, optional=True)
        if found < 0 or kernel.plain(data, at, self.row, page.values, self._valid, self._ends, self._held):
            return False
        self.row += page.values
        return True

    def name(self, page: _Page, values: pa.StringArray) -> bool:
        """Take the rows of a page of codes; False where it isn't as expected, or its texts are too many."""
        data, codes = page.data(), np.zeros(self.row + page.values, np.int32)
        if data is None:
            return False
        if _fill(page, data, self.row, len(values), self._valid, codes, optional=True) < 0:
            return False
        codes = codes[self.row :]
        _, places, held = values.buffers()
        ends, texts = np.frombuffer(places, np.int32), np.frombuffer(held, np.uint8)
        size = self.size
        if len(values):  # else all rows are null
            size += int(np.diff(ends)[codes].sum(dtype=np.int64))
        if size > len(self._held):
            self._held = _moved(self._held[: self.size], min(2 * size, _MOST))
        if kernel.named(codes, self.row, self._valid, ends, texts, self._ends, self._held):
            return False
        self.row += page.values
        return True

    def take(self, rows: int) -> pa.StringArray:
        """Give the first rows, a multiple of 8 or all, and keep the others."""
        used, size = int(self._ends[rows]), self.size
        buffers = [self._ends[: rows + 1], self._held[:used], self._valid]
        self.row -= rows
        self._valid = self._valid[rows // 8 :].copy()
        self._ends = self._ends[rows:] - np.int32(used)
        self._held = _moved(self._held[used:size], len(self._held))
        return pa.StringArray.from_buffers(rows, *(pa.py_buffer(one) for one in buffers))


def _moved(data: np.ndarray, room: int) -> np.ndarray:
    moved = np.empty(room, np.uint8)
    moved[: len(data)] = data
    return moved


def dictionary(file: int, chunk: pq.ColumnChunkMetaData, *, optional: bool) -> pa.DictionaryArray | None:
    """Read a column of a row group, one that is all dictionary; None where Arrow has to."""
    if not _is_known(chunk):
        return None
    rows = chunk.num_values
    raw = os.pread(file, chunk.total_compressed_size, chunk.dictionary_page_offset)
    valid = np.full(rows // 8 + 2, 0 if optional else 255, np.uint8)
    codes = np.zeros(rows, np.int32)  # memory that isn't written to isn't touched
    values: pa.Array | None = None
    begin = with_value = 0
    for page in _pages(raw, chunk):
        data = None if page is None else page.data()
        if page is None or data is None or (values is None) != (page.kind == _DICTIONARY):
            return None
        if values is None:
            values = _texts(page, data)
            if values is None:
                return None
            continue
        found = _fill(page, data, begin, len(values), valid, codes, optional=optional)
        if found < 0 or begin + page.values > rows:
            return None
        begin, with_value = begin + page.values, with_value + found
    if values is None or begin != rows:
        return None
    return pa.DictionaryArray.from_buffers(
        DICTIONARY,
        rows,
        [pa.py_buffer(valid) if with_value < rows else None, pa.py_buffer(codes)],
        values,
        rows - with_value,
    )


def _pages(raw: bytes, chunk: pq.ColumnChunkMetaData) -> Iterator[_Page | None]:
    """Give the pages of a column; None if there is something that isn't as expected."""
    data = np.frombuffer(raw, np.uint8)
    codec = _CODECS[chunk.compression]
    inflate = None if codec is None else pa.Codec(codec)
    at = 0
    while at < len(data):
        numbers = np.zeros(kernel.NUMBERS, np.int64)
        at = kernel.header(data, at, numbers)
        kind, size, compressed = numbers[_TYPE : _COMPRESSED + 1].tolist()
        if at < 0 or not 0 <= compressed <= len(data) - at or not 0 <= size <= chunk.total_uncompressed_size:
            yield None
            return
        place = _OF_DICTIONARY if kind == _DICTIONARY else _OF_DATA
        count, encoding, levels = numbers[place + _COUNT : place + _LEVELS + 1].tolist()
        packed = memoryview(raw)[at : at + compressed]
        yield _Page(kind, count, encoding, levels, packed, size, inflate)
        at += compressed


def _texts(page: _Page, data: np.ndarray) -> pa.StringArray | None:
    """Take a dictionary apart."""
    if page.encoding not in {_PLAIN, _OLD} or not 0 <= page.values <= len(data) // 4:
        return None
    ends, held = pa.allocate_buffer(4 * (page.values + 1)), pa.allocate_buffer(len(data))
    size = kernel.texts(data, np.frombuffer(ends, np.int32), np.frombuffer(held, np.uint8))
    return None if size < 0 else pa.StringArray.from_buffers(page.values, ends, held.slice(0, size))


def _fill(
    page: _Page,
    data: np.ndarray,
    begin: int,
    size: int,
    valid: np.ndarray,
    codes: np.ndarray,
    *,
    optional: bool,
) -> int:
    """Fill in the rows of a page; give how many have a value, or `BAD`."""
    if (
        page.kind != _DATA
        or page.encoding not in {_OLD, _CODES}
        or not 0 <= page.values <= len(codes) - begin
    ):
        return kernel.BAD
    at, found = _levels(page, data, begin, valid, optional=optional)
    if found <= 0:
        return found
    if at >= len(data) or data[at] > _WIDEST:
        return kernel.BAD
    wrong = kernel.codes(data, at + 1, int(data[at]), size, begin, page.values, valid, codes)
    return kernel.BAD if wrong else found


def _levels(
    page: _Page, data: np.ndarray, begin: int, valid: np.ndarray, *, optional: bool
) -> tuple[int, int]:
    """Fill in which rows of a page have a value; give where the values begin, and how many, or `BAD`."""
    if not optional:
        return 0, page.values
    end = 4 + int.from_bytes(data[:4].tobytes(), "little")
    if page.levels != _RLE or end > len(data):
        return end, kernel.BAD
    return end, int(kernel.levels(data, 4, end, begin, page.values, valid))
