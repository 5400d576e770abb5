"""One batch while its rules are evaluated: what each field holds, worked out once, when it is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pyarrow as pa

from rms_flows.sigma import columns
from rms_flows.sigma.verdicts import ABSENT, Value, Verdicts

KEYWORDS = ""
"""Stands for "any text of the event" where a field's name stands; no field is called so."""

_UNKNOWN: Final = -1
"""Stands for the verdict of a value that no row had so far."""


class Memory:
    """What outlives a batch: the verdicts of each field, and of dictionaries that come again.

    Args:
        questions: Field (or KEYWORDS) → what the rules ask of it.
    """

    def __init__(self, verdicts: Mapping[str, Verdicts]) -> None:
        self.verdicts = verdicts
        self._last: dict[tuple[str, str], tuple[int, pa.Array, np.ndarray]] = {}

    def of(self, asked: str, column: str, encoded: columns.Encoded, rows: np.ndarray | None) -> np.ndarray:
        """Give the verdict of each row; of rows that are not among `rows` (None: all) it means nothing.

        Batches may share a dictionary: of its values each is judged once, and only when a row has it.
        """
        verdicts = self.verdicts[asked]
        values, codes = encoded.values, encoded.codes
        last = self._last.get((asked, column))
        if last and last[0] == verdicts.generation and columns.same_memory(last[1], values):
            known = last[2]
        else:
            known = np.full(len(values) + 1, _UNKNOWN, dtype=np.intp)
            known[-1] = ABSENT
            self._last[asked, column] = (verdicts.generation, values, known)
        found: np.ndarray = known[codes]
        asking = np.flatnonzero(found == _UNKNOWN) if rows is None else rows[found[rows] == _UNKNOWN]
        if len(asking):
            missing = np.unique(codes[asking])
            known[missing] = verdicts.of(columns.texts(values.take(pa.array(missing))))
            found[asking] = known[codes[asking]]
        if rows is not None:
            found[found == _UNKNOWN] = ABSENT
        return found


@dataclass(slots=True)
class Scope:
    """A batch and what has been found out about it.

    Args:
        batch: The events.
        memory: What is known from other batches.
    """

    batch: pa.RecordBatch
    memory: Memory
    routed: np.ndarray = field(init=False)
    """Which rows are of which log source: shape (routes, rows), bool."""
    _looked_at: dict[str, np.ndarray] = field(init=False, default_factory=dict)
    _misfits: columns.Misfits = field(init=False)
    _encoded: dict[str, columns.Encoded | None] = field(init=False, default_factory=dict)
    _rows: dict[str, list[np.ndarray]] = field(init=False, default_factory=dict)
    _chosen: dict[tuple[str, int], np.ndarray] = field(init=False, default_factory=dict)
    _mark: np.ndarray = field(init=False)
    all_rows: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._misfits = columns.Misfits(self.batch)
        self._mark = np.zeros(self.batch.num_rows, dtype=bool)
        self.all_rows = np.arange(self.batch.num_rows)

    def route(self, routed: np.ndarray, askers: Mapping[tuple[int, ...], Sequence[str]]) -> None:
        """Tell which rows are of which log source: a field is looked at only where a rule asks for it.

        Args:
            routed: Shape (routes, rows), bool.
            askers: Routes → the fields (or KEYWORDS) for which only rules of these routes ask.
        """
        self.routed = routed
        for routes, fields in askers.items():
            rows = np.flatnonzero(routed[list(routes)].any(axis=0))
            if len(rows) < self.batch.num_rows:
                self._looked_at.update(dict.fromkeys(fields, rows))

    def verdicts(self, asked: str) -> list[np.ndarray]:
        """Verdict of each row, shape (rows,), of the field; for KEYWORDS one for each text column.

        Rows of log sources whose rules don't ask for the field may have any verdict.
        """
        found = self._rows.get(asked)
        if found is None:
            rows = self._looked_at.get(asked)
            if rows is not None and not len(rows):
                found = []
            elif asked == KEYWORDS:
                found = [self._verdict(asked, name, c) for name, c in columns.text_columns(self.batch)]
                if texts := self._misfits.texts:
                    found.append(self._with(asked, self._nothing(), texts))
            else:
                column = columns.find(self.batch, asked)
                odd = self._misfits.fields.get(asked)
                found = [] if column is None else [self._verdict(asked, asked, column)]
                if odd:
                    found = [self._with(asked, found[0] if found else self._nothing(), odd)]
            self._rows[asked] = found
        return found

    def _verdict(self, asked: str, name: str, column: pa.Array) -> np.ndarray:
        return self.memory.of(asked, name, self._encode(name, column), self._looked_at.get(asked))

    def _nothing(self) -> np.ndarray:
        return np.full(self.batch.num_rows, ABSENT, dtype=np.intp)

    def _with(self, asked: str, rows: np.ndarray, odd: Sequence[tuple[int, Value]]) -> np.ndarray:
        rows[[row for row, _ in odd]] = self.memory.verdicts[asked].of([value for _, value in odd])
        return rows

    def _encode(self, name: str, column: pa.Array) -> columns.Encoded:
        encoded = self._encoded.get(name)
        if encoded is None:
            encoded = self._encoded[name] = columns.encode(column)
        return encoded

    def counts(self, asked: str) -> np.ndarray | None:
        """How many rows each question is true of, for keywords at most; None where the field is absent."""
        truth = self.memory.verdicts[asked].truth
        total: np.ndarray | None = None
        for rows in self.verdicts(asked):
            number = np.bincount(rows, minlength=truth.shape[1])
            there = np.flatnonzero(number)
            found = self.memory.verdicts[asked].truth[:, there] @ number[there]
            total = found if total is None else total + found
        return total

    def choose(self, asked: str, question: int, rows: np.ndarray | None) -> np.ndarray:
        """Give those of `rows` (None: all) of which the question is true."""
        if rows is None:
            chosen = self._chosen.get((asked, question))
            if chosen is None:
                chosen = self._chosen[asked, question] = np.flatnonzero(self._true(asked, question, None))
            return chosen
        return np.asarray(rows[self._true(asked, question, rows)])

    def _true(self, asked: str, question: int, rows: np.ndarray | None) -> np.ndarray:
        found = self.verdicts(asked)
        truth = self.memory.verdicts[asked].truth[question]
        size = self.batch.num_rows if rows is None else len(rows)
        mask = np.zeros(size, dtype=bool) if found else np.full(size, truth[ABSENT])
        for verdicts in found:
            hit = truth[verdicts if rows is None else verdicts[rows]]
            mask = hit if len(found) == 1 else mask | hit
        return mask

    def without(self, rows: np.ndarray, gone: np.ndarray) -> np.ndarray:
        """Give those of `rows` that are not among `gone`."""
        self._mark[rows] = True
        self._mark[gone] = False
        left = np.asarray(rows[self._mark[rows]])
        self._mark[rows] = False
        return left

    def values(self, name: str, rows: np.ndarray) -> Sequence[Value | None]:
        """Give the values of a field as text, for a comparison of fields."""
        column = columns.find(self.batch, name)
        if column is None:
            found: list[Value | None] = [None] * len(rows)
        else:
            encoded = self._encode(name, column)
            known = [*columns.texts(encoded.values), None]
            found = [known[code] for code in encoded.codes[rows].tolist()]
        if odd := dict(self._misfits.fields.get(name, ())):
            found = [odd.get(row, value) for row, value in zip(rows.tolist(), found, strict=True)]
        return found
