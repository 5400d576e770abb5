"""What a rule just missed: events of which it would be true, were one of its items the other way."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec
import numpy as np
import pyarrow as pa

from rms_flows.sigma import Plan, Rule
from rms_flows.sigma.expression import Expression
from rms_flows.sigma.tree import Branch, tree

if TYPE_CHECKING:
    from sigma.rule import SigmaRule


@dataclass(frozen=True, slots=True)
class Item:
    """A part of a rule that asks one thing of one field.

    Args:
        label: As the author wrote it, behind the name of its selection.
        meaning: What it asks.
    """

    label: str
    meaning: Expression


class Judge:
    """Judges events by a rule, and by the rule with each of its items turned round.

    Args:
        rule: The rule.
        parsed: What pySigma made of it, see `sigma.load.read`.
    """

    def __init__(self, rule: Rule, parsed: SigmaRule) -> None:
        whole = tree(parsed)
        self.items = tuple({item.meaning: item for item in _items(whole, "")}.values())
        turned = [
            msgspec.structs.replace(rule, id=str(number), detection=_turned(whole, item.meaning).meaning)
            for number, item in enumerate(self.items)
        ]
        self._plan = Plan((rule, *turned))
        self.columns = self._plan.columns
        """Columns that it looks at; None where it may be any."""

    def judge(self, batch: pa.RecordBatch) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Tell of which rows the rule is true, and of which it just isn't.

        Returns:
            hits: int64, rows of which it is true.
            near: int64, rows of which it isn't, and would be with one item the other way; a row comes once
                for each item that alone would do.
            which: int64, that item, an index into `items`.
        """
        matches = self._plan.match(batch)
        hits = matches.row[matches.rule == 0]
        missed = (matches.rule > 0) & ~np.isin(matches.row, hits)
        return hits, matches.row[missed], matches.rule[missed].astype(np.int64) - 1


def _items(branch: Branch, path: str) -> Iterator[Item]:
    """Give the items in their order; the values of one item are one."""
    if branch.leaf is not None or branch.values:
        yield Item(f"{path}{_written(branch)}", branch.meaning)
        return
    inside = path if _joins(branch) else f"{branch.label} > "
    for part in branch.parts:
        yield from _items(part, inside)


def _joins(branch: Branch) -> bool:
    """Tell whether a branch is a word of the condition rather than a selection."""
    return branch.label in {"and", "or", "not"} or branch.label.startswith(
        ("condition: ", "any of the", "1 of ", "all of ")
    )


def _written(branch: Branch) -> str:
    if branch.leaf is not None:
        return branch.label
    values = [part.label for part in branch.parts]
    more = f" and {len(values) - 3} more" if len(values) > 3 else ""  # noqa: PLR2004  enough to know it by
    return f"{branch.label}: {', '.join(values[:3])}{more}"


def _turned(branch: Branch, meaning: Expression) -> Branch:
    """Give the rule with an item turned round, wherever it stands."""
    if branch.leaf is not None or branch.values:
        return Branch(branch.label, "not", (branch,)) if branch.meaning == meaning else branch
    return msgspec.structs.replace(branch, parts=tuple(_turned(part, meaning) for part in branch.parts))
