"""Which records were there already: a server that is asked again gives many of them again."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence

import xxhash

from rms_flows.decode.driver import REMEMBERED


class Known:
    """Remembers records by their hash, those that were seen last, with their values of the cursor.

    It holds at most 1,048,576; a record that comes again after so many others is told once more, under the
    same id. `highest` is the highest value in the answers to a question.

    Example:
        >>> known = Known()
        >>> known.begin()
        >>> known.fresh([b"a", b"b", b"a"])
        [b'a', b'b']
        >>> known.keep()
        >>> known.begin()
        >>> known.fresh([b"b", b"c"])
        [b'c']
    """

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, int | None] = OrderedDict()
        self._new: dict[bytes, int | None] = {}
        self.highest: int | None = None

    def begin(self) -> None:
        """Begin a question; what the one before gave and was not kept is forgotten."""
        self._new = {}
        self.highest = None

    def fresh(self, records: Sequence[bytes]) -> list[bytes]:
        """Give those that neither this question nor one before has given."""
        found = []
        for record in records:
            digest = xxhash.xxh3_128_digest(record)
            if digest in self._known:
                self._known.move_to_end(digest)
                self._note(self._known[digest])
            elif digest not in self._new:
                self._new[digest] = None
                found.append(record)
        return found

    def note(self, records: Sequence[bytes], values: Sequence[int | None]) -> None:
        """Say which values of the cursor new ones have."""
        for record, value in zip(records, values, strict=True):
            self._new[xxhash.xxh3_128_digest(record)] = value
            self._note(value)

    def _note(self, value: int | None) -> None:
        if value is not None:
            self.highest = value if self.highest is None else max(self.highest, value)

    def keep(self) -> None:
        """Remember what the question has given so far."""
        self._known |= self._new
        self._new = {}
        while len(self._known) > REMEMBERED:
            self._known.popitem(last=False)
