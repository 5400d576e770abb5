"""Records of an input, as places in the run of bytes that they came in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, overload

import numpy as np

PADDING: Final = bytes(64)
"""What stands behind the bytes, so that compiled loops may read a block too far (`decode.simd`)."""

_LARGE: Final = 4 << 20
"""Bytes from which on NumPy asks the system for large pages; `join` would wait for a thousand small ones."""


class Records(Sequence[bytes]):
    r"""A sequence of bytes that makes an object of a record only when it is asked for.

    Args:
        data: The bytes, uint8, `PADDING` behind them.
        starts: int64, shape (records,): where each begins.
        ends: The same shape: the place behind each.
        wide: bool, the same shape: which hold more than ASCII; None where nobody looked.
        digits: uint8, shape (records, 32): their ids, where they are made already (`decode.identity`).

    Example:
        >>> records = Records.of([b"one", b"two", b"three"])
        >>> records[1], len(records), list(records.take([2, 0]))
        (b'two', 3, [b'three', b'one'])
    """

    __slots__ = ("data", "digits", "ends", "starts", "wide")

    def __init__(
        self,
        data: np.ndarray,
        starts: np.ndarray,
        ends: np.ndarray,
        wide: np.ndarray | None = None,
        digits: np.ndarray | None = None,
    ) -> None:
        self.data = data
        self.starts = starts
        self.ends = ends
        self.wide = wide
        self.digits = digits

    @classmethod
    def of(cls, records: Iterable[bytes]) -> Records:
        """Put records together; those that are together already stay as they are."""
        if isinstance(records, Records):
            return records
        parts = list(records)
        ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)) + 1) - 1
        starts = np.concatenate([[0], ends[:-1] + 1]) if parts else ends
        size = int(ends[-1]) + 1 if parts else 0
        if size < _LARGE:
            return cls(np.frombuffer(b"\n".join([*parts, PADDING]), np.uint8), starts, ends)
        data = np.empty(size + len(PADDING), np.uint8)
        data[size:] = 0
        room = memoryview(data)  # type: ignore[arg-type]
        for part, start, end in zip(parts, starts.tolist(), ends.tolist(), strict=True):
            room[start:end] = part
        data[ends] = 0x0A
        data.flags.writeable = False  # one type for the compiled loops
        return cls(data, starts, ends)

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, place: int) -> bytes: ...

    @overload
    def __getitem__(self, place: slice) -> Records: ...

    def __getitem__(self, place: int | slice) -> bytes | Records:
        if isinstance(place, slice):
            return self._chosen(place)
        return self.data[self.starts[place] : self.ends[place]].tobytes()

    def __iter__(self) -> Iterator[bytes]:
        if not len(self):
            return iter(())
        first = int(self.starts.min())
        data = self.data[first : int(self.ends.max())].tobytes()  # one copy: bytes are cut up faster
        return (
            data[i:j]
            for i, j in zip((self.starts - first).tolist(), (self.ends - first).tolist(), strict=True)
        )

    def take(self, places: Sequence[int] | np.ndarray) -> Records:
        """Give some of them: by their places, or those that a mask marks."""
        chosen = np.asarray(places)
        return self._chosen(chosen if chosen.dtype == np.bool_ else chosen.astype(np.int64, copy=False))

    def _chosen(self, places: slice | np.ndarray) -> Records:
        marks = (None if marks is None else marks[places] for marks in (self.wide, self.digits))
        return Records(self.data, self.starts[places], self.ends[places], *marks)

    def size(self) -> int:
        """Give the bytes of all."""
        return int((self.ends - self.starts).sum())
