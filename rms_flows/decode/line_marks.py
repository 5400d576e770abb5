"""What is seen of lines while their bytes are read, piece by piece, as long as a near cache has these."""

from __future__ import annotations

import sys
from typing import Final

import numpy as np

from rms_flows.decode import identity
from rms_flows.decode.records import Records

_LINE_FEED, _RETURN = b"\n\r"
_ROOM: Final = 8_192  # lines, to begin with


class Marks:
    r"""Finds the lines of some bytes.

    By the compiled loops where the process has them: they are worth using here, and not worth loading.

    Args:
        offset: Where the bytes begin in the input.
        first: Hash of the input's first record; None where it is not known yet, and ids are made later.

    Example:
        >>> marks = Marks(0, None)
        >>> data = np.frombuffer(b"one\ntwo\nthr" + bytes(64), np.uint8)
        >>> marks.look(data, 0, 5), marks.look(data, 5, 11)
        (None, None)
        >>> list(marks.records(data))
        [b'one', b'two']
    """

    def __init__(self, offset: int, first: int | None) -> None:
        self._fast = "rms_flows.decode.simd" in sys.modules
        self._first = first if self._fast else None
        self._offset = offset
        self._hashing: tuple[np.ndarray, np.ndarray, np.ndarray] | None = None  # seed, secret, scratch
        self._state = np.zeros(4, np.int64)  # see `line_kernel.lines`
        self._room(0 if not self._fast else _ROOM)

    def _room(self, lines: int) -> None:
        """Make room for so many lines."""
        self._ends = np.empty(lines, np.int64)
        self._wide = np.empty(lines, np.bool_)
        self._digits = np.empty((0 if self._first is None else lines, identity.DIGITS), np.uint8)

    def look(self, data: np.ndarray, start: int, end: int) -> None:
        """Look at more of the bytes, which are padded or followed by what was there before."""
        if not self._fast:
            self._ends = np.concatenate([self._ends, np.flatnonzero(data[start:end] == _LINE_FEED) + start])
            self._state[0] = len(self._ends)
            return
        from rms_flows.decode import hash_kernel, line_kernel  # noqa: PLC0415  loads a compiler

        if self._hashing is None:
            seed = np.array([self._first or 0, self._offset], np.uint64)
            secret = hash_kernel.SECRET if self._first is not None else hash_kernel.SECRET[:0]
            self._hashing = seed, secret, np.empty(hash_kernel.SCRATCH, np.uint64)
        seed, secret, scratch = self._hashing
        while start < end:
            found = self._ends, self._wide, self._digits
            line_kernel.lines(data, start, end, self._state, seed, secret, scratch, *found)
            start = int(self._state[3])
            if start < end:
                self._room(4 * len(found[0]))
                self._ends[: len(found[0])] = found[0]
                self._wide[: len(found[1])] = found[1]
                self._digits[: len(found[2])] = found[2]

    def records(self, data: np.ndarray) -> Records:
        """Give the lines of the bytes."""
        lines = int(self._state[0])
        ends = self._ends[:lines]
        starts = np.empty_like(ends)
        starts[:1], starts[1:] = 0, ends[:-1] + 1
        records = Records(data, starts, ends, self._wide[:lines] if self._fast else None)
        if self._first is not None:
            records.digits = self._digits[:lines]
            self._add_short(records)
        return records

    def _add_short(self, records: Records) -> None:
        """Make the ids of records that are too short for the compiled loop."""
        from rms_flows.decode.hash_kernel import LONGER  # noqa: PLC0415  loads a compiler

        bare = without_returns(records)
        short = np.flatnonzero(bare.ends - bare.starts <= LONGER)
        if len(short) and records.digits is not None:
            offsets = self._offset + records.starts[short]
            records.digits[short] = identity.digits(bare.take(short), offsets, self._first or 0)


def without_returns(records: Records) -> Records:
    """Leave the carriage return out that stands before a line feed."""
    byte = records.data[records.ends - 1]
    returns = (byte == _RETURN) & (records.ends > records.starts)
    if not returns.any():
        return records
    return Records(records.data, records.starts, records.ends - returns, records.wide, records.digits)
