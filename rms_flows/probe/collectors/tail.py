"""Lines of a file that grows, also when it is moved away, cut off or begun anew meanwhile."""

from __future__ import annotations

import os
from hashlib import blake2b
from pathlib import Path
from typing import Any, Final, NamedTuple

from rms_flows.envelope import Observed
from rms_flows.probe.collectors.contract import Look, now
from rms_flows.probe.settings import Tail as Settings

LINES: Final = 200
"""Lines of one look at most; the rest follows at once."""
LONGEST: Final = 65_536
"""Bytes of a line that are sent; what is longer is cut off, and says so."""
_HEAD: Final = 256
"""Bytes at the beginning of a file by which it is known again."""
_BLOCK: Final = 256 * 1024


class _Place(NamedTuple):
    """How far a file was read.

    Args:
        inode: Of the file.
        offset: Bytes that were read.
        size: Bytes of the beginning that are hashed.
        head: Their hash.
        skipping: It is in the middle of a line that was cut off.
    """

    inode: int
    offset: int
    size: int
    head: str
    skipping: bool = False


class Tail:
    """Tells each line of a file once, from the position that it had reached.

    A file is known by its inode and its beginning. One that was moved away (`logrotate`) is read to its end
    before the new one is begun, also if that happened while the probe was down, as long as it is in the same
    folder. One that was cut off (`copytruncate`) is read from its beginning. Lines that came and went between
    two looks are lost. Half a line is waited for.
    """

    def __init__(self, entry: Settings, position: Any) -> None:
        self._path = Path(entry.path)
        self._from_end = not entry.from_start
        self._handle: int | None = None
        self._place: _Place | None = None
        self._told: _Place | None = None
        if position is not None:
            self._resume(_Place(*position))
        elif self._from_end:
            self._open(at_end=True)

    def look(self) -> Look:
        """See `Collector.look`."""
        if self._handle is None:
            self._open(at_end=False)
        found: list[Observed] = []
        if self._handle is None or self._place is None:
            return Look(found)
        if not _same(self._handle, self._place):
            self._place = _placed(self._handle, 0)
        more = self._lines(found)
        if not more and self._moved():
            more = self._lines(found)  # what came between the two
            if not more:
                self.close()
                self._open(at_end=False)
                more = self._handle is not None
        news, self._told = self._place != self._told, self._place
        return Look(found, list(self._place) if news else None, more=more)

    def close(self) -> None:
        """See `Collector.close`."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _lines(self, found: list[Observed]) -> bool:
        """Read whole lines; tell whether there may be more."""
        assert self._handle is not None and self._place is not None  # noqa: PT018, S101  for the types
        place, moment = self._place, now()
        block = os.pread(self._handle, _BLOCK, place.offset)
        used, skipping = 0, place.skipping
        while len(found) < LINES and (end := block.find(b"\n", used)) >= 0:
            if not skipping:
                found.append(self._line(block[used:end], place.offset + used, moment))
            used, skipping = end + 1, False
        if not used and len(block) > LONGEST:  # a line without an end
            if not skipping:
                found.append(self._line(block, place.offset, moment))
            used, skipping = len(block), True
        if used:
            self._place = _placed(self._handle, place.offset + used)._replace(skipping=skipping)
        return bool(used) and (len(found) >= LINES or len(block) == _BLOCK)

    def _line(self, line: bytes, offset: int, moment: int) -> Observed:
        text = line[:LONGEST].rstrip(b"\r").decode("utf-8", "backslashreplace")
        payload: dict[str, Any] = {"message": text, "log.file.path": str(self._path), "log.offset": offset}
        if len(line) > LONGEST:
            payload["log.flags"] = ["truncated"]
        return Observed("log", payload, moment)

    def _moved(self) -> bool:
        """Tell whether another file has the name now."""
        assert self._handle is not None  # noqa: S101  for the types
        mine = os.fstat(self._handle)
        try:
            named = self._path.stat()
        except FileNotFoundError:
            return False  # moved, and nothing in its place yet: who writes may still do so
        return (named.st_dev, named.st_ino) != (mine.st_dev, mine.st_ino)

    def _open(self, *, at_end: bool, path: Path | None = None) -> None:
        try:
            self._handle = os.open(path or self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        size = os.fstat(self._handle).st_size
        self._place = _placed(self._handle, size if at_end else 0)

    def _resume(self, place: _Place) -> None:
        """Find the file that was read, under its name or another one in its folder."""
        others = (one for one in self._path.parent.glob(f"{self._path.name}*") if one != self._path)
        for path in (self._path, *others):
            try:
                if path.stat().st_ino != place.inode:
                    continue
                self._open(at_end=False, path=path)
            except OSError:
                continue
            if self._handle is not None and _same(self._handle, place):
                self._place = place
                return
            self.close()


def _placed(handle: int, offset: int) -> _Place:
    size = min(_HEAD, offset)
    head = os.pread(handle, size, 0)
    return _Place(os.fstat(handle).st_ino, offset, size, blake2b(head, digest_size=8).hexdigest())


def _same(handle: int, place: _Place) -> bool:
    """Tell whether a file is the one that was read so far: it begins as that did, and is long enough."""
    there = os.fstat(handle)
    begins = os.pread(handle, place.size, 0)
    return (
        there.st_ino == place.inode
        and there.st_size >= place.offset
        and blake2b(begins, digest_size=8).hexdigest() == place.head
    )
