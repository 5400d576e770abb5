"""How far a source was read: what a stream commits, and where it can begin again, as plain data."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final

NOT_BEGUN: Final = -(2**62)
"""Watermark of what has given nothing yet."""


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How much of a source was read: fragments, and of the one after these rows and dead letters.

    Of a source whose batches have a `Decoded.place`: in `row` that place, in `dead` the batches since.
    """

    TRAIL: ClassVar = 1_000
    """Places at most that are remembered, at which a restart can begin."""

    fragment: int = 0
    row: int = 0
    dead: int = 0

    def plain(self) -> list[Any]:
        """Give it as JSON can write it."""
        return [self.fragment, self.row, self.dead]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> Position:
        """Read what `plain` gives; raises ValueError or TypeError."""
        fragment, row, dead = map(int, plain)
        return cls(fragment, row, dead)

    def beyond(self, other: At) -> bool:
        """Tell whether more was read than up to another position of the source."""
        assert isinstance(other, Position)  # noqa: S101  of one source
        return self > other

    def begin(self, before: At, line: int, latest: int) -> At:
        """Tell where to begin to read so that no event from `line` on is missed.

        Args:
            before: A position before this one from which on none is missed.
            line: Microseconds.
            latest: No event before this position is later, microseconds.
        """
        return self if NOT_BEGUN < latest < line else before


@dataclass(frozen=True, slots=True)
class Offsets:
    """How much of each partition of topics was read.

    Args:
        spots: `topic/partition` → offset of the next message, and the time of the latest event before it,
            microseconds, `NOT_BEGUN` where there was none. A partition that is not named was not there.
    """

    TRAIL: ClassVar = 100
    """See `Position.TRAIL`; brokers too can tell where events of a time begin."""

    spots: Mapping[str, tuple[int, int]] = field(default_factory=dict)

    def beyond(self, other: At) -> bool:
        """See `Position.beyond`: of some partition, as a stream never goes back in another."""
        assert isinstance(other, Offsets)  # noqa: S101  of one source
        return any(offset > other.offset(name) for name, (offset, _) in self.spots.items())

    def offset(self, name: str) -> int:
        """Give the offset in a partition, -1 where that was not there."""
        return self.spots[name][0] if name in self.spots else -1

    def within(self, takes: Callable[[str], bool]) -> Offsets:
        """Give what is said of some partitions."""
        return Offsets({name: spot for name, spot in self.spots.items() if takes(name)})

    def plain(self) -> list[Any]:
        """Give it as JSON can write it."""
        return [{name: list(spot) for name, spot in self.spots.items()}]

    @classmethod
    def of(cls, plain: Sequence[Any]) -> Offsets:
        """Read what `plain` gives; raises ValueError, TypeError or AttributeError."""
        [spots] = plain
        return cls(dict(_spots(spots)))

    def begin(self, before: At, line: int, latest: int) -> At:
        """See `Position.begin`; partitions begin each for itself."""
        del latest  # known of each partition
        assert isinstance(before, Offsets)  # noqa: S101  of one source
        passed = {name: spot for name, spot in self.spots.items() if spot[1] < line}
        return Offsets({**before.spots, **passed})


def _spots(plain: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, tuple[int, int]]]:
    for name, (offset, latest) in plain.items():
        yield name, (int(offset), int(latest))


At = Position | Offsets
"""A position in whichever kind of source."""
