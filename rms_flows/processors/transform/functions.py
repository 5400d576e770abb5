"""The functions of expressions, each over whole columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.processors.transform.kinds import (
    KINDS,
    Kind,
    Part,
    WrongKindError,
    alike,
    as_kind,
    common,
    written,
)
from rms_flows.processors.transform.numbers import fitting, floats, whole

LONGEST_TEXT: Final = 32_766
"""Bytes that a joined text may have, the longest term of Lucene; times the rows of a batch within 2 GiB."""


def _one(name: str, arguments: Sequence[Part]) -> Part:
    if len(arguments) != 1:
        raise WrongKindError(f"{name} takes one value, not {len(arguments)}")
    return arguments[0]


def _of_text(name: str, function: Callable[[pa.Array], pa.Array], kind: Kind, given: Sequence[Part]) -> Part:
    one = as_kind(_one(name, given), "text")
    return Part(kind, lambda batch: function(one.run(batch)).cast(KINDS[kind]), one.reads)


def _asked(name: str, function: Callable[..., pa.Array], arguments: Sequence[Part]) -> Part:
    """Ask a text for a literal."""
    if len(arguments) != 2 or not isinstance(arguments[1].literal, str):  # noqa: PLR2004  as the message says
        raise WrongKindError(f"{name} takes a text and, in quotes, what to look for")
    one, pattern = as_kind(arguments[0], "text"), arguments[1].literal
    try:
        function(pa.array([""]), pattern)
    except pa.ArrowInvalid:
        raise WrongKindError(f"{pattern!r} is no regular expression", "write one of RE2") from None
    return Part("truth", lambda batch: function(one.run(batch), pattern), one.reads)


def _length(arguments: Sequence[Part]) -> Part:
    one = _one("length", arguments)
    if one.kind == "list":
        return Part("integer", lambda batch: pc.list_value_length(one.run(batch)).cast(pa.int64()), one.reads)
    return _of_text("length", pc.utf8_length, "integer", arguments)


def _first(arguments: Sequence[Part]) -> Part:
    one = as_kind(_one("first", arguments), "list")

    def run(batch: pa.RecordBatch) -> pa.Array:
        lists = one.run(batch)
        some = pc.greater(pc.list_value_length(lists), 0)
        return pc.list_element(pc.if_else(some, lists, pa.scalar([None], lists.type)), 0)

    return Part("text", run, one.reads)


def _text(arguments: Sequence[Part]) -> Part:
    one = _one("text", arguments)
    if one.kind == "list":
        raise WrongKindError("text takes a single value, not a list", "use first(…)")
    return Part("text", lambda batch: written(one.run(batch)), one.reads)


def _concat(arguments: Sequence[Part]) -> Part:
    if not arguments:
        raise WrongKindError("concat takes at least one value")
    parts = [_text([one]) for one in arguments]

    def run(batch: pa.RecordBatch) -> pa.Array:
        texts = [one.run(batch) for one in parts]
        size = pc.binary_length(texts[0]).cast(pa.int64())
        for text in texts[1:]:
            size = pc.add(size, pc.binary_length(text))
        fits = pc.less_equal(size, LONGEST_TEXT)
        return pc.binary_join_element_wise(*(pc.if_else(fits, text, None) for text in texts), "")

    return Part("text", run, common(parts))


def _coalesce(arguments: Sequence[Part]) -> Part:
    if not arguments:
        raise WrongKindError("coalesce takes at least one value")
    parts = alike(arguments, "chosen from")
    return Part(parts[0].kind, lambda batch: pc.coalesce(*(one.run(batch) for one in parts)), common(parts))


def _number(arguments: Sequence[Part]) -> Part:
    one = _one("number", arguments)
    loose = Part(one.kind, one.run, one.reads, loose=one.kind == "text")
    return as_kind(loose, "number")


def _round(arguments: Sequence[Part]) -> Part:
    one = as_kind(_one("round", arguments), "number")
    return Part("integer", lambda batch: fitting(pc.round(one.run(batch))), one.reads)


def _abs(arguments: Sequence[Part]) -> Part:
    one = _one("abs", arguments)
    if one.kind != "integer":
        one = as_kind(one, "number")
        return Part("number", lambda batch: floats(pc.abs(one.run(batch))), one.reads)

    def run(batch: pa.RecordBatch) -> pa.Array:
        values = one.run(batch)
        return pc.if_else(pc.less(values, 0), whole("-", pa.repeat(0, len(values)), values), values)

    return Part("integer", run, one.reads)


def _hour(arguments: Sequence[Part]) -> Part:
    one = as_kind(_one("hour", arguments), "time")
    return Part("integer", lambda batch: pc.hour(one.run(batch)), one.reads)


def _is_null(arguments: Sequence[Part]) -> Part:
    one = _one("is_null", arguments)
    return Part("truth", lambda batch: pc.is_null(one.run(batch)), one.reads)


FUNCTIONS: Final[Mapping[str, Callable[[Sequence[Any]], Part]]] = {
    "abs": _abs,
    "coalesce": _coalesce,
    "concat": _concat,
    "contains": partial(_asked, "contains", pc.match_substring),
    "ends_with": partial(_asked, "ends_with", pc.ends_with),
    "first": _first,
    "hour": _hour,
    "is_null": _is_null,
    "length": _length,
    "lower": partial(_of_text, "lower", pc.utf8_lower, "text"),
    "matches": partial(_asked, "matches", pc.match_substring_regex),
    "number": _number,
    "round": _round,
    "starts_with": partial(_asked, "starts_with", pc.starts_with),
    "text": _text,
    "trim": partial(_of_text, "trim", pc.utf8_trim_whitespace, "text"),
    "upper": partial(_of_text, "upper", pc.utf8_upper, "text"),
}
"""By name."""
