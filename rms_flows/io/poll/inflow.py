"""What a server gives becomes batches: answers cut into records, these decoded, the cursor read of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from rms_flows.decode import format_named, guess
from rms_flows.decode.contract import Context, Counts, Decoded, Format, nothing_new
from rms_flows.decode.driver import HEAD, Inlet
from rms_flows.decode.framing import MOST, Frame, Torn
from rms_flows.decode.records import Records
from rms_flows.errors import DecodeError
from rms_flows.io.contract import Request
from rms_flows.io.poll import cursor as cursors
from rms_flows.io.poll.body import records
from rms_flows.io.poll.client import Answer, Server
from rms_flows.io.poll.pages import Page
from rms_flows.io.poll.trouble import Letter, PollError
from rms_flows.schema import DEAD_LETTER, TIMESTAMP

if TYPE_CHECKING:
    from rms_flows.io.poll.source import PollSource

_SAMPLE: Final = 100
"""Records from which a format is guessed."""


@dataclass(frozen=True, slots=True)
class Given:
    """Records, decoded.

    Args:
        decoded: A batch.
        records: Those that became rows.
        values: Their values of the cursor, None where they have none.
    """

    decoded: Decoded
    records: Sequence[bytes] = ()
    values: Sequence[int | None] = ()


class Inflow:
    """Decodes what one server gives, for as long as it is read.

    Args:
        source: Who asks.
        request: What the flow needs.
    """

    def __init__(self, source: PollSource, request: Request) -> None:
        self._source = source
        self._request = request
        named = source.options.format
        self._format: Format | None = None if named is None else format_named(named, source.uri)
        self._inlet: Inlet | None = None

    def ask(self, server: Server, url: str, validators: Mapping[str, str] | None) -> Page:
        """Ask for one page; raises PollError."""
        answer = server.get(url, validators)
        if answer is None:
            return Page([], None)
        path, lines = self._source.polled.poll.records, self._lines(answer)
        try:
            return Page(records(answer.body, answer.kind, path, lines=lines), answer)
        except PollError:
            clean = server.without_secrets(answer.body)
            if clean == answer.body:
                raise
        return Page(
            records(clean, answer.kind, path, lines=lines), answer
        )  # the same, without what is secret

    def _lines(self, answer: Answer) -> bool:
        """Tell whether records are lines of text."""
        if self._format is not None:
            return self._format.framing == "lines"
        text = answer.body.strip()
        if not text or text[:1] in b'[{"':
            return False
        try:
            return guess(text[:HEAD], self._source.uri).framing == "lines"
        except DecodeError:
            return False

    def take(self, found: Sequence[bytes], received: int | None) -> Iterator[Given]:
        """Decode records, a batch for each 65,536 of them.

        Args:
            found: The records.
            received: When they came, microseconds; None where that is not known.

        Raises:
            DecodeError: Their format can't be guessed.
            PollError: None of those that are events has a value of the cursor.
        """
        for first in range(0, len(found), MOST):
            yield self._taken(found[first : first + MOST], received)

    def _taken(self, found: Sequence[bytes], received: int | None) -> Given:
        inlet, guessed = self._opened(found)
        most = self._source.options.max_record
        kept = [record for record in found if len(record) <= most]
        reason = f"the record is longer than {most:,} bytes; set max_record= higher if that is right"
        torn = [Torn(0, record, "too-long", reason) for record in found if len(record) > most]
        decoded = inlet.take(self._frame(kept, torn, received))
        decoded = replace(decoded, guessed=guessed)
        assert decoded.record is not None  # noqa: S101  its frame has names
        which, of = np.unique(decoded.record, return_inverse=True)
        chosen = [kept[place] for place in which.tolist()]
        values = self._values(decoded, chosen, of)
        cursor = self._source.polled.poll.cursor
        if cursor is not None and chosen and all(value is None for value in values):
            raise PollError(
                f"none of {len(chosen)} records has a value of the cursor at {cursor.field}",
                "see field and written of the cursor",
                passes=False,
            )
        return Given(decoded, chosen, values)

    def _opened(self, found: Sequence[bytes]) -> tuple[Inlet, str | None]:
        """Give the decoder and, if it was guessed now, the name of the format."""
        guessed = None
        if self._format is None:
            self._format = guess(b"\n".join(found[:_SAMPLE])[:HEAD], self._source.uri)
            self._source.check(self._format.name)
            guessed = self._format.name
        if self._inlet is None:
            context = Context(self._source.address.place, self._source.options, self._request.columns)
            self._inlet = Inlet(context, self._format)
        return self._inlet, guessed

    def _frame(self, kept: Sequence[bytes], torn: list[Torn], received: int | None) -> Frame:
        every = [*kept, *(one.data for one in torn)]
        place = self._source.address.place
        return Frame(
            Records.of(kept),
            0,
            torn,
            sum(map(len, every)),
            pa.array([f"{place}#{xxhash.xxh3_128_hexdigest(one)}" for one in every], pa.string()),
            None if received is None else pa.repeat(pa.scalar(received, TIMESTAMP), len(every)),
            lasting=True,
        )

    def _values(self, decoded: Decoded, chosen: Sequence[bytes], of: np.ndarray) -> Sequence[int | None]:
        """Read the cursor of records; `of` is the one that each row came of, shape (rows,)."""
        known = self._source.polled.poll.cursor
        if known is None or not chosen:
            return [None] * len(chosen)
        if known.field is not None:
            numbers, there = cursors.values(known, chosen, self._source.options)
            return [
                number if has else None for number, has in zip(numbers.tolist(), there.tolist(), strict=True)
            ]
        latest = np.full(len(chosen), np.iinfo(np.int64).min)
        np.maximum.at(latest, of, decoded.rows.column("@timestamp").cast(pa.int64()).to_numpy())
        times: list[int | None] = latest.tolist()
        return times

    def letter(self, letter: Letter, received: int) -> Decoded:
        """Make a dead letter of an answer that can't be used."""
        torn = [Torn(0, letter.body, letter.kind, letter.reason)]
        plain = Inlet(Context(self._source.address.place, self._source.options), format_named("json"))
        return plain.take(self._frame([], torn, received))


def in_order(parts: Sequence[Decoded]) -> Decoded:
    """Put batches together, their rows in the order of time and, of one time, of their ids."""
    if not parts:
        return nothing_new()
    if len(parts) == 1:
        rows, dead = parts[0].rows, parts[0].dead
    else:
        rows = _one(pa.concat_tables([pa.table(one.rows) for one in parts], promote_options="default"))
        dead = _one(pa.Table.from_batches([one.dead for one in parts], DEAD_LETTER))
    if rows.num_rows:
        order = pc.sort_indices(rows, [("@timestamp", "ascending"), ("event.id", "ascending")])
        rows = rows.take(order)
    counts = Counts()
    reasons: dict[str, int] = {}
    for one in parts:
        for word in Counts.__slots__:
            setattr(counts, word, getattr(counts, word) + getattr(one.counts, word))
        for reason, count in one.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + count
    return Decoded(rows, dead, counts, reasons, guessed=parts[0].guessed)


def _one(table: pa.Table) -> pa.RecordBatch:
    whole = table.unify_dictionaries().combine_chunks().to_batches()
    return whole[0] if whole else pa.RecordBatch.from_pylist([], table.schema)
