"""What a correlation remembers: its matches as arrays, sorted by group, time and id; no object per event."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Self

import numpy as np
import pyarrow as pa

from rms_flows.correlate.spec import Baseline, Correlation
from rms_flows.errors import FlowError

VERSION: Final = b"1"
"""Of the layout; a state of another is refused."""

EVER: Final = -(2**62)
"""Before all times: nothing is settled yet."""

_VERSION_KEY, _SETTLED_KEY, _KEPT_KEY = b"rms.state", b"rms.settled", b"rms.kept"
_SAID_KEY = b"rms.said"


@dataclass(frozen=True, slots=True)
class Rows:
    """Matches of one correlation; all arrays have one shape (rows,).

    Args:
        group: uint64, hash of the group's text.
        time: int64, microseconds since 1970.
        high: uint64, the id's first half.
        low: uint64, the id's second half.
        mask: int64, the inputs that matched, a bit each; None for kinds that only count.
        value: int64, the value's bits: of a float64, or a hash; None for kinds that look at none.
        text: Ids that are not made of their 16 bytes, null for all others; None where all are.
    """

    group: np.ndarray
    time: np.ndarray
    high: np.ndarray
    low: np.ndarray
    mask: np.ndarray | None = None
    value: np.ndarray | None = None
    text: pa.Array | None = None

    def __len__(self) -> int:
        return len(self.time)

    def take(self, rows: np.ndarray) -> Self:
        """Give some rows, by number or by a mask."""
        if rows.dtype == np.bool_:
            rows = np.flatnonzero(rows)
        return replace(
            self,
            group=self.group[rows],
            time=self.time[rows],
            high=self.high[rows],
            low=self.low[rows],
            mask=None if self.mask is None else self.mask[rows],
            value=None if self.value is None else self.value[rows],
            text=None if self.text is None else self.text.take(pa.array(rows)),
        )

    def ids(self, rows: np.ndarray) -> pa.Array:
        """Give the ids of some rows as text."""
        made = hexadecimal(self.high[rows], self.low[rows])
        if self.text is None:
            return made
        named = self.text.take(pa.array(rows))
        return pa.compute.coalesce(named, made)


def none(one: Correlation) -> Rows:
    """Give no rows, with the columns that the kind of a correlation has."""
    masked, valued = columns(one)
    return Rows(
        np.empty(0, np.uint64),
        np.empty(0, np.int64),
        np.empty(0, np.uint64),
        np.empty(0, np.uint64),
        np.empty(0, np.int64) if masked else None,
        np.empty(0, np.int64) if valued else None,
    )


def columns(one: Correlation) -> tuple[bool, bool]:
    """Tell whether the kind needs to know which input matched, and whether it looks at values."""
    deviation = one.kind == "baseline" and (one.baseline or Baseline()).method == "deviation"
    return one.kind in {"temporal", "temporal_ordered"}, deviation or one.kind.startswith("value_")


def together(a: Rows, b: Rows) -> Rows:
    """Put rows one behind the other."""
    text = None
    if a.text is not None or b.text is not None:
        parts = [pa.nulls(len(rows), pa.string()) if rows.text is None else rows.text for rows in (a, b)]
        text = pa.concat_arrays(parts)
    return Rows(
        np.concatenate([a.group, b.group]),
        np.concatenate([a.time, b.time]),
        np.concatenate([a.high, b.high]),
        np.concatenate([a.low, b.low]),
        None if a.mask is None or b.mask is None else np.concatenate([a.mask, b.mask]),
        None if a.value is None or b.value is None else np.concatenate([a.value, b.value]),
        text,
    )


def starts_of(group: np.ndarray) -> np.ndarray:
    """Give where each group begins among sorted rows."""
    if not len(group):
        return np.empty(0, np.int64)
    return np.concatenate([[0], np.flatnonzero(group[1:] != group[:-1]) + 1])


def in_order(rows: Rows) -> np.ndarray:
    """Give the numbers of rows in the order of group, time and id."""
    order = np.lexsort((rows.time, rows.group))
    group, time = rows.group[order], rows.time[order]
    tied = np.zeros(len(order) + 1, dtype=bool)
    tied[1:-1] = (group[1:] == group[:-1]) & (time[1:] == time[:-1])
    if tied.any():  # ids are looked at only where they decide
        places = np.flatnonzero(tied[:-1] | tied[1:])
        run = np.cumsum(~tied[places])
        some = order[places]
        order[places] = some[np.lexsort((rows.low[some], rows.high[some], run))]
    return order


@dataclass(frozen=True, slots=True)
class State:
    """The memory of one correlation in one shard.

    Args:
        rows: Its matches, sorted by group, time and id.
        groups: uint64, sorted, the groups whose text is known.
        texts: string, the text of each of `groups`.
        settled: Microseconds; no match before it comes any more.
        kept: Microseconds; rows before it were dropped.
        said: Microseconds; what was found before it was reported before a restart, and is not reported again.
    """

    rows: Rows
    groups: np.ndarray
    texts: pa.Array
    settled: int = EVER
    kept: int = EVER
    said: int = EVER

    @property
    def nbytes(self) -> int:
        """Size of the arrays of rows, texts aside."""
        arrays = (getattr(self.rows, name) for name in ("group", "time", "high", "low", "mask", "value"))
        return sum(array.nbytes for array in arrays if array is not None)


def empty(one: Correlation) -> State:
    """Give the state of a correlation that has seen nothing."""
    return State(none(one), np.empty(0, np.uint64), pa.array([], pa.string()))


def dump(state: State) -> bytes:
    """Write a state as one Arrow IPC stream of two batches: rows, then texts of groups."""
    rows = state.rows
    arrays = {
        "group": pa.array(rows.group),
        "time": pa.array(rows.time),
        "high": pa.array(rows.high),
        "low": pa.array(rows.low),
        "mask": pa.nulls(len(rows)) if rows.mask is None else pa.array(rows.mask),  # takes no room
        "value": pa.nulls(len(rows)) if rows.value is None else pa.array(rows.value),
        "text": pa.nulls(len(rows)) if rows.text is None else rows.text,
    }
    has = {b"mask": rows.mask is not None, b"value": rows.value is not None, b"text": rows.text is not None}
    metadata = {
        _VERSION_KEY: VERSION,
        _SETTLED_KEY: b"%d" % state.settled,
        _KEPT_KEY: b"%d" % state.kept,
        _SAID_KEY: b"%d" % state.said,
        **{name: b"%d" % there for name, there in has.items()},
    }
    out = pa.BufferOutputStream()
    batch = pa.RecordBatch.from_pydict(arrays, metadata=metadata)
    with pa.ipc.new_stream(out, batch.schema) as writer:
        writer.write_batch(batch)
    names = pa.RecordBatch.from_pydict({"group": pa.array(state.groups), "text": state.texts})
    with pa.ipc.new_stream(out, names.schema) as writer:
        writer.write_batch(names)
    written: bytes = out.getvalue().to_pybytes()
    return written


def read(data: bytes) -> State:
    """Read what `dump` wrote; raises FlowError for another layout."""
    source = pa.BufferReader(data)
    with pa.ipc.open_stream(source) as reader:
        (batch,) = reader  # to the end of the first stream
        metadata = batch.schema.metadata or {}
    if metadata.get(_VERSION_KEY) != VERSION:
        raise FlowError(
            f"the state has the layout {metadata.get(_VERSION_KEY)!r}, this version reads {VERSION!r}",
            remedy="start without it: the rewind brings back what still matters",
        )
    with pa.ipc.open_stream(source) as reader:
        names = reader.read_next_batch()

    def numbers(name: str) -> np.ndarray:
        return np.array(batch.column(name).to_numpy())  # what Arrow gives is read-only: other compiled loops

    rows = Rows(
        group=numbers("group"),
        time=numbers("time"),
        high=numbers("high"),
        low=numbers("low"),
        mask=numbers("mask") if metadata[b"mask"] == b"1" else None,
        value=numbers("value") if metadata[b"value"] == b"1" else None,
        text=batch.column("text") if metadata[b"text"] == b"1" else None,
    )
    return State(
        rows,
        np.array(names.column("group").to_numpy()),
        names.column("text"),
        int(metadata[_SETTLED_KEY]),
        int(metadata[_KEPT_KEY]),
        int(metadata[_SAID_KEY]),
    )


_DIGITS: Final = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)
_HEX: Final = 32


def hexadecimal(high: np.ndarray, low: np.ndarray) -> pa.Array:
    """Write ids of 16 bytes as 32 hexadecimal digits.

    Example:
        >>> hexadecimal(np.array([1], np.uint64), np.array([255], np.uint64)).to_pylist()
        ['000000000000000100000000000000ff']
    """
    both = np.empty((len(high), 2), dtype=">u8")
    both[:, 0], both[:, 1] = high, low
    raw = both.view(np.uint8)
    digits = np.empty((len(high), _HEX), dtype=np.uint8)
    digits[:, 0::2], digits[:, 1::2] = _DIGITS[raw >> 4], _DIGITS[raw & 15]
    offsets = pa.array(np.arange(len(high) + 1, dtype=np.int32) * _HEX)
    return pa.StringArray.from_buffers(len(high), offsets.buffers()[1], pa.py_buffer(digits.tobytes()))
