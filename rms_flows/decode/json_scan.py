"""Fast JSON: a block of records → string columns with each value's kind, without a Python object a value.

Several times as fast as decoding to dicts and turning these into columns; used for inputs of more than one
block, since compiling takes seconds once a machine. What it can't decode is marked and goes the slow way;
tests hold that both ways give the same columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from rms_flows.decode.json_gather import gather
from rms_flows.decode.json_kernel import Keys, Tokens, scan
from rms_flows.decode.json_slow import FIELDS, Column

_PADDING = 16
_KEYS = 16_384
_KEY_BYTES = 1 << 20


class Scanned(NamedTuple):
    """What a block gave: columns over the records that are not slow, in their order."""

    columns: dict[str, Column]
    slow: np.ndarray  # bool, shape (records,)
    names: frozenset[str]  # of all fields, also those that were not wanted


class Scanner:
    r"""Scans block after block of one input and remembers its keys.

    Args:
        wanted: Dotted names of the columns to give; None gives all.

    Example:
        >>> scanned = Scanner().scan([b'{"a": {"b": 1}, "c": "x"}', b'{"c": "\\u00e9"}', b"broken"])
        >>> scanned.columns["a.b"].text.to_pylist(), scanned.columns["c"].text.to_pylist()
        (['1', None], ['x', 'é'])
        >>> scanned.slow.tolist()
        [False, False, True]
    """

    def __init__(self, wanted: frozenset[str] | None = None) -> None:
        self._wanted = wanted
        self._stamp = 1
        self._names = [""]
        self._keys = Keys(
            start=np.zeros(_KEYS, np.int64),
            length=np.zeros(_KEYS, np.int64),
            parent=np.zeros(_KEYS, np.int32),
            text=np.zeros(_KEY_BYTES, np.uint8),
            slot=np.zeros(2 * _KEYS, np.int32),
            follow=np.zeros(2 * _KEYS, np.int32),
            seen=np.zeros(_KEYS, np.int64),
            used=np.zeros(2, np.int64),
        )

    def scan(self, records: Sequence[bytes]) -> Scanned:
        """Scan records; none may hold a zero byte or be invalid UTF-8, else the whole block is slow."""
        lengths = np.fromiter(map(len, records), np.int64, len(records))
        joined = b"\n".join(records)
        slow = np.zeros(len(records), np.bool_)
        if b"\0" in joined or not _is_utf8(joined):
            slow[:] = True
            return Scanned({}, slow, frozenset())
        size = -(-(len(joined) + _PADDING) // 8) * 8
        buf = np.zeros(size, np.uint8)
        buf[: len(joined)] = np.frombuffer(joined, np.uint8)
        ends = np.cumsum(lengths + 1) - 1
        most = int(np.count_nonzero(buf == ord(":")))  # a token needs a colon
        tokens = Tokens(
            key=np.empty(most, np.int32),
            kind=np.empty(most, np.uint8),
            start=np.empty(most, np.int64),
            length=np.empty(most, np.int64),
        )
        first = np.empty(len(records) + 1, np.int64)
        scan(buf, buf.view(np.uint64), ends - lengths, ends, self._stamp, self._keys, tokens, first, slow)
        self._stamp += len(records)
        self._learn()
        count = int(first[-1])
        tokens = Tokens(*(part[:count] for part in tokens))
        used = np.flatnonzero(np.bincount(tokens.key, minlength=1))
        every = frozenset(self._names[key] for key in used)
        if len(every) < len(used) or len(every) > FIELDS:  # two keys flatten to one name
            slow[:] = True
            return Scanned({}, slow, frozenset())
        names, column = self._layout(used)
        return Scanned(_columns(buf, tokens, first, slow, names, column), slow, every)

    def _learn(self) -> None:
        """Name the keys that were new in this block."""
        keys = self._keys
        for key in range(len(self._names), int(keys.used[0]) + 1):
            start, length = int(keys.start[key]), int(keys.length[key])
            own = keys.text[start : start + length].tobytes().decode()
            parent = self._names[keys.parent[key]]
            self._names.append(f"{parent}.{own}" if keys.parent[key] else own)

    def _layout(self, used: np.ndarray) -> tuple[list[str], np.ndarray]:
        """Give the names of the columns, and each key's column."""
        column = np.full(len(self._names), -1, np.int32)
        kept = [key for key in used.tolist() if self._wanted is None or self._names[key] in self._wanted]
        column[kept] = np.arange(len(kept))
        return [self._names[key] for key in kept], column


def _is_utf8(data: bytes) -> bool:
    try:
        pa.array([data], pa.large_binary()).view(pa.large_string()).validate(full=True)
    except pa.ArrowInvalid:
        return False
    return True


def _columns(
    buf: np.ndarray,
    tokens: Tokens,
    first: np.ndarray,
    slow: np.ndarray,
    names: list[str],
    column: np.ndarray,
) -> dict[str, Column]:
    """Build the Arrow columns; all share one buffer of bytes, each its slice."""
    rows = len(slow) - int(slow.sum())
    where = column[tokens.key]
    sizes = np.bincount(where + 1, weights=tokens.length, minlength=len(names) + 1)[1:].astype(np.int64)
    base = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    whole = pa.allocate_buffer(int(base[-1]) + _PADDING)
    offsets = np.zeros((len(names), rows + 1), np.int32)
    kinds = np.zeros((len(names), rows), np.uint8)
    gather(buf, tokens, first, slow, column, base[:-1], np.frombuffer(whole, np.uint8), offsets, kinds)
    valid = np.packbits(kinds > 1, axis=1, bitorder="little")
    built = {}
    for i, name in enumerate(names):
        data = whole.slice(int(base[i]), int(sizes[i]))
        text = pa.StringArray.from_buffers(rows, pa.py_buffer(offsets[i]), data, pa.py_buffer(valid[i]))
        built[name] = Column(text, kinds[i])
    return built
