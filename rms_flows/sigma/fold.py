"""Case folding of text: the simple folding of Unicode, character for character.

Python's `casefold` is the full folding, which changes lengths (`ß` becomes `ss`) and with them what a
wildcard `?` stands for; `lower` depends on neighbors (the Greek sigma). Here each character has one folded
form.
"""

from __future__ import annotations

import re
from itertools import chain
from typing import Final

# Added to the simple foldings by Unicode 15.1; Python has no lower case for them.
_LATER = {0x1FD3: 0x0390, 0x1FE3: 0x03B0, 0xFB05: 0xFB06}

_LAST: Final = 0x1FFFF
"""No character of a later plane has case."""


_BLOCK: Final = 128
"""Characters of which most have no case together."""


def _table() -> dict[int, int]:
    table = dict(_LATER)
    blocks = ("".join(map(chr, range(first, first + _BLOCK))) for first in range(_BLOCK, _LAST, _BLOCK))
    for char in chain.from_iterable(block for block in blocks if block.casefold() != block):
        folded = char.casefold()
        if len(folded) > 1:  # only a full folding: the simple one is the lower case, if that is one character
            folded = char.lower()
        if len(folded) == 1 and folded != char:
            table[ord(char)] = ord(folded)
    return table


_FOLDED: dict[int, int] = {}
_OTHERS: Final = re.compile(r"[^\x00-\x7f]+")
"""A table is looked up character by character; the rest is ASCII, which bytes fold at once."""


def fold(text: str) -> str:
    r"""Fold the case of `text`; the length in characters stays.

    Example:
        >>> fold("PowerShell"), fold("STRASSE ẞ"), ascii(fold("\u03a3"))
        ('powershell', 'strasse ß', "'\\u03c3'")
    """
    if text.isascii():
        return text.lower()
    if not _FOLDED:  # made at the first need: importing the package costs nothing
        _FOLDED.update(_table())
    folded = _OTHERS.sub(lambda found: found[0].translate(_FOLDED), text)
    return folded.encode("utf-8", "surrogatepass").lower().decode("utf-8", "surrogatepass")
