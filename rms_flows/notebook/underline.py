"""What is wrong with the text of a rule, shown where it stands."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rms_flows.errors import RuleError
from rms_flows.sigma import Refused

AROUND = 2
"""Lines shown before and after the one that is wrong."""

_NAMED = re.compile(r"`([^`]+)`|'([^']+)'|%([^%]+)%")
_COLUMN = re.compile(r"\(line:1, col:(\d+)\)")


class RuleTextError(RuleError):
    """A rule's text is wrong; the message shows where. A notebook shows it without a traceback."""

    def __str__(self) -> str:
        return self.problem

    def _render_traceback_(self) -> list[str]:
        """Be what IPython prints."""
        return [f"RuleError: {self.problem}"]


def error_in(text: str, refused: Refused) -> RuleTextError:
    r"""Make the error of a document that can't be evaluated.

    Args:
        text: The whole text that it is from.
        refused: Where the document begins, and why it is refused.

    Example:
        >>> print(error_in("a: 1\nb|contain: 2\nc: 3", Refused("t", "f", 1, "Unknown modifier 'contain'")))
        line 2: Unknown modifier 'contain'
          1 | a: 1
          2 | b|contain: 2
            |   ^^^^^^^
          3 | c: 3
    """
    lines = text.splitlines() or [""]
    at, start, end = _place(lines, refused)
    first, last = max(0, at - AROUND), min(len(lines), at + AROUND + 1)
    width = len(str(last))
    shown = [f"line {at + 1}: {refused.reason}"]
    for number in range(first, last):
        shown.append(f"  {number + 1:{width}} | {lines[number]}".rstrip())
        if number == at:
            shown.append(f"  {'':{width}} | {' ' * start}{'^' * max(1, end - start)}")
    return RuleTextError("\n".join(shown), where=f"{refused.file}:{at + 1}")


def _place(lines: list[str], refused: Refused) -> tuple[int, int, int]:
    """Find line, first and last column of what a reason names; else the document's first line."""
    begin = min(refused.line, len(lines)) - 1
    if refused.reason.startswith("no YAML"):
        return begin, *_whole(lines[begin])
    stop = next((n for n in range(begin + 1, len(lines)) if lines[n].startswith("---")), len(lines))
    if (column := _COLUMN.search(refused.reason)) is not None:
        for number in range(begin, stop):
            found = re.match(r"\s*condition:\s*(['\"]?)", lines[number])
            if found is not None:
                start = found.end() + int(column[1]) - 1
                return number, start, _word_end(lines[number], start)
    for name in _names(refused.reason):
        for number in range(begin, stop):
            found = re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", lines[number])
            if found is not None:
                return number, found.start(), found.end()
    return begin, *_whole(lines[begin])


def _names(reason: str) -> Iterator[str]:
    """Give what a reason names, values before keys, of a path its last part first."""
    found = [next(part for part in match.groups() if part is not None) for match in _NAMED.finditer(reason)]
    paths = [name for name in found if re.fullmatch(r"correlation(\.[\w-]+)+", name)]
    yield from (name for name in found if name not in paths)
    for path in paths:
        yield path.rpartition(".")[2]


def _whole(line: str) -> tuple[int, int]:
    return len(line) - len(line.lstrip()), len(line.rstrip())


def _word_end(line: str, start: int) -> int:
    found = re.compile(r"\S+").match(line, start)
    return found.end() if found is not None else start + 1
