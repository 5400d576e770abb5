"""An explanation as a tree for people: of each part whether it is true, and what decided."""

from __future__ import annotations

import msgspec
from rich.text import Text
from rich.tree import Tree

from rms_flows.sigma.explain import Evidence, Explanation, Judged

MARGIN = 36
"""Characters of a value that are shown on either side of what was found in it."""
SHOWN = 4
"""Values of one item that are named of those that did not decide."""


def told(found: Explanation) -> Tree:
    """Draw an explanation."""
    root = Tree(Text.assemble(_mark(true=found.match), (found.rule, "bold"), f"  {found.where}"))
    if found.route is not None:
        route = root.add(Text.assemble(_mark(true=found.route.true), f"log source {found.logsource}"))
        if not found.route.true:
            _grow(route, found.route)
    _grow(root, found.condition)
    return root


def _grow(tree: Tree, judged: Judged) -> None:
    line = Text.assemble(_mark(true=judged.true), judged.label)
    parts = judged.parts
    if judged.values:
        deciding = [part for part in parts if part.true is judged.true] if _split(judged) else []
        line.append(_counted(judged))
        if not deciding and (evidence := parts[0].evidence) is not None:
            line.append("   ").append_text(_evidence(msgspec.structs.replace(evidence, start=None, end=None)))
        parts = tuple(deciding)
    elif judged.evidence is not None:
        line.append("   ").append_text(_evidence(judged.evidence))
    branch = tree.add(line)
    for part in parts:
        _grow(branch, part)


def _split(judged: Judged) -> bool:
    """Tell whether some values decided and others did not."""
    return judged.true or judged.join == "all"


def _counted(judged: Judged) -> str:
    """Name a few of the values that did not decide, and count the rest.

    Example:
        >>> from rms_flows.sigma.explain import Judged
        >>> parts = tuple(Judged(f"'{letter}'", letter == "a") for letter in "abcdefg")
        >>> _counted(Judged("f|contains", True, "any", parts, values=True))
        " (any of 7; not 'b', 'c', 'd', 'e' and 2 more)"
    """
    others = [part.label for part in judged.parts if part.true is not judged.true or not _split(judged)]
    word = "not" if judged.join == "any" else "with"
    listed = ", ".join(others[:SHOWN]) + (f" and {len(others) - SHOWN} more" * (len(others) > SHOWN))
    named = f"; {word} {listed}" if others else ""
    return f" ({'any' if judged.join == 'any' else 'all'} of {len(judged.parts)}{named})"


def _mark(*, true: bool) -> tuple[str, str]:
    return ("✓ ", "green") if true else ("✗ ", "red")


def _evidence(evidence: Evidence) -> Text:
    """Write what was found: the value, shortened, with the part that was asked for marked."""
    text = Text(style="dim")
    if evidence.value is not None:
        value = evidence.value
        start, end = evidence.start or 0, evidence.end if evidence.end is not None else 0
        begin, stop = max(0, start - MARGIN), min(len(value), max(end, start) + MARGIN)
        stop = max(stop, min(len(value), begin + 2 * MARGIN))
        middle = value[start:end]
        if len(middle) > 4 * MARGIN:
            middle = f"{middle[: 2 * MARGIN]}…{middle[-MARGIN:]}"
        text.append(f"{evidence.field or 'the event'} is {'…' if begin else ''}")
        text.append(_plain(value[begin:start]))
        text.append(_plain(middle), style="bold underline")
        text.append(_plain(value[end:stop]) + ("…" if stop < len(value) else ""))
    elif evidence.field:
        text.append(f"{evidence.field} is absent")
    if evidence.note:
        text.append(f"{'; ' if text else ''}{evidence.note}")
    return text


def _plain(text: str) -> str:
    """Write characters that would move a terminal's cursor as escapes."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)
