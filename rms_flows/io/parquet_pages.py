"""Columns of text that their writer made dictionaries of, read page by page: several times as fast as Arrow.

Arrow takes five nanoseconds a row and column, be there a value or not; of hundreds of columns most rows have
none. Here a column costs what its values cost. What isn't as expected is left to Arrow.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
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


class _Page(NamedTuple):
    """A page without its header, inflated."""

    kind: int
    values: int
    encoding: int
    levels: int
    data: np.ndarray


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
    rows = meta.row_group(group)
    none = pa.nulls(rows.num_rows, DICTIONARY)
    found: dict[str, pa.DictionaryArray] = {}
    file = os.open(path, os.O_RDONLY)
    try:
        for place in range(meta.num_columns):
            kind, chunk = meta.schema.column(place), rows.column(place)
            if kind.path not in names or kind.max_repetition_level or kind.max_definition_level > 1:
                continue
            optional = kind.max_definition_level == 1
            column = none if _is_empty(chunk) else _dictionary(file, chunk, optional=optional)
            if column is not None:
                found[kind.path] = column
    finally:
        os.close(file)
    return found


def _is_empty(chunk: pq.ColumnChunkMetaData) -> bool:
    known = chunk.statistics
    return bool(known is not None and known.has_null_count and known.null_count == chunk.num_values)


def _dictionary(file: int, chunk: pq.ColumnChunkMetaData, *, optional: bool) -> pa.DictionaryArray | None:
    """Read a column of a row group; None where Arrow has to."""
    if (
        not chunk.has_dictionary_page
        or chunk.compression not in _CODECS
        or chunk.physical_type != "BYTE_ARRAY"
    ):
        return None
    rows = chunk.num_values
    raw = os.pread(file, chunk.total_compressed_size, chunk.dictionary_page_offset)
    bits, held = pa.allocate_buffer(-(-rows // 8) + 1), pa.allocate_buffer(4 * rows)
    valid, codes = np.frombuffer(bits, np.uint8), np.frombuffer(held, np.int32)
    valid[:] = 0 if optional else 255
    codes[:] = 0
    values: pa.Array | None = None
    begin = with_value = 0
    for page in _pages(raw, chunk):
        if page is None or (values is None) != (page.kind == _DICTIONARY):
            return None
        if values is None:
            values = _texts(page)
            if values is None:
                return None
            continue
        found = _fill(page, begin, len(values), valid, codes, optional=optional)
        if found < 0 or begin + page.values > rows:
            return None
        begin, with_value = begin + page.values, with_value + found
    if values is None or begin != rows:
        return None
    return pa.DictionaryArray.from_buffers(
        DICTIONARY, rows, [bits if with_value < rows else None, held], values, rows - with_value
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
        whole = memoryview(raw)[at : at + compressed]
        try:
            page = whole if inflate is None else inflate.decompress(whole, size)
        except OSError:
            yield None
            return
        place = _OF_DICTIONARY if kind == _DICTIONARY else _OF_DATA
        count, encoding, levels = numbers[place + _COUNT : place + _LEVELS + 1].tolist()
        yield _Page(kind, count, encoding, levels, np.frombuffer(page, np.uint8))
        at += compressed


def _texts(page: _Page) -> pa.StringArray | None:
    """Take a dictionary apart."""
    if page.encoding not in {_PLAIN, _OLD} or not 0 <= page.values <= len(page.data) // 4:
        return None
    ends, held = pa.allocate_buffer(4 * (page.values + 1)), pa.allocate_buffer(len(page.data))
    size = kernel.texts(page.data, np.frombuffer(ends, np.int32), np.frombuffer(held, np.uint8))
    return None if size < 0 else pa.StringArray.from_buffers(page.values, ends, held.slice(0, size))


def _fill(page: _Page, begin: int, size: int, valid: np.ndarray, codes: np.ndarray, *, optional: bool) -> int:
    """Fill in the rows of a page; give how many have a value, or `BAD`."""
    data = page.data
    if (
        page.kind != _DATA
        or page.encoding not in {_OLD, _CODES}
        or not 0 <= page.values <= len(codes) - begin
    ):
        return kernel.BAD
    at, found = 0, page.values
    if optional:
        end = 4 + int.from_bytes(data[:4].tobytes(), "little")
        if page.levels != _RLE or end > len(data):
            return kernel.BAD
        found = kernel.levels(data, 4, end, begin, page.values, valid)
        at = end
    if found <= 0:
        return found
    if at >= len(data) or data[at] > _WIDEST:
        return kernel.BAD
    wrong = kernel.codes(data, at + 1, int(data[at]), size, begin, page.values, valid, codes)
    return kernel.BAD if wrong else found
