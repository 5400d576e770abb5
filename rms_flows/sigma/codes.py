"""Loops over the codes of a column, compiled by Numba: which values rows have, and what follows from them."""

from __future__ import annotations

from typing import Any

import numpy as np

from rms_flows.compiled import compiled, inlined

_PRIME = np.uint64(0x100000001B3)  # of short texts the hash is FNV-1a
_SPREAD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, odd
_U = tuple(np.uint64(n) for n in range(57))  # places in texts are unsigned: none counts from the end


@compiled
def number_nulls(indices: np.ndarray, bits: np.ndarray, offset: int, null: int, codes: np.ndarray) -> None:
    """Copy indices, with a number for null.

    Args:
        indices: int32, shape (rows,).
        bits: uint8, which rows have a value, the lowest bit first.
        offset: The first row's bit.
        null: The number.
        codes: int32, shape (rows,), to be filled.
    """
    row, rows = 0, len(indices)
    while row < rows:
        byte = bits[(offset + row) >> 3] >> ((offset + row) & 7)
        stop = min(rows, row + 8 - ((offset + row) & 7))
        if byte == 0:
            for k in range(row, stop):
                codes[k] = null
        else:
            for k in range(row, stop):
                codes[k] = indices[k] if (byte >> (k - row)) & 1 else null
        row = stop


@inlined
def word(data: np.ndarray, at: Any) -> Any:
    """Give eight bytes as one number; LLVM makes one load of it."""
    return (
        np.uint64(data[at])
        | np.uint64(data[at + _U[1]]) << _U[8]
        | np.uint64(data[at + _U[2]]) << _U[16]
        | np.uint64(data[at + _U[3]]) << _U[24]
        | np.uint64(data[at + _U[4]]) << _U[32]
        | np.uint64(data[at + _U[5]]) << _U[40]
        | np.uint64(data[at + _U[6]]) << _U[48]
        | np.uint64(data[at + _U[7]]) << _U[56]
    )


@inlined
def hashed(data: np.ndarray, at: Any, size: Any) -> Any:
    """Hash bytes, a word at a time; the last word over the one before."""
    value = size
    if size < _U[8]:
        for k in range(size):
            value = (value ^ np.uint64(data[at + k])) * _PRIME
        return value
    for k in range(_U[0], size - _U[8], _U[8]):
        value = (value ^ word(data, at + k)) * _SPREAD
        value ^= value >> _U[32]
    return (value ^ word(data, at + size - _U[8])) * _SPREAD


@inlined
def same(data: np.ndarray, one: Any, others: np.ndarray, other: Any, size: Any) -> Any:
    """Tell whether bytes at a place are those at a place of others."""
    if size < _U[8]:
        k: Any = _U[0]
        while k < size and data[one + k] == others[other + k]:
            k += _U[1]
        return k == size
    for k in range(_U[0], size - _U[8], _U[8]):
        if word(data, one + k) != word(others, other + k):
            return False
    return word(data, one + size - _U[8]) == word(others, other + size - _U[8])


@compiled
def find_equal(
    data: np.ndarray, ends: np.ndarray, bits: np.ndarray, offset: int, slots: np.ndarray, codes: np.ndarray
) -> None:
    """Give each text the number of the first row with the same text; their number stands for null.

    Args:
        data: uint8, texts.
        ends: int32, where each begins; one more than texts.
        bits: uint8, which rows have a value, the lowest bit first; empty: all.
        offset: The first row's bit.
        slots: int32, all -1; their number is a power of two, more than rows.
        codes: int32, shape (rows,), to be filled.
    """
    rows = len(codes)
    for row in range(rows):
        if len(bits) and not (bits[(offset + row) >> 3] >> ((offset + row) & 7)) & 1:
            codes[row] = rows
            continue
        start = np.uint64(ends[row])
        size = np.uint64(ends[row + 1]) - start
        value = hashed(data, start, size)
        place = np.int64((value ^ (value >> _U[32])) & np.uint64(len(slots) - 1))
        while slots[place] >= 0:
            first = np.uint64(ends[slots[place]])
            if np.uint64(ends[slots[place] + 1]) - first == size and same(data, first, data, start, size):
                break
            place = (place + 1) & (len(slots) - 1)
        if slots[place] < 0:
            slots[place] = row
        codes[row] = slots[place]


@compiled
def tally(codes: np.ndarray, looked_at: np.ndarray, rows_of: np.ndarray) -> None:
    """Count the rows of each value.

    Args:
        codes: int32, shape (rows,); the last value is null.
        looked_at: bool, shape (rows,), or empty: all rows.
        rows_of: int64, shape (values + 1,), zeros, to be filled.
    """
    null = len(rows_of) - 1
    without = 0
    for row in range(len(codes)):
        if len(looked_at) == 0 or looked_at[row]:
            code = codes[row]
            if code == null:  # most rows: to count each in memory takes longest
                without += 1
            else:
                rows_of[code] += 1
    rows_of[null] = without


@compiled
def mark(true: np.ndarray, codes: np.ndarray, rows: np.ndarray, marked: np.ndarray) -> None:
    """Mark the rows that have a value of which something is true.

    Args:
        true: bool, shape (values + 1,); the last is null's.
        codes: int32, shape (all rows,).
        rows: intp, the rows that are asked for, or empty: all.
        marked: bool, one for each of these rows; those marked before stay so.
    """
    if len(rows):
        for place in range(len(rows)):
            marked[place] |= true[codes[rows[place]]]
    else:
        for row in range(len(marked)):
            marked[row] |= true[codes[row]]


@compiled
def count(
    verdicts: np.ndarray,
    rows_of: np.ndarray,
    rows_of_verdict: np.ndarray,
    start: np.ndarray,
    true: np.ndarray,
    rows_of_question: np.ndarray,
) -> Any:
    """Add up how many rows each question is true of.

    Args:
        verdicts: intp, shape (values + 1,).
        rows_of: int64, shape (values + 1,); without rows a value's verdict doesn't count.
        rows_of_verdict: int64, shape (verdicts,), zeros, to be filled.
        start: int64, where the questions that are true by a verdict begin in `true`; one more than verdicts.
        true: int32, questions.
        rows_of_question: int64, shape (questions,), added to.
    """
    for value in range(len(verdicts)):
        if rows_of[value]:
            rows_of_verdict[verdicts[value]] += rows_of[value]
    for verdict in range(len(rows_of_verdict)):
        rows = rows_of_verdict[verdict]
        if rows:
            for k in range(start[verdict], start[verdict + 1]):
                rows_of_question[true[k]] += rows
