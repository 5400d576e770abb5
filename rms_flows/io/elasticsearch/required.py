"""A text that stands in every text in which a regular expression is found."""

from __future__ import annotations

import re
from typing import Final, NamedTuple

LEAST: Final = 3
"""Characters; a shorter text stands nearly everywhere."""

_FLAGS: Final = re.compile(r"\(\?([ims]+)\)")
_PIECE: Final = re.compile(
    r"""
    (?P<escape>\\(?:x\{[^}]*\}|p\{[^}]*\}|Q.*?\\E|.))
    | (?P<many>[*?]|\{[0-9]+(?:,[0-9]*)?\})
    | (?P<more>\+)
    | (?P<set>\[\^?\]?(?:\[:[a-z^]+:\]|\\.|[^\]\\])*\])
    | (?P<mark>[.^$()|])
    | (?P<plain>.)
    """,
    re.DOTALL | re.VERBOSE,
)


class Required(NamedTuple):
    """The text, and whether its case counts."""

    text: str
    cased: bool


def required(pattern: str) -> Required | None:
    r"""Find the longest such text outside of groups; None where there is none, or it is not easily told.

    Example:
        >>> required(r"(?i)port [0-9]{6} from\.here+s?"), required("(a|b)cd"), required("one|three")
        (Required(text=' from.here', cased=False), None, None)
    """
    begun = _FLAGS.match(pattern)
    flags, rest = (begun[1], pattern[begun.end() :]) if begun else ("", pattern)
    if re.search(r"\(\?(?!:|P?<)|\\[QxpP0-9]", rest):
        return None
    runs = [""]
    depth = 0
    for found in _PIECE.finditer(rest):
        kind, piece = str(found.lastgroup), found[0]
        depth += (piece == "(") - (piece == ")") if kind == "mark" else 0
        if depth == 0 and piece == "|" and kind == "mark":
            return None
        literal = _literal(kind, piece)
        if literal is not None and depth == 0:
            runs[-1] += literal
        elif kind == "many" and depth == 0:
            runs[-1] = runs[-1][:-1]
            runs.append("")
        elif runs[-1]:
            runs.append("")
    longest = max(runs, key=len)
    return Required(longest, "i" not in flags) if len(longest) >= LEAST else None


def _literal(kind: str, piece: str) -> str | None:
    """Give the character that a piece stands for; None where it may stand for several, or for none."""
    if kind == "escape":
        return None if piece[1].isalnum() else piece[1]
    return piece if kind == "plain" else None
