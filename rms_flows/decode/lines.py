"""What the decoders of line logs share: patterns over columns of lines, and the fate of each line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rms_flows.decode.contract import Failure, Parsed
from rms_flows.schema import DICTIONARY

ADDRESS = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+(?:%[A-Za-z0-9]+)?"
"""An IPv4 or IPv6 address, loosely."""

Columns = dict[str, pa.Array]


def texts(records: Sequence[bytes]) -> pa.StringArray:
    """Give lines as one column; they were found to be UTF-8 before."""
    return pa.array(records, pa.binary()).cast(pa.string())


def mask(values: pa.Array) -> np.ndarray:
    """Give booleans to NumPy, null as false."""
    found = pc.fill_null(values, False)
    return np.asarray(found.to_numpy(zero_copy_only=False), np.bool_)


def extract(lines: pa.Array, pattern: str) -> Columns:
    r"""Give the named groups of an RE2 pattern as columns, null where nothing matches or a group is empty.

    Example:
        >>> extract(pa.array(["a=1", "b"]), r"^(?P<name>\w)=(?P<value>\d)$")["value"].to_pylist()
        ['1', None]
    """
    found = pc.extract_regex(lines, pattern)
    groups = {found.type.field(i).name: pc.struct_field(found, [i]) for i in range(found.type.num_fields)}
    return {name: pc.if_else(pc.equal(values, ""), None, values) for name, values in groups.items()}


def first(columns: Sequence[Columns]) -> Columns:
    """Join columns of several patterns: of each name the first that is not null."""
    joined: Columns = {}
    for one in columns:
        for name, values in one.items():
            joined[name] = pc.coalesce(joined[name], values) if name in joined else values
    return joined


def spread(columns: Mapping[str, pa.Array], rows: np.ndarray, length: int) -> Columns:
    """Put columns of some rows at their places among `length` rows, null elsewhere."""
    places = np.zeros(length, np.int64)
    places[rows] = np.arange(len(rows))
    absent = np.ones(length, np.bool_)
    absent[rows] = False
    indices = pa.array(places, mask=absent)
    return {name: values.take(indices) for name, values in columns.items()}


def constant(text: str, where: pa.Array) -> pa.Array:
    """Give a text where a condition is true, else null."""
    return pc.if_else(pc.fill_null(where, False), text, pa.scalar(None, pa.string()))


def dictionary(values: pa.Array) -> pa.Array:
    """Encode a column of few distinct values."""
    return values.dictionary_encode().cast(DICTIONARY)


class Form(NamedTuple):
    """A form of message: its pattern, the action that it tells of, and how that ended."""

    pattern: str
    action: str
    outcome: str | None


def said(forms: Sequence[Form], message: pa.Array) -> Columns:
    """Read messages by the first form that each has: the groups of all patterns, `action` and `outcome`."""
    return first([_said(form, message) for form in forms])


def _said(form: Form, message: pa.Array) -> Columns:
    columns = extract(message, form.pattern)
    hit = reduce(pc.or_, (values.is_valid() for values in columns.values()))
    none = pa.nulls(len(message), pa.string())
    columns["action"] = constant(form.action, hit)
    columns["outcome"] = constant(form.outcome, hit) if form.outcome else none
    return columns


def settle(
    lines: pa.Array, columns: Columns, times: pa.Array, form: pa.Array, kind: str, reasons: tuple[str, str]
) -> Parsed:
    """Give each line its fate: a row, blank, or a failure.

    Args:
        lines: What was read.
        columns: Over all lines.
        times: The time of each, null where there is none.
        form: Where the line has the format's form.
        kind: `error.type` of lines that have another form.
        reasons: Why such lines fail, and why those without a time do.
    """
    blank = mask(pc.equal(pc.utf8_length(pc.utf8_trim_whitespace(lines)), 0))
    known, there = mask(form), mask(times.is_valid())
    rows = known & there & ~blank
    failures = [Failure(row, kind, reasons[0]) for row in np.flatnonzero(~known & ~blank).tolist()]
    failures += [
        Failure(row, "timestamp", reasons[1]) for row in np.flatnonzero(known & ~there & ~blank).tolist()
    ]
    whole = {"@timestamp": times, **columns}
    if not rows.all():
        kept = pa.array(rows)
        whole = {name: values.filter(kept) for name, values in whole.items()}
    return Parsed(whole, {}, np.flatnonzero(rows), failures, np.flatnonzero(blank).tolist())
