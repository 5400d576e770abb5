"""Which literals texts have, for many texts at once: Arrow's buffers in, numbers of sets out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.sigma import scan_kernel as kernel
from rms_flows.sigma.windows import Literal, windows

NONE: Final = kernel.NONE
"""Stands for the set of a text that is empty, or whose case takes more to fold than a table of bytes."""

ALL, FOLDED, CASED = kernel.BOTH, kernel.ONLY_FOLDED, kernel.ONLY_CASED
"""Which literals are looked for: all; only those without case, in folded texts; only those with case."""

_SETS: Final = 64
_MEMBERS: Final = 1024


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
        self._windows = windows(literals, sample)
        sizes = np.array([len(one.text) for one in literals], dtype=np.int64)
        flags = (kernel.STARTS, kernel.ENDS, kernel.CASED)
        how = [sum(flag for flag, on in zip(flags, one[1:], strict=True) if on) for one in literals]
        self._literals = kernel.Literals(
            text=np.frombuffer(b"".join(one.text for one in literals), dtype=np.uint8),
            start=np.cumsum(sizes) - sizes,
            size=sizes,
            how=np.array(how, dtype=np.uint8),
            mix=np.random.default_rng(0).integers(2**64, size=len(literals) + 1, dtype=np.uint64),
            seen=np.zeros(len(literals) + 1, dtype=np.int64),
            wide=not all(one.cased or one.text.isascii() for one in literals),
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
        """Give the number of the set of each text; NONE for an empty one, and for ALL one to be folded first.

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

    def groups_in(self, data: np.ndarray, groups: np.ndarray, wanted: int) -> int:
        """Give the groups of which a literal may stand anywhere in the bytes of many texts; others have none.

        Args:
            data: uint8, texts, one after the other or with anything between.
            groups: uint64, shape (literals,): a bit for each group that a literal is of.
            wanted: Bits of the groups that are asked for.
        """
        data = data.view()
        data.flags.writeable = False  # one type for the compiled loop
        asked = np.uint64(wanted)
        return int(kernel.groups_in(data, self._windows, self._literals, groups, asked, self._marks))

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
