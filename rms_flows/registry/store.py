"""What keeps documents: the interface of a store, and what it gives."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Stored:
    """One version of a document as it is kept.

    Args:
        data: YAML.
        where: Names it in errors.
        since: Microseconds since 1970 from which on it holds; None from ever.
        until: Microseconds at which it no longer held; None for the version that holds.
    """

    data: bytes
    where: str
    since: int | None = None
    until: int | None = None

    def holds(self, moment: int) -> bool:
        """Tell whether it is the version of a moment in microseconds."""
        return (self.since is None or self.since <= moment) and (self.until is None or moment < self.until)


class Store(Protocol):
    """Keeps the versions of documents by kind and id.

    Reading needs no lock: it sees each document whole, as it was before a write or after it. Writers hold
    the lock, and a writer that dies at any point leaves the document as it was before or after its write.
    Where a lock can't keep others out, on other machines, a write raises OvertakenError if another one
    wrote since the lock was taken.
    """

    def lock(self) -> AbstractContextManager[None]:
        """Keep other writers out, or notice them; one write in each."""

    def view(self) -> AbstractContextManager[None]:
        """Spare a store that is far away from being asked again: what is read may be of the beginning."""

    def ids(self, kind: str) -> Sequence[str]:
        """Give the ids of the documents that hold, sorted."""

    def known(self, kind: str) -> Sequence[str]:
        """Give the ids of all documents that ever held, sorted."""

    def read(self, kind: str, name: str) -> Stored | None:
        """Give the version that holds."""

    def past(self, kind: str, name: str) -> Sequence[Stored]:
        """Give the versions that held before, the oldest first."""

    def write(self, kind: str, name: str, data: bytes, since: int) -> None:
        """Let a version hold from a moment on, instead of the one before; needs the lock."""

    def remove(self, kind: str, name: str, until: int) -> None:
        """Let no version hold from a moment on; needs the lock."""

    def beat(self, name: str, data: bytes) -> None:
        """Keep the last sign of life of what runs; without lock, history or wait for the disk."""

    def beats(self, names: Iterable[str]) -> Mapping[str, bytes]:
        """Give the last signs of life, of those that gave any."""
