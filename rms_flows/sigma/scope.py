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

ENOUGH: Final = 8 * 1024 * 1024
"""Bytes of values from which on it pays to get ready for columns: about half a second."""

_FEW: Final = 1_000
"""Values, at most, that are copied to be judged together with others'."""

_A_VALUE: Final = 256
"""Bytes that a value counts for, besides its text."""

_UNKNOWN: Final = -1
"""Stands for the verdict of a value that no row had so far."""


Column = tuple[str, columns.Encoded]
"""A column's name and what it holds."""


@dataclass(frozen=True, slots=True)
class _Known:
    """Distinct values and the verdict of each, as far as a row had it.

    Args:
        values: The values, kept so that their memory can be recognized.
        generation: Of the verdicts.
        verdicts: Shape (values + 1,), intp; the last is that of null.
    """

    values: pa.Array
    generation: int
    verdicts: np.ndarray


class Memory:
    """What outlives a batch: the verdicts of each field, and of dictionaries that come again.

    Args:
        verdicts: Field (or KEYWORDS) → the memory of its values.
    """

    def __init__(self, verdicts: Mapping[str, Verdicts]) -> None:
        self.verdicts = verdicts
        self._last: dict[tuple[str, str], _Known] = {}
        self._left = ENOUGH

    def of(self, asked: str, looked_at: Sequence[Column], rows: np.ndarray | None) -> list[np.ndarray]:
        """Give the verdict of each row, column by column; ABSENT for those not among `rows` (None: all).

        Of KEYWORDS, columns without any are left out.

        Batches may share a dictionary: of its values each is judged once, and only when a row has it.
        """
        known = [self._known(asked, name, encoded.values) for name, encoded in looked_at]
        codes = [one.codes if rows is None else one.codes[rows] for _, one in looked_at]
        self._judge(self.verdicts[asked], [(k, _missing(k, c)) for k, c in zip(known, codes, strict=True)])
        if asked == KEYWORDS:  # most columns have none
            held = [(k, c) for k, c in zip(known, codes, strict=True) if (k.verdicts > ABSENT).any()]
        else:
            held = list(zip(known, codes, strict=True))
        found = [k.verdicts[c] for k, c in held]
        return found if rows is None else [_placed(one, rows, len(looked_at[0][1].codes)) for one in found]

    def _known(self, asked: str, column: str, values: pa.Array) -> _Known:
        generation = self.verdicts[asked].generation
        last = self._last.get((asked, column))
        if last is None or last.generation != generation or not columns.same_memory(last.values, values):
            verdicts = np.full(len(values) + 1, _UNKNOWN, dtype=np.intp)
            verdicts[-1] = ABSENT
            last = self._last[asked, column] = _Known(values, generation, verdicts)
        return last

    def _judge(self, verdicts: Verdicts, asked: Sequence[tuple[_Known, np.ndarray]]) -> None:
        """Find the missing verdicts; many columns with a few texts each are asked for at once."""
        few: list[tuple[_Known, np.ndarray, pa.Array]] = []
        for known, which in asked:
            if not len(which):
                continue
            texts = columns.as_strings(known.values)
            if texts is None:
                known.verdicts[which] = verdicts.of(columns.texts(known.values.take(pa.array(which))))
            elif self._is_little(texts, len(which)):
                known.verdicts[which] = verdicts.of(texts.take(pa.array(which)).to_pylist())
            elif len(asked) == 1 or len(which) > _FEW:
                known.verdicts[which] = verdicts.of_texts(texts, which)
            else:
                few.append((known, which, texts.take(pa.array(which))))
        if few:
            whole = pa.concat_arrays([texts for _, _, texts in few])
            found = verdicts.of_texts(whole, np.arange(len(whole)))
            for known, which, _ in few:
                known.verdicts[which], found = found[: len(which)], found[len(which) :]

    def _is_little(self, texts: pa.Array, asked: int) -> bool:
        """Tell whether so little has come that getting ready for columns doesn't pay yet."""
        if self._left > 0:
            self._left -= asked * (_A_VALUE + texts.nbytes // max(len(texts), 1))
        return self._left > 0


def _missing(known: _Known, codes: np.ndarray) -> np.ndarray:
    """Give the values without a verdict, among those that rows have if they may be few of all."""
    missing = known.verdicts == _UNKNOWN
    if len(missing) > len(codes) and missing.any():
        had = np.zeros(len(missing), dtype=bool)
        had[codes] = True
        missing &= had
    return np.flatnonzero(missing)


def _placed(verdicts: np.ndarray, rows: np.ndarray, size: int) -> np.ndarray:
    found = np.full(size, ABSENT, dtype=np.intp)
    found[rows] = verdicts
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
            found = self._rows[asked] = self._verdicts(asked, self._looked_at.get(asked))
        return found

    def _verdicts(self, asked: str, rows: np.ndarray | None) -> list[np.ndarray]:
        if rows is not None and not len(rows):
            return []
        if asked == KEYWORDS:
            named, odd = list(columns.text_columns(self.batch)), self._misfits.texts
        else:
            column = columns.find(self.batch, asked)
            named = [] if column is None or columns.is_empty(column) else [(asked, column)]
            odd = self._misfits.fields.get(asked, [])
        found = self.memory.of(asked, [(name, self._encode(name, column)) for name, column in named], rows)
        if odd and asked == KEYWORDS:
            found.append(self._with(asked, self._nothing(), odd))
        elif odd:
            found = [self._with(asked, found[0] if found else self._nothing(), odd)]
        return found

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
        found = self.verdicts(asked)
        if not found:
            return None
        verdicts = self.memory.verdicts[asked]
        return sum((verdicts.counts(rows) for rows in found), start=np.zeros(verdicts.questions))

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
