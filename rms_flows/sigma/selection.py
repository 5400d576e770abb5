"""Rows chosen in the words of a Sigma selection: the language of the rules it may become."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import pyarrow as pa

from rms_flows.errors import RuleError
from rms_flows.sigma.plan import Plan

Wanted = Mapping[str, Any] | Sequence[Mapping[str, Any]]
"""Items that all have to be true, or a list of such, of which one has to."""


@dataclass(frozen=True)
class Selection:
    """Keeps the rows of which a Sigma selection is true.

    Args:
        text: The selection as JSON.

    Example:
        >>> batch = pa.record_batch({"user.name": ["root", "ana", None]})
        >>> select({"user.name|startswith": "R"}).keep(batch).to_pydict()
        {'user.name': ['root']}
    """

    text: str

    @cached_property
    def plan(self) -> Plan:
        """The selection compiled; raises RuleError where Sigma has no such thing."""
        from rms_flows.sigma.parse import Found, make_rule  # noqa: PLC0415  pySigma takes 0.4 s to import

        found = Found()
        detection = f'{{"wanted": {self.text}, "condition": "wanted"}}'
        whole = f'{{"title": "selection", "logsource": {{"category": "any"}}, "detection": {detection}}}'
        found.parse("selection", whole.encode())
        if found.refused:
            raise RuleError(found.refused[0].reason, where=self.text)
        [(document, parsed)] = found.rules
        return Plan((make_rule(document, parsed, [], None, None),))

    @property
    def columns(self) -> frozenset[str] | None:
        """Columns that it looks at; None where it may be any."""
        return self.plan.columns

    def keep(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Give the rows of which it is true, in their order."""
        return batch.take(pa.array(self.plan.match(batch).row))

    def __reduce__(self) -> tuple[Callable[[str], Selection], tuple[str]]:
        """Cross to a worker as text: a plan belongs to one thread."""
        return Selection, (self.text,)

    def __str__(self) -> str:
        return self.text


def select(wanted: Wanted) -> Selection:
    """Compile a selection.

    Raises:
        RuleError: It is no Sigma selection.
    """
    try:
        text = msgspec.json.encode(wanted).decode()
    except (TypeError, msgspec.ValidationError) as error:
        raise RuleError(
            f"can't be a selection ({error})", where=repr(wanted), remedy='write {"field|modifier": value}'
        ) from None
    made = Selection(text)
    _ = made.plan  # so that what is wrong with it is said here
    return made
