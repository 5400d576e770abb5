"""Bytes fall into records: lines or JSON documents. Offsets count bytes after decompression."""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import numpy as np

from rms_flows.decode.contract import Framing

BLOCK: Final = 4 * 1024 * 1024
"""Bytes read at once."""

MOST: Final = 65_536
"""Most records in a frame; a batch has no more rows unless records hold several."""

BROKEN: Final = (OSError, EOFError, ValueError, zlib.error, zipfile.BadZipFile)
"""What a stream raises when it is cut off or damaged (`ValueError`: text that is not in its encoding)."""


class Readable(Protocol):
    """Any stream of bytes."""

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
        offsets: Shape (records,), int64: where each begins.
        torn: What could not be framed.
        size: Bytes that the frame took from the input.
    """

    records: list[bytes]
    offsets: np.ndarray
    torn: list[Torn] = field(default_factory=list)
    size: int = 0


def frames(stream: Readable, framing: Framing, longest: int) -> Iterator[Frame]:
    """Cut a stream into records; a stream that breaks ends with what came before and one torn record.

    Args:
        stream: What to read, in blocks.
        framing: What a record is.
        longest: Most bytes of a record; a longer one is torn into pieces of this size.
    """
    yield from _FRAMINGS[framing](_Blocks(stream), longest)


class _Blocks:
    """Reads block after block and remembers where and why a stream broke."""

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
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

    def end(self, offset: int, rest: bytes) -> Frame | None:
        """Give what is left when the stream has ended: a last record, or one that was cut off."""
        if self.error is None:
            return _frame([rest], offset, len(rest)) if rest else None
        reason = (
            f"the input broke off at byte {offset + len(rest)} ({self.error}); "
            "what came before it was read; copy the file again"
        )
        return Frame([], np.empty(0, np.int64), [Torn(offset, rest, "broken-input", reason)], len(rest))


def _frame(records: list[bytes], offset: int, size: int) -> Frame:
    lengths = np.fromiter(map(len, records), np.int64, len(records)) + 1
    return Frame(records, offset + np.cumsum(lengths) - lengths, [], size)


def _too_long(offset: int, data: bytes, longest: int) -> Frame:
    reason = f"a record is longer than {longest:,} bytes; set max_record= higher if that is right"
    line = data.removesuffix(b"\n")
    torn = [
        Torn(offset + at, line[at : at + longest], "too-long", reason) for at in range(0, len(line), longest)
    ]
    return Frame([], np.empty(0, np.int64), torn, len(data))


def _lines(blocks: _Blocks, longest: int) -> Iterator[Frame]:
    rest, offset, within = b"", 0, False  # within: of a line whose beginning was torn off
    for block in blocks:
        data = rest + block
        if within:
            end = data.find(b"\n") + 1 or len(data)
            within = not data[:end].endswith(b"\n")
            yield _too_long(offset, data[:end], longest)
            data, offset = data[end:], offset + end
        cut = data.rfind(b"\n") + 1
        yield from _cut(data[:cut], offset, longest)
        rest, offset = data[cut:], offset + cut
        if len(rest) > longest:
            yield _too_long(offset, rest, longest)
            rest, offset, within = b"", offset + len(rest), True
    last = blocks.end(offset, rest)
    if last is not None:
        yield _without_returns(last)


def _cut(data: bytes, offset: int, longest: int) -> Iterator[Frame]:
    """Split whole lines; in frames of at most `MOST` records."""
    pieces = data.split(b"\n")
    pieces.pop()
    if len(data) > longest and max(map(len, pieces)) > longest:
        yield from _cut_long(pieces, offset, longest)
        return
    for first in range(0, len(pieces), MOST):
        part = pieces[first : first + MOST]
        size = sum(map(len, part)) + len(part)
        yield _without_returns(_frame(part, offset, size))
        offset += size


def _cut_long(pieces: list[bytes], offset: int, longest: int) -> Iterator[Frame]:
    for piece in pieces:
        if len(piece) > longest:
            yield _too_long(offset, piece + b"\n", longest)
        else:
            yield _without_returns(_frame([piece], offset, len(piece) + 1))
        offset += len(piece) + 1


def _without_returns(frame: Frame) -> Frame:
    if any(record.endswith(b"\r") for record in frame.records):
        frame.records = [record.removesuffix(b"\r") for record in frame.records]
    return frame


_JSON = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
"""A string, also one that goes on behind the bytes at hand, or a bracket."""


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
    before = 0
    for first in range(0, len(spans), MOST):
        part = spans[first : first + MOST]
        kept = [(begin, end) for begin, end in part if end - begin <= longest]
        records = [data[begin:end].strip(b" \t\r\n,") for begin, end in kept]
        offsets = np.array([begin for begin, _ in kept], np.int64) + offset
        end = done if first + MOST >= len(spans) else part[-1][1]
        torn = [
            one
            for begin, stop in part
            if stop - begin > longest
            for one in _too_long(offset + begin, data[begin:stop], longest).torn
        ]
        yield Frame(records, offsets, torn, end - before)
        before = end


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
