"""Groups and values of matches: fields of a batch → text, hash or number, worked out per distinct value."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.correlate.match import Ids, hashes, identify
from rms_flows.sigma import columns
from rms_flows.sigma.fold import fold
from rms_flows.sigma.tester import number
from rms_flows.sigma.verdicts import Value

_ESCAPED: Final = r'["\\\\\x00-\x1f\x7f]'
"""What JSON writes otherwise than it is."""

_MIX: Final = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Groups:
    """The group of each of some rows.

    Args:
        there: bool, whether it has one: a field that is absent or null leaves its event out.
        hash: uint64, of the name.
        name: string, a JSON object, name → value as text; null where there is no group.
    """

    there: np.ndarray
    hash: np.ndarray
    name: pa.Array

    def take(self, kept: np.ndarray) -> Groups:
        """Give some of the rows, by a mask."""
        return Groups(self.there[kept], self.hash[kept], self.name.filter(pa.array(kept)))


class Fields:
    """What groups and values are made of, in one batch; each field is worked out once.

    Args:
        batch: Observations.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self._batch = batch
        self._columns = columns.by_name(batch)
        self._encoded: dict[str, columns.Encoded | None] = {}
        self.time: np.ndarray = batch.column("@timestamp").cast(pa.int64()).to_numpy()

    def ids(self, rows: np.ndarray) -> Ids:
        """Give the ids of some rows, see `identify`."""
        ids = self._batch.column("event.id")
        return identify(ids if len(rows) == len(ids) else ids.take(pa.array(rows)))

    def groups(self, rows: np.ndarray, fields: Sequence[str], names: Sequence[str]) -> Groups:
        """Give the group of each row.

        Args:
            rows: int64.
            fields: Where its values stand in these events.
            names: What the group calls them.
        """
        codes, values = np.zeros(len(rows), np.int64), list[pa.Array]()
        for name in fields:
            part, texts = self._field(rows, name)
            if not values:
                codes, values = part, [texts]
                continue
            both, codes = np.unique(codes * len(texts) + part, return_inverse=True)
            values = [one.take(pa.array(both // len(texts))) for one in values]
            values.append(texts.take(pa.array(both % len(texts))))
        made = objects(names, values)
        name_of = made.take(pa.array(codes))
        there = made.is_valid().to_numpy(zero_copy_only=False)[codes]
        return Groups(there, hashes(made)[codes], name_of)

    def values(self, rows: np.ndarray, fields: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Give a hash of the values of each row, text folded, as int64, and which rows have them all."""
        whole, there = np.zeros(len(rows), np.uint64), np.ones(len(rows), dtype=bool)
        for name in fields:
            codes, texts = self._field(rows, name)
            whole = mixed(whole, folded_hashes(texts)[codes])
            there &= texts.is_valid().to_numpy(zero_copy_only=False)[codes]
        return whole.view(np.int64), there

    def numbers(self, rows: np.ndarray, fields: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Give the number of each row as bits of a float64, and which rows have one; text is parsed."""
        column = columns.find(self._columns, fields[0])
        if column is not None and (pa.types.is_floating(column.type) or pa.types.is_integer(column.type)):
            some = column.take(pa.array(rows))  # of few rows: a column may have many
            numbers = some.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
            return numbers.view(np.int64), np.isfinite(numbers)
        codes, texts = self._field(rows, fields[0])
        found = np.array([parsed(text) for text in texts.to_pylist()], np.float64)
        return found[codes].view(np.int64), np.isfinite(found)[codes]

    def _field(self, rows: np.ndarray, name: str) -> tuple[np.ndarray, pa.Array]:
        """Give a number for each row, and the distinct texts that these stand for."""
        if name not in self._encoded:
            column = columns.find(self._columns, name)
            self._encoded[name] = None if column is None else columns.encode(column)
        encoded = self._encoded[name]
        if encoded is None:
            return np.zeros(len(rows), np.int64), pa.nulls(1, pa.string())
        codes, null = encoded.codes[rows], len(encoded.values)
        used = np.zeros(null + 1, dtype=bool)
        used[codes] = True
        places = np.cumsum(used) - 1
        texts = _texts(encoded.values.take(pa.array(np.flatnonzero(used[:null]))))
        if used[null] or not len(texts):
            texts = pa.concat_arrays([texts, pa.nulls(1, pa.string())])
        return places[codes], texts


def _texts(values: pa.Array) -> pa.Array:
    """Write distinct values as strings; those of a list stand as JSON."""
    if pa.types.is_string(values.type):
        return values
    return pa.array([_text(value) for value in columns.texts(values)], pa.string())


def _text(value: Value | None) -> str | None:
    return value if isinstance(value, str) or value is None else msgspec.json.encode(value).decode()


def objects(names: Sequence[str], values: Sequence[pa.Array]) -> pa.Array:
    r"""Write JSON objects of texts, without blanks; null where a value is null.

    Args:
        names: Keys.
        values: string, one array a key, all of one length; without keys there is one object.

    Example:
        >>> objects(["a", "b"], [pa.array(["1", '"']), pa.array(["x", "y"])]).to_pylist()
        ['{"a":"1","b":"x"}', '{"a":"\\"","b":"y"}']
    """
    if not names:
        return pa.array(["{}"])
    escaped = np.zeros(len(values[0]), dtype=bool)
    parts: list[pa.Array | str] = []
    for place, (name, texts) in enumerate(zip(names, values, strict=True)):
        odd = pc.fill_null(pc.match_substring_regex(texts, _ESCAPED), False)
        escaped |= odd.to_numpy(zero_copy_only=False)
        key = msgspec.json.encode(name).decode()
        parts += [(f"{{{key}:" if place == 0 else f",{key}:") + '"', texts, '"']
    made = pc.binary_join_element_wise(*parts, "}", "")
    if escaped.any():
        rows = zip(*(texts.to_pylist() for texts in values), strict=True)
        whole = [
            None if None in row else msgspec.json.encode(dict(zip(names, row, strict=True))).decode()
            for row in rows
        ]
        made = pa.array(whole, pa.string())
    return made


def folded_hashes(texts: pa.Array) -> np.ndarray:
    """Hash texts without regard to case: uint64, 0 for null."""
    if pc.all(pc.string_is_ascii(texts), min_count=0).as_py():
        return hashes(pc.ascii_lower(texts))
    return hashes(pa.array([None if text is None else fold(text) for text in texts.to_pylist()], pa.string()))


def mixed(whole: np.ndarray, more: np.ndarray) -> np.ndarray:
    """Take another hash into account, in its place."""
    with np.errstate(over="ignore"):
        return np.asarray((whole ^ (whole >> np.uint64(29))) * _MIX + more)


def parsed(text: str | None) -> float:
    """Read a text as a finite number; NaN where it is none."""
    found = None if text is None else number(text)
    try:
        return math.nan if found is None else float(found)
    except OverflowError:  # an integer of hundreds of digits
        return math.nan
