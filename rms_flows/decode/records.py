"""Records of an input, as places in the run of bytes that they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

import numpy as np

PADDING: Final = bytes(64)
"""What stands behind the bytes, so that compiled loops may read a block too far (`decode.simd`)."""


class Records(Sequence[bytes]):
    r"""A sequence of bytes that makes an object of a record only when it is asked for.

    Args:
        data: The bytes, `PADDING` behind them.
        starts: int64, shape (records,): where each begins.
        ends: The same shape: the place behind each.

    Example:
        >>> records = Records.of([b"one", b"two", b"three"])
        >>> records[1], len(records), list(records.take([2, 0]))
        (b'two', 3, [b'three', b'one'])
    """

    __slots__ = ("data", "ends", "starts")

    def __init__(self, data: bytes, starts: np.ndarray, ends: np.ndarray) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends

    @classmethod
    def of(cls, records: Iterable[bytes]) -> Records:
        """Put records together; those that are together already stay as they are."""
        if isinstance(records, Records):
            return records
        parts = list(records)
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)) + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1]) if parts else ends
        return cls(b"\n".join([*parts, PADDING]), starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> Records: ...

    def __getitem__(self, place: int | slice) -> bytes | Records:
        if isinstance(place, slice):
            return Records(self.data, self.starts[place], self.ends[place])
        return self.data[self.starts[place] : self.ends[place]]

    def __iter__(self) -> Iterator[bytes]:
        data = self.data
        return (data[i:j] for i, j in zip(self.starts.tolist(), self.ends.tolist(), strict=True))

    def take(self, places: Sequence[int] | np.ndarray) -> Records:
        """Give some of them."""
        chosen = np.asarray(places, np.int64)
        return Records(self.data, self.starts[chosen], self.ends[chosen])

    def size(self) -> int:
        """Give the bytes of all."""
        return int((self.ends - self.starts).sum())
