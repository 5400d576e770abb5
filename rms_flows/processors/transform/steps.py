"""The steps of `transform`: each an entry of the document made into a function from batch to batch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.errors import DocumentError
from rms_flows.processors.filter import numbers
from rms_flows.processors.parameters import inside
from rms_flows.processors.transform import mask, table, units
from rms_flows.processors.transform.columns import (
    ORIGINAL,
    is_ours,
    may_change,
    plain,
    put,
    put_as_written,
    read,
    without,
)
from rms_flows.processors.transform.expression import compile_expression
from rms_flows.processors.transform.kinds import Part, WrongKindError, as_kind, written
from rms_flows.processors.transform.numbers import fitting
from rms_flows.schema import MISFIT, TEXTS, TIMESTAMP

Run = Callable[[pa.RecordBatch], pa.RecordBatch]


@dataclass(frozen=True, slots=True)
class Made:
    """A step made ready.

    Args:
        run: Batch → batch with the same rows.
        reads: Fields that it looks at.
        adds: Fields that it may make.
        key: Stands for what is read beside the document, in the hash of what the processor does.
        file: Where that lies.
    """

    run: Run
    reads: frozenset[str] = frozenset()
    adds: frozenset[str] = frozenset()
    key: str = ""
    file: Path | None = None


def make_step(entry: object, folder: Path, where: str) -> Made:
    """Make a step of its entry.

    Args:
        entry: `{rename: {old: new}}`.
        folder: Where relative paths begin.
        where: Names the entry in errors.

    Raises:
        DocumentError: It is none, or can't be made.
    """
    if not isinstance(entry, dict) or len(entry) != 1:
        raise DocumentError(
            f"expected a step, not {entry!r}", where=where, remedy=f"each has one key of {', '.join(_STEPS)}"
        )
    [(name, value)] = entry.items()
    if name not in _STEPS:
        raise DocumentError(
            f"no step is called {name!r}", where=where, remedy=f"there are {', '.join(_STEPS)}"
        )
    return _STEPS[name](value, folder, f"{where}.{name}")


def _keys(value: object, needed: str, where: str, more: str = "") -> Mapping[str, Any]:
    wanted, known = needed.split(), [*needed.split(), *more.split()]
    remedy = f"it has {', '.join(known)}"
    if not isinstance(value, dict):
        raise DocumentError(f"expected an object, not {value!r}", where=where, remedy=remedy)
    for key in value:
        if key not in known:
            raise DocumentError(f"no such key: {key!r}", where=where, remedy=remedy)
    for key in wanted:
        if key not in value:
            raise DocumentError(f"{key!r} is missing", where=where, remedy=remedy)
    return value


def _rename(value: object, _folder: Path, where: str) -> Made:
    if not isinstance(value, dict) or not value:
        raise DocumentError("expected old names and new ones", where=where, remedy="write {old: new}")
    pairs = [(may_change(old, where), may_change(new, where)) for old, new in value.items()]
    olds, news = frozenset(old for old, _ in pairs), frozenset(new for _, new in pairs)
    if len(news) < len(pairs) or olds & news:
        raise DocumentError(
            "a name stands there twice", where=where, remedy="rename one by one, in steps of their own"
        )
    for old, new in pairs:
        if (plain(old) == TEXTS) != (plain(new) == TEXTS):
            raise DocumentError(
                f"{old!r} holds {plain(old)}, and {new!r} {plain(new)}",
                where=where,
                remedy="derive the one from the other, with first(…)",
            )

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        for old, new in pairs:
            if old not in batch.schema.names:
                continue
            values, there = read(batch, old), read(batch, new)
            batch = put_as_written(batch.drop_columns([old]), new, values)
            if there.null_count < len(there):  # where there is no old one, the new one stays as it was
                known = read(batch, new)
                batch = put(batch, new, pc.if_else(pc.is_valid(values), known, there))
        return batch

    return Made(run, olds | news, news)


def _drop(value: object, _folder: Path, where: str) -> Made:
    if not isinstance(value, list) or not value or not all(isinstance(one, str) for one in value):
        raise DocumentError(
            f"expected a list of names, not {value!r}", where=where, remedy="write names or patterns: user.*"
        )
    for one in value:
        if one != ORIGINAL:
            may_change(one, where)

    def gone(name: str) -> bool:
        spared = is_ours(name) and name != ORIGINAL
        return not spared and any(fnmatchcase(name, pattern) for pattern in value)

    return Made(lambda batch: without(batch, frozenset(filter(gone, batch.schema.names))))


def _convert(value: object, _folder: Path, where: str) -> Made:
    given = _keys(value, "field from to", where, "into")
    field = may_change(given["field"], where)
    into = may_change(given.get("into", field), where)
    factor, shift = units.factors(given["from"], given["to"], where)
    for name in (field, into):
        if plain(name) in {TEXTS, TIMESTAMP}:
            raise DocumentError(
                f"{name!r} holds {plain(name)}, no numbers", where=where, remedy="name a field of numbers"
            )

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        if field not in batch.schema.names:
            return batch
        values = read(batch, field)
        known = numbers(values) if pa.types.is_string(values.type) else values
        made = units.converted(known, factor, shift)
        if plain(into) == pa.int64() and pa.types.is_floating(made.type):
            made = fitting(pc.round(made))
        made = written(made) if plain(into) == pa.string() else made.cast(plain(into))
        left = read(batch, into)  # where there is no number, it stays as it was
        return put(batch, into, pc.if_else(pc.is_valid(known), made, left))

    return Made(run, frozenset({field, into}), frozenset({into}))


def _derive(value: object, _folder: Path, where: str) -> Made:
    given = _keys(value, "field expression", where)
    field = may_change(given["field"], where)
    part = compile_expression(str(given["expression"]), f"{where}.expression")
    try:
        fitted = _fitted(part, plain(field))
    except WrongKindError as error:
        raise DocumentError(
            f"{field!r} holds {plain(field)}, and the expression gives a value of kind {part.kind}",
            where=where,
            remedy=error.remedy,
        ) from None
    return Made(lambda batch: put(batch, field, fitted.run(batch)), part.reads, frozenset({field}))


def _fitted(part: Part, kind: pa.DataType) -> Part:
    """Give the values of an expression as a field holds them."""
    if part.kind == "null" or (part.kind == "list") != (kind == TEXTS):
        raise WrongKindError("", "use first(…) of a list, or name another field")
    if kind == pa.string():
        return Part("text", lambda batch: written(part.run(batch)), part.reads)
    if kind == pa.float64():
        return as_kind(part, "number")
    if kind == pa.int64() and part.kind != "integer":
        raise WrongKindError("", "round(…) it, or name another field")
    if kind == TIMESTAMP:
        return as_kind(part, "time")
    return part


def _enrich(value: object, folder: Path, where: str) -> Made:
    given = _keys(value, "field table key fields", where, "match")
    field, match, wanted = given["field"], given.get("match", "exact"), given["fields"]
    if match not in {"exact", "cidr"}:
        raise DocumentError(
            f"no match is called {match!r}", where=f"{where}.match", remedy="it is exact or cidr"
        )
    named = dict.fromkeys(wanted) if isinstance(wanted, list) else wanted
    if not isinstance(named, dict) or not named:
        raise DocumentError(
            f"expected columns of the table, not {wanted!r}",
            where=f"{where}.fields",
            remedy="write [column, …] or {column: field}",
        )
    fields = {str(one): may_change(other or one, f"{where}.fields") for one, other in named.items()}
    for one in fields.values():
        if plain(one) == TEXTS:
            raise DocumentError(
                f"{one!r} holds lists, and a table single values",
                where=f"{where}.fields",
                remedy="name another",
            )
    path = inside(folder, str(given["table"]), f"{where}.table")
    known = table.load(path, str(given["key"]), fields, match, f"{where}.table")

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        values = read(batch, str(field))
        values = values if values.type == TEXTS else written(values)
        rows = table.looked_up(values, known.find)
        for name, column in known.columns.items():
            batch = put(batch, name, pc.coalesce(column.take(rows), read(batch, name)))
        return batch

    targets = frozenset(fields.values())
    return Made(run, targets | {str(field)}, targets, path.read_text(encoding="utf-8-sig"), path)


def _mask(value: object, folder: Path, where: str) -> Made:
    given = _keys(value, "fields key_file", where)
    fields = given["fields"]
    if not isinstance(fields, list) or not fields:
        raise DocumentError(
            f"expected a list of names, not {fields!r}",
            where=f"{where}.fields",
            remedy="write [user.name, …]",
        )
    for name in fields:
        if plain(may_change(name, f"{where}.fields")) not in {pa.string(), TEXTS}:
            raise DocumentError(
                f"{name!r} holds {plain(name)}, which can't hold a hash",
                where=f"{where}.fields",
                remedy="drop it, or derive a text from it first",
            )
    file = inside(folder, str(given["key_file"]), f"{where}.key_file")
    key = mask.load_key(file, f"{where}.key_file")

    def run(batch: pa.RecordBatch) -> pa.RecordBatch:
        for name in fields:
            if name in batch.schema.names:
                batch = put(batch, name, mask.masked(read(batch, name), key))
        return without(batch, frozenset({ORIGINAL, MISFIT}))  # what was masked stands there, too

    return Made(run, key=mask.pseudonym(key, ""), file=file)


_STEPS: Final[Mapping[str, Callable[[object, Path, str], Made]]] = {
    "rename": _rename,
    "drop": _drop,
    "convert": _convert,
    "derive": _derive,
    "enrich": _enrich,
    "mask": _mask,
}
