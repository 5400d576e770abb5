"""What a decoder is: a plain function from framed records to columns, with state for one input only.

The driver (`decode.driver`) frames bytes into records, hands them to a decoder in blocks, puts the envelope
around what comes back, and asserts that no record vanished.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa

from rms_flows.confirm import Confirmed
from rms_flows.model import Key, Trust
from rms_flows.schema import ENVELOPE, NO_DEAD_LETTERS

Framing = Literal["lines", "documents"]
"""`lines`: a record ends at a line feed. `documents`: JSON values one after the other, over any number of
lines, or in one array."""


class Failure(NamedTuple):
    """A record that could not be decoded."""

    record: int  # its index in the block
    kind: str  # short and countable, becomes `error.type`
    reason: str  # what came, what was expected, how to mend it
    kept: bool = True  # its bytes are


@dataclass(slots=True)
class Parsed:
    """Columns made of a block of records.

    Args:
        columns: Column name to array, all of one length `n`. Must hold `@timestamp` (timestamp[us, UTC]); may
            hold `event.id` (null where the document has none) and `event.dataset`. Types other than
            `schema.field_type` says are converted by the driver, misfits kept in `rms.misfit`.
        kinds: For columns that come of JSON, what each value was written as (`decode.kinds`); a column
            without an entry holds strings as they were written.
        record: Shape (n,), int64: the record that each row came from, rising; None says row i came of
            record i, which holds only without failures and blanks.
        failures: The records that became dead letters.
        blank: Records that are no data: empty lines, headers, comments.
        known: Of `rms.source` and `rms.trust` what the decoder found out itself, null where nothing; what a
            record merely says of them is never here.
        signed: Of formats with signatures: what was confirmed of keys (None: no key is known), and of each
            row the number of its own, or `trust.FORGED`.
        conflicts: Other envelopes under the number of one that a probe has signed already.
        unsure: Rows whose probe nobody could be asked about.
    """

    columns: dict[str, pa.Array]
    kinds: dict[str, np.ndarray] = field(default_factory=dict)
    record: np.ndarray | None = None
    failures: list[Failure] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)
    known: dict[str, pa.Array] = field(default_factory=dict)
    signed: tuple[Sequence[Key | None], np.ndarray] | None = None
    conflicts: int = 0
    unsure: int = 0


@dataclass(frozen=True, slots=True)
class Options:
    r"""How an input is to be read; each comes from the source's document or the URI's query.

    Args:
        format: Name of the format; None guesses from content.
        dataset: `event.dataset` where the format does not know it.
        year: Year of stamps that have none (of the first record; it rolls over within a file).
        timezone: Zone of stamps that have none.
        date_order: Order of all-number dates such as `07/05/2023`: declared, never guessed.
        time_column: CSV and plain JSON: the column that holds the event's time.
        delimiter: CSV: what stands between cells; None takes the most frequent of `,;\t|` in the header.
        keep_original: Keep the record's bytes as `event.original`.
        max_record: Longest record in bytes; a longer one is a dead letter.
        max_ahead: Microseconds that an event may be later than its reception, where that is known; one that
            is more so is a dead letter.
        swapped_roles: IoTAC: the producer names the victim as `requestSource` and the attacker as monitored.
        trust: What a gateway has confirmed of the probe.
        probes: Who tells the same of each probe by its id, and goes on to do so while an input is read.
        probe: Id of the one that all of the input comes from; in format `probe` each record says it.
        quarantined: Verdicts (`trust.VERDICTS`) with which an event becomes a dead letter.
        refused: The same, but of its bytes nothing is kept.
    """

    format: str | None = None
    dataset: str | None = None
    year: int | None = None
    timezone: tzinfo | None = None  # None is UTC
    date_order: Literal["month-first", "day-first", "year-first"] | None = None
    time_column: str | None = None
    delimiter: str | None = None
    keep_original: bool = False
    max_record: int = 16 * 1024 * 1024
    max_ahead: int = 300_000_000
    swapped_roles: bool = False
    trust: Trust | None = None
    probes: Confirmed | None = None
    probe: str | None = None
    quarantined: frozenset[str] = frozenset()
    refused: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Context:
    """What a decoder may know of its input besides the bytes.

    Args:
        name: Name of the input without folders or credentials (`auth.log`, `a.zip!b.json`).
        options: How to read it.
        columns: Columns that the flow needs; None means all. A decoder may give more, never fewer.
        archived: The records are observations that we wrote: what they say in the envelope's columns holds.
            Of any other record nobody believes what it says it is trusted for.
    """

    name: str
    options: Options = Options()
    columns: frozenset[str] | None = None
    archived: bool = False


class Decoder(Protocol):
    """Decodes the records of one input block after block; keeps headers and the year between them."""

    def parse(self, records: Sequence[bytes]) -> Parsed:
        """Turn records (without their line feed) into columns; never raises for what a record holds."""


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write records down; `decode.FORMATS` lists them all.

    Args:
        name: What users write (`syslog`).
        title: One line for people.
        framing: How bytes fall into records.
        sniff: Bytes of the first 64 KiB → 0 (not this) to 100 (surely this); the more specific format
            scores higher.
        open: Makes the decoder for one input.
        times: Where the time of an event stands in a record that is one JSON object: the first of these
            fields that it has. None for other records.
    """

    name: str
    title: str
    framing: Framing
    sniff: Callable[[bytes], int]
    open: Callable[[Context], Decoder]
    times: tuple[str, ...] = ()


@dataclass(slots=True)
class Counts:
    """The account of one input: `framed + extra == rows + dead + duplicates + blank`."""

    framed: int = 0
    extra: int = 0  # rows beyond the first of a record
    rows: int = 0
    dead: int = 0
    duplicates: int = 0
    blank: int = 0
    conflicts: int = 0  # same id, other bytes, kept under an id from its origin; or same number, signed twice
    unsure: int = 0  # rows judged by what was told of their probe before, if anything: nobody answers now
    misfits: int = 0  # rows with a value that did not fit its column's type
    bytes: int = 0  # after decompression

    def balanced(self) -> bool:
        """Tell whether every record that was framed is accounted for."""
        return self.framed + self.extra == self.rows + self.dead + self.duplicates + self.blank


@dataclass(slots=True)
class Decoded:
    """One batch of observations with what could not become one."""

    rows: pa.RecordBatch  # envelope first, then the format's columns; may have no rows
    dead: pa.RecordBatch  # schema.DEAD_LETTER
    counts: Counts
    reasons: Mapping[str, int] = field(default_factory=dict)  # dead letters by `error.type`
    place: int | None = None  # microseconds: a reader that begins with events from there on misses nothing
    record: np.ndarray | None = None  # shape (rows,): of the frame, where its records have names
    guessed: str | None = None  # on an input's first batch: its format, if that was guessed from content


_NO_ROWS: Final = pa.RecordBatch.from_pylist([], pa.schema(list(ENVELOPE.items())))


def nothing_new(place: int | None = None) -> Decoded:
    """Give what a source without an end says when nothing has come."""
    return Decoded(_NO_ROWS, NO_DEAD_LETTERS, Counts(), place=place)
