"""Tables in a notebook: everything that came from data is text, never markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import Any, Final

ROWS: Final = 20
"""Most rows of a representation."""
WIDE: Final = 80
"""Most characters of a cell; the whole text is its tooltip."""

_LEFT: Final = ' style="text-align: left; white-space: nowrap"'
"""Jupyter sets all cells to the right, and breaks their lines."""


def text(value: Any) -> str:
    """Write a value on one line.

    Example:
        >>> text([1, 2]), text(None), text(datetime(2026, 3, 14, 1, 2, 3))
        ('1, 2', '', '2026-03-14 01:02:03')
    """
    if value is None:
        return ""
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}" + (f".{value:%f}".rstrip("0") if value.microsecond else "")
    if isinstance(value, list | tuple):
        return ", ".join(map(text, value))
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)  # noqa: PLR2004  four digits read well
    return " ".join(str(value).split())


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "") -> str:
    """Write an HTML table.

    Args:
        heads: Of the columns.
        rows: As many cells each.
        caption: Above it.

    Example:
        >>> table(["a"], [["<b>"]])
        '<table><thead><tr><th ...>a</th></tr></thead><tbody><tr><td ...>&lt;b&gt;</td></tr></tbody></table>'
    """
    above = f'<caption style="caption-side: top; text-align: left">{escape(caption)}</caption>'
    head = "".join(f"<th{_LEFT}>{escape(one)}</th>" for one in heads)
    body = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f"<table>{above if caption else ''}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    whole = text(value)
    style = "" if isinstance(value, int | float) and not isinstance(value, bool) else _LEFT
    if len(whole) <= WIDE:
        return f"<td{style}>{escape(whole)}</td>"
    return f'<td{style} title="{escape(whole)}">{escape(whole[: WIDE - 1])}…</td>'


def paragraph(words: str) -> str:
    """Write a line of text as HTML."""
    return f"<p>{escape(words)}</p>"
