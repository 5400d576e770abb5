"""Which partitions of topics one of several readers reads."""

from __future__ import annotations

import zlib
from typing import Final, NamedTuple


class Share(NamedTuple):
    """One reader of several.

    Args:
        number: Which, from 0 on.
        of: How many there are.
    """

    number: int = 0
    of: int = 1

    def takes(self, name: str) -> bool:
        """Tell whether a partition, `topic/partition`, is this reader's: those of a topic go round.

        Example:
            >>> [Share(1, 3).takes(f"auth/{number}") for number in range(6)]
            [False, True, False, False, True, False]
        """
        topic, _, partition = name.rpartition("/")
        return (zlib.crc32(topic.encode()) + int(partition)) % self.of == self.number


ALL: Final = Share()
"""Who reads all."""
