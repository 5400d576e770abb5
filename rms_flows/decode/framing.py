"""Bytes fall into records: lines or JSON documents. Offsets count bytes after decompression."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import xxhash

from rms_flows.decode.contract import Framing
from rms_flows.decode.line_marks import Marks, without_returns
from rms_flows.decode.records import PADDING, Records

BLOCK: Final = 4 * 1024 * 1024
"""Bytes read for a frame, at least."""

PIECE: Final = 1024 * 1024
"""Bytes read at once: so few that they are looked at while the nearest cache has them."""

ROWS: Final = 16_384
"""Records that a frame of lines should have: what comes behind pays for each batch, however small."""

LARGEST: Final = 32 * 1024 * 1024
"""Most bytes read for a frame to have so many: a worker holds a few batches of that size, and copies."""

MOST: Final = 65_536
"""Most records in a frame; a batch has no more rows unless records hold several."""

BROKEN: Final = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile)
"""What a stream raises when it is cut off or damaged (`ValueError`: text that is not in its encoding)."""


Look = Callable[[np.ndarray, int, int], None]
_NOTHING = np.empty(0, np.uint8)


class Readable(Protocol):
    """Any stream of bytes; one with a true attribute `endless` gives none where there are none yet."""

    def read(self, size: int, /) -> bytes:
        """Give up to `size` bytes, none at the end."""


class Torn(NamedTuple):
    """Bytes that are no record."""

    offset: int
    data: bytes
    kind: str
    reason: str


@dataclass(slots=True)
class Frame:
    """Records that came together.

    Args:
        records: Without their line feed.
        offset: Where their bytes begin in the input.
        torn: What could not be framed.
        size: Bytes that the frame took from the input.
        origins: Strings, shape (records + torn,): where each lies, if that is told by a name of its own, as
            of a document in an index; no two are the same. None where a record is known by its place.
        ingested: timestamp[us, UTC], the same shape: when each reached us, where that is told of each.
        lasting: What an origin names is the same for ever, whenever it reaches us.
    """

    records: Records
    offset: int
    torn: list[Torn] = field(default_factory=list)
    size: int = 0
    origins: pa.StringArray | None = None
    ingested: pa.Array | None = None
    lasting: bool = False

    @property
    def offsets(self) -> np.ndarray:
        """Give where each record begins in the input: int64, shape (records,)."""
        return self.offset + self.records.starts


def frames(stream: Readable, framing: Framing, longest: int, *, passing: bool = False) -> Iterator[Frame]:
    """Cut a stream into records; a stream that breaks ends with what came before and one torn record.

    Args:
        stream: What to read, in blocks.
        framing: What a record is.
        longest: Most bytes of a record; a longer one is torn into pieces of this size.
        passing: A frame's records are done with when the next frame is asked for: the same memory takes
            them all, which spares the kernel the clearing of 24 MB for each.

    Yields:
        Records as they come; of an endless stream of lines, a frame without any when there is nothing new.
    """
    yield from _FRAMINGS[framing](_Blocks(stream, passing=passing), longest)


class _Blocks:
    """Reads block after block and remembers where and why a stream broke."""

    def __init__(self, stream: Readable, *, passing: bool) -> None:
        self._stream = stream
        self._passing = passing
        self._endless = bool(getattr(stream, "endless", False))
        self._memory = _NOTHING
        self._into: Callable[[memoryview], int] = getattr(stream, "readinto", self._copied)
        self._left = b""
        self.over = False
        self.error: BaseException | None = None

    def __iter__(self) -> Iterator[bytes]:
        while self.error is None:
            try:
                block = self._stream.read(BLOCK)
            except BROKEN as error:
                self.error = error
                return
            if not block:
                return
            yield block

    def fill(self, rest: np.ndarray, size: int, look: Look) -> tuple[np.ndarray, int]:
        """Read about `size` bytes behind some that are there, and pad them.

        Args:
            rest: What is there.
            size: How many more are wanted.
            look: Is called with the bytes, where the new ones begin and where they end, for each piece.

        Returns:
            The bytes, and how many they are.
        """
        data = self._memory
        if not self._passing or len(data) < len(rest) + size + len(PADDING):
            data = self._memory = np.empty(len(rest) + size + len(PADDING), np.uint8)
        data[: len(rest)] = rest
        view, at, end, seen = memoryview(data), len(rest), len(rest) + size, 0  # type: ignore[arg-type]
        while at < end and not self.over:
            try:
                got = self._into(view[at : min(at + PIECE, end)])
            except BROKEN as error:
                self.error, got = error, 0
            if not got:
                self.over = self.error is not None or not self._endless
                break
            look(data, seen, at + got)
            at = seen = at + got
        data[at : at + len(PADDING)] = 0
        return data, at

    def _copied(self, into: memoryview) -> int:
        """Read from a stream that only gives bytes, also more of them than it was asked for."""
        block = self._left or self._stream.read(len(into))
        size = min(len(block), len(into))
        into[:size] = block[:size]
        self._left = block[size:]
        return size

    def end(self, offset: int, rest: bytes) -> Frame | None:
        """Give what is left when the stream has ended: a last record, or one that was cut off."""
        if self.error is None:
            return Frame(Records.of([rest]), offset, [], len(rest)) if rest else None
        reason = (
            f"the input broke off at byte {offset + len(rest)} ({self.error}); "
            "what came before it was read; copy the file again"
        )
        return Frame(Records.of([]), offset, [Torn(offset, rest, "broken-input", reason)], len(rest))


def _too_long(offset: int, data: bytes, longest: int) -> Frame:
    reason = f"a record is longer than {longest:,} bytes; set max_record= higher if that is right"
    line = data.removesuffix(b"\n")
    torn = [
        Torn(offset + at, line[at : at + longest], "too-long", reason) for at in range(0, len(line), longest)
    ]
    return Frame(Records.of([]), offset, torn, len(data))


def _lines(blocks: _Blocks, longest: int) -> Iterator[Frame]:
    rest, offset, within = _NOTHING, 0, False  # within: of a line whose beginning was torn off
    size, first = BLOCK, None  # first: the hash of the first record
    while True:
        marks = Marks(offset, first)
        data, end = blocks.fill(rest, size, marks.look)
        if end == len(rest):
            if blocks.over:
                break
            rest = data[:end]  # the same memory may be given again
            yield Frame(Records.of([]), offset)
            continue
        lines, start = marks.records(data), 0
        if within:
            start = int(lines.ends[0]) + 1 if len(lines) else end
            within = not len(lines)
            yield _too_long(offset, data[:start].tobytes(), longest)
            lines = lines[1:]
        cut = int(lines.ends[-1]) + 1 if len(lines) else start
        for frame in _cut(lines, offset, longest):
            if first is None and len(frame.records):
                first = xxhash.xxh3_64_intdigest(frame.records[0])
            yield frame
        if len(lines):
            size = min(max(BLOCK, ROWS * cut // len(lines)), LARGEST)
        rest, offset = data[cut:end], offset + cut
        if len(rest) > longest:
            yield _too_long(offset, rest.tobytes(), longest)
            rest, offset, within = _NOTHING, offset + len(rest), True
    last = blocks.end(offset, rest.tobytes())
    if last is not None:
        yield _without_returns(last)


def _cut(lines: Records, offset: int, longest: int) -> Iterator[Frame]:
    """Make frames of at most `MOST` records of whole lines."""
    if len(lines) and (lines.ends - lines.starts).max() > longest:
        yield from _cut_long(lines, offset, longest)
        return
    for first in range(0, len(lines), MOST):
        records = lines[first : first + MOST]
        took = int(records.ends[-1] + 1 - records.starts[0])
        yield _without_returns(Frame(records, offset, [], took))


def _cut_long(lines: Records, offset: int, longest: int) -> Iterator[Frame]:
    for number, (start, end) in enumerate(zip(lines.starts.tolist(), lines.ends.tolist(), strict=True)):
        if end - start > longest:
            yield _too_long(offset + start, lines.data[start : end + 1].tobytes(), longest)
        else:
            yield _without_returns(Frame(lines[number : number + 1], offset, [], end + 1 - start))


def _without_returns(frame: Frame) -> Frame:
    frame.records = without_returns(frame.records)
    return frame


def _documents(blocks: _Blocks, longest: int) -> Iterator[Frame]:
    """Cut JSON values that stand one after the other or in one array; what stands between is a record too.

    Behind a value that is too long nothing is taken for a document: what looks like one may be a part of it.
    """
    rest, offset, inside, lost = b"", 0, False, False  # inside: of an array around the documents
    for block in blocks:
        data = rest + block
        spans, done, inside = ([], 0, False) if lost else _spans(data, inside=inside)
        if spans:
            yield from _spanned(data, offset, spans, done, longest)
        rest, offset = data[done:], offset + done
        if lost or len(rest) > longest:
            yield _too_long(offset, rest, longest)
            rest, offset, lost = b"", offset + len(rest), True
    kept = rest.strip(b" \t\r\n,]")
    last = blocks.end(offset + rest.find(kept), kept)
    if last is not None:
        yield last


_JSON = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""A string, also one that goes on behind the bytes at hand, or a bracket."""

_QUOTE = ord('"')
_COMPLETE = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


def _spans(  # noqa: C901  one walk over brackets
    data: bytes, *, inside: bool
) -> tuple[list[tuple[int, int]], int, bool]:
    """Find complete values: (begin, end) of each, the end of what is done with, whether within an array."""
    spans: list[tuple[int, int]] = []
    depth, begin, done = 0, 0, 0
    for match in _JSON.finditer(data):
        byte = data[match.start()]
        if byte == _QUOTE and not _COMPLETE.fullmatch(match[0]):
            break
        if byte in b"{[":
            if depth == 0:
                between = data[done : match.start()].strip(b" \t\r\n,")
                if between:
                    spans.append((done, match.start()))
                done = begin = match.start()
                if byte == ord("[") and not inside:
                    inside, done = True, match.end()
                    continue
            depth += 1
        elif byte in b"}]":
            if depth == 0 and inside and byte == ord("]"):
                inside, done = False, match.end()
                continue
            depth = max(0, depth - 1)
        elif depth == 0:  # a string that stands for itself
            begin = match.start()
        if depth == 0:
            spans.append((begin, match.end()))
            done = begin = match.end()
    return spans, done, inside


def _spanned(
    data: bytes, offset: int, spans: list[tuple[int, int]], done: int, longest: int
) -> Iterator[Frame]:
    padded = np.frombuffer(data + PADDING, np.uint8)
    before = 0
    for first in range(0, len(spans), MOST):
        part = spans[first : first + MOST]
        kept = [_stripped(data, begin, end) for begin, end in part if end - begin <= longest]
        starts, ends = np.array(kept, np.int64).reshape(-1, 2).T
        end = done if first + MOST >= len(spans) else part[-1][1]
        torn = [
            one
            for begin, stop in part
            if stop - begin > longest
            for one in _too_long(offset + begin, data[begin:stop], longest).torn
        ]
        yield Frame(Records(padded, starts, ends), offset, torn, end - before)
        before = end


def _stripped(data: bytes, begin: int, end: int) -> tuple[int, int]:
    record = data[begin:end]
    kept = record.lstrip(b" \t\r\n,")
    begin = end - len(kept)
    return begin, begin + len(kept.rstrip(b" \t\r\n,"))


_FRAMINGS: Mapping[Framing, Callable[[_Blocks, int], Iterator[Frame]]] = {
    "lines": _lines,
    "documents": _documents,
}


def documents_are_lines(head: bytes) -> bool:
    r"""Tell whether JSON documents stand one a line: some line begins with `{` and closes all that it opens.

    Example:
        >>> documents_are_lines(b'{"a": {}}\n{"a":'), documents_are_lines(b'{\n "a": 1\n}')
        (True, False)
    """
    start = head.lstrip()
    if start.startswith((b"[", b"]")):
        return False
    lines = head.split(b"\n")
    if len(lines) == 1:
        return True
    return start.startswith(b'"') or any(_closed(line.rstrip()) for line in lines if line.startswith(b"{"))


def _closed(line: bytes) -> bool:
    spans, done, inside = _spans(line, inside=False)
    return spans == [(0, len(line))] and done == len(line) and not inside
