"""Time in equal steps, few enough to draw."""

from __future__ import annotations

from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

SECOND: Final = 1_000_000
DAY: Final = 86_400 * SECOND
STEPS: Final = tuple(
    SECOND * size
    for size in (1, 10, 60, 300, 900, 1800, 3600, 3 * 3600, 6 * 3600, 12 * 3600, 86_400, 7 * 86_400)
)
"""Lengths of a step that people know, in microseconds."""


def micros(times: pa.ChunkedArray) -> pa.ChunkedArray:
    """Give times in microseconds since 1970."""
    return times.cast(pa.timestamp("us", tz="UTC")).cast(pa.int64())


def step_of(times: pa.ChunkedArray, most: int) -> int:
    """Give the shortest known step of which at most `most` cover all times; in microseconds.

    Example:
        >>> step_of(pa.chunked_array([[0, 3_600_000_000]]), 60) // SECOND
        300
    """
    first, last = pc.min(times).as_py() or 0, pc.max(times).as_py() or 0
    known = (size for size in STEPS if last // size - first // size < most)
    return next(known, (last - first) // (most - 1) + 1)


def begins(times: pa.ChunkedArray, step: int) -> pa.ChunkedArray:
    """Give the start of the step of each time, in microseconds; times lie after 1970."""
    return pc.multiply(pc.divide(times, step), step)


def shown(times: pa.ChunkedArray) -> str:
    """Give the format of an axis over times in microseconds."""
    length = (pc.max(times).as_py() or 0) - (pc.min(times).as_py() or 0)
    known = ((3_600 * SECOND, "%H:%M:%S"), (DAY, "%H:%M"), (7 * DAY, "%m-%d %H:%M"))
    return next((form for most, form in known if length < most), "%Y-%m-%d")


def counted(table: pa.Table, keys: list[str]) -> pa.Table:
    """Count rows by keys: the keys, and `count_all`; sorted by the keys."""
    found = table.group_by(keys).aggregate([([], "count_all")]).select([*keys, "count_all"])
    return found.sort_by([(key, "ascending") for key in keys])


def text(table: pa.Table, name: str) -> pa.ChunkedArray:
    """Give a column as text; what is absent is `(none)`, and so is a column that isn't there."""
    if name not in table.column_names:
        return pa.chunked_array([pa.repeat(pa.scalar("(none)"), table.num_rows)])
    column = table[name]
    if pa.types.is_list(column.type):
        whole = column.combine_chunks()
        column = pa.chunked_array([pc.list_element(_never_empty(whole), 0)])
    return pc.fill_null(column.cast(pa.string()), "(none)")


def _never_empty(lists: pa.Array) -> pa.Array:
    return pa.array([one or [None] for one in lists.to_pylist()], lists.type)


def top(values: pa.ChunkedArray, most: int) -> tuple[pa.ChunkedArray, list[str]]:
    """Keep the most frequent values, the rest becomes `others`; gives the order too.

    Example:
        >>> kept, order = top(pa.chunked_array([["b", "a", "b", "c"]]), 2)
        >>> kept.to_pylist(), order
        (['b', 'a', 'b', 'others'], ['b', 'a', 'others'])
    """
    counts = pa.table({"value": values}).group_by("value").aggregate([([], "count_all")])
    ordered = counts.sort_by([("count_all", "descending"), ("value", "ascending")])["value"]
    if len(ordered) <= most:
        return values, ordered.to_pylist()
    kept = ordered.slice(0, most)
    named = pc.if_else(pc.is_in(values, value_set=kept.combine_chunks()), values, "others")
    return named, [*kept.to_pylist(), "others"]


def rows(table: pa.Table, names: dict[str, str]) -> list[dict[str, Any]]:
    """Give the rows of a table under the names that a picture uses."""
    return [
        dict(zip(names.values(), row, strict=True))
        for row in zip(*(table[name].to_pylist() for name in names), strict=True)
    ]
