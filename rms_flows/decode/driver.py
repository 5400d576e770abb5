"""From bytes to batches of observations: framing, decoding, identity, types, envelope, account."""

from __future__ import annotations

import base64
import binascii
import codecs
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rms_flows.decode import framing, identity
from rms_flows.decode.conform import conform
from rms_flows.decode.contract import Context, Counts, Decoded, Failure, Format, Parsed
from rms_flows.decode.framing import Frame, Readable
from rms_flows.decode.held_back import judge_rows, without_future, without_strangers
from rms_flows.decode.records import Records
from rms_flows.errors import DecodeError
from rms_flows.schema import DEAD_LETTER, DICTIONARY, ENVELOPE, MISFIT, NO_DEAD_LETTERS, TIMESTAMP

HEAD: Final = 65_536
"""Bytes from which a format is guessed."""

REMEMBERED: Final = 1 << 20
"""Own ids remembered of one input, the newest; a duplicate farther back is folded where reports are kept."""

_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_ASCII: Final = 127
_PIECE: Final = 65_536


class Text:
    """A stream as UTF-8 without a byte order mark, whose beginning can be looked at.

    Args:
        stream: What to read; UTF-16 is known by its mark.
    """

    def __init__(self, stream: Readable) -> None:
        self._stream = stream
        self.endless = bool(getattr(stream, "endless", False))
        self._decoder: codecs.IncrementalDecoder | None = None
        self._error: BaseException | None = None
        self.head = self._begin()
        self._left = self.head

    def _begin(self) -> bytes:
        head = b""
        try:
            while len(head) < HEAD and (block := self._stream.read(HEAD - len(head))):
                head += block
        except framing.BROKEN as error:  # told when the reader gets there
            self._error = error
        for mark, encoding in _MARKS:
            if head.startswith(mark):
                head = head[len(mark) :]
                if encoding != "utf-8":
                    self._decoder = codecs.getincrementaldecoder(encoding)()
                    return self._recode(head)
        return head

    def _recode(self, block: bytes) -> bytes:
        if self._decoder is None:
            return block
        last = not block and not self.endless
        return self._decoder.decode(block, final=last).encode("utf-8", "surrogatepass")

    def _more(self, size: int) -> bytes:
        while True:
            block = self._stream.read(size)
            text = self._recode(block)
            if text or not block:
                return text

    def read(self, size: int, /) -> bytes:
        """Give up to about `size` bytes, none at the end."""
        if self._error is not None and not self._left:
            raise self._error
        block, self._left = self._left, b""
        try:
            return block + self._more(size)
        except framing.BROKEN as error:
            if not block:
                raise
            self._error = error
            return block

    def readinto(self, into: memoryview, /) -> int:
        """Read into memory, by the stream itself where it can; give how many bytes, 0 at the end."""
        if not self._left:
            if self._error is not None:
                raise self._error
            direct = getattr(self._stream, "readinto", None)
            if direct is not None and self._decoder is None:
                return int(direct(into))
            self._left = self._more(len(into))
        size = min(len(self._left), len(into))
        into[:size] = self._left[:size]
        self._left = self._left[size:]
        return size


def decode(
    text: Text, context: Context, known: Format, *, ingested: datetime | None = None, lines: bool = False
) -> Iterator[Decoded]:
    """Decode one input.

    Args:
        text: Its bytes, decompressed.
        context: What is known of it.
        known: Its format.
        ingested: When it reached us, where that is known; never the clock.
        lines: Each line is a record, whatever the format's framing; so it is where an input has no end.

    Yields:
        Batches with what could not become an observation beside them.

    Raises:
        DecodeError: Records went missing: a decoder is wrong.
    """
    cut = known.framing
    if lines or text.endless or (cut == "documents" and framing.documents_are_lines(text.head)):
        cut = "lines"
    inlet = Inlet(context, known, ingested)
    for frame in framing.frames(text, cut, context.options.max_record, passing=True):
        yield inlet.take(frame)


class Inlet:
    """Decodes one input frame by frame, and remembers what it has to.

    Args:
        context: What is known of the input.
        known: Its format.
        ingested: When it reached us, where that is known; never the clock.
    """

    def __init__(self, context: Context, known: Format, ingested: datetime | None = None) -> None:
        self._context = context
        self._decoder = known.open(context)
        self._format = known.name
        self._ingested = pa.scalar(ingested, TIMESTAMP)
        self._first: int | None = None  # hash of the first record
        self._number = 0  # records before this frame
        self._own: OrderedDict[str, int] = OrderedDict()  # own id → hash of its record

    def take(self, frame: Frame) -> Decoded:
        """Turn a frame into a batch, and account for each of its records."""
        records, places, failures = _only_text(frame.records)
        parsed = self._decoder.parse(records) if records else Parsed({})
        if frame.ingested is not None:
            received = frame.ingested.take(pa.array(places))
            parsed = without_future(parsed, received, self._context.options.max_ahead)
        if not self._context.archived:  # there the verdict is, and stays
            received = self._received(frame, places)
            judge_rows(parsed, received, self._context.options)
            parsed = without_strangers(parsed, received, self._context.options)
        record = np.arange(len(records)) if parsed.record is None else parsed.record
        if not parsed.columns:
            record = record[:0]
        failures += [failure._replace(record=int(places[failure.record])) for failure in parsed.failures]
        counts = Counts(
            framed=len(frame.records) + len(frame.torn),
            extra=int(np.count_nonzero(record[1:] == record[:-1])),
            dead=len(failures) + len(frame.torn),
            blank=len(parsed.blank),
            conflicts=parsed.conflicts,
            unsure=parsed.unsure,
            bytes=frame.size,
        )
        rows, record = self._rows(frame, parsed, places[record], counts)
        counts.rows = rows.num_rows
        if not counts.balanced():
            raise DecodeError(
                f"records went missing in decoding {self._format}: {counts}",
                where=self._context.name,
                remedy="this is a defect of the decoder; please report it with the input",
            )
        dead = self._dead(frame, failures)
        self._number += len(frame.records) + len(frame.torn)
        reasons = Counter(f.kind for f in failures) + Counter(torn.kind for torn in frame.torn)
        return Decoded(rows, dead, counts, reasons, record=None if frame.origins is None else record)

    def _rows(
        self, frame: Frame, parsed: Parsed, record: np.ndarray, counts: Counts
    ) -> tuple[pa.RecordBatch, np.ndarray]:
        """Make a batch; give the record that each row came of, too."""
        columns = dict(parsed.columns)
        ids, kept = self._identify(frame, columns.pop("event.id", None), record, counts)
        kinds = {name: of for name, of in parsed.kinds.items() if name in columns}
        typed = conform(columns, kinds, self._context.options)
        envelope = {
            "@timestamp": typed.columns.get("@timestamp"),
            "event.ingested": self._received(frame, record),
            "event.id": ids,
            "event.dataset": self._dataset(typed.columns.get("event.dataset"), len(record)),
            "rms.origin": self._origins(frame, record),
            **parsed.known,
        }
        made = {
            name: pa.nulls(len(record), kind) if envelope.get(name) is None else envelope[name].cast(kind)
            for name, kind in ENVELOPE.items()
        }
        if self._context.archived:
            made |= {name: _filled(typed.columns[name], made[name]) for name in _KEPT & typed.columns.keys()}
        made |= {name: typed.columns[name] for name in sorted(typed.columns) if name not in made}
        if self._context.archived and _ORIGINAL in made:
            made[_ORIGINAL] = pa.array(map(_from_base64, made[_ORIGINAL].to_pylist()), pa.binary())
        if self._context.options.keep_original:
            made[_ORIGINAL] = pa.array([frame.records[place] for place in record.tolist()], pa.binary())
        if typed.misfits is not None:
            made[MISFIT] = _filled(typed.misfits, made.get(MISFIT))
        batch = pa.RecordBatch.from_pydict(made)
        if kept is not None:
            batch, record = batch.filter(pa.array(kept)), record[kept]
        if MISFIT in made:
            counts.misfits = batch.num_rows - batch[MISFIT].null_count
        return batch, record

    def _identify(
        self, frame: Frame, own: pa.Array | None, record: np.ndarray, counts: Counts
    ) -> tuple[pa.Array, np.ndarray | None]:
        """Give ids and, where there are duplicates, which rows to keep."""
        if frame.origins is not None and not frame.lasting:  # one of each there is, whatever came before
            lacking = own is None or own.null_count
            made = identity.named(frame.origins, record, frame.ingested) if lacking else own
            return (made if own is None else pc.coalesce(own, made)), None
        made = self._made(frame, record) if frame.origins is None else identity.named(frame.origins, record)
        if own is None or own.null_count == len(own):
            return made, None
        kept = np.ones(len(record), np.bool_)
        ids: list[str] = []
        for row, (given, new) in enumerate(zip(own.to_pylist(), made.to_pylist(), strict=True)):
            if given is None:
                ids.append(new)
                continue
            content = xxhash.xxh3_64_intdigest(frame.records[record[row]])
            before = self._own.get(given)
            if before is None:
                self._own[given] = content
            elif before == content:
                kept[row] = False
            else:
                counts.conflicts += 1
                given = new  # noqa: PLW2901  the id that the row gets
            ids.append(given)
        while len(self._own) > REMEMBERED:
            self._own.popitem(last=False)
        counts.duplicates = int((~kept).sum())
        return pa.array(ids, pa.string()), None if kept.all() else kept

    def _made(self, frame: Frame, record: np.ndarray) -> pa.Array:
        if self._first is None and len(frame.records):
            self._first = xxhash.xxh3_64_intdigest(frame.records[0])
        return identity.ids(frame.records, frame.offsets, self._first or 0, record)

    def _dataset(self, found: pa.Array | None, rows: int) -> pa.Array:
        declared = pa.scalar(self._context.options.dataset, pa.string())
        if found is None:
            return pa.repeat(declared, rows).dictionary_encode().cast(DICTIONARY)
        if found.null_count and declared.is_valid:
            return pc.coalesce(found.cast(pa.string()), declared).dictionary_encode().cast(DICTIONARY)
        return found

    def _received(self, frame: Frame, record: np.ndarray) -> pa.Array:
        if frame.ingested is not None:
            return frame.ingested.take(pa.array(record))
        return pa.repeat(self._ingested, len(record))

    def _origins(self, frame: Frame, record: np.ndarray) -> pa.Array:
        if frame.origins is not None:
            return frame.origins.take(pa.array(record))
        return identity.origins(self._context.name, record + self._number)

    def _dead(self, frame: Frame, failures: Sequence[Failure]) -> pa.RecordBatch:
        """Keep what could not be decoded, with its bytes, in the order of the input."""
        if not failures and not frame.torn:
            return NO_DEAD_LETTERS
        found = [
            (f.record, f.kind, f.reason, frame.records[f.record] if f.kept else b"") for f in sorted(failures)
        ]
        found += [
            (number, torn.kind, torn.reason, torn.data)
            for number, torn in enumerate(frame.torn, len(frame.records))
        ]
        numbers = np.array([number for number, *_ in found], np.int64)
        columns = {
            "event.ingested": self._received(frame, numbers),
            "rms.source": pa.nulls(len(found), DICTIONARY),
            "rms.origin": self._origins(frame, numbers),
            "error.type": pa.array([kind for _, kind, _, _ in found], DICTIONARY),
            "error.message": pa.array([reason for _, _, reason, _ in found], pa.string()),
            "event.original": pa.array([data for *_, data in found], pa.binary()),
        }
        return pa.RecordBatch.from_pydict(columns, schema=DEAD_LETTER)


_KEPT: Final = frozenset({"event.ingested", "rms.source", "rms.origin", "rms.trust"})


_ORIGINAL: Final = "event.original"


def _from_base64(text: bytes | None) -> bytes | None:
    """Read what `objects.json_lines` writes for bytes; what is none stays as it is."""
    try:
        return None if text is None else base64.b64decode(text, validate=True)
    except binascii.Error:
        return text


def _filled(values: pa.Array, others: pa.Array | None) -> pa.Array:
    """Put others where there are no values."""
    if others is None or not values.null_count:
        return values
    if not pa.types.is_dictionary(values.type):
        return pc.coalesce(values, others)
    texts = pc.coalesce(values.cast(pa.string()), others.cast(pa.string()))
    return texts.dictionary_encode().cast(DICTIONARY)


def _only_text(records: Records) -> tuple[Records, np.ndarray, list[Failure]]:
    """Sort out records that are no UTF-8."""
    suspects = _suspects(records)
    failures = [failure for number in suspects if (failure := _no_text(number, records[number]))]
    if not failures:
        return records, np.arange(len(records)), []
    kept = np.ones(len(records), np.bool_)
    kept[[failure.record for failure in failures]] = False
    places = np.flatnonzero(kept)
    return records.take(places), places, failures


def _suspects(records: Records) -> Sequence[int]:
    """Give the records that may be no UTF-8."""
    if records.wide is not None:  # by the compiled loops
        from rms_flows.decode.line_kernel import no_text  # noqa: PLC0415  loads a compiler

        suspect = records.wide.copy()
        no_text(records.data, records.starts, records.ends, suspect)
        found: list[int] = np.flatnonzero(suspect).tolist()
        return found
    whole = records.data[records.starts[0] : records.ends[-1]] if len(records) else records.data[:0]
    if not len(whole) or whole.max() <= _ASCII:
        return ()
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for at in range(0, len(whole), _PIECE):  # a text of megabytes would be memory that is new each time
            decoder.decode(whole[at : at + _PIECE].tobytes())
        decoder.decode(b"", final=True)
    except UnicodeDecodeError:
        return range(len(records))
    return ()


def _no_text(number: int, record: bytes) -> Failure | None:
    try:
        record.decode()
    except UnicodeDecodeError as error:
        byte = f"byte {error.start} (0x{record[error.start]:02x})"
        reason = f"{byte} is not UTF-8; expected UTF-8, or UTF-16 with its byte order mark"
        return Failure(number, "encoding", reason)
    return None
