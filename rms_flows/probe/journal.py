"""What a probe has observed and not yet sent, on disk: numbered without a gap, whatever happens.

A folder of segments, files named by the number of their first envelope. A batch is appended to the newest:
its envelopes, a line each, and a line `#{…}` that says which number comes next and how far collectors have
read. All of it counts, or none: what stands behind the last such line was torn off by a crash. So no number
is given twice, none is left out, and no line of a log is taken twice or lost between two starts.
"""

from __future__ import annotations

import fcntl
import json
import os
import threading
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from rms_flows.durable import append, sync
from rms_flows.errors import BusyError, DocumentError

SEGMENT: Final = 1024 * 1024
"""Bytes from which on another segment begins, or an eighth of all that may be kept."""

_MARK: Final = b"#"
_SUM: Final = "crc32"
_READ: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class State:
    """What holds after a batch.

    Args:
        next: Number of the next envelope.
        sent: Number of the last that the output has.
        dropped: Envelopes that were dropped unsent, as there was no more room, since ever.
        positions: Collector → how far it has read, as it says it itself.
    """

    next: int = 1
    sent: int = 0
    dropped: int = 0
    positions: Mapping[str, Any] = field(default_factory=dict)


class Taken(NamedTuple):
    """Envelopes to be sent.

    Args:
        lines: Without line feeds.
        last: Number of the last.
        offset: Where in its segment the next stands.
    """

    lines: list[bytes]
    last: int
    offset: int


class Journal:
    """Keeps envelopes until they are sent; the oldest are dropped and counted where there are too many.

    One thread appends, another one takes.

    Args:
        folder: Made where it is not there.
        most: Bytes of all segments, about.

    Raises:
        BusyError: Another probe uses the folder.
        DocumentError: It can't be used.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._lock = threading.Lock()
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._alone = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._sizes = {int(path.stem): path.stat().st_size for path in sorted(folder.glob("*.ndjson"))}
        except (OSError, ValueError) as error:
            raise DocumentError(
                f"the probe's state can't be kept ({getattr(error, 'strerror', None) or error})",
                where=str(folder),
                remedy="check path and rights, and that nothing else is in the folder",
            ) from None
        try:
            fcntl.flock(self._alone, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._alone)
            raise BusyError(
                "another probe keeps its state here", where=str(folder), remedy="stop it, or name another"
            ) from None
        self.state = self._recover()
        self._cursor = self._find()

    def append(self, lines: Sequence[bytes], positions: Mapping[str, Any]) -> None:
        """Keep a batch, durably.

        Args:
            lines: Envelopes, numbered from `state.next` on.
            positions: How far collectors have read with it, of those that have a position.

        Raises:
            OSError: There is no room on the disk; nothing of it is kept.
        """
        with self._lock:
            state = replace(
                self.state,
                next=self.state.next + len(lines),
                positions={**self.state.positions, **positions},
            )
            first = max(self._sizes, default=None)
            if first is None or (lines and self._sizes[first] >= min(SEGMENT, self._most // 8)):
                first = self.state.next
            data = b"".join(line + b"\n" for line in lines)
            state = self._make_room(state, len(data))
            data += _MARK + json.dumps({**asdict(state), _SUM: zlib.crc32(data)}).encode() + b"\n"
            self._write(first, data)
            self._sizes[first] = self._sizes.get(first, 0) + len(data)
            self.state = state

    def take(self, most: int) -> Taken | None:
        """Give the oldest that are not sent, up to so many; None where there are none.

        Raises:
            OSError: They can't be read.
        """
        with self._lock:
            sent = self.state.sent
            if sent + 1 >= self.state.next:
                return None
            first, *following = sorted(self._sizes)
            while following and following[0] <= sent + 1:
                self._forget(first)
                first, self._cursor = following[0], (following.pop(0), 0)
            offset, last = self._cursor[1], min((*following, self.state.next)) - 1
        with self._path(first).open("rb") as file:
            file.seek(offset)
            lines: list[bytes] = []
            taken = 0
            while sent + len(lines) < last and len(lines) < most and taken < _READ:
                line = file.readline()
                offset += len(line)
                taken += len(line)
                if not line.startswith(_MARK):
                    lines.append(line[:-1])
        return Taken(lines, sent + len(lines), offset)

    def sent(self, taken: Taken) -> None:
        """Forget what the output has; what of it a crash makes us send again is the same, byte for byte."""
        with self._lock:
            if taken.last <= self.state.sent:  # it was dropped meanwhile
                return
            self.state = replace(self.state, sent=taken.last)
            self._cursor = (self._cursor[0], taken.offset)

    @property
    def waiting(self) -> int:
        """How many envelopes are to be sent."""
        return self.state.next - 1 - self.state.sent

    def close(self) -> None:
        """Let another probe use the folder."""
        os.close(self._alone)

    def _write(self, first: int, data: bytes) -> None:
        """Append to a segment, all or nothing, and see it on the disk."""
        size = self._sizes.get(first, 0)
        handle = os.open(self._path(first), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            append(handle, size, data)
        finally:
            os.close(handle)
        if not size:
            sync(self._folder)

    def _make_room(self, state: State, size: int) -> State:
        """Drop the oldest segments so that so many bytes find room; the newest stays."""
        while sum(self._sizes.values()) + size > self._most and len(self._sizes) > 1:
            first, following = sorted(self._sizes)[:2]
            self._forget(first)
            if self._cursor[0] == first:
                self._cursor = (following, 0)
            lost = max(0, following - 1 - state.sent)
            self.state = replace(
                self.state, dropped=self.state.dropped + lost, sent=max(state.sent, following - 1)
            )
            state = replace(state, dropped=self.state.dropped, sent=self.state.sent)
        return state

    def _forget(self, first: int) -> None:
        self._path(first).unlink(missing_ok=True)
        del self._sizes[first]

    def _recover(self) -> State:
        """Find the last state that was written whole, and cut off what stands behind it."""
        for first in sorted(self._sizes, reverse=True):
            data = self._path(first).read_bytes()
            end = data.rfind(b"\n") + 1
            while end:
                begin = data.rfind(b"\n", 0, end - 1) + 1
                state = _state(data, begin, end)
                if state is not None:
                    os.truncate(self._path(first), end)
                    self._sizes[first] = end
                    # what was sent of segments that are gone may not have been noted
                    return replace(state, sent=max(state.sent, min(self._sizes) - 1))
                end = begin
            self._forget(first)
        return State()

    def _find(self) -> tuple[int, int]:
        """Find where the first stands that is not sent."""
        wanted = self.state.sent + 1
        first = max((one for one in self._sizes if one <= wanted), default=1)
        for sent in [one for one in self._sizes if one < first]:
            self._forget(sent)
        offset, number = 0, first
        if first in self._sizes:
            with self._path(first).open("rb") as file:
                while number < wanted and (line := file.readline()):
                    offset += len(line)
                    number += not line.startswith(_MARK)
        return first, offset

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:020}.ndjson"


def _state(data: bytes, begin: int, end: int) -> State | None:
    """Read the state in a line, if it is one and all of its batch is there."""
    if not data.startswith(_MARK, begin):
        return None
    before = data.rfind(b"\n" + _MARK, 0, begin) + 1
    batch = data.find(b"\n", before) + 1 if begin and data.startswith(_MARK, before) else 0
    try:
        known = json.loads(data[begin + 1 : end])
        return State(**known) if known.pop(_SUM) == zlib.crc32(data[batch:begin]) else None
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
