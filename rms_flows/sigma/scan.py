"""Which literals texts have, for many texts at once: Arrow's buffers in, numbers of sets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa

from rms_flows.sigma import scan_kernel as kernel

NONE: Final = kernel.NONE
"""Stands for the set of a text that is empty, or whose case takes more to fold than a table of bytes."""

ALL, FOLDED, CASED = kernel.BOTH, kernel.ONLY_FOLDED, kernel.ONLY_CASED
"""Which literals are looked for: all; only those without case, in folded texts; only those with case."""

_SETS: Final = 64
_MEMBERS: Final = 1024


class Literal(NamedTuple):
    """What to look for.

    Args:
        text: UTF-8, in the folded case unless `cased`; not empty.
        starts: Only where the text begins.
        ends: Only where the text ends.
        cased: Whether case counts.
    """

    text: bytes
    starts: bool = False
    ends: bool = False
    cased: bool = False


class Scanner:
    """Literals ready to be searched for; numbers the sets of them that texts have.

    Args:
        literals: What to look for.
        looks: First bytes of texts that count as having one literal more, whose number is `len(literals)`.
        sample: Some text of the kind to come: it is searched faster, whatever it is.
    """

    def __init__(self, literals: Sequence[Literal], looks: bytes = b"", sample: bytes = b"") -> None:
        self._looks = np.zeros(256, dtype=np.bool_)
        self._looks[list(looks)] = True
        self._windows, tails = _windows(literals, sample)
        sizes = np.array([len(one.text) for one in literals], dtype=np.int64)
        flags = (kernel.STARTS, kernel.ENDS, kernel.CASED)
        how = [sum(flag for flag, on in zip(flags, one[1:], strict=True) if on) for one in literals]
        self._literals = kernel.Literals(
            text=np.frombuffer(b"".join(one.text for one in literals), dtype=np.uint8),
            start=np.cumsum(sizes) - sizes,
            size=sizes,
            tail=tails,
            how=np.array(how, dtype=np.uint8),
            mix=np.random.default_rng(0).integers(2**64, size=len(literals) + 1, dtype=np.uint64),
            seen=np.zeros(len(literals) + 1, dtype=np.int64),
        )
        self._hits = np.empty(len(literals) + 1, dtype=np.int32)
        self._marks = np.empty(kernel.PIECE + 1, dtype=np.int64)
        self.forget()

    def forget(self) -> None:
        """Begin anew; numbers of sets given before mean nothing afterwards."""
        self._literals.seen[:] = 0
        self._sets = kernel.Sets(
            slot=np.full(4 * _SETS, -1, dtype=np.int32),
            hash=np.empty(_SETS, dtype=np.uint64),
            start=np.zeros(_SETS + 1, dtype=np.int64),
            member=np.empty(max(_MEMBERS, len(self._hits)), dtype=np.int32),
            state=np.zeros(2, dtype=np.int64),
        )

    def __len__(self) -> int:
        """Count the sets."""
        return int(self._sets.state[1])

    def members(self, number: int) -> list[int]:
        """Give the numbers of the literals of a set, in no order."""
        start, end = self._sets.start[number : number + 2]
        members: list[int] = self._sets.member[start:end].tolist()
        return members

    def scan(self, values: pa.Array, which: np.ndarray, kind: int = ALL) -> np.ndarray:
        """Give the number of the set of each text; NONE for an empty one, and for ALL one that isn't ASCII.

        Args:
            values: Arrow array of type string.
            which: Places in `values`, int64, none of them null.
            kind: ALL, FOLDED or CASED.

        Returns:
            Shape (len(which),), int64.
        """
        _, ends, data = values.buffers()
        offsets = np.frombuffer(ends, dtype=np.int32)[values.offset :]
        text = np.frombuffer(b"" if data is None else data, dtype=np.uint8)
        for array in (offsets, text):
            array.flags.writeable = False  # one type for the compiled loop
        found = np.empty(len(which), dtype=np.int64)
        done = 0
        while True:
            done = kernel.scan(
                text, offsets, which, self._windows, self._literals, self._looks, self._sets, self._hits,
                self._marks, found, done, kind,
            )  # fmt: skip
            if done == len(which):
                return found
            self._grow()

    def _grow(self) -> None:
        """Double the room for sets."""
        old, count = self._sets, len(self)
        room = 2 * len(old.hash)
        slot = np.full(4 * room, -1, dtype=np.int32)
        for number, place in enumerate((old.hash[:count] & np.uint64(len(slot) - 1)).tolist()):
            while slot[place] >= 0:
                place = (place + 1) % len(slot)  # noqa: PLW2901  the next one
            slot[place] = number
        self._sets = kernel.Sets(
            slot=slot,
            hash=np.resize(old.hash, room),
            start=np.resize(old.start, room + 1),
            member=np.resize(old.member, 2 * len(old.member)),
            state=old.state,
        )


def _windows(literals: Sequence[Literal], sample: bytes) -> tuple[kernel.Windows, np.ndarray]:
    """Choose a window for each literal, a rare one; give the windows, and where in its literal each ends."""
    text = np.frombuffer(b"".join(one.text for one in literals), dtype=np.uint8)
    owner = np.repeat(np.arange(len(literals)), [len(one.text) for one in literals])
    sizes = np.bincount(owner, minlength=len(literals))
    starts = np.cumsum(sizes) - sizes
    kinds, codes = _codes(text)
    sampled = np.bincount(_codes(np.frombuffer(sample, np.uint8))[1], minlength=1 << kernel.WINDOW)
    whole = np.arange(len(text)) - starts[owner] >= 2  # noqa: PLR2004  windows that lie inside their literal
    common = np.bincount(codes[whole], minlength=1 << kernel.WINDOW)
    places = np.flatnonzero(whole)
    places = places[np.lexsort((common[codes[places]], sampled[codes[places]], owner[places]))]
    long, first = np.unique(owner[places], return_index=True)
    chosen = places[first]
    tails = np.maximum(sizes, 1) - 1
    tails[long] = chosen - starts[long]
    pairs = [np.stack([codes[chosen], long])]
    any_class = np.arange(1 << kernel.CLASS_BITS)
    for number in np.flatnonzero(sizes == 2).tolist():  # noqa: PLR2004  whatever stands before it
        a, b = kinds[starts[number] : starts[number] + 2].tolist()
        pairs.append(_pairs((any_class << 2 * kernel.CLASS_BITS) | (a << kernel.CLASS_BITS) | b, number))
    for number in np.flatnonzero(sizes == 1).tolist():
        both = np.arange(1 << 2 * kernel.CLASS_BITS)
        pairs.append(_pairs((both << kernel.CLASS_BITS) | kinds[starts[number]], number))
    window, listed = np.concatenate(pairs, axis=1)
    order = np.argsort(window, kind="stable")
    window, listed = window[order], listed[order]
    distinct, start = np.unique(window, return_index=True)
    bits = np.zeros((1 << kernel.WINDOW) // 32, dtype=np.uint32)
    np.bitwise_or.at(bits, distinct >> 5, np.uint32(1) << (distinct & 31).astype(np.uint32))
    ones = np.bincount(distinct >> 5, minlength=len(bits))
    return (
        kernel.Windows(
            bits=bits,
            rank=(np.cumsum(ones) - ones).astype(np.int32),
            start=np.append(start, len(listed)).astype(np.int32),
            listed=listed.astype(np.int32),
        ),
        tails,
    )


def _codes(text: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give the class of each byte, and the window that ends there."""
    kinds = kernel.CLASSES[text]
    before = np.concatenate([[0, 0], kinds])
    return kinds, (before[:-2] << 2 * kernel.CLASS_BITS) | (before[1:-1] << kernel.CLASS_BITS) | kinds


def _pairs(windows: np.ndarray, literal: int) -> np.ndarray:
    return np.stack([windows, np.full(len(windows), literal)])
