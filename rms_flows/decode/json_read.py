"""JSON records → columns as they were written: text and kind of each value.

`msgspec` decodes them. It keeps the last of two equal keys and says little about what is wrong, so a record
in which keys may be missing, or that it refuses, is decoded once more by `json`, strictly and with a reason.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.decode.contract import Failure
from rms_flows.decode.kinds import BOOLEAN, FLOAT, INTEGER, LIST, NULL, TEXT

DEPTH: Final = 64
"""Deepest nesting of a record."""

FIELDS: Final = 2_000
"""Most different fields of an input: who makes up a name for each value would fill any memory."""


class Column(NamedTuple):
    """A column as it was written: the text of each value and the value's kind."""

    text: pa.StringArray  # null where absent or null; strings unescaped, all else as its JSON text
    kinds: np.ndarray  # uint8, 0 where absent, else 1 + kind


class Number(str):
    """A number as it was written."""

    __slots__ = ()


class DuplicateKeyError(ValueError):
    """A key that comes twice in one object."""

    kind = "duplicate-key"


class TooManyFieldsError(ValueError):
    """A record with a field too many for its input."""

    kind = "too-many-fields"


@dataclass(slots=True)
class Read:
    """What records gave.

    Args:
        columns: Over the rows.
        record: The record of each row.
        failures: Records that could not be decoded.
        blank: Records without a value.
    """

    columns: dict[str, Column]
    record: np.ndarray
    failures: list[Failure] = field(default_factory=list)
    blank: list[int] = field(default_factory=list)


def read(
    records: Sequence[bytes], wanted: frozenset[str] | None = None, known: set[str] | None = None
) -> Read:
    """Decode records of one JSON object each.

    Args:
        records: UTF-8.
        wanted: Dotted names of the columns to give; None gives all.
        known: Names of the fields that the input had so far; takes new ones up to `FIELDS`.

    Example:
        >>> got = read([b'{"a": {"b": 1e3}}', b'{"a": 1, "a": 2}', b""])
        >>> got.columns["a.b"].text.to_pylist(), got.failures[0].reason, got.blank
        (['1e3'], "the key 'a' comes twice in one object; each may come once", [2])
    """
    known = set() if known is None else known
    growing: dict[str, tuple[list[int], list[Any]]] = {}
    found = Read({}, np.empty(0, np.int64))
    done: list[int] = []
    for number, record in enumerate(records):
        try:
            flat = _flat(record)
            if flat is None:
                found.blank.append(number)
                continue
            if not known.issuperset(flat):
                _admit(flat, known)
        except (ValueError, RecursionError) as error:
            found.failures.append(Failure(number, getattr(error, "kind", "json"), _reason(error)))
            continue
        row = len(done)
        done.append(number)
        for name, value in flat.items():
            if wanted is None or name in wanted:
                column = growing.get(name)
                if column is None:
                    column = growing[name] = ([], [])
                column[0].append(row)
                column[1].append(value)
    found.record = np.array(done, np.int64)
    found.columns = {name: _column(*column, len(done)) for name, column in growing.items()}
    return found


def _flat(record: bytes) -> dict[str, Any] | None:
    """Decode a record to dotted names; None for a blank one, ValueError or RecursionError for a bad one."""
    try:
        value = _FAST(record)
    except (msgspec.DecodeError, RecursionError):
        return _strict(record) if record and not record.isspace() else None
    if type(value) is dict:
        # Each key ends with a quote and a colon. Should some text hold these too, or a blank stand between,
        # the numbers differ and the strict way decides.
        keys = record.count(b'":')
        if keys == len(value) and b"{}" not in record:
            return value
        flat: dict[str, Any] = {}
        if _flatten(value, "", flat, 0) == keys:
            return flat
    return _strict(record)


def _flatten(value: dict[str, Any], prefix: str, flat: dict[str, Any], depth: int) -> int:
    """Add an object's leaves under dotted names; give the number of all keys, also those within lists."""
    if depth > DEPTH:
        raise RecursionError
    count = len(value)
    for key, one in value.items():
        name = prefix + key
        kind = type(one)
        if kind is dict:
            count += _flatten(one, f"{name}.", flat, depth + 1)
            continue
        if kind is list:
            count += _keys(one)
        if name in flat:
            raise DuplicateKeyError(f"two keys give the field {name!r}; each may come once")
        flat[name] = one
    return count


def _keys(value: Any) -> int:
    """Count the keys of all objects in a list."""
    if isinstance(value, list):
        return sum(map(_keys, value))
    return len(value) + sum(map(_keys, value.values())) if isinstance(value, dict) else 0


def _admit(flat: Mapping[str, object], known: set[str]) -> None:
    if len(known.union(flat)) > FIELDS:
        raise TooManyFieldsError(
            f"a field more than the {FIELDS:,} that an input may have; values belong in lists"
        )
    known.update(flat)


def _column(rows: list[int], values: list[Any], length: int) -> Column:
    """Make a column of the values of some rows."""
    kinds: np.ndarray
    types = set(map(type, values))
    if len(types) == 1 and (kind := _PLAIN.get(types.pop())):
        kinds = np.full(len(values), kind, np.uint8)
        text = pa.array(values if kind == 1 + TEXT else list(map(str, values)), pa.string())
    else:
        written = [_leaf(value) for value in values]
        text = pa.array([one for one, _ in written], pa.string())
        kinds = np.array([kind for _, kind in written], np.uint8)
    if len(rows) == length:
        return Column(text, kinds)
    whole, places = np.zeros(length, np.uint8), np.zeros(length, np.int64)
    whole[rows], places[rows] = kinds, np.arange(len(rows))
    absent = np.ones(length, np.bool_)
    absent[rows] = False
    return Column(text.take(pa.array(places, mask=absent)), whole)


_PLAIN: Final[Mapping[type, int]] = {str: 1 + TEXT, int: 1 + INTEGER, Number: 1 + FLOAT}
"""Types whose text is that of Python."""


def _leaf(value: Any) -> tuple[str | None, int]:
    """Give text and 1 + kind of a value; an empty object is nothing."""
    kind = type(value)
    if plain := _PLAIN.get(kind):
        return str(value), plain
    if value is None:
        return None, 1 + NULL
    if kind is bool:
        return ("true" if value else "false"), 1 + BOOLEAN
    return (compact(value), 1 + LIST) if kind is list else (None, 0)


def compact(value: Any) -> str:
    """Write a value as JSON without blanks, numbers as they came.

    Example:
        >>> compact(parse(b'[1.50, {"a" : "x"}]'))
        '[1.50,{"a":"x"}]'
    """
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_DUMP(key)}:{compact(one)}" for key, one in value.items()) + "}"
    return _DUMP(value)


def parse(record: bytes) -> Any:
    """Decode one JSON value strictly, numbers with a point as they were written; ValueError says why not."""
    value = _STRICT.decode(record.decode())
    try:
        _DUMP(value).encode()
    except UnicodeEncodeError:
        raise ValueError("half of a surrogate pair (\\ud800 to \\udfff); expected Unicode text") from None
    return value


def _strict(record: bytes) -> dict[str, Any]:
    value = parse(record)
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {compact(value)[:40]}")  # noqa: TRY004  bad data, no bug
    flat: dict[str, Any] = {}
    _flatten(value, "", flat, 0)
    return flat


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos}; expected one JSON object a record"
    if isinstance(error, RecursionError):
        return f"nested too deep; expected at most {DEPTH} levels"
    return str(error)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(f"the key {twice!r} comes twice in one object; each may come once")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a number or null")


_FAST: Final = msgspec.json.Decoder(float_hook=Number).decode
_STRICT: Final = json.JSONDecoder(parse_float=Number, parse_constant=_constant, object_pairs_hook=_object)
_DUMP: Final = json.JSONEncoder(ensure_ascii=False).encode
