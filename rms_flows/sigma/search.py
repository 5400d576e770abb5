"""What rules need of a part of a source, told from the columns that say which log each event is from."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rms_flows.schema import ENVELOPE, OPTIONAL_ENVELOPE
from rms_flows.sigma.keywords import Keywords

Askers = Mapping[str, tuple[int, ...] | None]
"""Column → the log sources, by number, whose rules look at it; None: rules of all events do."""


class Sought:
    """Which values matter to rules, of rows whose log sources are known.

    A value matters if a rule of the event's log source looks at its field, or if it has a keyword.

    Args:
        routed: Shape (routes, rows), bool: which rows are of which log source.
        askers: Who looks at which column.
        keywords: What any text is asked.
    """

    def __init__(self, routed: np.ndarray, askers: Askers, keywords: Keywords) -> None:
        self._routed = routed
        self._askers = askers
        self._keywords = keywords
        self._rows: dict[tuple[int, ...], np.ndarray | None] = {}
        every = np.ones(routed.shape[1], dtype=bool)
        self._groups = [rows if len(rows) else every for rows in keywords.rows_of_groups(routed)]

    def rows(self, column: str) -> np.ndarray | None:
        """Mark rows whose value of a column matters whatever it is, shape (rows,), bool; None: no row's."""
        routes = self._askers.get(column, ())
        if routes is None:
            return np.ones(self._routed.shape[1], dtype=bool)
        if routes not in self._rows:
            found = np.asarray(self._routed[list(routes)].any(axis=0))
            self._rows[routes] = found if found.any() else None
        return self._rows[routes]

    def may_be_in(self, column: str, texts: np.ndarray, start: int, end: int) -> bool:
        """Tell whether a text of the rows from `start` to before `end` may have a keyword of their rules.

        Args:
            column: The name.
            texts: uint8, UTF-8, one after the other or with anything between.
            start: The first row.
            end: The row behind the last.
        """
        if column in ENVELOPE or column in OPTIONAL_ENVELOPE:
            return False
        wanted = sum(1 << group for group, rows in enumerate(self._groups) if rows[start:end].any())
        return bool(wanted and self._keywords.groups_in(texts, wanted))
