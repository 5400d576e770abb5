"""Events that a rule is true of, or just isn't: counted over all, the first of them to look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pyarrow as pa

from rms_flows.notebook import shown
from rms_flows.notebook.events import Events, to_pandas, united

if TYPE_CHECKING:
    import pandas as pd

    from rms_flows.notebook.archive import Archive


@dataclass(frozen=True, slots=True)
class Found:
    """Events of an archive.

    Args:
        count: How many there are.
        rows: How many were looked at.
        seen: The first of them, with the columns that the rule looks at.
        by: Of near misses, how many each item of the rule alone kept from being a hit.
        archive: Where they lie.
    """

    count: int
    rows: int
    seen: Events
    by: Mapping[str, int] = field(default_factory=dict)
    archive: Archive | None = None

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, row: int) -> dict[str, object]:
        """Give one of the first events with the columns that the rule looks at."""
        return self.seen[row]

    def events(self) -> Events:
        """Read the first of them once more, with all their columns; raises SourceError."""
        assert self.archive is not None  # noqa: S101  who counted had one
        ids = self.seen.table["event.id"].combine_chunks() if len(self.seen) else pa.array([], pa.string())
        return Events(united([*self.archive.found_again(ids, self.seen.table)] if len(ids) else []))

    def to_arrow(self) -> pa.Table:
        """Give the first of them as a table, with the columns that the rule looks at."""
        return self.seen.table

    def to_pandas(self) -> pd.DataFrame:
        """Give the first of them as a DataFrame; raises FlowError where pandas is not installed."""
        return to_pandas(self.seen.table)

    def _head(self) -> str:
        first = f", the first {len(self.seen):,} to look at" if len(self.seen) < self.count else ""
        return f"{self.count:,} of {self.rows:,} events{first}"

    def __repr__(self) -> str:
        return "\n".join([self._head(), *(f"  {count:,} but for {item}" for item, count in self.by.items())])

    def _repr_html_(self) -> str:
        kept = shown.table(("but for", "events"), self.by.items()) if self.by else ""
        return shown.paragraph(self._head()) + kept + (self.seen._repr_html_() if self.count else "")
