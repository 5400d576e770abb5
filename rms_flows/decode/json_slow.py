"""JSON, record by record: decodes what the compiled loops leave out, and says what is wrong with the rest.

Gives the same columns as `json_scan` does; small inputs go this way alone.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, NoReturn

import numpy as np
import pyarrow as pa

from rms_flows.decode.contract import Failure
from rms_flows.decode.kinds import BOOLEAN, FLOAT, INTEGER, LIST, NULL, PLAIN

DEPTH: Final = 64
"""Deepest nesting of a record."""

_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class Column(NamedTuple):
    """A column as it was written: the text of each value and the value's kind."""

    text: pa.StringArray  # null where absent or null; strings unescaped, all else as its JSON text
    kinds: np.ndarray  # uint8, 0 where absent, else 1 + kind


class Integer(str):
    """A number as it was written."""

    __slots__ = ()


class Float(str):
    """A number with a point or an exponent, as it was written."""

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


FIELDS: Final = 2_000
"""Most different fields of an input: who makes up a name for each value would fill any memory."""


@dataclass(slots=True)
class _Growing:
    """A column that takes values only where there are some."""

    rows: list[int] = field(default_factory=list)
    texts: list[str | None] = field(default_factory=list)
    kinds: list[int] = field(default_factory=list)

    def finish(self, rows: int) -> Column:
        text = pa.array(self.texts, pa.string())
        kinds = np.array(self.kinds, np.uint8) + np.uint8(1)
        if len(self.rows) == rows:
            return Column(text, kinds)
        whole = np.zeros(rows, np.uint8)
        whole[self.rows] = kinds
        places = np.zeros(rows, np.int64)
        places[self.rows] = np.arange(len(self.rows))
        return Column(text.take(pa.array(places, mask=whole == 0)), whole)


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
    columns: dict[str, _Growing] = {}
    done: list[int] = []
    found = Read({}, np.empty(0, np.int64))
    for number, record in enumerate(records):
        try:
            flat = flatten(parse(record)) if record and not record.isspace() else None
            if flat is not None:
                _admit(flat, known)
        except (ValueError, RecursionError) as error:
            found.failures.append(Failure(number, getattr(error, "kind", "json"), _reason(error)))
            continue
        if flat is None:
            found.blank.append(number)
            continue
        for name, (text, kind) in flat.items():
            if wanted is None or name in wanted:
                column = columns.setdefault(name, _Growing())
                column.rows.append(len(done))
                column.texts.append(text)
                column.kinds.append(kind)
        done.append(number)
    found.record = np.array(done, np.int64)
    found.columns = {name: column.finish(len(done)) for name, column in columns.items()}
    return found


def _admit(flat: Mapping[str, object], known: set[str]) -> None:
    if not known.issuperset(flat):
        if len(known.union(flat)) > FIELDS:
            raise TooManyFieldsError(
                f"a field more than the {FIELDS:,} that an input may have; values belong in lists"
            )
        known.update(flat)


def _reason(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        return f"not JSON: {error.msg} at character {error.pos}; expected one JSON object a record"
    if isinstance(error, RecursionError):
        return f"nested too deep; expected at most {DEPTH} levels"
    return str(error)


def parse(record: bytes) -> Any:
    """Decode one JSON value strictly, numbers as they were written; raises ValueError that says why."""
    value = _DECODER.decode(record.decode())
    if _SURROGATE.search(record):
        try:
            _DUMP(value).encode()
        except UnicodeEncodeError:
            raise ValueError("half of a surrogate pair (\\ud800 to \\udfff); expected Unicode text") from None
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DuplicateKeyError(f"the key {twice!r} comes twice in one object; each may come once")
    return made


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON; expected a number or null")


_DECODER = json.JSONDecoder(
    parse_int=Integer, parse_float=Float, parse_constant=_constant, object_pairs_hook=_object
)
_DUMP = json.JSONEncoder(ensure_ascii=False).encode


def flatten(value: Any) -> dict[str, tuple[str | None, int]]:
    """Turn an object into dotted names → (text, kind); raises ValueError where two keys give one name."""
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {compact(value)[:40]}")  # noqa: TRY004  bad data, no bug
    flat: dict[str, tuple[str | None, int]] = {}
    _flatten(value, "", flat, 0)
    return flat


def _flatten(value: dict[str, Any], prefix: str, flat: dict[str, tuple[str | None, int]], depth: int) -> None:
    if depth > DEPTH:
        raise RecursionError
    for key, one in value.items():
        name = f"{prefix}{key}"
        if isinstance(one, dict):
            _flatten(one, f"{name}.", flat, depth + 1)
            continue
        if name in flat:
            raise DuplicateKeyError(f"two keys give the field {name!r}; each may come once")
        flat[name] = _leaf(one)


def _leaf(value: Any) -> tuple[str | None, int]:
    if value is None:
        return None, NULL
    if isinstance(value, Integer):
        return str(value), INTEGER
    if isinstance(value, Float):
        return str(value), FLOAT
    if isinstance(value, str):
        return value, PLAIN
    if isinstance(value, bool):
        return ("true" if value else "false"), BOOLEAN
    return compact(value), LIST


def compact(value: Any) -> str:
    """Write a value as JSON without blanks, numbers as they came.

    Example:
        >>> compact(parse(b'[1.50, {"a" : "x"}]'))
        '[1.50,{"a":"x"}]'
    """
    if isinstance(value, (Integer, Float)):
        return str(value)
    if isinstance(value, list):
        return "[" + ",".join(map(compact, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{_DUMP(key)}:{compact(one)}" for key, one in value.items()) + "}"
    return _DUMP(value)
