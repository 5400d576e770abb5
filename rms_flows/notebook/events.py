"""Events that somebody looks at: a table, shown with the columns that say something."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa

from rms_flows.errors import FlowError
from rms_flows.notebook import shown

if TYPE_CHECKING:
    import pandas as pd

SHOWN: Final = 20
"""Most rows of a representation."""
WIDTH: Final = 12
"""Most columns of a representation."""

_LAST: Final = ("event.ingested", "rms.origin", "rms.trust", "event.id")
"""Columns that say least to a reader."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events as they were read.

    Args:
        table: A row an event; columns in the types of `schema.field_type`, some as dictionaries.

    Example:
        >>> found = Events(pa.table({"user.name": ["ana", "jon"], "event.id": ["1", "2"]}))
        >>> found
        2 events: user.name, event.id
        >>> found[1]
        {'user.name': 'jon', 'event.id': '2'}
    """

    table: pa.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __getitem__(self, row: int) -> dict[str, Any]:
        """Give one event, without the fields that it lacks; raises IndexError."""
        if not -len(self) <= row < len(self):
            raise IndexError(f"there are {len(self)} events")
        [event] = self.table.slice(row % len(self), 1).to_pylist()
        return {name: value for name, value in event.items() if value is not None}

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (self[row] for row in range(len(self)))

    def to_arrow(self) -> pa.Table:
        """Give the table."""
        return self.table

    def to_pandas(self) -> pd.DataFrame:
        """Give a DataFrame, times in UTC; raises FlowError where pandas is not installed."""
        return to_pandas(self.table)

    def _columns(self) -> list[str]:
        """Name the columns that hold something, those that say most to a reader first."""
        filled = [
            name
            for name, column in zip(self.table.column_names, self.table.columns, strict=True)
            if column.null_count < len(column)
        ]
        return [name for name in filled if name not in _LAST] + [name for name in _LAST if name in filled]

    def __repr__(self) -> str:
        names = self._columns() if len(self) else self.table.column_names
        more = f" and {len(names) - WIDTH} more" if len(names) > WIDTH else ""
        count = "1 event" if len(self) == 1 else f"{len(self):,} events"
        return f"{count}: {', '.join(names[:WIDTH])}{more}" if names else count

    def _repr_html_(self) -> str:
        names = self._columns()[:WIDTH]
        rows = self.table.select(names).slice(0, SHOWN).to_pylist()
        return shown.table(names, ([row[name] for name in names] for row in rows), caption=self._caption())

    def _caption(self) -> str:
        left_out = len(self._columns()) - WIDTH
        count = "1 event" if len(self) == 1 else f"{len(self):,} events"
        first = f", the first {SHOWN}" if len(self) > SHOWN else ""
        return f"{count}{first}" + (f"; {left_out} more columns" if left_out > 0 else "")


def to_pandas(table: pa.Table) -> pd.DataFrame:
    """Give a DataFrame; raises FlowError where pandas is not installed."""
    try:
        import pandas as pd  # noqa: F401, PLC0415  of the extra `notebook`
    except ImportError:
        raise FlowError("pandas is not installed", remedy="pip install 'rms-flows[notebook]'") from None
    return table.to_pandas()


def united(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """Put batches into one table; a column that comes as a dictionary here and as text there becomes text.

    Example:
        >>> one, other = pa.array(["a"]), pa.array(["b"]).dictionary_encode()
        >>> united([pa.record_batch({"x": one}), pa.record_batch({"x": other, "y": one})]).to_pydict()
        {'x': ['a', 'b'], 'y': [None, 'a']}
    """
    kinds: dict[str, set[pa.DataType]] = {}
    for batch in batches:
        for field in batch.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    mixed = {name for name, types in kinds.items() if len(types) > 1}
    tables = [pa.Table.from_batches([_plain(batch, mixed)]) for batch in batches]
    if not tables:
        return pa.table({})
    return pa.concat_tables(tables, promote_options="default").replace_schema_metadata(None)


def _plain(batch: pa.RecordBatch, mixed: set[str]) -> pa.RecordBatch:
    arrays = [
        column.dictionary_decode() if name in mixed and pa.types.is_dictionary(column.type) else column
        for name, column in zip(batch.schema.names, batch.columns, strict=True)
    ]
    return pa.RecordBatch.from_arrays(arrays, batch.schema.names)
