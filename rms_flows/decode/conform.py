"""One name, one type: columns as they were written → columns as `schema.field_type` says, misfits kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode import clock
from rms_flows.decode.contract import Options
from rms_flows.decode.json_slow import compact, parse
from rms_flows.decode.kinds import ESCAPED, LIST, NULL, PLAIN
from rms_flows.schema import DICTIONARY, TEXTS, TIMESTAMP, field_type

Kinds = np.ndarray
"""uint8 a row, 0 where absent, else 1 + kind, see `decode.kinds`."""


_TEXT: Final = pa.string()
_LIST: Final = bytes((1 + LIST,))
_LIST_OR_NONE: Final = bytes((0, 1 + NULL, 1 + LIST))


class Typed(NamedTuple):
    """A column of its type, and the rows whose value did not fit it."""

    values: pa.Array
    misfit: np.ndarray | None  # bool; None where all fit


class Conformed(NamedTuple):
    """Columns of their types."""

    columns: dict[str, pa.Array]
    misfits: pa.Array | None  # JSON text a row, null where all fits; None where all fits in all rows


def conform(columns: Mapping[str, pa.Array], kinds: Mapping[str, Kinds], options: Options) -> Conformed:
    """Give each column its type; a value that does not fit is null and kept, as it came, with its row.

    Args:
        columns: Strings as they were written, or arrays that have a type already.
        kinds: For columns that come of JSON, how each value was written.
        options: How stamps are read.

    Example:
        >>> got = conform({"source.port": pa.array(["80", "http"])}, {}, Options())
        >>> got.columns["source.port"].to_pylist(), got.misfits.to_pylist()
        ([80, None], [None, '{"source.port":"http"}'])
    """
    typed: dict[str, pa.Array] = {}
    odd: dict[int, dict[str, str]] = {}
    for name, column in columns.items():
        kind, written = field_type(name), kinds.get(name)
        if column.type == kind and (written is None or (kind == _TEXT and not _has_lists(written))):
            typed[name] = column  # as nearly all are
            continue
        texts = column if pa.types.is_string(column.type) else column.cast(pa.string())
        if kind == pa.string():
            found = _strings(texts, written)
        elif kind == DICTIONARY:
            found = _strings(texts, written)
            found = Typed(found.values.dictionary_encode().cast(DICTIONARY), found.misfit)
        else:
            found = _READERS[kind](texts, written, options)
        typed[name] = found.values
        if found.misfit is None:
            continue
        for row in np.flatnonzero(found.misfit).tolist():
            text = texts[row].as_py()
            odd.setdefault(row, {})[name] = _as_json(text, written, row)
    return Conformed(typed, _objects(odd, columns) if odd else None)


def _as_json(text: str, written: Kinds | None, row: int) -> str:
    """Give back what stood in the document, without blanks."""
    if written is None or written[row] - 1 in {PLAIN, ESCAPED}:
        return json.dumps(text, ensure_ascii=False)
    return compact(parse(text.encode())) if written[row] == 1 + LIST else text


def _objects(odd: Mapping[int, Mapping[str, str]], columns: Mapping[str, pa.Array]) -> pa.Array:
    rows = len(next(iter(columns.values())))
    texts: list[str | None] = [None] * rows
    for row, values in odd.items():
        texts[row] = (
            "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in sorted(values.items())) + "}"
        )
    return pa.array(texts, pa.string())


def _strings(texts: pa.Array, written: Kinds | None) -> Typed:
    if written is None or not _has_lists(written):
        return Typed(texts, None)
    lists = written == 1 + LIST
    return Typed(pc.if_else(pa.array(lists), None, texts), lists)


def _has_lists(written: Kinds) -> bool:
    """Tell whether a column has lists; thousands of columns have none, and one pass over bytes says so."""
    return _LIST in written.tobytes()


def _numbers(pattern: str, kind: pa.DataType) -> Callable[[pa.Array, Kinds | None, Options], Typed]:
    def read(texts: pa.Array, written: Kinds | None, _options: Options) -> Typed:
        """Read numbers, also those written as strings; what JSON would not call a number is none."""
        words = texts.dictionary_encode()
        distinct = words.dictionary
        good = pc.match_substring_regex(distinct, pattern)
        plain = pc.replace_substring_regex(pc.if_else(good, distinct, None), r"\.0+$", "")
        try:
            values = plain.cast(kind)
        except pa.ArrowInvalid:  # one is out of range
            values = pa.array([_within(text, kind) for text in plain.to_pylist()], kind)
        found = values.take(words.indices)
        return Typed(found, _lost(texts, found, written))

    return read


def _within(text: str | None, kind: pa.DataType) -> int | float | None:
    if text is None:
        return None
    if kind == pa.int64():
        return number if -(2**63) <= (number := int(text)) < 2**63 else None
    return float(text)


def _lost(texts: pa.Array, found: pa.Array, written: Kinds | None) -> np.ndarray:
    """Mark values that were there before and are not now."""
    lost = np.asarray(pc.and_(texts.is_valid(), found.is_null()).to_numpy(zero_copy_only=False), np.bool_)
    return lost if written is None else lost & (written != 1 + NULL)


def _bytes(texts: pa.Array, written: Kinds | None, _options: Options) -> Typed:
    """Take the bytes of a text, which is a raw record that another collector kept."""
    found = _strings(texts, written)
    return Typed(found.values.cast(pa.binary()), found.misfit)


def _stamps(texts: pa.Array, written: Kinds | None, options: Options) -> Typed:
    values = clock.parse(texts, options).values
    return Typed(values, _lost(texts, values, written))


def _booleans(texts: pa.Array, written: Kinds | None, _options: Options) -> Typed:
    good = pc.is_in(texts, pa.array(["true", "false"]))
    values = pc.if_else(good, texts, None).cast(pa.bool_())
    return Typed(values, _lost(texts, values, written))


def _lists(texts: pa.Array, written: Kinds | None, _options: Options) -> Typed:
    """Read lists of text; one value is a list of one, a list with a list or an object in it is none."""
    words = texts.dictionary_encode()
    if written is None or not _has_lists(written):
        offsets = pa.array(np.arange(len(texts) + 1), pa.int32())
        values = pa.ListArray.from_arrays(offsets, texts, mask=texts.is_null())
        return Typed(values, None)
    lists = pa.array([_elements(text) for text in words.dictionary.to_pylist()], TEXTS).take(words.indices)
    if not written.tobytes().translate(None, _LIST_OR_NONE):  # there is nothing else
        return Typed(lists, _lost(texts, lists, written))
    single = pa.array([[text] for text in words.dictionary.to_pylist()], TEXTS).take(words.indices)
    values = pc.if_else(pa.array(written == 1 + LIST), lists, single)
    return Typed(values, _lost(texts, values, written))


def _elements(text: str) -> list[str] | None:
    try:
        found = json.loads(text, parse_int=str, parse_float=str)
    except ValueError:
        return None
    if not isinstance(found, list) or any(isinstance(value, (list, dict)) for value in found):
        return None
    names = {True: "true", False: "false"}
    return [names[v] if isinstance(v, bool) else v for v in found if v is not None]


_READERS: Mapping[pa.DataType, Callable[[pa.Array, Kinds | None, Options], Typed]] = {
    pa.int64(): _numbers(r"^-?(?:0|[1-9]\d{0,18})(?:\.0+)?$", pa.int64()),
    pa.float64(): _numbers(r"^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?$", pa.float64()),
    pa.bool_(): _booleans,
    pa.binary(): _bytes,
    TIMESTAMP: _stamps,
    TEXTS: _lists,
}
